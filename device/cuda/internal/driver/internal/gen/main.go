// Command gen writes the parts of package driver that follow from its three tables.
//
//	entries.txt    name[=suffix of the exported symbol] : C parameters   (U is unsigned int)
//	constants.txt  PREFIX_ =value NAME NAME ...     each next NAME is one more; =n restarts
//	types.txt      C declarations, copied into the header as they are
//
// Without flags it writes cuda.h, forward.c, table.h, table.go and libcuda.a into the directory -o, and replaces there only
// what says that it is generated. With -check it
// writes to standard output a C file that compares the tables with the cuda.h that the C compiler finds; see
// check-header.sh beside the package.
package main

import (
	"embed"
	"io"
	"path/filepath"

	"github.com/fusestep/fusestep/internal/cli"
)

//go:embed entries.txt constants.txt types.txt
var tables embed.FS

func main() { cli.Main("gen", run) }

func run(args []string, stdout io.Writer) error {
	fs := cli.Flags("gen")
	dir := fs.String("o", ".", "directory of package driver")
	check := fs.Bool("check", false, "write the header check to standard output")
	if err := cli.Parse(fs, args, func() { cli.PrintDefaults(fs, stdout) }); err != nil {
		return err
	}
	api, err := load()
	if err != nil {
		return err
	}
	if *check {
		_, err := stdout.Write(api.checkC())
		return err
	}
	files, err := api.files()
	if err != nil {
		return err
	}
	paths := map[string][]byte{}
	for name, text := range files {
		paths[filepath.Join(*dir, name)] = text
	}
	return cli.WriteGenerated(paths)
}

// files is all that is generated, by name.
func (a *api) files() (map[string][]byte, error) {
	goTable, err := a.tableGo()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"cuda.h":    a.header(),
		"table.h":   a.tableH(),
		"forward.c": a.forwardC(),
		"table.go":  goTable,
		// An archive without members: the linker finds -lcuda here, takes nothing from it, and looks no further.
		"libcuda.a": []byte("!<arch>\n"),
	}, nil
}

// Command gen writes the parts of package driver that follow from its three tables.
//
//	entries.txt    name[=suffix of the exported symbol] : C parameters   (U is unsigned int)
//	constants.txt  PREFIX_ =value NAME NAME ...     each next NAME is one more; =n restarts
//	types.txt      C declarations, copied into the header as they are
//
// Without flags it writes cuda.h, forward.c, table.h, table.go and libcuda.a into the directory -o. With -check it
// writes to standard output a C file that compares the tables with the cuda.h that the C compiler finds; see
// check-header.sh beside the package.
package main

import (
	"embed"
	"flag"
	"log"
	"os"
	"path/filepath"
)

//go:embed entries.txt constants.txt types.txt
var tables embed.FS

func main() {
	log.SetFlags(0)
	log.SetPrefix("gen: ")
	dir := flag.String("o", ".", "directory of package driver")
	check := flag.Bool("check", false, "write the header check to standard output")
	flag.Parse()

	api, err := load()
	if err != nil {
		log.Fatal(err)
	}
	if *check {
		os.Stdout.Write(api.checkC())
		return
	}
	files, err := api.files()
	if err != nil {
		log.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(*dir, name), text, 0o644); err != nil {
			log.Fatal(err)
		}
	}
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

// Asmgen writes package cpu's assembly, with avo, for processors with AVX2 where the system forbids a process to run code that it made: a
// loop over tiles for each operation of package ir, for some that stand for several, and for
// the gradient norm. Usage:
//
//	go run . folder
//
// Asmgen replaces no file that does not say that it is generated. The exit status is 2 for a wrong command line, 1 for any other error.
package main

import (
	_ "embed"
	"io"

	"github.com/fusestep/fusestep/internal/cli"
)

//go:embed main.go
var source string

func main() { cli.Main("asmgen", run) }

func run(args []string, stdout io.Writer) error {
	fs := cli.Flags("asmgen")
	if err := cli.ParseFlags(fs, args, func() { io.WriteString(stdout, cli.Manual(source)) }); err != nil {
		return err
	}
	if fs.NArg() != 1 {
		return cli.Usagef("need the folder to write to; asmgen -h prints the manual")
	}
	return builtin(fs.Arg(0))
}

// Asmgen writes package cpu's assembly, with avo: a loop for each operation of package ir, and for some that stand for several, for the
// tile interpreter; the loops of the gradient norm; and those of gpubench's ceiling. Usage:
//
//	go run . folder
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "asmgen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("need the folder to write to, not %q", args)
	}
	return builtin(args[0])
}

// Asmgen writes loops for rules in AVX2 and AVX-512 assembly, for amd64.
//
// Package cpu runs a rule of your own operation by operation over tiles in cache, which takes no build step. Asmgen makes a
// loop of the whole rule, as the built-in optimizers have. From the rule's source file alone it writes into the file's package:
//
//	concord_avx2_amd64.s, concord_avx512_amd64.s    the loops
//	concord_amd64.go                                their declarations, and the variable ConcordLoops
//	concord_noasm.go                                an empty ConcordLoops for other machines and the build tag purego
//
// The program hands them to the device: cpu.New(ConcordLoops). A device finds the loop of a program by what the rule computes, so
// after a change of the rule an old file does no harm: it is not used until asmgen has run again. Usage:
//
//	go get -tool github.com/fusestep/fusestep/cpu/asmgen
//	//go:generate go tool asmgen -rule Concord concord.go
//
// The flags are
//
//	-rule name        the element function, such as Concord
//	-prologue name    its prologue; without the flag the rule's name and Prologue, such as ConcordPrologue
//	-options sets     the sets of options to write loops for, separated by commas; a set is names joined by +, such as Decay or
//	                  Decay+Nesterov, and none is the empty one. Without the flag: none, and each option alone.
//
// Each set has a loop for float32 and one for float64. A rule that needs more registers than there are is refused.
//
// With -builtin and a folder instead of a rule, asmgen writes package cpu's own: the loops of the programs that optim.Cases has
// of each rule with each option alone and of those that PyTorch gives an L2 penalty with it, a loop for each operation of package ir and for some that stand for several, for
// the tile interpreter, and those of the gradient norm and of gpubench's ceiling.
package main

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/fusestep/fusestep/internal/manual"
)

//go:embed main.go
var source string

func main() {
	switch err := run(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(manual.Of(source))
	case err != nil:
		fmt.Fprintln(os.Stderr, "asmgen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	fs := flag.NewFlagSet("asmgen", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	name := fs.String("rule", "", "")
	prologue := fs.String("prologue", "", "")
	options := fs.String("options", "", "")
	own := fs.Bool("builtin", false, "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	switch {
	case *own && (*name != "" || *prologue != "" || *options != "" || fs.NArg() != 1):
		return errors.New("-builtin takes no other flag, and the folder to write to")
	case *own:
		return builtin(fs.Arg(0))
	case *name == "" || fs.NArg() != 1:
		return errors.New("need -rule and one file; asmgen -h prints the manual")
	case *prologue == "":
		*prologue = *name + "Prologue"
	}
	return userRule(fs.Arg(0), *name, *prologue, *options)
}

// Package cli is what the programs of this module have in common: how they end, the errors of their flags, and files that they
// write whole or not at all.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// Status is how a program ends.
const (
	OK          = 0
	Failure     = 1   // something went wrong while it ran, writing the output included
	Usage       = 2   // the command line makes no sense
	Interrupted = 130 // the user has stopped it, as shells have it for Ctrl-C
)

// ErrReported is a failure that the output has already explained. The program prints nothing more and exits with Failure.
var ErrReported = errors.New("the output says what is wrong")

// ErrInterrupted is a program that the user has stopped and whose output has said so. It prints nothing more and exits with Interrupted.
var ErrInterrupted = errors.New("interrupted")

// UsageError is a command line that makes no sense.
type UsageError struct{ error }

// Unwrap gives the cause.
func (e UsageError) Unwrap() error { return e.error }

// Usagef makes a UsageError as fmt.Errorf makes an error.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Main runs a program by the arguments of its command line and exits. Output that run could not write is a failure, even where
// run does not notice.
func Main(name string, run func(args []string, stdout io.Writer) error) {
	status := Run(name, os.Args[1:], os.Stdout, os.Stderr, run)
	if err := os.Stdout.Close(); err != nil && status == OK { // some file systems say only now what did not fit
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		status = Failure
	}
	os.Exit(status)
}

// Run runs a program and returns its exit status. It prints an error in one line. Help that was asked for, flag.ErrHelp, is no
// error.
func Run(name string, args []string, stdout, stderr io.Writer, run func(args []string, stdout io.Writer) error) int {
	out := &output{w: stdout}
	err := run(args, out)
	if errors.Is(err, flag.ErrHelp) {
		err = nil
	}
	if out.err != nil && (err == nil || errors.Is(err, ErrReported) || errors.Is(err, ErrInterrupted)) {
		err = out.err // nobody has seen the help, the result or the report
	}
	switch {
	case err == nil:
		return OK
	case errors.Is(err, ErrReported):
		return Failure
	case errors.Is(err, ErrInterrupted):
		return Interrupted
	}
	fmt.Fprintf(stderr, "%s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", "; "))
	if errors.As(err, new(UsageError)) {
		return Usage
	}
	return Failure
}

// output remembers the first error of a writer, so that a program need not look at each.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(p []byte) (n int, err error) {
	if o.err == nil {
		n, o.err = o.w.Write(p)
	}
	return n, o.err
}

// Flags is a set of flags that prints nothing of its own accord.
func Flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

// Parse reads a command line that has nothing beside flags. Its errors are a UsageError, and flag.ErrHelp, once usage has printed the help.
func Parse(fs *flag.FlagSet, args []string, usage func()) error {
	if err := ParseFlags(fs, args, usage); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return Usagef("unexpected argument %q; %s -h prints the manual", strings.Join(fs.Args(), " "), fs.Name())
	}
	return nil
}

// ParseFlags is Parse for a program that takes arguments after its flags.
func ParseFlags(fs *flag.FlagSet, args []string, usage func()) error {
	switch err := fs.Parse(args); err {
	case nil:
		return nil
	case flag.ErrHelp:
		usage()
		return err
	default:
		return Usagef("%w; %s -h prints the manual", err, fs.Name())
	}
}

// PrintDefaults prints what the flags of a program are.
func PrintDefaults(fs *flag.FlagSet, w io.Writer) {
	fmt.Fprintf(w, "usage: %s [flags]\n", fs.Name())
	fs.SetOutput(w)
	fs.PrintDefaults()
	fs.SetOutput(io.Discard)
}

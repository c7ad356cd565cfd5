package cli

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// Progress is a line on a terminal that says what is going on. The zero value is silent.
type Progress struct {
	W     io.Writer // nil: silent
	shown bool
}

// StderrProgress is on standard error, and silent where that is no terminal.
func StderrProgress() Progress {
	if term.IsTerminal(int(os.Stderr.Fd())) {
		return Progress{W: os.Stderr}
	}
	return Progress{}
}

const eraseLine = "\r\x1b[K"

// Show writes the line in the place of the one before.
func (p *Progress) Show(format string, args ...any) {
	if p.W != nil {
		fmt.Fprintf(p.W, eraseLine+format, args...)
		p.shown = true
	}
}

// Clear takes the line away, before anything else is written.
func (p *Progress) Clear() {
	if p.shown {
		fmt.Fprint(p.W, eraseLine)
		p.shown = false
	}
}

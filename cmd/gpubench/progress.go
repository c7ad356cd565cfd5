package main

import (
	"fmt"
	"io"
)

// progress is a line on a terminal that says what is going on. Without a terminal it is silent.
type progress struct {
	w     io.Writer
	shown bool
}

const eraseLine = "\r\x1b[K"

func (p *progress) show(format string, args ...any) {
	if p.w != nil {
		fmt.Fprintf(p.w, eraseLine+format, args...)
		p.shown = true
	}
}

// clear takes the line away, before anything else is written.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, eraseLine)
		p.shown = false
	}
}

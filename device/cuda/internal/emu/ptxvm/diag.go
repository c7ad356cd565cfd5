package ptxvm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Diagnostic is one complaint about a module's text.
type Diagnostic struct {
	Line int // 1 for the first line
	Msg  string
}

// String formats d as "line 12: unknown instruction".
func (d Diagnostic) String() string { return fmt.Sprintf("line %d: %s", d.Line, d.Msg) }

// A LoadError holds all that is wrong with a module, in the order of its lines.
type LoadError []Diagnostic

// Error is the log of a failed load, one complaint a line.
func (e LoadError) Error() string {
	lines := make([]string, len(e))
	for i, d := range e {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// maxDiagnostics bounds the log: past it, a text is not PTX at all.
const maxDiagnostics = 50

// diagnostics gathers complaints while a module is parsed.
type diagnostics struct{ list LoadError }

func (d *diagnostics) errorf(line int, format string, args ...any) {
	if len(d.list) < maxDiagnostics {
		d.list = append(d.list, Diagnostic{line, fmt.Sprintf(format, args...)})
	}
}

func (d *diagnostics) err() error {
	if len(d.list) == 0 {
		return nil
	}
	slices.SortStableFunc(d.list, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Msg, b.Msg))
	})
	return d.list
}

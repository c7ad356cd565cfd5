package main

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/fusestep/fusestep/internal/cli"
)

// coefficient is a row of the table.
type coefficient struct {
	name           string
	fitted, wanted float64
	err, bound     float64 // relative; absolute and of the standardised coefficient where wanted is 0
}

func (c coefficient) ok() bool { return c.err <= c.bound && c.bound < 1 } // false of a NaN

func compare(s *standard, p *plan, got []float64, ref *reference) []coefficient {
	fitted, rounding := s.original(got), roundingErrors(s, p, ref.standard)
	var out []coefficient
	for j, name := range append([]string{"intercept"}, s.columns...) {
		c := coefficient{name: name, fitted: fitted[j], wanted: ref.original[j]}
		if c.wanted == 0 {
			unit := s.yScale / s.scales[j-1] // only a slope is ever 0
			c.err, c.bound = math.Abs(got[j]), p.own+rounding[j]/unit
		} else {
			c.err, c.bound = math.Abs(c.fitted/c.wanted-1), p.own+rounding[j]/math.Abs(c.wanted)
		}
		out = append(out, c)
	}
	return out
}

// report prints the table and the verdict. It fails with cli.ErrReported.
func report(w io.Writer, s *standard, p *plan, got []float64, ref *reference) error {
	fmt.Fprintf(w, "%s: %d rows, %d columns, standardised; l1 %g, l2 %g\n", s.name, len(s.y), len(s.columns), p.l1, p.l2)
	fmt.Fprintf(w, "%s in %s on %s: %d steps of %d rows, lr %g to %.3g\n\n", p.method, p.dtype, p.device, p.steps, p.batch, p.lr, p.lr*p.decay)
	fmt.Fprintf(w, "%-14s %22s %22s %9s %9s\n", "", "fitted", ref.name, "error", "bound")
	var failed, vague []string
	for _, c := range compare(s, p, got, ref) {
		fmt.Fprintf(w, "%-14s %22.15g %22.15g %9.1e %9.1e\n", c.name, c.fitted, c.wanted, c.err, c.bound)
		switch {
		case c.bound >= 1:
			vague = append(vague, c.name)
		case !c.ok():
			failed = append(failed, c.name)
		}
	}
	switch {
	case len(failed) > 0:
		fmt.Fprintf(w, "\nnot converged: %s\n", strings.Join(failed, ", "))
	case len(vague) > 0:
		fmt.Fprintf(w, "\nnot converged: %s by %s promises no digit of %s; -dtype f64 or a larger -l2 does\n",
			p.dtype, p.method, strings.Join(vague, ", "))
	default:
		fmt.Fprintf(w, "\nconverged: every error is within its bound\n")
		return nil
	}
	return cli.ErrReported
}

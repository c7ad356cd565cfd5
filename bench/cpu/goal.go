package main

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// goal is what a ratio of times should be: that of another contender to that of ours.
type goal struct {
	other      string // contender
	least      float64
	most       float64 // instead of least, for what should not take longer than so much
	difference bool    // of the times in µs, instead of the ratio
	ours       string  // contender; "" is fusestep
	what       string
}

// ratio is what is held to the goal.
func (g goal) ratio(m measurement) float64 {
	ours := cmp.Or(g.ours, "fusestep")
	switch {
	case g.difference:
		return 1e6 * (median(m.seconds[ours]) - median(m.seconds[g.other]))
	case g.most > 0:
		return 1 / m.ratio(g.other, ours)
	}
	return m.ratio(g.other, ours)
}

func (g goal) print(t *tabwriter.Writer, group string, m measurement) {
	ours := cmp.Or(g.ours, "fusestep")
	target, met := fmt.Sprintf("≥ %.2f", g.least), "no"
	if g.least == 0 {
		target, met = "", ""
	}
	if g.most > 0 {
		target, met = fmt.Sprintf("≤ %.2f", g.most), "no"
	}
	what := strings.TrimSpace(group + ": " + cmp.Or(g.what, "against "+g.other))
	if why := m.missing[g.other]; why != "" {
		fmt.Fprintf(t, "%s\t%s\tnot measured: %s\t\t\t\n", what, target, why)
		return
	}
	ratio := g.ratio(m)
	if g.least > 0 && ratio >= g.least || g.most > 0 && ratio <= g.most {
		met = "yes"
	}
	show := func(name string) string {
		s := m.settings[name] + ": " + fmt.Sprint(time.Duration(math.Round(median(m.seconds[name])*1e9)).Round(10))
		if b := m.bytes[name]; b > 0 {
			s += fmt.Sprintf(" (%.1f GB/s)", b/median(m.seconds[name])/1e9)
		}
		return s
	}
	fmt.Fprintf(t, "%s\t%s\t%.2f\t%s\t%s\t%s\n", what, target, ratio, met, show(ours), show(g.other))
}

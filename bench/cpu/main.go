// Command cpu measures what fusestep's CPU path is meant to reach, and prints the goals with what was achieved beside each:
//
//	go run ./bench/cpu [-run regexp] [-time 4s] [-python python3] [-deepspeed folder]
//
// A goal is a ratio of two times, taken in turns in one run: round after round, everything that is compared runs once for about
// as long, and the figure is the median of the rounds' ratios. Both times are printed, as medians.
//
// Against the machine's own limit: the ceiling is the step's own loads and stores without arithmetic, by the same threads over
// the same memory (kernels.Backend.CompileTraffic). Against others: with -python, a Python that has torch runs bench/peers/cpu.py,
// and with -deepspeed, the folder of DeepSpeed's unpacked source package, its CPUAdam too. What cannot be measured here says so.
//
// To have the peers:
//
//	python3 -m venv peers && peers/bin/pip install torch ninja
//	peers/bin/pip download --no-deps --no-binary :all: deepspeed && tar xf deepspeed-*.tar.gz
//	PATH=$PWD/peers/bin:$PATH make bench-cpu PYTHON=peers/bin/python DEEPSPEED=$(echo deepspeed-*/)
//
// It takes about 5 minutes and 4 GB of memory. The exit status is 0 whether goals are met or not.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fusestep/fusestep/internal/cpuinfo"
)

func main() {
	run := flag.String("run", "", "measure only what this regular expression matches")
	budget := flag.Duration("time", 4*time.Second, "for each group of measurements")
	python := flag.String("python", "", "a Python that has torch; without one there are no peers")
	deepspeed := flag.String("deepspeed", "", "DeepSpeed's unpacked source package")
	flag.Parse()
	if err := measureAll(*run, *budget, *python, *deepspeed); err != nil {
		fmt.Fprintln(os.Stderr, "cpu:", err)
		os.Exit(1)
	}
}

func measureAll(run string, budget time.Duration, python, deepspeed string) error {
	only, err := regexp.Compile(run)
	if err != nil {
		return err
	}
	var p *peers
	if python != "" {
		if p, err = startPeers(python, deepspeed); err != nil {
			return err
		}
		defer p.close()
	}
	fmt.Printf("%s, %d processors, %s/%s, %s\n", cmp.Or(cpuinfo.Model(), runtime.GOARCH), runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH, runtime.Version())
	fmt.Println(p.about())
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nwhat\tgoal\tratio\tmet\tfusestep\tthe other")
	for _, g := range groups() {
		if !only.MatchString(g.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s", g.name)
		m, err := g.measure(p, budget)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		for _, goal := range g.goals {
			goal.print(t, g.name, m)
		}
	}
	fmt.Fprint(os.Stderr, "\r\x1b[K")
	return t.Flush()
}

// goal is what a ratio of times should be: that of another contender to that of ours.
type goal struct {
	other      string // contender
	least      float64
	most       float64 // instead of least, for what should not take longer than so much
	difference bool    // of the times in µs, instead of the ratio
	ours       string  // contender; "" is fusestep
	what       string
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
	ratio := m.ratio(g.other, ours)
	if g.most > 0 {
		ratio = 1 / ratio
	}
	if g.difference {
		ratio = 1e6 * (median(m.seconds[ours]) - median(m.seconds[g.other]))
	}
	if g.least > 0 && ratio >= g.least || g.most > 0 && ratio <= g.most {
		met = "yes"
	}
	show := func(name string) string {
		s := fmt.Sprint(time.Duration(math.Round(median(m.seconds[name]) * 1e9)).Round(10))
		if b := m.bytes[name]; b > 0 {
			s += fmt.Sprintf(" (%.1f GB/s)", b/median(m.seconds[name])/1e9)
		}
		return s
	}
	fmt.Fprintf(t, "%s\t%s\t%.2f\t%s\t%s\t%s\n", what, target, ratio, met, show(ours), show(g.other))
}

// Command cpu measures what fusestep's CPU path is meant to reach, and prints the goals with what was achieved beside each:
//
//	go run ./bench/cpu [-readme | -run regexp] [-time 4s] [-python python3] [-deepspeed folder] [-dir folder] [-o file.json] [-rehearse]
//
// A goal is a ratio of two times, taken in turns in one run: round after round, everything that is compared runs once for about
// as long, and the figure is the median of the rounds' ratios. Both times are printed, as medians.
//
// Against the machine's own limit: the ceiling is the step's own loads and stores without arithmetic, by the same threads over
// the same memory, by the fastest of several loops (kernels.Backend.CompileTraffic). Against others: with -python, a Python that has torch runs bench/peers/cpu.py,
// and with -deepspeed, the folder of DeepSpeed's unpacked source package, its CPUAdam too. Bitsandbytes and optax are timed where that Python has them.
// What cannot be measured here says so.
//
// Everybody runs at their own best. Before the rounds each contender is tried with 1, 2, 4, … and all threads; a peer also with
// each way in which OpenMP's threads can wait: as by default, passively, actively (OMP_WAIT_POLICY). The setting with the shortest
// step is taken, and stands beside the time. While others are timed, a peer's process is halted, so that threads that wait
// actively take nobody's processor.
//
// Saves are held to what dd writes to the same folder, -dir, and syncs; make bench-checkpoint measures these alone.
//
// With -readme it measures what the README's table and picture show, in under 6 minutes on 2 processors. With -o it also writes all that was
// measured, each round and each setting that was tried, as JSON; bench/picture draws the picture from that. With -rehearse the
// sizes are a thousandth and the times mean nothing.
//
// To have the peers, with hashes that pip checks:
//
//	python3 -m venv peers && peers/bin/pip install --require-hashes -r bench/peers/requirements.txt -r bench/peers/others.txt
//	peers/bin/pip download --no-deps --no-build-isolation --no-binary :all: --require-hashes -r bench/peers/deepspeed.txt && tar xf deepspeed-*.tar.gz
//	PATH=$PWD/peers/bin:$PATH make bench-readme PYTHON=peers/bin/python DEEPSPEED=$(echo deepspeed-*/)
//
// All of it takes about 10 minutes and 4 GB of memory. The exit status is 0 whether goals are met or not.
package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/internal/cpuinfo"
)

func main() { cli.Main("cpu", run) }

func run(args []string, stdout io.Writer) (err error) {
	fs := cli.Flags("cpu")
	pattern := fs.String("run", "", "measure only what this `regexp` matches")
	readme := fs.Bool("readme", false, "measure only what the README shows")
	budget := fs.Duration("time", 4*time.Second, "for the rounds of each group of measurements")
	python := fs.String("python", "", "a Python that has torch; without one there are no peers")
	deepspeed := fs.String("deepspeed", "", "`folder` of DeepSpeed's unpacked source package")
	out := fs.String("o", "", "`file.json` for all that was measured")
	dir := fs.String("dir", os.TempDir(), "`folder` of the files that checkpoints are measured with")
	rehearse := fs.Bool("rehearse", false, "with small sizes, whose times mean nothing")
	if err := cli.Parse(fs, args, func() { cli.PrintDefaults(fs, stdout) }); err != nil {
		return err
	}
	only, err := regexp.Compile(*pattern)
	if err != nil {
		return cli.Usagef("-run: %w", err)
	}
	var file *cli.OutputFile
	if *out != "" {
		if file, err = cli.NewOutputFile("-o", *out, []string{".json"}, nil); err != nil {
			return err
		}
	}
	var p *peers
	if *python != "" {
		if p, err = startPeers(*python, *deepspeed); err != nil {
			return err
		}
		defer func() { err = cmp.Or(err, p.close()) }()
	}
	size := whole
	if *rehearse {
		size = rehearsal
		fmt.Fprintln(stdout, "A rehearsal: the sizes are small, and the times mean nothing.")
	}
	r := newResults(p, *rehearse)
	fmt.Fprintf(stdout, "%s\n", r.Machine)
	progress := cli.StderrProgress()
	defer progress.Clear()
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nwhat\tgoal\tratio\tmet\tfusestep\tthe other")
	for _, g := range groups(size, *dir) {
		if !only.MatchString(g.name) || *readme && !g.readme {
			continue
		}
		progress.Show("%s", g.name)
		m, err := g.measure(p, *budget)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		for _, goal := range g.goals {
			goal.print(t, g.name, m)
		}
		r.add(g, m)
	}
	progress.Clear()
	if err := t.Flush(); err != nil {
		return err
	}
	if file != nil {
		return r.write(file)
	}
	return nil
}

// machine is what the figures were measured on.
func machine(p *peers) string {
	return fmt.Sprintf("%s, %s, %s/%s, %s; peers: %s", cmp.Or(cpuinfo.Model(), runtime.GOARCH), plural(runtime.GOMAXPROCS(0), "processor"),
		runtime.GOOS, runtime.GOARCH, runtime.Version(), p.about())
}

//go:build cuda && cgo && linux

package mutate

import (
	"bufio"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
)

var (
	all     = flag.Bool("all", false, "try every mutation and not a few")
	only    = flag.String("kernels", "", "try those of the kernels whose names match")
	workers = flag.Int("workers", runtime.GOMAXPROCS(0), "processes, of one thread each")
)

const (
	enough = 0.95 // of the mutations that load and are not equivalent, which the suite must notice
	few    = 401  // without -all every few-th is tried, to see that trying works
)

// TestSurvivors tries mutations, and prints what became of them.
func TestSurvivors(t *testing.T) {
	start := time.Now()
	filter := regexp.MustCompile(*only)
	var trials []*trial
	count := map[string]int{}
	for i, s := range subjects() {
		for k, m := range mutations(s.text, s.kernels) {
			if !filter.MatchString(m.kernel) || !*all && k%few != 0 {
				continue
			}
			count["mutations"]++
			if _, err := ptxvm.Load(m.apply(s.text)); err != nil {
				count["refused"]++ // no text to run, and nothing that the suite had to notice
				continue
			}
			trials = append(trials, &trial{subject: i, number: k, mutation: m})
		}
	}
	run(t, trials)

	var unexplained []string
	known := equivalents(t)
	for _, tr := range trials {
		count[tr.verdict]++
		if tr.verdict != survived {
			continue
		}
		i := slices.IndexFunc(known, func(e *equivalent) bool { return e.pattern.MatchString(tr.mutation.String()) })
		if i < 0 {
			unexplained = append(unexplained, fmt.Sprintf("line %d of %s", tr.mutation.line, tr.mutation))
			continue
		}
		count["equivalent"]++
		known[i].survivors++
	}
	fmt.Printf("%d mutations: %d refused by the loader, of the other %d noticed by bits %d, by a fault %d, by an endless loop %d; survived %d, of which equivalent %d. %.0f s\n",
		count["mutations"], count["refused"], len(trials), count[bits], count[fault], count[endless], count[survived], count["equivalent"], time.Since(start).Seconds())
	fmt.Printf("noticed: %.2f%% of those that load, %.2f%% without the equivalent ones\n", 100*part(len(trials)-count[survived], len(trials)),
		100*part(len(trials)-count[survived], len(trials)-count["equivalent"]))
	for _, e := range known {
		if e.survivors > 0 {
			fmt.Printf("%6d survive: %s: %s\n", e.survivors, e.pattern, e.reason)
		} else if *all && *only == "" {
			t.Errorf("nothing that survives is %s: take it out of equivalents.txt", e.pattern)
		}
	}
	for _, s := range unexplained {
		t.Errorf("survives: %s", s)
	}
	if *all && *only == "" {
		require.GreaterOrEqual(t, part(len(trials)-count[survived], len(trials)-count["equivalent"]), enough, "of the mutations the suite notices too few")
	}
}

func part(a, b int) float64 { return float64(a) / float64(max(b, 1)) }

//go:embed equivalents.txt
var equivalentsText string

// An equivalent is a kind of mutation that cannot be noticed.
type equivalent struct {
	pattern   *regexp.Regexp
	reason    string
	survivors int
}

func equivalents(t *testing.T) (list []*equivalent) {
	for line := range strings.Lines(equivalentsText) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern, reason, ok := strings.Cut(line, "  # ")
		require.True(t, ok, "no reason: %s", line)
		list = append(list, &equivalent{pattern: regexp.MustCompile("^" + pattern + "$"), reason: reason})
	}
	return list
}

// A trial is a mutation on its way through a worker.
type trial struct {
	subject, number int
	mutation        mutation
	verdict         string
}

// run has worker processes try the mutations: an emulated driver is in front of a whole process.
func run(t *testing.T, trials []*trial) {
	var next, failed = make(chan *trial), make(chan error, *workers)
	var group sync.WaitGroup
	for range *workers {
		group.Go(func() {
			if err := feed(next); err != nil {
				failed <- err
			}
		})
	}
	for _, tr := range trials {
		select {
		case next <- tr:
		case err := <-failed:
			t.Fatal(err)
		}
	}
	close(next)
	group.Wait()
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
}

// feed hands trials to a worker of its own.
func feed(next <-chan *trial) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), worker+"=1", "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	answers := bufio.NewScanner(out)
	for tr := range next {
		if _, err = fmt.Fprintln(in, tr.subject, tr.number); err != nil {
			return fmt.Errorf("%s: %w", tr.mutation, err)
		}
		if !answers.Scan() {
			return fmt.Errorf("%s: the worker is gone: %w", tr.mutation, cmd.Wait())
		}
		tr.verdict = answers.Text()
	}
	return errors.Join(in.Close(), cmd.Wait())
}

package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/fusestep/fusestep/bench/internal/results"
)

// place is where a contender can run: ours with a number of threads, or a peer's process with a way to wait, which is chosen when the
// process starts.
type place struct {
	waiting string // how idle threads wait, as a result calls it; "" where that is not chosen
	threads []int  // that can be tried there
	// open makes the contender. Run times so many steps with so many threads.
	open func() (run func(threads, steps int) (time.Duration, error), drop func() error, err error)
}

func setting(threads int, waiting string) string {
	if waiting == "" || threads == 1 {
		return plural(threads, "thread")
	}
	return plural(threads, "thread") + ", " + waiting
}

// best opens a contender where it runs best: it tries all threads of all places, one after the other, in two passes, and takes the
// setting with the least time of a step. The passes are far apart, so that a busy moment of the machine decides nothing.
func best(name string, bytes float64, places []place) (c contender, drop func() error, err error) {
	type choice struct{ place, threads int }
	times := map[choice]float64{}
	alone := len(places) == 1 && len(places[0].threads) == 1
	for range 2 {
		for i, p := range places {
			if alone {
				break
			}
			run, drop, err := p.open()
			if err != nil {
				return c, nil, err
			}
			for _, threads := range p.threads {
				took, err := quick(func(n int) (time.Duration, error) { return run(threads, n) })
				if err != nil {
					return c, nil, err
				}
				if old, ok := times[choice{i, threads}]; !ok || took < old {
					times[choice{i, threads}] = took
				}
			}
			if err := drop(); err != nil {
				return c, nil, err
			}
		}
	}
	chosen := choice{0, places[0].threads[0]}
	var tried []results.Trial
	for i, p := range places {
		for _, threads := range p.threads {
			at := choice{i, threads}
			if took, ok := times[at]; ok {
				tried = append(tried, results.Trial{Setting: setting(threads, p.waiting), Seconds: took})
				if took < times[chosen] {
					chosen = at
				}
			}
		}
	}
	run, drop, err := places[chosen.place].open()
	if err != nil {
		return c, nil, err
	}
	return contender{
		name: name, bytes: bytes, setting: setting(chosen.threads, places[chosen.place].waiting), tried: tried,
		run: func(n int) (time.Duration, error) { return run(chosen.threads, n) },
	}, drop, nil
}

// quick is the seconds of a step, the least of a few runs that take at least some milliseconds each.
func quick(run func(n int) (time.Duration, error)) (float64, error) {
	const enough, runs = 5 * time.Millisecond, 3
	n, least := 1, 0.0
	for k := 0; k < runs; {
		took, err := run(n)
		if err != nil {
			return 0, err
		}
		if took < enough && n < 1<<20 {
			n *= 2 // and what came before was the warm-up
			continue
		}
		if seconds := took.Seconds() / float64(n); k == 0 || seconds < least {
			least = seconds
		}
		k++
	}
	return least, nil
}

// threadCounts are those to try: 1, 2, 4, … and most.
func threadCounts(most int) (out []int) {
	for n := 1; n < most; n *= 2 {
		out = append(out, n)
	}
	return append(out, most)
}

// plural is such as "2 threads".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func median(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

package main

import (
	"time"

	"github.com/fusestep/fusestep/bench/internal/results"
)

// contender is something whose time is compared.
type contender struct {
	name    string
	bytes   float64                            // that one step must move, or 0
	setting string                             // the threads, and how they wait
	tried   []results.Trial                    // the settings that this one is the best of
	run     func(n int) (time.Duration, error) // n steps, one after the other
	ways    []contender                        // instead of run: all are timed, and the fastest is this contender
}

// measurement is what was measured of the contenders of a group.
type measurement struct {
	seconds  map[string][]float64 // of a step, round by round
	bytes    map[string]float64
	settings map[string]string
	tried    map[string][]results.Trial
	missing  map[string]string // what could not be measured, and why
	order    []string          // of the contenders
}

const rounds = 15

// compare times the contenders in turns, in rounds that take the budget together, or longer if a step each does.
func compare(all []contender, budget time.Duration, rounds int) (measurement, error) {
	m := measurement{map[string][]float64{}, map[string]float64{}, map[string]string{}, map[string][]results.Trial{}, map[string]string{}, nil}
	var timed []contender
	for _, c := range all {
		if c.ways == nil {
			c.ways = []contender{c}
		}
		timed = append(timed, c.ways...)
	}
	each := budget / time.Duration(rounds*len(timed))
	batch := make([]int, len(timed))
	for i, c := range timed {
		for batch[i] = 1; ; batch[i] *= 2 {
			took, err := c.run(batch[i])
			if err != nil {
				return m, err
			}
			if took*3/2 >= each {
				break
			}
		}
	}
	seconds := make([][]float64, len(timed))
	for range rounds {
		for i, c := range timed {
			took, err := c.run(batch[i])
			if err != nil {
				return m, err
			}
			seconds[i] = append(seconds[i], took.Seconds()/float64(batch[i]))
		}
	}
	for _, c := range all {
		fastest := 0
		for i, way := range c.ways {
			took := median(seconds[i])
			c.tried = append(c.tried, results.Trial{Setting: way.setting, Seconds: took})
			if took < median(seconds[fastest]) {
				fastest = i
			}
		}
		m.seconds[c.name] = seconds[fastest]
		seconds = seconds[max(len(c.ways), 1):]
		m.bytes[c.name], m.settings[c.name], m.tried[c.name] = c.bytes, c.setting, c.tried
		m.order = append(m.order, c.name)
	}
	return m, nil
}

// ratio is the median over the rounds of a's time over b's.
func (m measurement) ratio(a, b string) float64 {
	var r []float64
	for i, x := range m.seconds[a] {
		r = append(r, x/m.seconds[b][i])
	}
	return median(r)
}

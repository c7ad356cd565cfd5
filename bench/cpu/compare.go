package main

import (
	"slices"
	"time"
)

// contender is something whose time is compared.
type contender struct {
	name  string
	bytes float64                            // that one step must move, or 0
	run   func(n int) (time.Duration, error) // n steps, one after the other
}

// measurement is the seconds of a step of each contender, round by round.
type measurement struct {
	seconds map[string][]float64
	bytes   map[string]float64
	missing map[string]string // what could not be measured, and why
}

const rounds = 15

// compare times the contenders in turns, in rounds that take the budget together.
func compare(all []contender, budget time.Duration) (measurement, error) {
	m := measurement{map[string][]float64{}, map[string]float64{}, map[string]string{}}
	each := budget / time.Duration(rounds*len(all))
	batch := make([]int, len(all))
	for i, c := range all {
		for batch[i] = 1; ; batch[i] *= 2 {
			took, err := c.run(batch[i])
			if err != nil {
				return m, err
			}
			if took*3/2 >= each {
				break
			}
		}
		m.bytes[c.name] = c.bytes
	}
	for range rounds {
		for i, c := range all {
			took, err := c.run(batch[i])
			if err != nil {
				return m, err
			}
			m.seconds[c.name] = append(m.seconds[c.name], took.Seconds()/float64(batch[i]))
		}
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

func median(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

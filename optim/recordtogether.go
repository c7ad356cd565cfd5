package optim

import "github.com/fusestep/fusestep/kernels"

// agreeAlways is agree for each launch of a step that is being recorded, between which nobody is asked: a scalar that changes from launch to launch is made
// of the same numbers in all groups.
func (l *launch) agreeAlways() error {
	first := l.parts[0] // each of the parts is active
	for _, i := range l.together() {
		want, moves := first.sources(i)
		for _, q := range l.parts[1:] {
			got, moving := q.sources(i)
			if !moves && !moving {
				if !sameFloat(first.scalars[i], q.scalars[i]) {
					return q.disagrees(first, l.program.Outputs()[i], first.scalars[i], q.scalars[i])
				}
				continue
			}
			for k := range min(len(want), len(got)) {
				if !want[k].Same(got[k]) {
					return q.disagrees(first, l.program.Outputs()[i], want[k], got[k])
				}
			}
			if len(want) != len(got) { // other arms are chosen
				return q.disagrees(first, l.program.Outputs()[i], first.scalars[i], q.scalars[i])
			}
		}
	}
	return nil
}

// sources are the numbers that a scalar is made of in the step that is being recorded and in later launches, and whether one of them moves.
func (q *part) sources(scalar int) ([]kernels.Source, bool) {
	step := q.step()
	return q.program.Sources(&step, q.mirror, scalar)
}

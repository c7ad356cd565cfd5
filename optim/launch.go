package optim

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// launch is one update and the parts that it steps, in the order of its groups.
type launch struct {
	program *kernels.Program
	parts   []*part
	update  kernels.Update
	step    kernels.Step // reused from step to step
}

// plan is the launches that a step of the groups needs, one for each program. They are still to be compiled.
func plan(groups []*group) (out []*launch) {
	by := map[*kernels.Program]*launch{}
	for _, g := range groups {
		for _, q := range g.parts {
			if !q.active() {
				continue
			}
			l := by[q.program]
			if l == nil {
				l = &launch{program: q.program}
				by[q.program] = l
				out = append(out, l)
			}
			l.parts = append(l.parts, q)
		}
	}
	return out
}

func (l *launch) compile(b Backend) (err error) {
	w := kernels.Work{Program: l.program}
	for i, q := range l.parts {
		w.Counters = append(w.Counters, q.counters)
		for _, p := range q.params {
			w.Tensors = append(w.Tensors, p.tensor(i, l.program))
		}
	}
	if l.update, err = b.Compile(w); err != nil {
		l.update = nil // which may be a nil pointer in an interface
		return err
	}
	for _, q := range l.parts {
		q.changed = false
	}
	return nil
}

// launched says whether there is a launch of the program.
func (o *Optimizer) launched(p *kernels.Program) bool {
	return slices.ContainsFunc(o.launches, func(l *launch) bool { return l.program == p })
}

// compile brings the launches up to date. Those that are of the same parts, unchanged, stay. On an error the optimizer has the
// launches from before, and compiles again before the next step.
func (o *Optimizer) compile() error {
	if !o.stale {
		return nil
	}
	want := plan(o.all())
	var made []*launch
	kept := map[*launch]bool{}
	for _, g := range o.all() {
		for _, q := range g.parts {
			q.launched = q.active()
		}
	}
	for i, l := range want {
		changed := slices.ContainsFunc(l.parts, func(q *part) bool { return q.changed })
		at := slices.IndexFunc(o.launches, func(old *launch) bool {
			return !changed && old.program == l.program && slices.Equal(old.parts, l.parts)
		})
		if at >= 0 {
			want[i] = o.launches[at]
			kept[want[i]] = true
			continue
		}
		if err := l.compile(o.backend); err != nil {
			for _, m := range made { // whose parts have no launch any more
				for _, q := range m.parts {
					q.changed = true
				}
			}
			return errors.Join(err, closeLaunches(made))
		}
		made = append(made, l)
	}
	old := slices.DeleteFunc(slices.Clone(o.launches), func(l *launch) bool { return kept[l] })
	o.launches, o.stale = want, false
	if err := closeLaunches(old); err != nil {
		return fmt.Errorf("what was compiled before could not be freed: %w", err)
	}
	return nil
}

func closeLaunches(launches []*launch) error {
	var errs []error
	for _, l := range launches {
		if l.update != nil {
			errs = append(errs, l.update.Close())
		}
	}
	return errors.Join(errs...)
}

// fill makes what the launch's step is given.
func (l *launch) fill(o *Optimizer) {
	l.step.Groups, l.step.Control = l.step.Groups[:0], nil
	if o.measures() {
		l.step.Control = o.control.words
	}
	for _, q := range l.parts {
		g := q.step()
		g.MaxNorm = o.norm.max
		l.step.Groups = append(l.step.Groups, g)
	}
}

// enqueue puts the launch's step on the stream.
func (l *launch) enqueue(s *device.Stream, o *Optimizer) error {
	l.fill(o)
	if err := l.update.Enqueue(s, l.step); err != nil {
		for _, q := range l.parts {
			q.unsure = true
		}
		return err
	}
	l.stepped(o.control.skips())
	return nil
}

// stepped notes a step that was enqueued. What its groups' prologues make is then what was foreseen, if it is not skipped, which a step may be.
func (l *launch) stepped(skips bool) {
	for _, q := range l.parts {
		q.mirror, q.next = q.next, q.mirror
		q.ahead = q.ahead || skips
		q.fresh, q.told, q.adrift = q.fresh && skips, false, 0
		for _, p := range q.mastered() {
			p.adopted = true
		}
	}
}

// step is what the part's next step is given.
func (q *part) step() kernels.GroupStep {
	g := kernels.GroupStepOf(q.group.now, q.group.now.Hyper)
	g.ClipValue, g.MaxTensorNorm = q.group.common.clipValue, q.group.common.clipTensorNorm
	return g
}

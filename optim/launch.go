package optim

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// launch is one update and the parts that it steps, in the order of its groups.
type launch struct {
	program *kernels.Program
	parts   []*part
	work    kernels.Work // of update
	update  kernels.Update
	step    kernels.Step // reused from step to step
}

// plan is the launches that a step of the groups needs, one for each program. They are still to be compiled. A launch of a kernels.Mover has
// also the parts that are left out of the step, so that it stays when they are not.
func plan(groups []*group, movable bool) (out []*launch) {
	by := map[*kernels.Program]*launch{}
	for _, g := range groups {
		for _, q := range g.parts {
			if len(q.params) == 0 || !movable && !q.active() {
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
	l.work = w
	for _, q := range l.parts {
		q.changed, q.moved = false, 0
	}
	return nil
}

// active says whether a part of the launch takes the next step.
func (l *launch) active() bool { return slices.ContainsFunc(l.parts, (*part).active) }

// change says that the update is not what the parts need.
func (l *launch) change() {
	for _, q := range l.parts {
		q.changed = q.changed || q.moved != 0
	}
}

// follow brings the update to where the parts' buffers are now. No step is under way.
func (l *launch) follow() error {
	var moved moves
	for _, q := range l.parts {
		moved |= q.moved
	}
	if moved == 0 {
		return nil
	}
	var planes uint64
	for k := range l.program.Planes {
		if gradient := l.program.Of(k).Role == kernels.Gradient; gradient || moved&written != 0 {
			planes |= 1 << k
		}
	}
	grad, i := l.program.Slots[l.program.Slot(rule.Grad)].Plane, 0
	for group, q := range l.parts {
		for _, p := range q.params {
			if moved&written == 0 {
				l.work.Tensors[i].Planes[grad] = p.grad()
			} else {
				l.work.Tensors[i] = p.tensor(group, l.program)
			}
			i++
		}
	}
	if err := l.update.(kernels.Movable).Moved(planes); err != nil {
		return err
	}
	for _, q := range l.parts {
		q.moved = 0
	}
	return nil
}

// launched says whether there is a launch of the program.
func (o *Optimizer) launched(p *kernels.Program) bool {
	return slices.ContainsFunc(o.launches, func(l *launch) bool { return l.program == p })
}

// compile brings the launches up to date. Those that are of the same parts, unchanged, stay. On an error the optimizer has the
// launches from before, and compiles again before the next step.
func (o *Optimizer) compile(s *device.Stream) error {
	for _, l := range o.launches {
		if _, movable := l.update.(kernels.Movable); o.elsewhere && !movable {
			l.change()
			o.stale = true
		}
	}
	if !o.stale {
		return o.follow(s)
	}
	want := plan(o.all(), o.mover != nil)
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
	return o.follow(s)
}

// follow brings launches to where their tensors' buffers are now. It waits for the steps under way, if any are elsewhere.
func (o *Optimizer) follow(s *device.Stream) error {
	if !o.elsewhere {
		return nil
	}
	if err := s.Synchronize(); err != nil {
		return err
	}
	for _, l := range o.launches {
		if err := l.follow(); err != nil {
			l.change()
			o.stale = true
			return err
		}
	}
	for _, g := range o.all() {
		for _, q := range g.parts {
			q.launched = q.active()
		}
	}
	o.elsewhere = false
	o.followed++
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
		if !q.active() {
			continue
		}
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
	g.ClipValue, g.MaxTensorNorm, g.Off = q.group.common.clipValue, q.group.common.clipTensorNorm, !q.active()
	return g
}

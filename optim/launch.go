package optim

import (
	"errors"
	"fmt"
	"iter"
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

// together says whether the tensors of a step that have numbers together, by rules with rule.Rule.Everything, are of one launch.
func together(launches []*launch) error {
	var first *launch
	for _, l := range launches {
		switch {
		case !l.program.Rule.Everything || !l.active():
		case first == nil:
			first = l
		default:
			a, b := first.parts[0].params[0], l.parts[0].params[0]
			return b.fail(fmt.Errorf("%w: it has numbers together with tensor %q of group %d, and would be stepped by %s, the other by %s: all are stepped by "+
				"one algorithm, with the same options, and have the same types of values, gradients and state", device.ErrUnsupported, a.Name, a.group.index,
				l.program.Spec, first.program.Spec))
		}
	}
	return nil
}

// agree says whether the groups of a launch give what they have together the same scalars: those of the first tensor's group are taken.
func (l *launch) agree() error {
	var first *part
	for _, i := range l.together() {
		for _, q := range l.parts {
			switch {
			case !q.active():
			case first == nil:
				first = q
			case !sameFloat(q.scalars[i], first.scalars[i]):
				return q.disagrees(first, l.program.Outputs()[i], first.scalars[i], q.scalars[i])
			}
		}
	}
	return nil
}

// together are the rule's scalars that what the tensors have together is made of, by index.
func (l *launch) together() (out []int) {
	if !l.program.Rule.Everything {
		return nil
	}
	for _, pass := range l.program.Passes {
		if pass.Tensor == nil {
			continue
		}
		for _, v := range pass.Tensor.Loads() {
			if field := pass.Tensor.Vars[v]; field.Bank == rule.ScalarsBank {
				out = append(out, field.Index)
			}
		}
	}
	return out
}

// disagrees is the error that the part's group gives a scalar, of what all tensors have together, another value than the first one's.
func (q *part) disagrees(first *part, scalar string, want, got any) error {
	return q.params[0].fail(fmt.Errorf("%w: all tensors have numbers together, to which group %d gives %s %v, and group %d %v: nothing was updated",
		device.ErrUnsupported, first.group.index, scalar, want, q.group.index, got))
}

// describe is the work of the launch as it is now.
func (l *launch) describe() kernels.Work {
	w := kernels.Work{Program: l.program}
	for _, q := range l.parts {
		w.Counters = append(w.Counters, q.counters)
	}
	for p, group := range l.tensors() {
		w.Tensors = append(w.Tensors, p.tensor(group, l.program))
	}
	return w
}

// tensors are those of the parts, each with the index of its part: part by part, or where tensors have numbers together, on whose order these depend, in
// the order of Optimizer.Params, whatever parts there are.
func (l *launch) tensors() iter.Seq2[*param, int] {
	return func(yield func(*param, int) bool) {
		if !l.program.Rule.Everything {
			for i, q := range l.parts {
				for _, p := range q.params {
					if !yield(p, i) {
						return
					}
				}
			}
			return
		}
		at := map[*part]int{}
		for i, q := range l.parts {
			at[q] = i
		}
		for i, q := range l.parts {
			if i > 0 && q.group == l.parts[i-1].group { // parts of a group stand side by side
				continue
			}
			for _, p := range q.group.params {
				if k, ok := at[p.part]; ok && !yield(p, k) {
					return
				}
			}
		}
	}
}

// inherit takes over the update of a launch of before, where that differs in where buffers are alone, and needs nothing to be compiled.
func (l *launch) inherit(s *device.Stream, from *launch) (bool, error) {
	update, ok := from.update.(kernels.Retabled)
	if !ok {
		return false, nil
	}
	w := l.describe()
	if ok, err := update.Retable(s, w); !ok {
		return false, err
	}
	l.update, l.work, from.update = update, w, nil
	for _, q := range l.parts {
		q.changed, q.moved = false, 0
	}
	return true, nil
}

func (l *launch) compile(b Backend) (err error) {
	w := l.describe()
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
	if moved&replaced != 0 {
		grad, i := l.program.Slots[l.program.Slot(rule.Grad)].Plane, 0
		for p, group := range l.tensors() {
			if moved&written == 0 {
				l.work.Tensors[i].Planes[grad] = p.grad()
			} else {
				l.work.Tensors[i] = p.tensor(group, l.program)
			}
			i++
		}
	}
	if err := l.update.(kernels.Movable).Moved(planes, moved&replaced != 0); err != nil {
		return err
	}
	for _, q := range l.parts {
		q.moved = 0
	}
	return nil
}

// unmake says that the parts are to be compiled again.
func (l *launch) unmake() {
	for _, q := range l.parts {
		q.changed = true
	}
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
	kept, heirs := map[*launch]bool{}, map[*launch]*launch{}
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
		at = slices.IndexFunc(o.launches, func(old *launch) bool { return old.program == l.program && slices.Equal(old.parts, l.parts) })
		var inherited bool
		var err error
		if at >= 0 {
			if inherited, err = l.inherit(s, o.launches[at]); inherited {
				heirs[l] = o.launches[at]
			}
		}
		if err == nil && !inherited {
			err = l.compile(o.backend)
		}
		if err != nil {
			for _, m := range made { // whose parts have no launch any more
				m.unmake()
			}
			for heir, old := range heirs {
				heir.unmake()
				old.update = heir.update
			}
			return errors.Join(err, closeLaunches(made))
		}
		if !inherited {
			made = append(made, l)
		}
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
	c := q.group.common
	g.LR = q.group.rateAt
	g.ClipValue, g.MaxTensorNorm, g.Clipping, g.ClipEps, g.Off = c.clipValue, c.clipTensorNorm, c.clipping, c.clipEps, !q.active()
	return g
}

package optim

import (
	"errors"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// apply makes all but numbers what was saved.
func (l *loading) apply(s *device.Stream) error {
	o, d := l.o, l.d
	l.touched = true
	l.schedules.commit()
	o.schedule, o.steps = l.schedule, d.Steps
	o.spend()
	for _, x := range l.groups {
		if err := l.applyGroup(s, x); err != nil {
			return err
		}
	}
	if err := l.applyAround(s); err != nil {
		return err
	}
	for _, x := range l.groups {
		for _, t := range x.tensors {
			t.p.summed = t.summed
		}
	}
	return l.applyCounts(s)
}

// applyGroup is apply of a group.
func (l *loading) applyGroup(s *device.Stream, x *groupLoad) error {
	g := x.g
	if d := x.saved; d != nil {
		g.algorithm, g.setting, g.lr, g.rate, g.schedules = x.as.algorithm, x.as.setting, x.as.lr, x.as.rate, x.as.schedules
		g.now = g.setting
		copy(g.hyper, g.setting.Hyper)
		if g.taken = x.last != nil; g.taken {
			copy(g.hyper, x.last)
		}
		g.now.Hyper = g.hyper
		if d.LastLR != nil {
			g.lastLR = *d.LastLR
		}
		if err := l.o.reprogram(g, g.setting); err != nil {
			return err
		}
	}
	for _, t := range x.tensors {
		of, q := x.forks[t], t.p.part
		if of == nil {
			continue
		}
		i := slices.Index(q.params, t.p)
		q.params = slices.Delete(q.params, i, i+1)
		if of.params = append(of.params, t.p); len(of.params) == 1 {
			g.parts = append(g.parts, of)
		}
		t.p.part = of
		q.changed, l.o.stale = true, true
	}
	x.forks = nil
	done := map[*part]bool{}
	for _, t := range x.tensors {
		if q := t.p.part; !done[q] {
			done[q] = true
			if err := q.restart(s, t, x.as); err != nil {
				return err
			}
		}
	}
	for _, t := range x.tensors {
		t.p.adopted = t.adopted && t.p.master != nil
	}
	for _, q := range g.parts {
		q.mixed = q.mixed || len(g.parts) > 1 // parts that have become equal are one again
	}
	return nil
}

// restart makes the part know what a tensor of it is to know.
func (q *part) restart(s *device.Stream, t *tensorLoad, as *group) error {
	if err := q.set(s, t.counters); err != nil {
		return err
	}
	q.told = false          // by a load all counts agree
	if len(q.mirror) == 0 { // which says nothing
		q.fresh = t.filled != nil
	}
	for k, h := range as.setting.Rule.Start {
		if h < 0 {
			continue
		}
		x, ok := t.filled[as.setting.Rule.Slots[k]]
		if !ok {
			x = as.setting.Hyper[h]
		}
		q.filled[k] = x
	}
	return nil
}

// applyAround is apply of what is done around all groups' steps.
func (l *loading) applyAround(s *device.Stream) error {
	o, a := l.o, l.d.Around
	o.norm.measured, o.norm.ready, o.control.measured = false, false, false
	c := &o.control
	if a == nil {
		if state := l.d.ScalerState; state != nil {
			own, err := c.scaler.with(*state)
			c.scaler = &own
			return errors.Join(err, c.write(s, state.words()))
		}
		return nil
	}
	c.counts, c.skip, c.scaler, o.norm.max = a.ScheduleCounts, a.Skip, nil, a.ClipNorm
	var words []float64
	if a.GradScaler != nil {
		own, err := a.GradScaler.with(*a.ScalerState)
		if err != nil {
			return err
		}
		c.scaler, words = &own, a.ScalerState.words()
	}
	if c.words != nil {
		if err := c.write(s, words); err != nil {
			return err
		}
	}
	o.norm.moved() // the next step compiles
	if !o.measures() {
		if err := o.norm.close(); err != nil {
			return err
		}
	}
	clip := a.adaptiveClip()
	err := errors.Join(o.SetAccumulate(a.Accumulate), o.SetClipTensorNorm(a.ClipTensorNorm), o.SetAdaptiveClip(clip.Clipping, clip.Eps), o.SetClipValue(a.ClipValue), o.SetZeroGrad(a.ZeroGrad))
	o.sums.taken = a.Accumulated
	return err
}

// applyCounts is apply of how many steps were applied and skipped.
func (l *loading) applyCounts(s *device.Stream) error {
	c := &l.o.control
	c.base, c.recount, c.tallied = l.d.AppliedSteps, false, c.words != nil
	if c.words == nil {
		return nil
	}
	err := device.Upload(s, c.tally, []float64{0, float64(l.d.SkippedSteps)})
	if x := l.d.Outcome; err == nil && x != nil {
		c.measured = true
		err = c.writeOutcome(s, x)
	}
	return errors.Join(err, s.Synchronize())
}

// writeOutcome enqueues writing what became of a step.
func (c *control) writeOutcome(s *device.Stream, x *OutcomeState) error {
	results, err := c.words.Slice(0, kernels.ControlNext)
	if err != nil {
		return err
	}
	words := make([]float64, results.Len())
	words[kernels.ControlNorm], words[kernels.ControlUnscale] = x.GradNorm, 1
	words[kernels.ControlSkip], words[kernels.ControlFoundInf] = flag(x.Skipped), flag(x.FoundInf)
	if err := device.Upload(s, results, words); err != nil || c.scaler != nil {
		return err
	}
	scale, err := c.state.Slice(0, 1)
	if err != nil {
		return err
	}
	return device.Upload(s, scale, []float64{x.LossScale})
}

package optim

import (
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// add notes a mismatch, once.
func (l *loading) add(m Mismatch) {
	if !l.noted[m] {
		l.noted[m] = true
		l.mismatches = append(l.mismatches, m)
	}
}

// check finds all that does not fit, and what is to be done. It changes nothing.
func (l *loading) check() {
	l.consistent()
	if len(l.mismatches) > 0 {
		return
	}
	l.around()
	if absent(l.d.Schedule) || l.how.Regroup {
		l.schedules.kept(l.o.schedule)
		l.schedule = l.o.schedule
	} else {
		var err error
		if l.schedule, err = l.schedules.read(l.d.Schedule, l.o.schedule); err != nil {
			l.add(Mismatch{Group: -1, What: MismatchSchedule, Saved: fmt.Sprintf("of groups to come %.200s", l.d.Schedule), Here: err.Error()})
		}
	}
	for _, g := range l.o.all() {
		l.groups = append(l.groups, l.group(g))
	}
	if !l.how.Regroup {
		for _, d := range l.d.Groups {
			if d.Index >= len(l.o.groups) || l.o.groups[d.Index] == nil {
				l.add(Mismatch{Group: d.Index, What: Unexpected, Saved: fmt.Sprintf("a group of %d tensors", len(d.Tensors))})
			}
		}
	}
	l.followed()
	l.tensors()
}

// consistent finds where the dict contradicts itself.
func (l *loading) consistent() {
	d := l.d
	count := func(name string, n int) {
		if n < 0 {
			l.add(Mismatch{Group: -1, What: MismatchInvalid, Saved: fmt.Sprintf("%s %d", name, n), Here: "at least 0"})
		}
	}
	count("steps", d.Steps)
	count("applied_steps", d.AppliedSteps)
	count("skipped_steps", d.SkippedSteps)
	if d.Around != nil {
		count("accumulated", d.Around.Accumulated)
	}
	groups := map[int]bool{}
	for i := range d.Groups {
		g := &d.Groups[i]
		if groups[g.Index] || g.Index < 0 {
			l.add(Mismatch{Group: g.Index, What: MismatchInvalid, Saved: "the index twice, or below 0"})
		}
		groups[g.Index] = true
	}
	for g, t := range d.Tensors() {
		m := Mismatch{Group: g.Index, Tensor: t.Name, What: MismatchInvalid}
		if l.saved[t.Name] != nil {
			m.Saved = "the tensor twice"
			l.add(m)
		}
		l.saved[t.Name] = &savedTensor{g: g, t: t}
		n, ok := t.len()
		if !ok {
			m.Saved = fmt.Sprintf("shape %v", t.Shape)
			l.add(m)
			continue
		}
		slots := map[string]bool{}
		for _, x := range t.Numbers {
			m.Slot = x.Slot
			switch {
			case slots[x.Slot]:
				m.Saved = "the slot twice"
			case x.DType.Size() == 0:
				m.Saved = "type " + x.DType.String()
			case x.Len != n && !(x.Len == 1 && l.perTensor(x.Slot)) && !(x.Len > 0 && n%x.Len == 0 && l.perLine(x.Slot)) && !l.elsewhere(g):
				m.Saved = fmt.Sprintf("%d elements in shape %v", x.Len, t.Shape)
			default:
				slots[x.Slot] = true
				continue
			}
			l.add(m)
		}
	}
}

// perTensor says whether a group has the state once for each tensor. Another may have it for each element: tensorLoad.state sees to that.
func (l *loading) perTensor(slot string) bool {
	return slices.ContainsFunc(l.o.all(), func(g *group) bool {
		return slices.ContainsFunc(g.setting.Rule.Tensor, func(f rule.TensorField) bool { return f.State == slot })
	})
}

// elsewhere says whether a group was saved of a rule that no group has, so that nobody here knows which of its state a tensor has once. What does not
// fit is the rule then.
func (l *loading) elsewhere(saved *GroupState) bool {
	return saved.Setting != nil && !slices.ContainsFunc(l.o.all(), func(g *group) bool { return g.setting.Rule.Name == saved.Setting.Rule })
}

// perLine says whether a group has the state once for each row, or each column.
func (l *loading) perLine(slot string) bool {
	return slices.ContainsFunc(l.o.all(), func(g *group) bool { return slices.Contains(g.lineSlots(), slot) })
}

// len is the number of the tensor's elements.
func (t *TensorState) len() (n int, ok bool) { return elementsOf(t.Shape) }

// around finds what cannot be done around steps.
func (l *loading) around() {
	a, o, state := l.d.Around, l.o, l.d.ScalerState
	fail := func(err error) {
		if err != nil {
			l.add(Mismatch{Group: -1, What: MismatchAround, Here: err.Error()})
		}
	}
	switch {
	case state == nil:
	case a != nil:
		fail(fmt.Errorf("grad_scaler_state is in around, and beside it"))
	case o.control.scaler == nil:
		fail(fmt.Errorf("there is no GradScaler to have the state that was saved: SetGradScaler gives the optimizer one"))
	default:
		_, err := o.control.scaler.with(*state)
		fail(err)
	}
	if a == nil {
		return
	}
	if a.ScheduleCounts > AppliedSteps {
		fail(fmt.Errorf("there are no ScheduleCounts %d", a.ScheduleCounts))
	}
	if !(a.ClipNorm >= 0) {
		fail(clipNormError(a.ClipNorm))
	}
	if !(a.ClipTensorNorm >= 0) {
		fail(clipTensorNormError(a.ClipTensorNorm))
	}
	fail(a.Skip.check())
	switch {
	case a.GradScaler != nil && a.ScalerState != nil:
		_, err := a.GradScaler.with(*a.ScalerState)
		fail(err)
	case a.GradScaler != nil || a.ScalerState != nil:
		fail(fmt.Errorf("one of grad_scaler and grad_scaler_state is missing"))
	}
	if a.Accumulated > 0 && !a.Accumulate {
		fail(fmt.Errorf("%d micro-batches are accumulated, and accumulate is off", a.Accumulated))
	}
	clip := a.adaptiveClip()
	c := common{clipTensorNorm: a.ClipTensorNorm, clipping: clip.Clipping, clipEps: clip.Eps, clipValue: a.ClipValue, zeroGrad: a.ZeroGrad, accumulate: a.Accumulate}
	fail(c.check(device.Float64))
	for _, g := range o.all() {
		for _, q := range g.parts {
			fail(c.check(q.program.Compute))
			if a.Accumulate {
				fail(q.checkSums())
			}
		}
	}
	fail(o.apartWith(c))
}

// adaptiveClip is what SetAdaptiveClip was given, zeros where it is off.
func (a *AroundState) adaptiveClip() AdaptiveClip {
	if a.AdaptiveClip == nil {
		return AdaptiveClip{}
	}
	return *a.AdaptiveClip
}

// measured says whether a norm is summed over all tensors, in their order.
func (a *AroundState) measured() bool {
	return a != nil && (a.ClipNorm != 0 || a.Skip.NormAbove != 0)
}

// ordered notes tensors that are in another order than they were, where the norm or what tensors have together depends on it.
func (l *loading) ordered(x *groupLoad) {
	if x.saved == nil || !l.d.Around.measured() && !x.g.setting.Rule.Everything || len(l.how.Pieces) > 0 {
		return
	}
	var saved, here []string
	for _, t := range x.saved.Tensors {
		saved = append(saved, t.Name)
	}
	for _, p := range x.g.params {
		here = append(here, p.Name)
	}
	if !slices.Equal(saved, here) && slices.Equal(slices.Sorted(slices.Values(saved)), slices.Sorted(slices.Values(here))) {
		l.add(Mismatch{Group: x.g.index, What: MismatchOrder, Saved: fmt.Sprintf("%.200q", saved), Here: fmt.Sprintf("%.200q", here)})
	}
}

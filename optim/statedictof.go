package optim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// StateDict waits for the stream, nil for the default one, and for that of the last step, and returns a snapshot: its numbers are copied to the host's memory, as many bytes as values
// and state have, and stay what they are. It fails between Evaluate and Resume of Placed.
func (o *Optimizer) StateDict(s *device.Stream) (*StateDict, error) {
	d := &StateDict{}
	if err := o.StateDictInto(s, d); err != nil {
		return nil, err
	}
	return d, nil
}

// StateDictInto is StateDict in the place of an older one that one of the two has made: its numbers are copied to the older one's memory, where that is large
// enough, as new memory takes longer than the copy. So the older numbers are gone, those of copies of the dict too. If it fails the dict is empty.
func (o *Optimizer) StateDictInto(s *device.Stream, d *StateDict) error {
	if d == nil {
		return errors.New("optim: state dict: there is no dict to make it in")
	}
	memory, at := d.memory, 0
	*d = StateDict{}
	made, err := o.stateDict("state dict", s, func(s *device.Stream, b *device.Buffer) (func(int, []byte) error, error) {
		if at == 0 && b.Len() > 0 {
			if n := o.snapshotBytes(); n > len(memory) {
				memory = make([]byte, n)
			}
		}
		size := b.DType().Size()
		x := memory[at:][:b.Len()*size]
		at += snapshotPlace(b)
		return func(lo int, to []byte) error { copy(to, x[lo*size:]); return nil }, downloadBytes(s, x, b)
	})
	if err != nil {
		return err
	}
	*d = *made
	d.memory = memory
	return nil
}

// snapshotBytes is the memory that a snapshot takes.
func (o *Optimizer) snapshotBytes() (n int) {
	for _, g := range o.all() {
		for _, p := range g.params {
			n += snapshotPlace(p.Value)
			for _, u := range p.stored() {
				n += snapshotPlace(u.b)
			}
		}
	}
	return n
}

// snapshotPlace is the memory of a buffer's numbers, up to the next line.
func snapshotPlace(b *device.Buffer) int {
	const line = 64
	return (b.Len()*b.DType().Size() + line - 1) / line * line
}

// LiveStateDict is StateDict without a copy: its numbers stay where they are, to be read before the next call of a method of the optimizer. Later ErrStale
// is in Read's error.
func (o *Optimizer) LiveStateDict(s *device.Stream) (*StateDict, error) {
	var now uint64
	stale := func() error {
		if o.calls == now {
			return nil
		}
		return fmt.Errorf("optim: live state dict: the optimizer %w", ErrStale)
	}
	d, err := o.stateDict("live state dict", s, func(s *device.Stream, b *device.Buffer) (func(int, []byte) error, error) {
		return func(lo int, to []byte) error {
			part, err := b.Slice(lo, lo+len(to)/b.DType().Size())
			if err == nil {
				err = stale()
			}
			if err == nil {
				err = downloadBytes(s, to, part)
			}
			if err != nil {
				return err
			}
			return s.Synchronize()
		}, nil
	})
	if err != nil {
		return nil, err
	}
	now = o.calls
	d.verify = stale
	return d, nil
}

// stateDict makes one. Numbers says where a buffer's are read; what it enqueues is waited for.
func (o *Optimizer) stateDict(what string, s *device.Stream, numbers func(*device.Stream, *device.Buffer) (func(int, []byte) error, error)) (*StateDict, error) {
	s, err := o.use(what, s)
	if err == nil {
		err = o.training(what)
	}
	if err == nil {
		err = o.settle(what, s)
	}
	if err != nil {
		return nil, err
	}
	d := &StateDict{Steps: o.steps}
	if err := o.aroundState(s, d); err != nil {
		return nil, fmt.Errorf("optim: %s: %w", what, err)
	}
	schedules := scheduleWriter{}
	if d.Schedule, err = schedules.write(o.schedule); err != nil {
		return nil, fmt.Errorf("optim: %s: %w", what, err)
	}
	for _, g := range o.all() {
		state, err := g.state(s, &schedules)
		if err != nil {
			return nil, err
		}
		for _, p := range g.params {
			t := p.state()
			for _, u := range append([]use{{p, ParamSlot, p.Value, true}}, p.stored()...) {
				n := Numbers{Slot: u.what, DType: u.b.DType(), Len: u.b.Len()}
				if n.read, err = numbers(s, u.b); err != nil {
					return nil, p.errorf("%s: %s: %w", what, u.what, err)
				}
				t.Numbers = append(t.Numbers, n)
			}
			state.Tensors = append(state.Tensors, t)
		}
		d.Groups = append(d.Groups, state)
	}
	if err := s.Synchronize(); err != nil {
		return nil, fmt.Errorf("optim: %s: %w", what, err)
	}
	return d, nil
}

// training fails where values are those of Evaluate of Placed, and Resume would put others in their place.
func (o *Optimizer) training(what string) error {
	for _, g := range o.all() {
		for _, p := range g.params {
			if p.host == nil {
				continue
			}
			if err := p.host.training(what); err != nil {
				return err
			}
		}
	}
	return nil
}

// aroundState is what is done around all groups' steps, and the counts.
func (o *Optimizer) aroundState(s *device.Stream, d *StateDict) error {
	c := &o.control
	a := &AroundState{ScheduleCounts: c.counts, ClipNorm: o.norm.max, ClipTensorNorm: o.common.clipTensorNorm, ClipValue: o.common.clipValue, Skip: c.skip, ZeroGrad: o.common.zeroGrad,
		Accumulate: o.common.accumulate, Accumulated: o.sums.taken}
	if o.common.clipping != 0 {
		a.AdaptiveClip = &AdaptiveClip{o.common.clipping, o.common.clipEps}
	}
	d.Around, d.AppliedSteps = a, c.base
	if c.words != nil {
		var out Outcome
		err := o.downloadOutcome(s, &out)
		if err == nil {
			err = s.Synchronize()
		}
		if err != nil {
			return err
		}
		d.AppliedSteps, d.SkippedSteps = out.AppliedSteps(), out.SkippedSteps()
		if c.measured {
			d.Outcome = &OutcomeState{out.GradNorm(), !out.Applied(), out.FoundInf(), out.LossScale()}
		}
	}
	if c.scaler == nil {
		return nil
	}
	own := *c.scaler
	state, err := o.GradScalerState(s)
	a.GradScaler, a.ScalerState = &own, &state
	return err
}

// state is the group's, without its tensors.
func (g *group) state(s *device.Stream, schedules *scheduleWriter) (GroupState, error) {
	for _, q := range g.parts {
		if err := q.read(s); err != nil {
			return GroupState{}, err
		}
	}
	setting := settingState(g.setting)
	setting.Hyper[g.setting.Rule.Hyper[g.lrAt]] = g.lr
	d := GroupState{Index: g.index, Algorithm: algorithmName(g.algorithm), Setting: setting, Hyperparameters: Named{}, LastLR: new(g.lastLR),
		Schedules: map[string]json.RawMessage{}}
	for _, name := range hyperNames(g.algorithm) {
		d.Hyperparameters[name], _ = get(g.algorithm, name)
	}
	d.Hyperparameters[lrName] = g.lr
	if g.taken {
		d.LastHyper = named(g.setting.Rule.Hyper, g.hyper)
	}
	var err error
	if d.Schedule, err = schedules.write(g.rate); err != nil {
		return d, fmt.Errorf("optim: group %d: %w", g.index, err)
	}
	for _, x := range g.schedules {
		if d.Schedules[x.name], err = schedules.write(x.schedule); err != nil {
			return d, fmt.Errorf("optim: group %d: %s: %w", g.index, x.name, err)
		}
	}
	return d, nil
}

// state is the tensor's, without its numbers.
func (p *param) state() TensorState {
	q := p.part
	t := TensorState{Name: p.Name, Shape: p.shape(), Counters: counterMap(q.program.Counters, q.mirror), Summed: p.summed, Adopted: p.adopted}
	if q.fresh {
		for k, h := range q.program.Rule.Start {
			if h >= 0 {
				if t.Filled == nil {
					t.Filled = Named{}
				}
				t.Filled[q.program.Rule.Slots[k]] = q.filled[k]
			}
		}
	}
	return t
}

// named are numbers by their names.
func named(names []string, x []float64) Named {
	out := Named{}
	for i, name := range names {
		out[name] = x[i]
	}
	return out
}

func settingState(s rule.Setting) *SettingState {
	d := &SettingState{Rule: s.Rule.Name, Options: s.Rule.OptionNames(s.Options), Hyper: named(s.Rule.Hyper, s.Hyper), Maximize: s.Maximize, L1: s.L1,
		WeightDecay: s.WeightDecay, DecoupledDecay: s.DecoupledDecay, EMA: s.EMA, EMADecay: s.EMADecay, Formats: s.Formats, Master: s.Master,
		Stochastic: s.Stochastic}
	if s.Stochastic {
		d.Seed = s.Seed
	}
	return d
}

// algorithmName is what GroupState.Algorithm is of an algorithm.
func algorithmName(a Algorithm) string {
	switch c := a.(type) {
	case Stored:
		return algorithmName(c.Algorithm)
	case Averaged:
		return algorithmName(c.Algorithm)
	case Regularized:
		return algorithmName(c.Algorithm)
	case *Stored:
		return algorithmName(c.Algorithm)
	case *Averaged:
		return algorithmName(c.Algorithm)
	case *Regularized:
		return algorithmName(c.Algorithm)
	}
	return typeName(reflect.TypeOf(a))
}

// typeName is the name of a type or of what it points to, with the path of its package where that is not this one.
func typeName(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.PkgPath() == reflect.TypeFor[Optimizer]().PkgPath() {
		return t.Name()
	}
	return t.PkgPath() + "." + t.Name()
}

// sortedNames are a map's names in order.
func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// sameFloat says whether two numbers have the same bits; NaNs are one.
func sameFloat(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b)
}

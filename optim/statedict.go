package optim

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math"
	"reflect"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// StateDict is what an optimizer is between two steps: all that later steps depend on but the gradients. Optimizer.StateDict makes one,
// Optimizer.LoadStateDict makes an optimizer of one. It can be iterated, printed and compared: Tensors, Numbers, String, Differences. JSON has all of
// it but the numbers of tensors, which stand beside it where it is stored: see Numbers.
//
// A dict that another program made, as of a state_dict of PyTorch, may leave out what it does not know: each field says what that means.
type StateDict struct {
	Steps        int             // Optimizer.Steps
	AppliedSteps int             // of an Outcome; where JSON has none, Steps less SkippedSteps
	SkippedSteps int             // of an Outcome
	Outcome      *OutcomeState   // nil: no step was measured
	Around       *AroundState    // nil: the optimizer's stays
	Schedule     json.RawMessage // of groups that are added later, as GroupState.Schedule
	Groups       []GroupState    // by index, without those that were removed

	// ScalerState is that of the GradScaler, which the optimizer must have, in a dict that says no more of what is around. Nil: it stays.
	ScalerState *GradScalerState

	verify func() error
}

// OutcomeState is the Outcome of the last step.
type OutcomeState struct {
	GradNorm  float64 `json:"grad_norm"` // JSON has numbers that are not finite as Named does
	Skipped   bool    `json:"skipped"`
	FoundInf  bool    `json:"found_inf"`
	LossScale float64 `json:"loss_scale"`
}

// AroundState is what is done around the steps of all groups.
type AroundState struct {
	ScheduleCounts ScheduleCounts   `json:"schedule_counts"`
	ClipNorm       float64          `json:"clip_norm"` // +Inf, which JSON has as "inf", measures alone
	ClipValue      float64          `json:"clip_value"`
	Skip           Skip             `json:"skip"`
	ZeroGrad       bool             `json:"zero_grad"`
	Accumulate     bool             `json:"accumulate"`
	Accumulated    int              `json:"accumulated"` // calls of Accumulate since the last step
	GradScaler     *GradScaler      `json:"grad_scaler"` // nil: there is none
	ScalerState    *GradScalerState `json:"grad_scaler_state,omitempty"`
}

// GroupState is a parameter group's.
type GroupState struct {
	Index int `json:"index"`
	// Algorithm is the name of the type that is within Stored, Averaged and Regularized: "AdamW"; of the user's own with the path of its package.
	Algorithm string `json:"algorithm"`
	// Setting is what the hyperparameters come to, with which a load compares what it has restored. Nil: nothing is compared.
	Setting *SettingState `json:"setting,omitempty"`
	// Hyperparameters are Optimizer.Hyperparameters. Nil: the group's stay; without a Setting, those that are left out do.
	Hyperparameters Named `json:"hyperparameters,omitempty"`
	// LastLR is Optimizer.LastLR. Nil: the group's stays.
	LastLR *float64 `json:"last_lr,omitempty"`
	// LastHyper is what the rule's hyperparameters were in the last step, by the rule's names. Nil: the group has taken none.
	LastHyper Named `json:"last_hyper,omitempty"`
	// Schedule is that of the learning rate, such as {"type":"warmup","start":0,"steps":100,"then":{…}}, and {"type":"none"} where there is none. Nil:
	// the group's stays. A schedule of the user's own type is named alone, and a load keeps the group's of that type.
	Schedule json.RawMessage `json:"schedule,omitempty"`
	// Schedules are those of other hyperparameters. Nil: the group's stay.
	Schedules map[string]json.RawMessage `json:"schedules,omitempty"`
	Tensors   []TensorState              `json:"tensors"` // in the order of Optimizer.Params
}

// SettingState is a rule.Setting.
type SettingState struct {
	Rule           string   `json:"rule"`
	Options        []string `json:"options"` // that are on
	Hyper          Named    `json:"hyper"`   // by the rule's names
	Maximize       bool     `json:"maximize"`
	L1             float64  `json:"l1"`
	WeightDecay    float64  `json:"weight_decay"`
	DecoupledDecay float64  `json:"decoupled_decay"`
	EMA            bool     `json:"ema"`
	EMADecay       float64  `json:"ema_decay"`
	Formats        string   `json:"formats"`
	Master         string   `json:"master"`
	Stochastic     bool     `json:"stochastic"`
	Seed           uint64   `json:"seed,string"` // of stochastic rounding: a load restores it
}

// TensorState is a tensor's.
type TensorState struct {
	Name     string `json:"name"`
	Shape    []int  `json:"shape"`              // a load compares the number of elements
	Counters Named  `json:"counters,omitempty"` // Optimizer.TensorCounters; "step" alone is enough, as for SetTensorCounters
	Summed   bool   `json:"summed,omitempty"`   // gradients were accumulated since the last step
	Adopted  bool   `json:"adopted,omitempty"`  // the master beside the value is the tensor's: the next step does not look at the value
	// Filled is what state that starts at a hyperparameter was filled with, of a tensor that has not taken a step.
	Filled  Named     `json:"filled,omitempty"`
	Numbers []Numbers `json:"-"` // value and state
}

// Numbers are a tensor's numbers in a slot: little endian bytes of its elements, as memory holds them.
type Numbers struct {
	Slot  string // ParamSlot of the value; of state as Optimizer.States has it: "exp_avg", "master", "ema", "grad_accumulator"
	DType device.DType
	Len   int // elements
	read  func(lo int, to []byte) error
}

// ParamSlot is the slot of a tensor's value in a StateDict.
const ParamSlot = rule.Param

// NewNumbers are numbers that are wherever read finds them. Read is called with an element and memory for whole elements from it on, of which there
// are as many; not by two goroutines at once by this package.
func NewNumbers(slot string, t device.DType, n int, read func(lo int, to []byte) error) Numbers {
	return Numbers{slot, t, n, read}
}

// Read fills memory with whole elements, from element lo on.
func (n Numbers) Read(lo int, to []byte) error {
	size := n.DType.Size()
	if n.read == nil || size == 0 || len(to)%size != 0 || lo < 0 || lo > n.Len || len(to)/size > n.Len-lo {
		return fmt.Errorf("optim: numbers of %s: %d bytes from element %d on are not %d elements of %s: %w", n.Slot, len(to), lo, n.Len, n.DType, device.ErrRange)
	}
	if len(to) == 0 {
		return nil
	}
	return n.read(lo, to)
}

// VerifyWith has a load call verify when it knows that everything fits and before it changes anything, as where numbers are in a file that has
// checksums.
func (d *StateDict) VerifyWith(verify func() error) { d.verify = verify }

// Tensors are all tensors, each with its group, in order.
func (d *StateDict) Tensors() iter.Seq2[*GroupState, *TensorState] {
	return func(yield func(*GroupState, *TensorState) bool) {
		for i := range d.Groups {
			g := &d.Groups[i]
			for k := range g.Tensors {
				if !yield(g, &g.Tensors[k]) {
					return
				}
			}
		}
	}
}

// Slot finds a tensor's numbers.
func (t *TensorState) Slot(slot string) (Numbers, bool) {
	for _, n := range t.Numbers {
		if n.Slot == slot {
			return n, true
		}
	}
	return Numbers{}, false
}

// StateDict waits for the stream, nil for the default one, and returns a snapshot: its numbers are copied to the host's memory, as many bytes as values
// and state have, and stay what they are.
func (o *Optimizer) StateDict(s *device.Stream) (*StateDict, error) {
	return o.stateDict("state dict", s, func(s *device.Stream, b *device.Buffer) (func(int, []byte) error, error) {
		size := b.DType().Size()
		x := make([]byte, b.Len()*size)
		return func(lo int, to []byte) error { copy(to, x[lo*size:]); return nil }, downloadBytes(s, x, b)
	})
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

// aroundState is what is done around all groups' steps, and the counts.
func (o *Optimizer) aroundState(s *device.Stream, d *StateDict) error {
	c := &o.control
	a := &AroundState{ScheduleCounts: c.counts, ClipNorm: o.norm.max, ClipValue: o.common.clipValue, Skip: c.skip, ZeroGrad: o.common.zeroGrad,
		Accumulate: o.common.accumulate, Accumulated: o.sums.taken}
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
	t := TensorState{Name: p.Name, Shape: []int{p.Value.Len()}, Counters: counterMap(q.program.Counters, q.mirror), Summed: p.summed, Adopted: p.adopted}
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

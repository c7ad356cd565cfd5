package kernels

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"weak"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Program is what a step does to the elements of tensors, and all that an executor needs to know of it. New makes one of a spec, once:
// equal specs have the same *Program as long as somebody holds it. It is shared, so nobody changes it.
type Program struct {
	Spec
	Stages []Stage // of a step, in order
	Slots  []Slot  // that the program uses, in the order of the rule
	Planes []Plane // the buffers of a tensor, in order: Tensor.Planes

	// Passes are an update's Map stages, in order: a rule has one for each of its element functions.
	Passes []Pass
	// Counters are the rule's, and behind them, where the program has to count steps and the rule does not, a rule.StepCounter of its own.
	Counters []rule.Counter
	// Scalars is of an update's Scalars stage: it computes a group's scalars, in float64. See the banks.
	Scalars *ir.Func

	Bytes int // that a step moves for each element: the planes that each of the passes reads, and those that it writes

	noisy bool // a step rounds a slot stochastically
}

// Role is what a slot is to the program.
type Role uint8

// The roles. A slot of another role than State belongs to whoever made the tensor.
const (
	Parameter Role = iota // what is trained
	Gradient              // of the parameter
	Input                 // what else is read and never written, such as Sophia's hessian
	State                 // what is kept from step to step
	Evaluated             // what an Eval rule computes. Its Parameter is only read.
)

func (r Role) String() string {
	return [...]string{Parameter: "parameter", Gradient: "gradient", Input: "input", State: "state", Evaluated: "evaluated"}[r]
}

// Slot is a number that an element has, under PyTorch's name for it.
type Slot struct {
	Name   string
	Index  int // in SlotNames
	Role   Role
	Format *format.Format
	Plane  int // its first one
}

// Plane is one buffer of a tensor.
type Plane struct {
	Slot        int    // in Program.Slots
	Name        string // "" of a slot's first plane; of another what the format calls it, such as "master"
	DType       device.DType
	Load, Store bool // whether a pass reads it, and writes it
}

// programs are those that somebody holds.
var programs = struct {
	sync.Mutex
	of map[Spec]weak.Pointer[Program]
}{of: map[Spec]weak.Pointer[Program]{}}

// New is the program of a spec. It fails with device.ErrUnsupported for a type that nothing can be computed with, and as
// format.ParseSpec does.
func New(s Spec) (*Program, error) {
	programs.Lock()
	defer programs.Unlock()
	if p := programs.of[s].Value(); p != nil {
		return p, nil
	}
	p, err := newProgram(s)
	if err != nil {
		return nil, fmt.Errorf("kernels: %s: %w", s, err)
	}
	if p.Spec != s { // which says the same in another order
		if q := programs.of[p.Spec].Value(); q != nil {
			return q, nil
		}
		s = p.Spec
	}
	at := weak.Make(p)
	programs.of[s] = at
	runtime.AddCleanup(p, func(s Spec) {
		programs.Lock()
		defer programs.Unlock()
		if programs.of[s] == at { // and not one that was made since
			delete(programs.of, s)
		}
	}, s)
	return p, nil
}

func newProgram(s Spec) (*Program, error) {
	if s.Compute != device.Float32 && s.Compute != device.Float64 {
		return nil, device.ErrUnsupported
	}
	elements := make([]*ir.Func, s.Rule.Stages)
	tensors := make([]*ir.Func, s.Rule.Stages) // before each; the first has none
	for i := range elements {
		var err error
		if elements[i], err = s.Rule.Element(i, 8*s.Compute.Size(), s.Options); err != nil {
			return nil, err
		}
		if i == 0 {
			continue
		}
		if tensors[i], err = s.Rule.TensorFunction(i, s.Options); err != nil {
			return nil, err
		}
	}
	prologue, err := s.Rule.Prologue(s.Options)
	if err != nil {
		return nil, err
	}
	if s.Around&rule.EMA != 0 && s.Rule.Keeps(rule.Average) {
		return nil, fmt.Errorf("the rule keeps %q itself", rule.Average)
	}
	formats, err := format.ParseSpec(s.Formats, s.SlotNames(), s.Compute)
	if err != nil {
		return nil, err
	}
	s.Formats = format.Spec(s.SlotNames(), formats)
	p := &Program{Spec: s, Counters: s.Rule.Counters}
	p.Passes = make([]Pass, len(elements))
	for i, is := range aroundOf(elements, s) {
		p.Passes[i].Around, elements[i] = is, around(elements[i], s, is, i == len(elements)-1)
	}
	p.use(elements, formats)
	p.noisy = p.rounds()
	if p.counts() && p.StepCounter() < 0 {
		p.Counters = append(slices.Clip(p.Counters), rule.Counter{Name: rule.StepCounter})
	}
	p.Scalars = p.scalars(prologue)
	p.format()
	p.tensorScalars(tensors)
	p.Stages = p.stages()
	return p, nil
}

// counts says whether what is done around the rule depends on the number of the step.
func (p *Program) counts() bool { return p.Around&rule.EMA != 0 || p.noisy }

// StepCounter is the index of rule.StepCounter among Counters, or -1.
func (p *Program) StepCounter() int {
	return slices.IndexFunc(p.Counters, func(c rule.Counter) bool { return c.Name == rule.StepCounter })
}

// InitialCounters are the counters before the first step.
func (p *Program) InitialCounters() []float64 {
	out := make([]float64, len(p.Counters))
	for i, c := range p.Counters {
		out[i] = c.Init
	}
	return out
}

func (p *Program) role(name string, stored bool) Role {
	switch {
	case p.Eval && name == rule.Param:
		return Evaluated
	case p.Eval && name == rule.Grad:
		return Parameter
	case name == rule.Param:
		return Parameter
	case name == rule.Grad:
		return Gradient
	case stored || p.Eval:
		return State
	}
	return Input
}

// Slot is the index of the named slot among the program's, or -1.
func (p *Program) Slot(name string) int {
	return slices.IndexFunc(p.Slots, func(s Slot) bool { return s.Name == name })
}

// Zeroed are the planes that a step writes even where it is skipped: a gradient that is set to 0, as one that is not finite must not stay to be
// added to.
func (p *Program) Zeroed() (planes []int) {
	for k := range p.Planes {
		if p.Planes[k].Store && p.Of(k).Role == Gradient {
			planes = append(planes, k)
		}
	}
	return planes
}

// Of is the slot of a plane.
func (p *Program) Of(plane int) *Slot { return &p.Slots[p.Planes[plane].Slot] }

// PlaneName is what a plane is called: its slot's name, or its own where it has one, as a parameter's "master" has.
func (p *Program) PlaneName(plane int) string {
	if name := p.Planes[plane].Name; name != "" {
		return name
	}
	return p.Of(plane).Name
}

// State names the slots that are neither the parameter nor its gradient: what an optimizer keeps beside a tensor.
func (p *Program) State() (names []string) {
	for _, s := range p.Slots {
		if s.Role == State || s.Role == Input {
			names = append(names, s.Name)
		}
	}
	return names
}

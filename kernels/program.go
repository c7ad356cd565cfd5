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

	// Passes are an update's Map stages, in order: a rule has one for each of its element functions and, where tensors have rows, row and column functions.
	Passes []Pass
	// Counters are the rule's, and behind them, where the program has to count steps and the rule does not, a rule.StepCounter of its own.
	Counters []rule.Counter
	// Scalars is of an update's Scalars stage: it computes a group's scalars, in float64. See the banks.
	Scalars *ir.Func

	// Bytes that a step moves for each element: the planes of elements that each of the passes reads, and those that it writes. What rows and columns
	// have is not among them: it is little beside.
	Bytes int

	noisy        bool          // a step rounds a slot stochastically
	tensorFields []tensorField // of the rule; nil where they are the words of Tensor.Sums, one behind the other
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
	Scratch               // of rows and columns: what a step makes before it reads it. Nobody keeps it.
)

func (r Role) String() string {
	return [...]string{Parameter: "parameter", Gradient: "gradient", Input: "input", State: "state", Evaluated: "evaluated", Scratch: "scratch"}[r]
}

// Slot is a number that an element has, under PyTorch's name for it; or that a row or a column has, which is of the type that is computed with.
type Slot struct {
	Name   string      // of Scratch that of its domain and field, such as "row.G"
	Domain rule.Domain // what has it: elements, rows or columns. Slots of elements come first, then those of rows.
	Index  int         // in SlotNames, or among Rule.Row or Rule.Column
	Role   Role
	Format *format.Format
	Plane  int // its first one
}

// Plane is one buffer of a tensor.
type Plane struct {
	Slot        int         // in Program.Slots
	Name        string      // "" of a slot's first plane; of another what the format calls it, such as "master"
	Domain      rule.Domain // the slot's: it has a number for each of a tensor's elements, rows or columns. See Tensor.Numbers.
	DType       device.DType
	Load, Store bool // whether a pass reads it, and writes it
}

// programs are those that somebody holds.
var programs = struct {
	sync.Mutex
	of map[Spec]weak.Pointer[Program]
}{of: map[Spec]weak.Pointer[Program]{}}

// New is the program of a spec. It fails with device.ErrUnsupported for a type that nothing can be computed with and for what is Refused, and as
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
	s = s.whole()
	if !s.Alone && s.Around&Refused(s.Rule) != 0 {
		return nil, fmt.Errorf("%w: a gradient is clipped by a norm of its tensor or its unit before a rule whose tensors have numbers together", device.ErrUnsupported)
	}
	p := &Program{Spec: s, Counters: s.Rule.Counters}
	graphs, tensors, err := p.functions()
	if err != nil {
		return nil, err
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
	p.Formats = s.Formats
	p.around(graphs)
	p.use(graphs, formats)
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

// functions makes the passes, as the rule has functions for them, with the graphs of these, and of the tensor function before each, or nil.
func (p *Program) functions() (graphs, tensors []*ir.Func, err error) {
	order := []rule.Domain{rule.OfRows, rule.OfColumns, rule.OfElements}
	if !p.Matrix() {
		order = order[2:]
	}
	width := 8 * p.Compute.Size()
	for stage := range p.Rule.Stages {
		for _, d := range order {
			if !p.Rule.Has(d, stage) {
				continue
			}
			f, err := p.Rule.Function(d, stage, width, p.Options)
			if err != nil {
				return nil, nil, err
			}
			var before *ir.Func
			if d == rule.OfElements && p.Rule.Has(rule.OfTensor, stage) {
				if before, err = p.Rule.TensorFunction(stage, p.Options); err != nil {
					return nil, nil, err
				}
			}
			p.Passes = append(p.Passes, Pass{Domain: d, Stage: stage, ByRows: p.Matrix() && d == rule.OfElements})
			graphs, tensors = append(graphs, f), append(tensors, before)
		}
	}
	return graphs, tensors, nil
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

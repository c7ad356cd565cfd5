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

	// Graph, and what stands with it here, is of an update's Map stage: what becomes of an element. Its fields of bank rule.ElemBank are the
	// planes, by index; those of banks rule.ScalarsBank and rule.SharedBank are what Scalars computes.
	Graph         *ir.Func
	Loads, Stores []int // planes that Graph reads, and writes
	// Numbers is Graph between decoding and encoding: its fields of bank rule.ElemBank are the slots, by index, as numbers. Where each slot
	// holds the number itself, it is Graph.
	Numbers *ir.Func
	// Uniforms are the nodes of Graph that are the same for all elements of a tensor and that others use: what a loop over elements is given,
	// in this order. Varying says of each node whether it is none of these.
	Uniforms []ir.Value
	Varying  []bool
	// Counters are the rule's, and behind them, where the program has to count steps and the rule does not, a rule.StepCounter of its own.
	Counters []rule.Counter
	// Scalars is of an update's Scalars stage: it computes a group's scalars, in float64. See the banks.
	Scalars *ir.Func
	// TensorScalars is of an update's Scalars stage over OneTensor; nil where it has none. Its banks are those of Scalars and SumsBank, and
	// what it makes, in the order of bank OutputsBank, Graph has as fields of bank rule.TensorBank.
	TensorScalars *ir.Func

	Bytes int // that a step moves for each element: the planes read and the planes written

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
	Load, Store bool // whether Graph reads it, and writes it
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
	if s.Rule.Stages > 1 || s.Rule.Tensor != nil {
		return nil, fmt.Errorf("a rule with tensor functions: %w", device.ErrUnsupported)
	}
	element, err := s.Rule.Element(0, 8*s.Compute.Size(), s.Options)
	if err != nil {
		return nil, err
	}
	prologue, err := s.Rule.Prologue(s.Options)
	if err != nil {
		return nil, err
	}
	if s.Around&rule.EMA != 0 && s.Rule.Slot(rule.Average) >= 0 {
		return nil, fmt.Errorf("the rule has a slot %q of its own", rule.Average)
	}
	formats, err := format.ParseSpec(s.Formats, s.SlotNames(), s.Compute)
	if err != nil {
		return nil, err
	}
	s.Formats = format.Spec(s.SlotNames(), formats)
	p := &Program{Spec: s, Counters: s.Rule.Counters}
	p.use(around(element, s), formats)
	p.noisy = p.rounds()
	if p.counts() && p.StepCounter() < 0 {
		p.Counters = append(slices.Clip(p.Counters), rule.Counter{Name: rule.StepCounter})
	}
	p.Scalars, p.TensorScalars = p.scalars(prologue), p.tensorScalars()
	p.format()
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

// use finds the slots that a graph uses, whose first fields are all slots, and makes Numbers of it.
func (p *Program) use(f *ir.Func, formats []*format.Format) {
	names := p.SlotNames()
	loads, stores := touched(f)
	var vars []ir.Field
	at := make([]int, len(f.Vars)) // the field that each becomes; -1 of a slot that is not used
	for v, field := range f.Vars {
		if field.Bank == rule.ElemBank {
			if at[v] = -1; !loads[v] && !stores[v] {
				continue
			}
			name := names[field.Index]
			p.Slots = append(p.Slots, Slot{Name: name, Index: field.Index, Role: p.role(name, stores[v]), Format: formats[field.Index]})
			field.Index = len(p.Slots) - 1
		}
		at[v] = len(vars)
		vars = append(vars, field)
	}
	b := ir.NewBuilder(f.Name, f.Width, vars)
	entry, final := make([]ir.Value, len(f.Vars)), make([]ir.Value, len(vars))
	for v, to := range at {
		if to >= 0 {
			entry[v], final[to] = b.Var(to), b.Var(to)
		}
	}
	for v, x := range b.Inline(f, entry) {
		if at[v] >= 0 {
			final[at[v]] = x
		}
	}
	p.Numbers = b.Func(final)
}

// touched says which fields a graph reads and which it writes.
func touched(f *ir.Func) (loads, stores []bool) {
	loads, stores = make([]bool, len(f.Vars)), make([]bool, len(f.Vars))
	for _, v := range f.Loads() {
		loads[v] = true
	}
	for _, s := range f.Stores {
		stores[s.Var] = true
	}
	return loads, stores
}

// format puts the slots' formats around Numbers, and finds what the graph that this makes does to which planes.
func (p *Program) format() {
	f := p.Numbers
	var vars []ir.Field
	same := true
	for i := range p.Slots {
		slot := &p.Slots[i]
		slot.Plane, same = len(p.Planes), same && slot.Format.Identity()
		for _, plane := range slot.Format.Planes() {
			name := f.Vars[i].Name
			if plane.Name != "" {
				name += "." + plane.Name
			}
			vars = append(vars, ir.Field{Bank: rule.ElemBank, Index: len(p.Planes), Name: name, Type: plane.Type})
			p.Planes = append(p.Planes, Plane{Slot: i, Name: plane.Name, DType: plane.DType})
		}
	}
	if p.Graph = f; !same {
		vars = append(vars, f.Vars[len(p.Slots):]...)
		if p.noisy {
			for i, name := range noiseNames {
				vars = append(vars, ir.Field{Bank: rule.SharedBank, Index: len(sharedNames) + i, Name: name})
			}
		}
		p.Graph = p.formatted(vars)
	}
	loads, stores := touched(p.Graph)
	for k := range p.Planes {
		plane := &p.Planes[k]
		if plane.Load, plane.Store = loads[k], stores[k]; plane.Load {
			p.Loads, p.Bytes = append(p.Loads, k), p.Bytes+plane.DType.Size()
		}
		if plane.Store {
			p.Stores, p.Bytes = append(p.Stores, k), p.Bytes+plane.DType.Size()
		}
	}
	p.Uniforms, p.Varying = p.Graph.Uniforms(rule.ElemBank), p.Graph.Varying(rule.ElemBank)
}

// formatted is Numbers between decoding and encoding, over fields that are the planes and then the scalars.
func (p *Program) formatted(vars []ir.Field) *ir.Func {
	f := p.Numbers
	b := ir.NewBuilder(f.Name, f.Width, vars)
	final := make([]ir.Value, len(vars))
	for v := range vars {
		final[v] = b.Var(v)
	}
	entry := make([]ir.Value, len(f.Vars))
	for i, slot := range p.Slots {
		entry[i] = slot.Format.Decode(b, final[slot.Plane:][:slot.Format.NumPlanes()])
		b.Label(entry[i], f.Vars[i].Name)
	}
	for i := len(p.Slots); i < len(entry); i++ {
		entry[i] = final[len(p.Planes)+i-len(p.Slots)]
	}
	_, stores := touched(f)
	for i, x := range b.Inline(f, entry) {
		if i < len(p.Slots) && stores[i] {
			slot := &p.Slots[i]
			var noise ir.Value
			if slot.Format.Noisy() {
				noise = format.Noise(b, final[len(vars)-format.NumNoise:], slot.Index)
			}
			copy(final[slot.Plane:], slot.Format.Encode(b, x, noise))
		}
	}
	return b.Func(final)
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

// RuleSlots are the slots that Numbers reads, and writes, by their indices in SlotNames: a rule.Pass's.
func (p *Program) RuleSlots() (loads, stores []int) {
	load, store := touched(p.Numbers)
	for i, s := range p.Slots {
		if load[i] {
			loads = append(loads, s.Index)
		}
		if store[i] {
			stores = append(stores, s.Index)
		}
	}
	return loads, stores
}

// Zeroed are the planes that a step writes even where it is skipped: a gradient that is set to 0, as one that is not finite must not stay to be
// added to.
func (p *Program) Zeroed() (planes []int) {
	for _, k := range p.Stores {
		if p.Of(k).Role == Gradient {
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

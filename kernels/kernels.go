// Package kernels holds the optimizers' rules, one file each, and what an executor needs to run them: a Program is a rule
// for one set of options and one element type, Work is a program with the tensors that it updates, and a Backend
// is a device that can run work. No rule knows a device, and no device knows a rule.
//
// The arithmetic of a rule, and how it is checked, is in packages rule, syntax and ir below.
package kernels

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// define makes a built-in rule when it is first asked for. That one of them is no rule is a mistake in this package.
func define[E32, E64, S32, S64, H, T, O any](f32 func(*E32, *S32, O), f64 func(*E64, *S64, O),
	prologue func(*H, *T, *S64, O), source string) func() rule.Definition[H, O] {
	return sync.OnceValue(func() rule.Definition[H, O] {
		d, err := rule.New(f32, f64, prologue, source)
		if err != nil {
			panic(err)
		}
		return d
	})
}

// Program is a rule for one set of options and penalties and one element type. It is comparable: equal programs are the same code.
type Program struct {
	Rule      *rule.Rule
	Options   uint64
	Penalties rule.Penalties
	DType     device.DType
}

// ProgramOf is what a setting runs on elements of a type.
func ProgramOf(s rule.Setting, t device.DType) Program {
	return Program{Rule: s.Rule, Options: s.Options, Penalties: s.Penalties(), DType: t}
}

func (p Program) String() string {
	return fmt.Sprintf("%s[%s] %s", p.Rule.Name, strings.Join(p.Variant(), " "), p.DType)
}

// Variant names the penalties and the options that are on.
func (p Program) Variant() []string {
	return append(p.Penalties.Names(), p.Rule.OptionNames(p.Options)...)
}

// Graph is what the program does to an element. Around the rule's graph it has what every rule has, by the scalars of bank
// rule.SharedBank: the gradient is scaled and then gets the penalties, the parameter is decayed. All of them multiply, and
// a factor of 1 is exact, so only penalties have variants. What becomes of the parameter is flushed, as rule.Flush does: a
// parameter that decays would otherwise stay subnormal for ever. The graph fails with device.ErrUnsupported for an element type that has no arithmetic yet.
func (p Program) Graph() (*ir.Func, error) {
	if p.DType != device.Float32 && p.DType != device.Float64 {
		return nil, fmt.Errorf("kernels: %s: %w", p, device.ErrUnsupported)
	}
	f, err := p.Rule.Element(8*p.DType.Size(), p.Options)
	if err != nil {
		return nil, fmt.Errorf("kernels: %s: %w", p, err)
	}
	return p.around(f), nil
}

func (p Program) around(f *ir.Func) *ir.Func {
	vars := slices.Clone(f.Vars)
	for i, name := range sharedNames {
		vars = append(vars, ir.Field{Bank: rule.SharedBank, Index: i, Name: name})
	}
	b := ir.NewBuilder(f.Name, f.Width, vars)
	shared := func(i int) ir.Value { return b.Var(len(f.Vars) + i) }
	gradScale, decay, weightDecay, l1 := shared(0), shared(1), shared(2), shared(3)
	product := func(x, y ir.Value) ir.Value { return b.Binary(ir.Mul, x, y) }

	keep := make([]ir.Value, len(vars))
	for i := range vars {
		keep[i] = b.Var(i)
	}
	param, grad := p.Rule.Slot(rule.Param), p.Rule.Slot(rule.Grad)
	g := product(keep[grad], gradScale)
	if p.Penalties&rule.L2 != 0 {
		g = b.Binary(ir.Add, g, product(weightDecay, keep[param]))
	}
	if p.Penalties&rule.L1 != 0 {
		g = b.Binary(ir.Add, g, product(l1, sign(b, keep[param])))
	}
	entry := slices.Clone(keep)
	entry[grad], entry[param] = g, product(keep[param], decay)
	final := b.Inline(f, entry)
	final[grad], final[param] = keep[grad], flush(b, final[param])
	return b.Func(final)
}

// flush is rule.Flush.
func flush(b *ir.Builder, x ir.Value) ir.Value {
	return b.Select(b.Binary(ir.Lt, b.Unary(ir.Abs, x), b.SmallestNormal()), b.Const(0), x)
}

// sign is rule.Sign.
func sign(b *ir.Builder, x ir.Value) ir.Value {
	zero := b.Const(0)
	return b.Select(b.Binary(ir.Lt, zero, x), b.Const(1), b.Select(b.Binary(ir.Lt, x, zero), b.Const(-1),
		b.Select(b.Binary(ir.Eq, x, zero), zero, x)))
}

// Slots tells the slots that the program reads and those that it writes. What is in neither needs no buffer.
func (p Program) Slots() (loads, stores []int, err error) {
	f, err := p.Graph()
	if err != nil {
		return nil, nil, err
	}
	for _, v := range f.Loads() {
		if f.Vars[v].Bank == rule.ElemBank {
			loads = append(loads, v)
		}
	}
	for _, s := range f.Stores {
		stores = append(stores, s.Var)
	}
	return loads, stores, nil
}

// Used are the slots that the program reads or writes, each once, in order.
func (p Program) Used() ([]int, error) {
	loads, stores, err := p.Slots()
	used := append(loads, stores...)
	slices.Sort(used)
	return slices.Compact(used), err
}

// State names the slots that the program uses beside parameter and gradient.
func (p Program) State() (names []string, err error) {
	used, err := p.Used()
	for _, k := range used {
		if name := p.Rule.Slots[k]; name != rule.Param && name != rule.Grad {
			names = append(names, name)
		}
	}
	return names, err
}

// BytesPerElement is what a step moves for each element: the slots read and the slots written.
func (p Program) BytesPerElement() (int, error) {
	loads, stores, err := p.Slots()
	return (len(loads) + len(stores)) * p.DType.Size(), err
}

// Tensor is a parameter with its gradient and state, by slot of the rule. Slots that the program does not use are nil.
type Tensor struct {
	Group int
	Slots []*device.Buffer
}

// Work is a program with what it runs on.
type Work struct {
	Program Program
	Tensors []Tensor
	State   []*device.Buffer // per group, Float64: the prologue's state, one a Rule.State
}

// Step is what a step of the work is given from outside.
type Step struct {
	Groups  []GroupStep // one a Work.State
	Norm    Norm        // if not nil, has been enqueued before: gradients are clipped to MaxNorm by it
	MaxNorm float64
}

// GroupStep is what a step is given for one group.
type GroupStep struct {
	Hyper                           []float64 // one a Rule.Hyper, of this step: the learning rate is after its schedule
	Scale                           float64   // the gradient is multiplied by it. -1 maximises.
	L1, WeightDecay, DecoupledDecay float64   // the setting's; L1 and WeightDecay count in a program that has the penalty
}

// GroupStepOf is a step of a group with the setting and the step's hyperparameters.
func GroupStepOf(s rule.Setting, hyper []float64) GroupStep {
	g := GroupStep{Hyper: hyper, Scale: 1, L1: s.L1, WeightDecay: s.WeightDecay, DecoupledDecay: s.DecoupledDecay}
	if s.Maximize {
		g.Scale = -1
	}
	return g
}

// Backend is a device that runs rules. What it is given has been checked: package optim does that.
type Backend interface {
	Device() *device.Device
	// Compile makes an update of the work. All buffers are open and belong to this device. A tensor's buffers have the program's type and
	// as many elements as its parameter. A buffer that a step writes overlaps no other buffer of the work.
	Compile(w Work) (Update, error)
	// CompileTraffic makes updates that load and store as much as w's does and leave every byte of w as it is, each in another way, and
	// at least one. The fastest is the ceiling that gpubench holds an update to. Their steps are not looked at. What a step stores and does
	// not load, as no optimizer's does but an Eval rule's, is on a CPU loaded too, which a store to memory does anyhow, and on a GPU
	// stored to memory of the traffic's own.
	CompileTraffic(w Work) ([]Update, error)
	// CompileNorm makes the global norm of the buffers, which are open and of this device.
	CompileNorm(grads []*device.Buffer) (Norm, error)
}

// Update is work that is ready to run.
type Update interface {
	// Enqueue puts one step on the stream: prologues, then one pass over all tensors. It keeps nothing of step but the norm. Hundreds
	// of steps may be under way; then it waits for the oldest.
	Enqueue(s *device.Stream, step Step) error
	// Close gives the update's own memory back, after the work enqueued so far.
	Close() error
}

// Norm is the L2 norm over all elements of some buffers, by the tree that SumSquares, SumTree and NormBy define. Its steps are
// ordered: all on one stream, or on streams that wait for each other.
type Norm interface {
	Enqueue(s *device.Stream) error
	// Total is where the norm is put: one Float64.
	Total() *device.Buffer
	Close() error
}

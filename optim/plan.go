package optim

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Plan is the memory that the tensors of one group take, and the bytes that a step on them moves, as New and AddGroup make the group. What is
// switched on later is not in it: what SetAlgorithm may add; the zeros that a step of SetZeroGrad writes to gradients; the sums of SetAccumulate,
// of the type that is calculated with, which a step reads in place of gradients and sets to 0; the loss scale. NewPlan and PlanOf compute it from
// the program that a step runs, before anything is allocated.
//
// Values and gradients count as their elements: whoever makes them may align them. State counts as it is allocated, with what lies between
// tensors, where every value begins at a multiple of 128 elements. A value that does not adds at most 128 bytes of the smallest elements, as
// many elements of the others, to each buffer of state. Of what a backend keeps beside tensors to run steps Partial alone counts, and not tables of the
// tensors, some words of each group, partial sums of the norm.
type Plan struct {
	Params  int64           // elements of all tensors
	Buffers []PlannedBuffer // in the program's order, then what tensors sum up and the prologue's counters, then what other tensors have alone

	Resident Bytes // all Buffers
	State    Bytes // of them, those that the optimizer allocates
	Read     Bytes // by the update
	Written  Bytes // by the update
	// Partial is the memory for partial sums of an algorithm that adds up terms of tensors, rows or columns, beside Resident: 8 bytes for each 4,096
	// elements of a tensor or of a row of a matrix, and for each 64 rows of each column. A GPU keeps these, and up to half as much to add them
	// up. A CPU keeps those of one pass, of tensors of more than 256 KiB.
	Partial int64
	// AdaptiveClip is what SetAdaptiveClip adds to State where it is turned on. PlanOf, whose program says whether it is on, leaves it 0.
	AdaptiveClip int64
	// Norm is what a step that measures gradients reads of them before the update, for SetClipNorm, SetClipTensorNorm, SetGradScaler, SetSkip or all of them. It reads
	// those of float64 a second time where the sum of their squares overflows or underflows.
	Norm Bytes
}

// PlannedBuffer is the memory of the parameter, of the gradient or of a state, for all tensors.
type PlannedBuffer struct {
	Name  string // "param", "grad", or what Optimizer.State calls it, such as "exp_avg" and "master"; "sums", of a rule that has some; "counters" is the last
	DType device.DType
	Owned bool // by the optimizer
	Bytes
}

// Bytes is an amount of memory, or of traffic in a step.
type Bytes struct {
	PerParam int   // of each parameter; the most, where matrices take other than vectors. What rows and columns have is in Total alone.
	Total    int64 // of all of them, and what does not grow with each
}

func (b *Bytes) add(c Bytes) {
	b.PerParam += c.PerParam
	b.Total += c.Total
}

// NewPlan plans a group with an algorithm, such as a Stored, of tensors with values and gradients of these types. Lengths are the tensors'
// elements: each has one axis. It fails as AddGroup does, but for what a device does not support, and with device.ErrRange for a negative length
// and for more elements than fit into any memory.
func NewPlan(alg Algorithm, parameter, gradient device.DType, lengths []int) (*Plan, error) {
	return newPlan(alg, parameter, gradient, vectors(lengths))
}

// NewPlanOfShapes is NewPlan for tensors of these shapes, as Param has them: an algorithm with numbers of rows and columns keeps those of matrices.
func NewPlanOfShapes(alg Algorithm, parameter, gradient device.DType, shapes [][]int) (*Plan, error) {
	g, err := newGroup(0, alg)
	if err != nil {
		return nil, err
	}
	var sizes []size
	for i, shape := range shapes {
		n, ok := elementsOf(shape)
		if !ok {
			return nil, fmt.Errorf("optim: plan: tensor %d has the shape %v: %w", i, shape, device.ErrRange)
		}
		v, matrix, err := matrixOf(g.setting.Rule, shape, 0, 0, n)
		if err != nil {
			return nil, fmt.Errorf("optim: plan: tensor %d: %w", i, err)
		}
		sizes = append(sizes, size{n, v, matrix})
	}
	return newPlan(alg, parameter, gradient, sizes)
}

// size is a tensor that is planned.
type size struct {
	n int
	view
	matrix bool
}

func vectors(lengths []int) []size {
	out := make([]size, len(lengths))
	for i, n := range lengths {
		out[i].n = n
	}
	return out
}

func newPlan(alg Algorithm, parameter, gradient device.DType, sizes []size) (*Plan, error) {
	g, err := newGroup(0, alg)
	if err != nil {
		return nil, err
	}
	p, err := planAs(g, 0, parameter, gradient, sizes)
	if err != nil {
		return nil, err
	}
	clipped, err := planAs(g, rule.AdaptiveClip, parameter, gradient, sizes)
	switch {
	case err == nil:
		p.AdaptiveClip = clipped.beside(p)
	case !errors.Is(err, device.ErrUnsupported): // else it cannot be turned on
		return nil, err
	}
	return p, nil
}

// planAs plans a group with something beside its setting around its rule.
func planAs(g *group, around rule.Around, parameter, gradient device.DType, sizes []size) (*Plan, error) {
	spec := kernels.SpecOfTypes(g.setting, parameter, gradient)
	spec.Around |= around
	matrices := spec.WithMatrix(true)
	var by [2][]size // vectors and matrices
	first := 0
	for i, t := range sizes {
		k := 0
		if t.matrix && matrices.Matrix() {
			k = 1
		}
		if i == 0 {
			first = k
		}
		by[k] = append(by[k], t)
	}
	p := &Plan{}
	for _, k := range []int{first, 1 - first} {
		if len(by[k]) == 0 && k != first {
			continue
		}
		program, err := kernels.New(spec.WithMatrix(k == 1))
		if err != nil {
			return nil, fmt.Errorf("optim: plan: %w", err)
		}
		if err := checkPrecision(g.setting, program.Spec); err != nil {
			return nil, err
		}
		if err := p.add(program, by[k]); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// beside is the state that the optimizer allocates for a plan where it has another: of a name that it has not, and of tensors' sums, which grow.
func (p *Plan) beside(has *Plan) (bytes int64) {
	for _, b := range p.Buffers {
		i := slices.IndexFunc(has.Buffers, b.same)
		switch {
		case b.Owned && (i < 0 || b.Name == "sums"):
			bytes += b.Total
		case b.Name == "counters": // where matrices and vectors become apart
			bytes += b.Total - has.Buffers[i].Total
		}
	}
	return bytes
}

// same says whether two are of one name and type.
func (b PlannedBuffer) same(o PlannedBuffer) bool { return o.Name == b.Name && o.DType == b.DType }

// PlanOf is NewPlan for the program of an update, in any formats. Of any other program, and of one of matrices, it fails with
// device.ErrUnsupported.
func PlanOf(program *kernels.Program, lengths []int) (*Plan, error) {
	if program.Reduces() || program.Eval {
		return nil, fmt.Errorf("optim: plan: %s trains nothing: %w", program.Spec, device.ErrUnsupported)
	}
	if program.Matrix() {
		return nil, fmt.Errorf("optim: plan: %s is of matrices, which lengths are not: %w", program.Spec, device.ErrUnsupported)
	}
	p := &Plan{}
	if err := p.add(program, vectors(lengths)); err != nil {
		return nil, err
	}
	return p, nil
}

// add adds what tensors take that one program steps.
func (p *Plan) add(program *kernels.Program, sizes []size) error {
	line := lineOf(program)
	bytes := 0 // of an element in all planes
	for _, plane := range program.Planes {
		bytes += plane.DType.Size()
	}
	most := int(min(math.MaxInt-stateAlign, 1<<61/int64(bytes))) // an int64 holds what is read and written of so many
	domains := []rule.Domain{rule.OfElements, rule.OfRows, rule.OfColumns}
	ends := make([]int, len(domains))      // of the tensors' state in one buffer
	numbers := make([]int64, len(domains)) // that all tensors have
	for i, t := range sizes {
		if begin := behind(ends[0], 0, line); t.n < 0 || t.n > most-begin {
			return fmt.Errorf("optim: plan: tensor %d has %d elements, behind %d of others: %w", i, t.n, numbers[0], device.ErrRange)
		}
		for d, domain := range domains {
			n := t.numbers(domain, t.n)
			ends[d] = behind(ends[d], 0, line) + n
			numbers[d] += int64(n)
		}
		p.Partial += int64(program.Partials(t.n, t.rows, t.matrices)) * int64(device.Float64.Size())
	}
	p.Params += numbers[0]
	of := func(k int) (b Bytes) { // a plane's
		plane := program.Planes[k]
		b.Total = numbers[plane.Domain] * int64(plane.DType.Size())
		if plane.Domain == rule.OfElements {
			b.PerParam = plane.DType.Size()
		}
		return b
	}
	var resident, state, read, written, norm Bytes
	buffer := func(b PlannedBuffer) {
		p.buffer(b)
		resident.add(b.Bytes)
		if b.Owned {
			state.add(b.Bytes)
		}
	}
	for k, plane := range program.Planes {
		b := PlannedBuffer{Name: program.PlaneName(k), DType: plane.DType, Owned: owned(program, k), Bytes: of(k)}
		if end := ends[plane.Domain]; b.Owned {
			b.Total = int64(end+stagger(program.Of(k).Index, end, line)) * int64(plane.DType.Size())
		}
		buffer(b)
	}
	for _, pass := range program.Passes {
		for _, k := range pass.Loads {
			read.add(of(k))
		}
		for _, k := range pass.Stores {
			written.add(of(k))
		}
		for _, f := range pass.Fills {
			if f.Domain != rule.OfTensor {
				written.add(of(f.Plane))
			}
		}
		for _, f := range pass.Folds {
			read.add(of(f.From))
			written.add(of(f.To))
		}
	}
	if words := program.SumWords(); len(sizes) > 0 && words > 0 {
		n := int64(words * device.Float64.Size())
		if !program.Rule.Everything {
			n *= int64(len(sizes))
		}
		buffer(PlannedBuffer{Name: "sums", DType: device.Float64, Owned: true, Bytes: Bytes{Total: n}})
	}
	if len(sizes) > 0 {
		n := len(program.Counters) * device.Float64.Size()
		buffer(PlannedBuffer{Name: "counters", DType: device.Float64, Owned: true, Bytes: Bytes{Total: int64(n)}})
	}
	if k := program.Slot(rule.Grad); k >= 0 {
		for _, stage := range kernels.Norm().Stages {
			for range stage.Loads {
				if stage.Unless == "" {
					norm.add(of(program.Slots[k].Plane))
				}
			}
		}
	}
	p.Resident.join(resident)
	p.State.join(state)
	p.Read.join(read)
	p.Written.join(written)
	p.Norm.join(norm)
	return nil
}

// join adds what other tensors take.
func (b *Bytes) join(c Bytes) { b.PerParam, b.Total = max(b.PerParam, c.PerParam), b.Total+c.Total }

// buffer adds memory, to that of other tensors if they have a buffer of the name.
func (p *Plan) buffer(b PlannedBuffer) {
	i := slices.IndexFunc(p.Buffers, b.same)
	if i < 0 {
		p.Buffers = append(p.Buffers, b)
		return
	}
	p.Buffers[i].join(b.Bytes)
}

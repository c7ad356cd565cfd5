package optim

import (
	"fmt"
	"math"

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
// many elements of the others, to each buffer of state. What a backend keeps beside tensors to run steps does not count: tables of the tensors,
// some words of each group, partial sums of the norm.
type Plan struct {
	Params  int64           // elements of all tensors
	Buffers []PlannedBuffer // in the program's order, then what tensors sum up, the prologue's counters last

	Resident Bytes // all Buffers
	State    Bytes // of them, those that the optimizer allocates
	Read     Bytes // by the update
	Written  Bytes // by the update
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
	PerParam int   // of each parameter
	Total    int64 // of all of them, and what does not grow with each
}

func (b *Bytes) add(c Bytes) {
	b.PerParam += c.PerParam
	b.Total += c.Total
}

// NewPlan plans a group with an algorithm, such as a Stored, of tensors with values and gradients of these types. Lengths are the tensors'
// elements. It fails as AddGroup does, but for what a device does not support, and with device.ErrRange for a negative length and for more
// elements than fit into any memory.
func NewPlan(alg Algorithm, parameter, gradient device.DType, lengths []int) (*Plan, error) {
	g, err := newGroup(0, alg)
	if err != nil {
		return nil, err
	}
	program, err := kernels.New(kernels.SpecOfTypes(g.setting, parameter, gradient))
	if err != nil {
		return nil, fmt.Errorf("optim: plan: %w", err)
	}
	if err := checkPrecision(g.setting, program.Spec); err != nil {
		return nil, err
	}
	return PlanOf(program, lengths)
}

// PlanOf is NewPlan for the program of an update, in any formats. Of any other program it fails with device.ErrUnsupported.
func PlanOf(program *kernels.Program, lengths []int) (*Plan, error) {
	if program.Reduces() || program.Eval {
		return nil, fmt.Errorf("optim: plan: %s trains nothing: %w", program.Spec, device.ErrUnsupported)
	}
	p, line := &Plan{}, lineOf(program)
	size := 0 // of an element in all planes
	for _, plane := range program.Planes {
		size += plane.DType.Size()
	}
	most := int(min(math.MaxInt-stateAlign, 1<<61/int64(size))) // an int64 holds what is read and written of so many
	end := 0                                                    // of the tensors' state in one buffer
	for i, n := range lengths {
		begin := behind(end, 0, line)
		if n < 0 || n > most-begin {
			return nil, fmt.Errorf("optim: plan: tensor %d has %d elements, behind %d of others: %w", i, n, p.Params, device.ErrRange)
		}
		end = begin + n
		p.Params += int64(n)
	}
	for k, plane := range program.Planes {
		all := p.bytes(plane.DType.Size())
		b := PlannedBuffer{Name: program.PlaneName(k), DType: plane.DType, Owned: owned(program, k), Bytes: all}
		if b.Owned {
			b.Total = int64(end+stagger(program.Of(k).Index, end, line)) * int64(plane.DType.Size())
		}
		p.buffer(b)
	}
	for _, pass := range program.Passes {
		for _, k := range pass.Loads {
			p.Read.add(p.bytes(program.Planes[k].DType.Size()))
		}
		for _, k := range pass.Stores {
			p.Written.add(p.bytes(program.Planes[k].DType.Size()))
		}
	}
	if words := program.SumWords(); len(lengths) > 0 && words > 0 {
		n := int64(len(lengths)) * int64(words*device.Float64.Size())
		p.buffer(PlannedBuffer{Name: "sums", DType: device.Float64, Owned: true, Bytes: Bytes{Total: n}})
	}
	if len(lengths) > 0 {
		n := len(program.Counters) * device.Float64.Size()
		p.buffer(PlannedBuffer{Name: "counters", DType: device.Float64, Owned: true, Bytes: Bytes{Total: int64(n)}})
	}
	if k := program.Slot(rule.Grad); k >= 0 {
		gradient := program.Planes[program.Slots[k].Plane].DType
		for _, stage := range kernels.Norm().Stages {
			if stage.Unless == "" {
				p.Norm.add(p.bytes(len(stage.Loads) * gradient.Size()))
			}
		}
	}
	return p, nil
}

func (p *Plan) bytes(perParam int) Bytes { return Bytes{perParam, p.Params * int64(perParam)} }

func (p *Plan) buffer(b PlannedBuffer) {
	p.Buffers = append(p.Buffers, b)
	p.Resident.add(b.Bytes)
	if b.Owned {
		p.State.add(b.Bytes)
	}
}

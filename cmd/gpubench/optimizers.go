package main

import (
	"github.com/fusestep/fusestep/internal/models"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// optimizer is a case to measure.
type optimizer struct{ optim.Case }

// optimizers are the values of -optimizer.
func optimizers() (out []optimizer) {
	for _, c := range optim.Cases() {
		out = append(out, optimizer{c})
	}
	return out
}

func optimizerNames() (out []string) {
	for _, o := range optimizers() {
		out = append(out, o.Name)
	}
	return out
}

// plan is what an optimizer does on elements of some types.
type plan struct {
	algorithm optim.Algorithm
	setting   rule.Setting
	program   *kernels.Program // of a tensor without a matrix view
	matrix    *kernels.Program // of one with; the same where the rule has no rows and columns
}

// of is what steps a tensor.
func (p plan) of(t models.Tensor) *kernels.Program {
	if t.Rows() > 0 {
		return p.matrix
	}
	return p.program
}

// lines says whether the rule has numbers of rows or columns.
func (p plan) lines() bool { return p.matrix != p.program }

// sums says whether what an element becomes depends on others.
func (p plan) sums() bool { return p.program.Rule.Tensor != nil || p.lines() }

// numbers is how many elements, rows or columns a tensor has.
func numbers(d rule.Domain, t models.Tensor) int64 {
	switch {
	case d == rule.OfElements:
		return t.Len()
	case t.Rows() == 0:
		return 0
	case d == rule.OfRows:
		return t.Rows()
	}
	return t.Matrices() * (t.Len() / t.Rows())
}

// each is numbers of one of a tensor's matrices.
func each(d rule.Domain, t models.Tensor) int64 { return numbers(d, t) / t.Matrices() }

// ofElements is the bytes of elements that a step moves.
func (p plan) ofElements(m models.Model) (n int64) {
	for _, t := range m.Tensors {
		n += t.Len() * int64(p.of(t).Bytes)
	}
	return n
}

// moves is the bytes that a step moves.
func (p plan) moves(m models.Model) (n int64) {
	for _, t := range m.Tensors {
		program := p.of(t)
		add := func(planes ...int) {
			for _, k := range planes {
				n += numbers(program.Planes[k].Domain, t) * int64(program.Planes[k].DType.Size())
			}
		}
		for _, q := range program.Passes {
			add(q.Loads...)
			add(q.Stores...)
			for _, f := range q.Fills {
				if f.Domain != rule.OfTensor {
					add(f.Plane)
				}
			}
			for _, f := range q.Folds {
				add(f.From, f.To)
			}
		}
	}
	return n
}

// adaptiveEps is the eps of adaptive clipping, timm's and optax'.
const adaptiveEps = 1e-3

// planned is what an optimizer does by the command line: of its types, and with adaptive clipping where that is on.
func (cfg *config) planned(o optimizer) (p plan, err error) {
	if p, err = o.plan(cfg.dtype); err != nil || cfg.adaptive == 0 {
		return p, err
	}
	spec := p.program.Spec
	spec.Around |= rule.AdaptiveClip
	if p.program, err = kernels.New(spec.WithMatrix(false)); err == nil {
		p.matrix, err = kernels.New(spec.WithMatrix(true))
	}
	return p, err
}

// foreseen is what the optimizer takes and moves on the model.
func (p plan) foreseen(t types, m models.Model) (*optim.Plan, error) {
	var shapes [][]int
	for _, t := range m.Tensors {
		shapes = append(shapes, t.Shape)
	}
	return optim.NewPlanOfShapes(p.algorithm, t.param, t.grad, shapes)
}

// resident is the bytes of the tensors' planes.
func (p plan) resident(m models.Model) (n int64) {
	for _, t := range m.Tensors {
		for _, plane := range p.of(t).Planes {
			n += numbers(plane.Domain, t) * int64(plane.DType.Size())
		}
	}
	return n
}

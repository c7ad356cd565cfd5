package cpu

import (
	"slices"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// own is the scalars of the tensor that a thread works on, where each tensor has some to itself. What its group's tensors share is made
// once a group, and the rest once a tensor, so that 10,000 small ones are cheap.
type own[F rule.Float] struct {
	tensor, group int // -1: none yet
	norm, unscale float64
	made          []float64 // by kernels.Pass.Tensor
	scalars       []F       // the group's, but for the tensor's GradScale, which the rule itself takes there

	// With vectors:
	block  []F
	eval   *ir.Evaluator[F]
	vars   []F
	nodes  []ir.Value // uniforms of the graph that differ from tensor to tensor, in order
	places []int      // in the block, of those that it has
}

func (u *update[F]) newOwn() *own[F] {
	p := u.program
	o := &own[F]{made: make([]float64, p.NumTensorScalars()), scalars: make([]F, p.NumScalars())}
	v := u.vectors
	if v == nil {
		return o
	}
	o.block, o.eval, o.vars = make([]F, v.blockLen()), ir.NewUniformEvaluator[F](v.graph, rule.ElemBank), make([]F, len(v.graph.Vars))
	varying := v.graph.Varying(rule.ElemBank)
	for i, tensors := range v.graph.Varying(rule.TensorBank) {
		if tensors && !varying[i] {
			o.nodes = append(o.nodes, ir.Value(i))
		}
	}
	for i, u := range v.uniform {
		if slices.Contains(o.nodes, u) {
			o.places = append(o.places, i)
		}
	}
	return o
}

// scalarsOf makes scalars, and with vectors block, those of a tensor, if they are another's, and returns scalars.
func (o *own[F]) scalarsOf(s *step[F], tensor int) []F {
	if o.tensor == tensor {
		return o.scalars
	}
	u, v := s.u, s.u.vectors
	p, t := u.program, &s.u.tensors[tensor]
	if o.group != t.group {
		copy(o.scalars, s.of(t.group))
		if v != nil {
			v.block(o.block, o.vars, o.eval, o.scalars)
		}
	}
	o.tensor, o.group = tensor, t.group
	p.RunTensorScalars(0, &s.groups[t.group], o.norm, o.unscale, nil, t.sums, o.made)
	if o.scalars[len(p.Rule.Scalars)] = F(o.made[0]); v == nil {
		return o.scalars
	}
	for i, f := range v.graph.Vars {
		if f.Bank == rule.TensorBank {
			o.vars[i] = F(o.made[f.Index])
		}
	}
	o.eval.RunAgain(o.nodes)
	for _, i := range o.places {
		v.fill(o.block, masks+i, emit.InBlock(o.eval, v.graph, v.uniform[i]))
	}
	return o.scalars
}

package cpu

import (
	"slices"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// own is the scalars of the tensor that a thread works on in a pass, where each tensor has some to itself. What its group's tensors share is
// made once a group, and the rest once a tensor, so that 10,000 small ones are cheap.
type own[F rule.Float] struct {
	pass          int
	tensor, group int       // -1: none yet
	made          []float64 // by kernels.Pass.Tensor, where nobody else has made that
	scalars       []F       // the group's, but for the tensor's GradScale, which the rule itself takes there
	numbers       []F       // of the tensor, by the fields of rule.TensorBank

	// With vectors:
	block  []F
	eval   *ir.Evaluator[F]
	vars   []F
	direct [][2]int   // places in the block that have a tensor's number, and which
	places []int      // and those that have something computed of some; then also
	nodes  []ir.Value // uniforms of the graph that differ from tensor to tensor, in order
	fields [][2]int   // of the graph in rule.TensorBank, and where they are there
}

func (u *update[F]) newOwn(pass int) *own[F] {
	p := u.program
	n := p.NumTensorScalars()
	o := &own[F]{pass: pass, made: make([]float64, n), scalars: make([]F, p.NumScalars()), numbers: make([]F, n)}
	if u.vectors == nil {
		return o
	}
	v := u.vectors[pass]
	o.block, o.eval, o.vars = make([]F, v.blockLen()), newUniforms[F](v.graph), make([]F, len(v.graph.Vars))
	varying := v.graph.Varying(differing...)
	for i, tensors := range v.graph.Varying(rule.TensorBank) {
		if tensors && !varying[i] {
			o.nodes = append(o.nodes, ir.Value(i))
		}
	}
	for i, f := range v.graph.Vars {
		if f.Bank == rule.TensorBank {
			o.fields = append(o.fields, [2]int{i, f.Index})
		}
	}
	for i, u := range v.uniform {
		switch n := &v.graph.Nodes[u]; {
		case !slices.Contains(o.nodes, u):
		case n.Op == ir.Var:
			o.direct = append(o.direct, [2]int{i, v.graph.Vars[n.Index].Index})
		default:
			o.places = append(o.places, i)
		}
	}
	return o
}

// of makes scalars, numbers, and with vectors block, those of a tensor, if they are another's. Made is what kernels.Pass.Tensor has made of the
// tensor; nil where that is still to do, before the first pass.
func (o *own[F]) of(s *step[F], tensor int, made []float64) {
	u, t := s.u, &s.u.tensors[tensor]
	p := u.program
	if o.tensor == tensor || p.Rule.Everything && o.group == t.group {
		return
	}
	if o.group != t.group {
		copy(o.scalars, s.of(t.group))
		if u.vectors != nil {
			u.vectors[o.pass].block(o.block, o.vars, o.eval, o.scalars)
		}
	}
	o.tensor, o.group = tensor, t.group
	if made == nil {
		made = o.made
		s.runTensor(o.pass, t, made)
	}
	for i, x := range made {
		o.numbers[i] = F(x)
	}
	if own := len(p.Rule.Tensor); own < len(made) {
		o.scalars[len(p.Rule.Scalars)] = o.numbers[own] // GradScale
	}
	if u.vectors == nil {
		return
	}
	v := u.vectors[o.pass]
	for _, d := range o.direct {
		v.put(o.block, masks+d[0], o.numbers[d[1]])
	}
	if len(o.places) == 0 {
		return
	}
	for _, f := range o.fields {
		o.vars[f[0]] = o.numbers[f[1]]
	}
	o.eval.RunAgain(o.nodes)
	for _, i := range o.places {
		v.put(o.block, masks+i, emit.InBlock(o.eval, v.graph, v.uniform[i]))
	}
}

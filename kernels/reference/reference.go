// Package reference runs a step by the evaluator of graphs: nothing that executors make of a graph has a part in it, not even the
// compiled rule. Executors are held to its bits.
package reference

import (
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Tensor is a kernels.Tensor in the host's memory.
type Tensor struct {
	Index  uint64  // kernels.Tensor.Index
	Planes []Plane // one a plane of the program
}

// Plane holds an element's bits in each of its numbers, in the lowest ones: as many as the plane's type has.
type Plane []uint64

// Scalars is the scalars stage of a step for one group: it advances counters, and returns the scalars, in the order of kernels.OutputsBank.
func Scalars(p *kernels.Program, g kernels.GroupStep, norm, unscale float64, counters []float64) []float64 {
	f := p.Scalars
	in := make([]float64, p.Inputs())
	g.Inputs(in)
	vars := make([]float64, len(f.Vars))
	out := make([]float64, p.NumScalars())
	for i, v := range f.Vars {
		switch v.Bank {
		case kernels.InputBank:
			vars[i] = in[v.Index]
		case kernels.CounterBank:
			vars[i] = counters[v.Index]
		case kernels.ControlBank:
			vars[i] = []float64{kernels.ControlNorm: norm, kernels.ControlUnscale: unscale}[v.Index]
		}
	}
	ir.Eval(f, vars)
	for i, v := range f.Vars {
		switch v.Bank {
		case kernels.CounterBank:
			counters[v.Index] = vars[i]
		case kernels.OutputsBank:
			out[v.Index] = vars[i]
		}
	}
	return out
}

// Map is the map stage of a step on tensors of one group, by the scalars that Scalars has returned. Each is rounded once to the program's
// type.
func Map(p *kernels.Program, scalars []float64, tensors []Tensor) {
	if p.Compute == device.Float32 {
		pass[float32](p, scalars, tensors)
	} else {
		pass[float64](p, scalars, tensors)
	}
}

func pass[F rule.Float](p *kernels.Program, scalars []float64, tensors []Tensor) {
	f := p.Graph
	vars := make([][]F, len(f.Vars))
	for i, v := range f.Vars {
		switch v.Bank {
		case rule.ScalarsBank:
			vars[i] = []F{F(scalars[v.Index])}
		case rule.SharedBank:
			vars[i] = []F{F(scalars[len(p.Rule.Scalars)+v.Index])}
		}
	}
	for _, t := range tensors {
		n := len(t.Planes[0])
		share := max((n+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0), least)
		var wait sync.WaitGroup
		for lo := share; lo < n; lo += share {
			own := slices.Clone(vars)
			wait.Go(func() { elements(p, own, t, lo, min(lo+share, n)) })
		}
		elements(p, vars, t, 0, min(share, n))
		wait.Wait()
	}
}

// least is the elements that are worth a goroutine.
const least = 1 << 12

// block is the elements that are brought to the evaluator at a time.
const block = 1 << 10

// elements runs the graph on elements lo to hi. Vars has the scalars.
func elements[F rule.Float](p *kernels.Program, vars [][]F, t Tensor, lo, hi int) {
	f := p.Graph
	eval := ir.NewEvaluator[F](f)
	words := make([][]uint32, len(f.Vars))
	for k := range t.Planes { // field k of the graph
		if f.Vars[k].Type == ir.Float {
			vars[k] = make([]F, min(block, hi-lo))
		} else {
			words[k] = make([]uint32, min(block, hi-lo))
		}
	}
	for ; lo < hi; lo += block {
		n := min(block, hi-lo)
		for k, plane := range t.Planes {
			for i, x := range plane[lo : lo+n] {
				if words[k] != nil {
					words[k][i] = uint32(x)
				} else {
					vars[k][i] = number[F](x)
				}
			}
		}
		eval.Index = t.Index + uint64(lo)
		eval.RunEach(n, vars, words)
		for _, s := range f.Stores {
			for i := range n {
				if x := &t.Planes[s.Var][lo+i]; words[s.Var] != nil {
					*x = uint64(words[s.Var][i])
				} else {
					*x = BitsOf(vars[s.Var][i])
				}
			}
		}
	}
}

func number[F rule.Float](x uint64) F {
	var f F
	if p, ok := any(&f).(*float32); ok {
		*p = math.Float32frombits(uint32(x))
	} else {
		*any(&f).(*float64) = math.Float64frombits(x)
	}
	return f
}

// Package reference runs a step by the evaluator of graphs: nothing that executors make of a graph has a part in it, not even the
// compiled rule. Executors are held to its bits.
package reference

import (
	"iter"
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
	Index  uint64    // kernels.Tensor.Index
	Planes []Plane   // one a plane of the program
	Sums   []float64 // kernels.Tensor.Sums, where the program has a use for it
	Len    int       // elements, where they are more than Planes has: they repeat, so that Planes tell what all become, and add up to
}

// Plane holds an element's bits in each of its numbers, in the lowest ones: as many as the plane's type has.
type Plane []uint64

// Scalars is the scalars stage of a step for one group: it advances counters, and returns the scalars, in the order of kernels.OutputsBank.
func Scalars(p *kernels.Program, g kernels.GroupStep, norm, unscale float64, counters []float64) []float64 {
	out := make([]float64, p.NumScalars())
	run(p.Scalars, map[int][]float64{kernels.InputBank: inputs(p, g), kernels.CounterBank: counters, kernels.ControlBank: control(norm, unscale),
		kernels.OutputsBank: out})
	return out
}

// Update is a step of one group, of these tensors: it advances counters, and changes tensors' planes and sums. Each scalar is rounded once to the
// program's type.
func Update(p *kernels.Program, g kernels.GroupStep, norm, unscale float64, counters []float64, tensors []Tensor) {
	scalars := Scalars(p, g, norm, unscale, counters)
	rounded := make([]float64, len(scalars))
	for i, x := range scalars {
		rounded[i] = p.Compute.Round(x)
	}
	for _, t := range tensors {
		own := make([]float64, p.NumTensorScalars())
		for i := range p.Passes {
			q := &p.Passes[i]
			if q.Tensor != nil {
				run(q.Tensor, map[int][]float64{kernels.InputBank: inputs(p, g), rule.ScalarsBank: rounded, kernels.ControlBank: control(norm, unscale),
					kernels.SumsBank: t.Sums, kernels.OutputsBank: own})
			}
			if p.Compute == device.Float32 {
				pass[float32](p, q, scalars, own, t)
			} else {
				pass[float64](p, q, scalars, own, t)
			}
		}
	}
}

func inputs(p *kernels.Program, g kernels.GroupStep) []float64 {
	in := make([]float64, p.Inputs())
	p.WriteInputs(&g, in)
	return in
}

func control(norm, unscale float64) []float64 {
	return []float64{kernels.ControlNorm: norm, kernels.ControlUnscale: unscale}
}

// run evaluates a graph whose fields are in banks.
func run(f *ir.Func, banks map[int][]float64) {
	vars := make([]float64, len(f.Vars))
	for i, v := range f.Vars {
		vars[i] = banks[v.Bank][v.Index]
	}
	ir.Eval(f, vars)
	for _, s := range f.Stores {
		v := f.Vars[s.Var]
		banks[v.Bank][v.Index] = vars[s.Var]
	}
}

// pass is a pass over a tensor, by the group's scalars and those that it has to itself.
func pass[F rule.Float](p *kernels.Program, q *kernels.Pass, scalars, own []float64, t Tensor) {
	vars := make([][]F, len(q.Graph.Vars))
	for i, v := range q.Graph.Vars {
		switch v.Bank {
		case rule.ScalarsBank:
			vars[i] = []F{F(scalars[v.Index])}
		case rule.SharedBank:
			vars[i] = []F{F(scalars[len(p.Rule.Scalars)+v.Index])}
		case rule.TensorBank:
			vars[i] = []F{F(own[v.Index])}
		}
	}
	n := len(t.Planes[0])
	terms := make([][]F, len(q.Fills))
	for i := range terms {
		terms[i] = make([]F, n)
	}
	share := max((n+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0), least)
	var wait sync.WaitGroup
	for lo := share; lo < n; lo += share {
		own := slices.Clone(vars)
		wait.Go(func() { elements(q, own, t, terms, lo, min(lo+share, n)) })
	}
	elements(q, vars, t, terms, 0, min(share, n))
	wait.Wait()
	for k, f := range q.Fills {
		var tiles []float64
		for tile := range repeat(terms[k], max(t.Len, n), kernels.NormTile) {
			tiles = append(tiles, kernels.FillTile(f.Kind, tile))
		}
		t.Sums[f.Word] = kernels.FillTree(f.Kind, tiles)
	}
}

// repeat is n numbers, of which the first stand in x and the others repeat them, size at a time. What it yields is good until the next.
func repeat[F rule.Float](x []F, n, size int) iter.Seq[[]F] {
	return func(yield func([]F) bool) {
		some := make([]F, 0, size)
		for at := 0; at < n; {
			for some = some[:0]; len(some) < min(size, n-at); {
				from := (at + len(some)) % len(x)
				some = append(some, x[from:min(len(x), from+min(size, n-at)-len(some))]...)
			}
			if at += len(some); !yield(some) {
				return
			}
		}
	}
}

// least is the elements that are worth a goroutine.
const least = 1 << 12

// block is the elements that are brought to the evaluator at a time.
const block = 1 << 10

// elements runs the graph on elements lo to hi, whose terms it keeps. Vars has the scalars.
func elements[F rule.Float](q *kernels.Pass, vars [][]F, t Tensor, terms [][]F, lo, hi int) {
	f := q.Graph
	eval := ir.NewEvaluator[F](f)
	words := make([][]uint32, len(f.Vars))
	for k := range t.Planes { // field k of the graph
		if f.Vars[k].Type == ir.Float {
			vars[k] = make([]F, min(block, hi-lo))
		} else {
			words[k] = make([]uint32, min(block, hi-lo))
		}
	}
	for _, fill := range q.Fills {
		vars[fill.Var] = make([]F, min(block, hi-lo))
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
		for i, fill := range q.Fills {
			copy(terms[i][lo:lo+n], vars[fill.Var])
		}
		for _, s := range f.Stores {
			if s.Var >= len(t.Planes) {
				continue
			}
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

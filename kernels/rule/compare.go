package rule

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/fusestep/fusestep/kernels/ir"
)

// trials is how many sets of numbers a graph and its function are compared on.
const trials = 512

// eachSet calls do with every set of options, and says with which it failed.
func (r *Rule) eachSet(do func(set uint64) error) error {
	for set := range uint64(1) << len(r.Options) {
		err := do(set)
		if names := r.OptionNames(set); err != nil && len(names) > 0 {
			return fmt.Errorf("%w (with %s)", err, strings.Join(names, ", "))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compare holds the graphs to the compiled functions, bit for bit, for every set of options. A source that is not the functions'
// shows here, and so does a mistake in the compiler.
func (r *Rule) compare() error {
	return r.eachSet(func(set uint64) error {
		for i := range r.functions {
			f := &r.functions[i]
			if !f.runs(r, set) {
				continue
			}
			if f.domain != OfTensor {
				if err := firstError(compareFunction(r, f, 32, set, float32Of), compareFunction(r, f, 64, set, float64Of)); err != nil {
					return err
				}
				continue
			}
			g, err := r.graph(f.source, 64, set, f.banks)
			if err != nil {
				return err
			}
			fields := len(r.Tensor)
			if err := compare(g, func(vars []float64) { f.run(vars[:fields], vars[fields:], set) }, float64Of); err != nil {
				return err
			}
		}
		pro, err := r.Prologue(set)
		if err != nil {
			return err
		}
		return compare(pro, func(vars []float64) {
			h, t := len(r.Hyper), len(r.Hyper)+len(r.Counters)
			r.runPrologue(vars[:h], vars[h:t], vars[t:], set)
		}, float64Of)
	})
}

// compareFunction compares an element, row or column function. Each field that others fill is looked at as a term is, also those that the function
// must not store.
func compareFunction[F Float](r *Rule, fn *stageFunc, width int, set uint64, of func(uint64) F) error {
	f, err := r.graph(fn.source, width, set, fn.banks)
	if err != nil {
		return err
	}
	p := Pass[F]{Domain: fn.domain, Stage: fn.stage, Options: set}
	first := slots(r, fn.domain)
	for i := range first {
		p.Loads = append(p.Loads, i)
	}
	p.Stores = p.Loads
	return compare(f, func(vars []F) {
		each := func(n int) (out [][]F) {
			for i := range n {
				out = append(out, vars[i:i+1])
			}
			vars = vars[n:]
			return out
		}
		p.Slots = each(first)
		p.Scalars, vars = vars[:len(r.Scalars)], vars[len(r.Scalars):]
		p.Tensor, p.Row = vars, nil
		p.Terms = each(min(len(vars), len(r.Tensor)))
		if p.Row = vars; len(vars) > 0 {
			p.RowTerms = each(len(r.Row))
			p.Columns = each(len(r.Column))
			p.ColumnTerms = p.Columns
		}
		Apply(r, &p)
	}, of)
}

// slots is how many slots a pass over the domain has.
func slots(r *Rule, d Domain) int {
	if d == OfElements {
		return len(r.Slots)
	}
	return len(r.Fields(d))
}

func float32Of(bits uint64) float32 { return math.Float32frombits(uint32(bits >> 32)) }
func float64Of(bits uint64) float64 { return math.Float64frombits(bits) }

// compare runs the graph and the function on the same numbers.
func compare[F Float](f *ir.Func, run func([]F), of func(uint64) F) error {
	n := newNumbers(f, of)
	in, want, got := make([]F, len(f.Vars)), make([]F, len(f.Vars)), make([]F, len(f.Vars))
	eval := ir.NewEvaluator[F](f)
	for t := range trials {
		n.fill(in, t)
		copy(want, in)
		copy(got, in)
		run(want)
		eval.Run(got)
		for i, v := range f.Vars {
			if !same(got[i], want[i]) {
				return fmt.Errorf("the source is not that of the compiled function %s, at %d bits: %s becomes %v by the source, %v by the function; fields %s = %v",
					f.Name, f.Width, v.Name, got[i], want[i], fieldNames(f), in)
			}
		}
	}
	return nil
}

// numbersFor draws the numbers of trials.
type numbersFor[F Float] struct {
	rng                     *rand.Rand
	of                      func(bits uint64) F
	hard, limits, constants []F // none is ordinary; the ends of the range of numbers; the graph's own and those beside them
}

func newNumbers[F Float](f *ir.Func, of func(uint64) F) *numbersFor[F] {
	tiny, inf := SmallestNormal[F](), F(math.Inf(1))
	n := &numbersFor[F]{rng: rand.New(rand.NewPCG(1, 2)), of: of, hard: []F{F(math.NaN()), inf, -inf, 0, F(math.Copysign(0, -1))}}
	// Halves of an odd number of the least ones are not exact.
	least, largest := of(1), of(math.Float64bits(math.MaxFloat64))
	if f.Width == 32 {
		least, largest = of(1<<32), of(uint64(math.Float32bits(math.MaxFloat32))<<32)
	}
	n.limits = []F{1, -1, tiny, -tiny, tiny - least, least, 3 * least, -5 * least, largest, -largest}
	for _, node := range f.Nodes {
		if node.Op == ir.Const {
			c := F(math.Float64frombits(node.Bits))
			n.constants = append(n.constants, c, c, -c, c+F(c*F(0x1p-20)), c-F(c*F(0x1p-20)))
		}
	}
	if n.constants == nil {
		n.constants = n.limits
	}
	return n
}

// fill draws a number for each field. Of four trials the first has ordinary numbers alone, which no NaN hides. In the second each
// field in turn is each of what is not ordinary, among those that are. In the third a quarter are any numbers, in the last all.
func (n *numbersFor[F]) fill(x []F, trial int) {
	for i := range x {
		if odd := n.rng.IntN(4); trial%4 == 3 || trial%4 == 2 && odd == 0 {
			x[i] = n.any(x[:i+1])
		} else {
			x[i] = F(math.Ldexp(n.rng.NormFloat64(), []int{0, 0, -8, 8}[n.rng.IntN(4)]))
		}
	}
	if turn := trial / 4; trial%4 == 1 && len(x) > 0 {
		x[turn%len(x)] = n.hard[turn/len(x)%len(n.hard)]
	}
}

// any is a number of any kind. The last of those before it is that of the last trial.
func (n *numbersFor[F]) any(before []F) F {
	pick := func(all []F) F { return all[n.rng.IntN(len(all))] }
	switch n.rng.IntN(5) {
	case 0:
		return pick(n.hard)
	case 1:
		return pick(n.limits)
	case 2:
		return pick(n.constants)
	case 3:
		return pick(before)
	default:
		return n.of(n.rng.Uint64())
	}
}

// same says whether two numbers have the same bits, where NaN is like NaN.
func same[F Float](a, b F) bool {
	if a != a || b != b {
		return a != a && b != b
	}
	return a == b && signbit(a) == signbit(b)
}

func signbit[F Float](x F) bool { return math.Signbit(float64(x)) }

func fieldNames(f *ir.Func) string {
	var names []string
	for _, v := range f.Vars {
		names = append(names, v.Name)
	}
	return strings.Join(names, " ")
}

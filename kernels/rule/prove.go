package rule

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/kernels/ir"
)

// trials is how many sets of numbers a rule is tried on for each set of options, width and kind of number.
const trials = 24

// prove compares the graphs with the compiled functions, bit for bit, for every set of options. A source that is not the
// functions' shows here, and so does a mistake in the compiler.
func (r *Rule) prove() error {
	for set := range uint64(1) << len(r.Options) {
		err := r.proveSet(set)
		if names := r.OptionNames(set); err != nil && len(names) > 0 {
			return fmt.Errorf("%w (with %s)", err, strings.Join(names, ", "))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Rule) proveSet(set uint64) error {
	e32, err := r.Element(32, set)
	if err != nil {
		return err
	}
	e64, err := r.Element(64, set)
	if err != nil {
		return err
	}
	pro, err := r.Prologue(set)
	if err != nil {
		return err
	}
	if err := r.complete(e64, pro); err != nil {
		return err
	}
	if err := proveElement(e32, len(r.Slots), set, func(p *Pass[float32]) { r.apply32(r, p) }, float32Of); err != nil {
		return err
	}
	if err := proveElement(e64, len(r.Slots), set, func(p *Pass[float64]) { r.apply64(r, p) }, float64Of); err != nil {
		return err
	}
	return prove(pro, func(vars []float64) {
		h, t := len(r.Hyper), len(r.Hyper)+len(r.State)
		r.runPrologue(vars[:h], vars[h:t], vars[t:], set)
	}, float64Of)
}

// complete checks that the prologue stores every scalar that the element function reads, and that the parameter is stored.
func (r *Rule) complete(elem, pro *ir.Func) error {
	stored := map[int]bool{}
	for _, s := range pro.Stores {
		if f := pro.Vars[s.Var]; f.Bank == OutputsBank {
			stored[f.Index] = true
		}
	}
	for _, v := range elem.Loads() {
		if f := elem.Vars[v]; f.Bank == ScalarsBank && !stored[f.Index] {
			return fmt.Errorf("%s is read, but %s does not compute it", f.Name, pro.Name)
		}
	}
	param := r.Slot(Param)
	if !slices.ContainsFunc(elem.Stores, func(s ir.Store) bool { return s.Var == param }) {
		return fmt.Errorf("slot %q is not stored: the rule changes nothing", Param)
	}
	if slices.ContainsFunc(elem.Stores, func(s ir.Store) bool { return s.Var == r.Slot(Grad) }) {
		return fmt.Errorf("slot %q is stored: a rule reads the gradient only", Grad)
	}
	return nil
}

func proveElement[F Float](f *ir.Func, slots int, set uint64, apply func(*Pass[F]), of func(uint64) F) error {
	all := make([]int, slots)
	for i := range all {
		all[i] = i
	}
	return prove(f, func(vars []F) {
		p := Pass[F]{Loads: all, Stores: all, Scalars: vars[slots:], Options: set}
		for i := range slots {
			p.Slots = append(p.Slots, vars[i:i+1])
		}
		apply(&p)
	}, of)
}

func float32Of(bits uint64) float32 { return math.Float32frombits(uint32(bits >> 32)) }
func float64Of(bits uint64) float64 { return math.Float64frombits(bits) }

// prove runs the graph and the function on the same numbers: any bit patterns, ordinary numbers, and a few special values that
// meet often.
func prove[F Float](f *ir.Func, run func([]F), of func(uint64) F) error {
	rng := rand.New(rand.NewPCG(1, 2))
	special := []F{0, F(math.Copysign(0, -1)), 1, -1, SmallestNormal[F](), -SmallestNormal[F]() / 2,
		F(math.Inf(1)), F(math.Inf(-1)), F(math.NaN())}
	kinds := []func() F{
		func() F { return of(rng.Uint64()) },
		func() F { return F(rng.NormFloat64()) },
		func() F { return special[rng.IntN(len(special))] },
	}
	in, want, got := make([]F, len(f.Vars)), make([]F, len(f.Vars)), make([]F, len(f.Vars))
	for t := range trials * len(kinds) {
		for i := range in {
			in[i] = kinds[t/trials]()
		}
		copy(want, in)
		copy(got, in)
		run(want)
		ir.Eval(f, got)
		for i, v := range f.Vars {
			if got[i] != want[i] && (got[i] == got[i] || want[i] == want[i]) || signbit(got[i]) != signbit(want[i]) && got[i] == got[i] {
				return fmt.Errorf("the source is not that of the compiled function, at %d bits: %s becomes %v by the source, %v by the function; fields %s = %v",
					f.Width, v.Name, got[i], want[i], fieldNames(f), in)
			}
		}
	}
	return nil
}

func signbit[F Float](x F) bool { return math.Signbit(float64(x)) }

func fieldNames(f *ir.Func) string {
	var names []string
	for _, v := range f.Vars {
		names = append(names, v.Name)
	}
	return strings.Join(names, " ")
}

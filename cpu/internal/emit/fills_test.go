package emit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// lanes are those of a fill, as its documentation says.
type lanes [Lanes]float64

// mostFills is the most that a random graph has.
const mostFills = 4

// term is what a number adds.
func term(kind FillKind, x float64) float64 {
	if kind == FillSquares {
		return float64(x * x)
	}
	return x
}

func newLanes(fills []Fill) []lanes {
	all := make([]lanes, len(fills))
	for k, fill := range fills {
		for i := range all[k] {
			if fill.Kind == FillMax {
				all[k][i] = math.Inf(-1)
			}
		}
	}
	return all
}

// add takes the term of the run's element k.
func (l *lanes) add(kind FillKind, k int, x float64) {
	join(kind, &l[k%Lanes], term(kind, x))
}

func join(kind FillKind, to *float64, x float64) {
	switch {
	case kind != FillMax:
		*to += x
	case x > *to || x != x:
		*to = x
	}
}

func (l *lanes) halve(kind FillKind) float64 {
	for apart := Lanes / 2; apart > 0; apart /= 2 {
		for i := range apart {
			join(kind, &l[i], l[i+apart])
		}
	}
	return l[0]
}

// withFills is a random graph with fills, of any of its numbers, where every second has some of columns. In some graphs there is one, and nothing else is stored.
func withFills(rng *rand.Rand, width int) (f *ir.Func, fills []Fill) {
	var numbers []ir.Value
	for numbers == nil {
		f = random(rng, width)
		for i := range f.Nodes {
			if f.Kind(ir.Value(i)) == ir.Number {
				numbers = append(numbers, ir.Value(i))
			}
		}
	}
	n, columns := 1+rng.IntN(mostFills), rng.IntN(2) == 0
	if rng.IntN(3) == 0 {
		f.Stores, n = nil, 1
	}
	for k := range n {
		v := len(f.Vars)
		f.Vars = append(f.Vars, ir.Field{Bank: elements, Index: v, Name: fmt.Sprintf("t.F%d", k)})
		f.Stores = append(f.Stores, ir.Store{Var: v, Value: late(rng, numbers)})
		fills = append(fills, Fill{v, FillKind(rng.IntN(3)), columns && rng.IntN(3) > 0})
	}
	return f, fills
}

// someTerms makes fields of which the results are mostly finite: ordinary numbers, zeros, or any.
func (r *trial[F]) someTerms(rng *rand.Rand) func(*rand.Rand, int) field[F] {
	kind := rng.IntN(8)
	if kind == 0 {
		return r.some
	}
	return func(rng *rand.Rand, v int) field[F] {
		switch {
		case r.f.Vars[v].Type != ir.Float:
			return field[F]{word: uint32(rng.IntN(255))}
		case kind == 1:
			return field[F]{number: F(math.Copysign(0, float64(rng.IntN(2))-0.5))}
		}
		return field[F]{number: F(1 + rng.Float64())}
	}
}

// tryFills is try for graphs with fills, whose results it hands on.
func tryFills(seed uint64, set *Set, mutate func(*x86.Ins), results func([]float64)) error {
	rng := rand.New(rand.NewPCG(seed, 2))
	if rng.IntN(2) == 0 {
		return tryFillsOf[float32](rng, set, mutate, results)
	}
	return tryFillsOf[float64](rng, set, mutate, results)
}

func tryFillsOf[F float32 | float64](rng *rand.Rand, set *Set, mutate func(*x86.Ins), results func([]float64)) error {
	f, fills := withFills(rng, int(8*unsafe.Sizeof(F(0))))
	r, err := newTrial[F](f, fills, rng.IntN(3) == 0, set, 768*rng.IntN(2), 3072*rng.IntN(2), mutate)
	if err != nil {
		return err
	}
	lengths := []int{rng.IntN(4), rng.IntN(131), rng.IntN(301)}
	if rng.IntN(16) == 0 {
		lengths = append(lengths, 4096-rng.IntN(40))
	}
	for _, n := range lengths {
		if err := r.run(rng, n); err != nil {
			text, _ := r.code.Listing()
			return fmt.Errorf("%w\n%s", err, text)
		}
	}
	results(r.results)
	return nil
}

// TestFills holds fills of random graphs to what they say, and the planes of these to the evaluator.
func TestFills(t *testing.T) {
	n := uint64(1200)
	if testing.Short() {
		n = 400
	}
	for _, set := range sets(t) {
		t.Run(set.String(), func(t *testing.T) {
			finite, all := 0, 0
			for seed := range n {
				require.NoError(t, tryFills(seed, set, nil, func(results []float64) {
					for _, x := range results {
						all++
						if x-x == 0 {
							finite++
						}
					}
				}), "seed %d", seed)
			}
			require.Greater(t, finite, all/3, "of %d results", all)
		})
	}
}

// Every length has its own tail, and its own lanes.
func TestFillLengths(t *testing.T) {
	for _, set := range sets(t) {
		for seed := range uint64(8) {
			rng := rand.New(rand.NewPCG(seed, 4))
			f, fills := withFills(rng, 32)
			r, err := newTrial[float32](f, fills, seed%2 == 1, set, 0, 0, nil)
			require.NoError(t, err)
			for n := range 301 {
				require.NoError(t, r.run(rng, n), "%v, seed %d", set, seed)
			}
			for n := 4090; n <= 4096; n++ {
				require.NoError(t, r.run(rng, n), "%v, seed %d", set, seed)
			}
		}
	}
}

// What is no number, or is in a plane, is no fill, and a graph cannot read one.
func TestFillErrors(t *testing.T) {
	b := ir.NewBuilder("f", 32, []ir.Field{{Bank: elements, Name: "e.P"}, {Bank: elements, Index: 1, Name: "e.W", Type: ir.U32},
		{Bank: elements, Index: 2, Name: "t.F"}})
	f := b.Func([]ir.Value{b.Var(0), b.Var(1), b.Binary(ir.Add, b.Var(0), b.Var(2))})
	for v, want := range []string{"emit: f: the loop cannot sum e.P", "emit: f: the loop cannot sum e.W", "emit: f: t.F is in no plane"} {
		_, err := Compile(Loop{Func: f, Planes: []int{0}, Fills: []Fill{{Var: v}}, Varying: f.Varying(elements), Set: AVX2})
		require.EqualError(t, err, want)
	}
}

// isFills says whether an instruction is there because of fills.
func isFills(i *x86.Ins) bool {
	return strings.HasSuffix(i.Note, " +=") || strings.HasSuffix(i.Note, allLanes)
}

package emit

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/kernels/ir"
)

// neighbours are a number and those next to it.
func neighbours(x float32) [3]float32 {
	bits := math.Float32bits(x)
	return [3]float32{math.Float32frombits(bits - 1), x, math.Float32frombits(bits + 1)}
}

// corrected is root + inverse·(x - root²), by two operations that each round once.
func corrected(x, root, inverse float32) float32 {
	left := float32(float64(x) - float64(root)*float64(root)) // the difference has no more than 48 bits
	y := float64(inverse) * float64(left)
	sum := float64(root) + y
	const half, rest = 1 << 28, 1<<29 - 1 // of what float32 has not
	if rounded := y - (sum - float64(root)); math.Float64bits(sum)&rest == half && rounded != 0 {
		sum = math.Nextafter(sum, math.Copysign(math.Inf(1), rounded))
	}
	return float32(sum)
}

// HardRoots are all numbers whose roots depend on what the correction begins with.
func TestHardRoots(t *testing.T) {
	if testing.Short() {
		t.Skip("all numbers from 1 to 4")
	}
	var hard []uint32
	for bits := math.Float32bits(1); bits < math.Float32bits(4); bits++ {
		x := math.Float32frombits(bits)
		root := float32(math.Sqrt(float64(x)))
		for _, r := range neighbours(root) {
			for _, inverse := range neighbours(float32(0.5 / math.Sqrt(float64(x)))) {
				if corrected(x, r, inverse) != root && !slices.Contains(hard, bits) {
					hard = append(hard, bits)
				}
			}
		}
	}
	require.Equal(t, HardRoots, hard)
}

// Roots by estimates are the nearest numbers: of hard ones, of all kinds, and of many that are next to each other.
func TestRoots(t *testing.T) {
	if !slices.Contains(sets(t), AVX512Roots) {
		t.Skip("NOTE: no AVX-512 here")
	}
	b := ir.NewBuilder("root", 32, []ir.Field{{Bank: elements, Name: "e.P"}})
	f := b.Func([]ir.Value{b.Unary(ir.Sqrt, b.Var(0))})
	code, err := Compile(Loop{Func: f, Planes: []int{0}, Varying: f.Varying(elements), Set: AVX512Roots})
	require.NoError(t, err)
	loaded, err := exec.New(code.Text)
	require.NoError(t, err)
	block := make([]float32, Head)
	for i, bits := range HeadBits {
		block[i] = math.Float32frombits(uint32(bits >> 32))
	}
	x, y := make([]float32, 4096), make([]float32, 4096)
	check := func(n int) {
		copy(y, x[:n])
		p := (*byte)(unsafe.Pointer(&y[0]))
		loaded.Run(&p, (*byte)(unsafe.Pointer(&block[0])), nil, n)
		for i, got := range y[:n] {
			if want := float32(math.Sqrt(float64(x[i]))); math.Float32bits(got) != math.Float32bits(want) && (got == got || want == want) {
				t.Fatalf("the root of %v, %#x, of %d, is %v, want %v", x[i], math.Float32bits(x[i]), n, got, want)
			}
		}
	}
	n := 0
	for exponent := range uint32(127) { // next to their kind, as the divider makes all roots of a vector
		for range 16 {
			for _, bits := range HardRoots {
				if x[n] = math.Float32frombits(bits - 126<<23 + exponent<<24); n == len(x)-1 {
					check(n + 1)
					n = -1
				}
				n++
			}
		}
	}
	check(n)
	step := uint32(1)
	if testing.Short() {
		step = 31
	}
	n = 0
	for bits := math.Float32bits(1); bits < math.Float32bits(4); bits += step {
		x[n] = math.Float32frombits(bits)
		if n++; n == len(x) {
			check(n)
			n = 0
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		one := rng.IntN(2) // kind in most vectors
		for i := range x {
			if x[i] = math.Float32frombits(rng.Uint32()); one == 0 {
				x[i] = math.Float32frombits(rng.Uint32()&(1<<25-1) | uint32(rng.IntN(64))<<25)
			}
		}
		check(1 + rng.IntN(len(x)))
	}
}

// Roots are estimated where a vector has no more to do than the processor can beside a quotient.
func TestWithin(t *testing.T) {
	b := ir.NewBuilder("roots", 32, []ir.Field{{Bank: elements, Name: "x"}, {Bank: elements, Index: 1, Name: "g"}})
	root := b.Unary(ir.Sqrt, b.Var(0))
	f := b.Func([]ir.Value{root, b.Binary(ir.Div, b.Var(1), root)})
	for most, roots := range map[float64]map[string]int{RootOperations / 2: {"vrsqrt14ps": 1, "vsqrtps": 2}, RootOperations/2 - 0.5: {"vrsqrt14ps": 0, "vsqrtps": 2}} {
		code, err := Compile(Loop{Func: f, Planes: []int{0, 1}, Varying: f.Varying(elements), Set: AVX512Roots.Within(most)})
		require.NoError(t, err)
		text, err := code.Listing()
		require.NoError(t, err)
		requireCounts(t, text, roots)
	}
}

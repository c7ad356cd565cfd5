package rule_test

import (
	_ "embed"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed pow_test.go
var powSource string

type powIn struct{ X, Y float64 }
type powOut struct{ P, Rest float64 }

// power also subtracts what Pow returns, which is rounded and no product that needs a conversion.
func power(in *powIn, out *powOut) { out.P, out.Rest = rule.Pow(in.X, in.Y), 1-rule.Pow(in.X, in.Y) }

// powGraph is Pow as what runs on a device is made from: rule.Function compares it with the compiled function.
func powGraph(t *testing.T) func(x, y float64) float64 {
	f, err := rule.Function(power, powSource)
	require.NoError(t, err)
	return func(x, y float64) float64 {
		vars := []float64{x, y, 0, 0}
		ir.Eval(f, vars)
		return vars[2]
	}
}

func TestPow(t *testing.T) {
	graph := powGraph(t)
	nan, inf := math.NaN(), math.Inf(1)
	tests := []struct {
		name       string
		x, y, want float64
	}{
		{"power 0", 3, 0, 1}, {"power -0", 3, math.Copysign(0, -1), 1}, {"power 1", 0.3, 1, 0.3}, {"power -1", 3, -1, 1. / 3},
		{"square", 0.1, 2, 0.1 * float64(0.1)}, {"root", 7, 0.5, math.Sqrt(7)}, {"of 1", 1, 0.37, 1}, {"of 0", 0, 2, 0}, {"0 to the 0", 0, 0, 1},
		{"all digits of a whole", 2, 15, 32768}, {"least digit of a whole", 2, -15, 1. / 32768}, {"least root", 0x1p64, 0x1p-6, 2},
		{"overflow", 1e30, 15, inf}, {"underflow", 1e30, -15, 0},
		{"16", 1.5, 16, nan}, {"-16", 1.5, -16, nan}, {"y infinite", 1.5, inf, nan}, {"y NaN", 1.5, nan, nan}, {"x NaN", nan, 2, nan}, {"x below 0", -1, 2, nan},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := rule.Pow(tt.x, tt.y)
			same := func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b }
			require.True(t, same(tt.want, got), "%v^%v is %v, want %v", tt.x, tt.y, got, tt.want)
			require.True(t, same(got, graph(tt.x, tt.y)), "%v^%v is %v, by the graph %v", tt.x, tt.y, got, graph(tt.x, tt.y))
		})
	}
}

// exactPow is x to the power of y to 200 bits, where it is a normal number: every digit of y by a root or a square of its own.
func exactPow(x, y float64) *big.Float {
	number := func(x float64) *big.Float { return new(big.Float).SetPrec(300).SetFloat64(x) }
	p, power := number(1), number(x)
	whole, rest := math.Modf(math.Abs(y))
	for n := uint(whole); n > 0; n >>= 1 {
		if n&1 != 0 {
			p.Mul(p, power)
		}
		power.Mul(power, power)
	}
	for power = number(x); rest > 0; rest = 2*rest - math.Floor(2*rest) {
		power.Sqrt(power)
		if 2*rest >= 1 {
			p.Mul(p, power)
		}
	}
	if y < 0 {
		p.Quo(number(1), p)
	}
	return p
}

// The bound is the one that Pow states.
func TestPowIsAccurate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	between := func(lo, hi float64) float64 { return lo + (hi-lo)*rng.Float64() }
	kinds := []struct {
		name string
		x, y func() float64
	}{
		{"any x", func() float64 { return math.Exp2(between(-1022, 1023.9)) }, func() float64 { return between(-0.99, 0.99) }},
		{"any y", func() float64 { return math.Exp2(between(-63, 63)) }, func() float64 { return between(-16, 16) }},
		{"least bit of y", func() float64 { return math.Exp2(between(-63, 63)) }, func() float64 { return math.Nextafter(float64(rng.IntN(15)+1), 0) }},
		{"x near 1", func() float64 { return 1 + math.Exp2(between(-52, 0)) }, func() float64 { return between(-16, 16) }},
		{"small y", func() float64 { return math.Exp2(between(-1022, 1023.9)) }, func() float64 { return math.Exp2(between(-60, 0)) }},
		{"a learning rate's decay", func() float64 { return 1 + between(0, 1e3) }, func() float64 { return between(0, 2) }},
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			worst := 0.0
			for range 1000 {
				x, y := kind.x(), kind.y()
				got, want := rule.Pow(x, y), exactPow(x, y)
				e := new(big.Float).Sub(new(big.Float).SetFloat64(got), want)
				relative, _ := e.Quo(e, want).Float64()
				worst = max(worst, math.Abs(relative))
				require.LessOrEqual(t, math.Abs(relative), 8e-15, "%v^%v is %v, want %v", x, y, got, want)
			}
			t.Logf("largest relative error: %.3g", worst)
		})
	}
}

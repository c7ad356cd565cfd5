package elementary_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/optim/internal/elementary"
)

// The true values, in 240 bits: more than the 53 of a float64 and the 104 of what is under test.

func number(x float64) *big.Float { return new(big.Float).SetPrec(240).SetFloat64(x) }

func add(a, b *big.Float) *big.Float { return number(0).Add(a, b) }
func sub(a, b *big.Float) *big.Float { return number(0).Sub(a, b) }
func mul(a, b *big.Float) *big.Float { return number(0).Mul(a, b) }
func quo(a, b *big.Float) *big.Float { return number(0).Quo(a, b) }

// series sums terms, each the one before times x and factor(k), until they no longer count.
func series(term, x *big.Float, factor func(k float64) *big.Float) *big.Float {
	total := number(0)
	for k := 1.0; term.Sign() != 0 && (total.Sign() == 0 || term.MantExp(nil) > total.MantExp(nil)-240); k++ {
		total = add(total, term)
		term = mul(mul(term, x), factor(k))
	}
	return total
}

// artanh is half of ln((1+x)/(1-x)).
func artanh(x *big.Float) *big.Float {
	squared, total := mul(x, x), number(0)
	term := x
	for k := 1.0; term.Sign() != 0 && (k == 1 || term.MantExp(nil) > total.MantExp(nil)-240); k += 2 {
		total = add(total, quo(term, number(k)))
		term = mul(term, squared)
	}
	return total
}

var ln2 = mul(number(2), artanh(quo(number(1), number(3))))

// pi is Machin's: 16·arctan(1/5) - 4·arctan(1/239).
var pi = func() *big.Float {
	arctan := func(n float64) *big.Float {
		total, term := number(0), quo(number(1), number(n))
		for k := 1.0; k < 400; k += 2 {
			total = add(total, quo(term, number(k)))
			term = quo(term, number(-n*n))
		}
		return total
	}
	return sub(mul(number(16), arctan(5)), mul(number(4), arctan(239)))
}()

func ln(x float64) *big.Float {
	f := number(0)
	e := number(x).MantExp(f)
	l := artanh(quo(sub(f, number(1)), add(f, number(1))))
	return add(mul(number(2), l), mul(number(float64(e)), ln2))
}

func exp(y *big.Float) *big.Float {
	k, _ := quo(y, ln2).Int64()
	r := sub(y, mul(number(float64(k)), ln2))
	e := series(number(1), r, func(k float64) *big.Float { return quo(number(1), number(k)) })
	return number(0).SetMantExp(e, int(k))
}

func halfCosine(x float64) *big.Float {
	t := mul(mul(pi, number(x)), number(0.5))
	s := series(t, mul(t, t), func(k float64) *big.Float { return quo(number(-1), number(2*k*(2*k+1))) })
	return mul(s, s)
}

func pow(x, y float64) *big.Float { return exp(mul(ln(x), number(y))) }

func power(x float64, n int) *big.Float {
	p, square := number(1), number(x)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			p = mul(p, square)
		}
		square = mul(square, square)
	}
	return p
}

// ulps is how far got is from want, in units in got's last place.
func ulps(got float64, want *big.Float) float64 {
	_, e := math.Frexp(got)
	unit := math.Ldexp(1, max(e-53, -1074))
	off, _ := quo(sub(number(got), want), number(unit)).Float64()
	return math.Abs(off)
}

// N7: every function is within half a unit in the last place of the true value, or as good as that.
func TestAccuracy(t *testing.T) {
	const samples = 1500
	r := rand.New(rand.NewPCG(7, 11))
	inside := func() float64 { return max(r.Float64(), 0x1p-53) }
	worst := map[string]float64{}
	hold := func(name string, got float64, want *big.Float, args ...any) {
		off := ulps(got, want)
		worst[name] = max(worst[name], off)
		bound := 0.5001
		if got < 0x1p-1022 {
			bound = 1
		}
		if !(off <= bound) {
			t.Errorf("%s%v is %v (%x), truly %.20g: %.4f units apart", name, args, got, got, want, off)
		}
	}
	for i := range samples {
		for _, x := range []float64{inside(), 1 - inside()*0x1p-20, inside() * 0x1p-30, float64(i) / samples} {
			hold("HalfCosine", elementary.HalfCosine(x), halfCosine(x), x)
		}
	}
	for i := range samples {
		for _, x := range []float64{inside(), 1 - inside()*0x1p-20, inside() * 0x1p-30, float64(i+1) / samples, math.Ldexp(inside(), -1000)} {
			for _, y := range []float64{0.5, 1.7, 4 * r.Float64(), math.Ldexp(r.Float64(), r.IntN(40)-20)} {
				if want := pow(x, y); want.MantExp(nil) > -1074 {
					hold("Pow", elementary.Pow(x, y), want, x, y)
				}
			}
		}
	}
	for range samples {
		for _, x := range []float64{inside(), 1 - inside()*0x1p-20, 2 * inside(), 1 + inside()*0x1p-20, math.Ldexp(inside(), r.IntN(2000)-1000)} {
			for _, n := range []int{r.IntN(20), r.IntN(2000), r.IntN(1 << 30)} {
				if want := power(x, n); !want.IsInf() && want.Sign() != 0 && want.MantExp(nil) > -1074 && want.MantExp(nil) < 1024 {
					hold("Power", elementary.Power(x, n), want, x, n)
				}
			}
		}
	}
	for range samples {
		a, b := 1-math.Ldexp(inside(), -r.IntN(40)), 1-math.Ldexp(inside(), -r.IntN(40))
		if a > 0 && b > 0 && a < 1 && b < 1 {
			hold("LogRatio", elementary.LogRatio(a, b), quo(ln(a), ln(b)), a, b)
		}
	}
	require.Len(t, worst, 4)
	t.Logf("at most this many units in the last place apart: %v", worst)
}

// What has an exact value has it.
func TestExact(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"half a cosine of 0", elementary.HalfCosine(0), 0},
		{"of 1/2", elementary.HalfCosine(0.5), 0.5},
		{"of 1", elementary.HalfCosine(1), 1},
		{"0 to the power of 0", elementary.Pow(0, 0), 1},
		{"0 to the power of 0.3", elementary.Pow(0, 0.3), 0},
		{"1 to a large power", elementary.Pow(1, math.MaxFloat64), 1},
		{"x to a large power", elementary.Pow(0.5, math.MaxFloat64), 0},
		{"x to a tiny power", elementary.Pow(0.5, math.SmallestNonzeroFloat64), 1},
		{"the smallest number", elementary.Pow(0x1p-1074, 1), 0x1p-1074},
		{"half of it", elementary.Pow(0x1p-1074, 1.01), 0},
		{"0^0", elementary.Power(0, 0), 1},
		{"0^3", elementary.Power(0, 3), 0},
		{"2^1023", elementary.Power(2, 1023), 0x1p1023},
		{"2^1024", elementary.Power(2, 1024), math.Inf(1)},
		{"1^huge", elementary.Power(1, math.MaxInt), 1},
		{"2^huge", elementary.Power(2, math.MaxInt), math.Inf(1)},
		{"0.5^huge", elementary.Power(0.5, math.MaxInt), 0},
		{"0.5^1074", elementary.Power(0.5, 1074), 0x1p-1074},
		{"(-0.5)^3", elementary.Power(-0.5, 3), -0.125},
		{"the ratio of equal logarithms", elementary.LogRatio(0.9, 0.9), 1},
		{"of a square's", elementary.LogRatio(0.25, 0.5), 2},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	for k := range 1001 {
		x := float64(k) / 1000
		require.Equal(t, math.Sqrt(x), elementary.Pow(x, 0.5), "√%v", x)
		require.Equal(t, x, elementary.Pow(x, 1), "%v", x)
		require.Equal(t, x*x, elementary.Pow(x, 2), "%v", x)
		require.Equal(t, x*x, elementary.Power(x, 2), "%v", x)
	}
}

func BenchmarkFunctions(b *testing.B) {
	for name, f := range map[string]func(x float64) float64{
		"HalfCosine": elementary.HalfCosine,
		"Pow":        func(x float64) float64 { return elementary.Pow(x, 1.7) },
		"Power":      func(x float64) float64 { return elementary.Power(x, 12345) },
	} {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				sink = f(float64(i&1023) / 1024)
			}
		})
	}
}

var sink float64

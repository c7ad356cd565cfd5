package optim_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/optim"
)

// decays returns those that fall from 1 to least over steps.
func decays(steps int, least float64) map[string]optim.Schedule {
	return map[string]optim.Schedule{
		"linear":         optim.Linear{Steps: steps, Min: least},
		"polynomial":     optim.Polynomial{Steps: steps, Power: 2.5, Min: least},
		"polynomial 0.3": optim.Polynomial{Steps: steps, Power: 0.3, Min: least},
		"cosine":         optim.Cosine{Steps: steps, Min: least},
		"1-sqrt":         optim.OneMinusSqrt{Steps: steps, Min: least},
	}
}

// Decays start at 1, end at Min, to the last bit, never rise on the way, and stay.
func TestDecaysFall(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, steps := range []int{0, 1, 2, 3, 10, 1000, 12345} {
		for range 20 {
			least := rng.Float64() * math.Pow(10, -6*rng.Float64())
			for name, s := range decays(steps, least) {
				before := 1.0
				for k := range steps {
					f := s.Factor(k)
					if f > before || f < least || k == 0 && f != 1 {
						t.Fatalf("%s of %d steps to %v: step %d: %v after %v", name, steps, least, k, f, before)
					}
					before = f
				}
				for _, k := range []int{steps, steps + 1, 2*steps + 1, math.MaxInt} {
					require.Equal(t, least, s.Factor(k), "%s of %d steps: step %d", name, steps, k)
				}
			}
		}
	}
}

// Where a rate is all but 0 its digits are right: with n steps cos(π·(n-1)/n) would leave about 16 - 2·log10(n) of them.
func TestDecaysDoNotCancel(t *testing.T) {
	const n = 1e6
	x := math.Pi / (2 * n) // sin²x = x² - x⁴/3 + …
	require.InEpsilon(t, x*x-x*x*x*x/3, optim.Cosine{Steps: n}.Factor(n-1), 20*unit)
	y := 1. / n // 1-√(1-y) = y/2 + y²/8 + y³/16 + …
	require.InEpsilon(t, y/2+y*y/8+y*y*y/16, optim.OneMinusSqrt{Steps: n}.Factor(n-1), 20*unit)
	require.InEpsilon(t, 1-1e-3, optim.OneMinusSqrt{Steps: n}.Factor(1), 20*unit)
}

// Powers are rounded once, however high.
func TestPowersOfGamma(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	gammas := []float64{0, 1, 0.5, 0.1, 0.9, 0.99, 0.999, 0.9999, 0.999999, math.Nextafter(1, 0), math.Nextafter(1, 2), 1.0001}
	for range 50 {
		gammas = append(gammas, math.Exp(-8*rng.Float64()*rng.Float64()))
	}
	for _, gamma := range gammas {
		for _, k := range []int{0, 1, 2, 3, 7, 30, 100, 1000, 12_345, 100_000, 1_000_000, min(1<<40, math.MaxInt)} {
			got := optim.Exponential{Gamma: gamma}.Factor(k)
			exact := big.NewFloat(1).SetPrec(200)
			square := big.NewFloat(gamma).SetPrec(200)
			for n := k; n > 0; n >>= 1 {
				if n&1 == 1 {
					exact.Mul(exact, square)
				}
				square.Mul(square, square)
			}
			want, _ := exact.Float64()
			switch {
			case want > math.MaxFloat64:
				require.False(t, got <= math.MaxFloat64, "%v^%d: a step must refuse it", gamma, k)
			case want < 0x1p-960:
				require.LessOrEqual(t, got, 0x1p-959, "%v^%d", gamma, k) // down there the lower half of a sum runs out of digits
			case math.Abs(got-want) > 2*unit*want || (k < 2 && got != want):
				t.Errorf("%v^%d is %v, exactly %v", gamma, k, got, want)
			}
		}
	}
}

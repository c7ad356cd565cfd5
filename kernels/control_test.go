package kernels_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels"
)

// The scale behind a step is rounded to float32 as a conversion rounds. A BackoffFactor of 1 shows that of any number.
func TestControlRoundsToFloat32(t *testing.T) {
	rounded := func(x float64) float64 {
		in := kernels.ControlIn{Scaler: 1, Scale: x, BackoffFactor: 1, MinScale: math.Inf(-1), Measured: math.NaN()}
		var out kernels.ControlOut
		kernels.Control(&in, &out)
		return out.Scale
	}
	try := func(x float64) {
		for _, x := range []float64{x, -x, math.Nextafter(x, 0), math.Nextafter(x, math.Inf(1))} {
			if x != x {
				continue
			}
			if got, want := rounded(x), float64(float32(x)); got != want {
				t.Fatalf("%x: got %x, want %x", x, got, want)
			}
		}
	}
	rng := rand.New(rand.NewPCG(31, 1))
	for range 200_000 {
		bits := rng.Uint32()
		x, next := math.Float32frombits(bits), math.Float32frombits(bits+1)
		try(float64(x))
		try((float64(x) + float64(next)) / 2) // a tie
		try(math.Float64frombits(rng.Uint64()))
		try(math.Ldexp(rng.Float64(), rng.IntN(40)-155)) // around the least
	}
	for _, x := range []float64{0, math.Inf(1), math.MaxFloat64, math.MaxFloat32, 0x1.ffffffp127, 0x1p128, 0x1p-149, 0x1p-150, 0x3p-150, 0x1p-126, 0x1.fffffep-127, 0x1.ffffffp-127} {
		try(x)
	}
}

// megatron is Megatron-LM's DynamicGradScaler, with a scale of float32.
type megatron struct {
	scale, min, growth, backoff   float64
	interval, hysteresis          int
	growthTracker, hysteresisLeft int
}

func (m *megatron) update(found bool) {
	if found {
		m.growthTracker = 0
		if m.hysteresisLeft--; m.hysteresisLeft <= 0 {
			m.scale = math.Max(float64(float32(m.scale*m.backoff)), m.min)
		}
		return
	}
	if m.growthTracker++; m.growthTracker == m.interval {
		m.growthTracker, m.hysteresisLeft = 0, m.hysteresis
		m.scale = float64(float32(m.scale * m.growth))
	}
}

// Megatron's hysteresis and least scale, through every sequence of 12 steps.
func TestMegatronHysteresis(t *testing.T) {
	for hysteresis := 1; hysteresis <= 3; hysteresis++ {
		for sequence := range 1 << 12 {
			m := megatron{64, 16, 2, 0.5, 3, hysteresis, 0, hysteresis}
			in := kernels.ControlIn{Scaler: 1, SkipNonFinite: 1, GrowthFactor: 2, BackoffFactor: 0.5, GrowthInterval: 3, MinScale: 16,
				Hysteresis: float64(hysteresis), Scale: 64, HysteresisTracker: float64(hysteresis)}
			for k := range 12 {
				found := sequence>>k&1 == 1
				in.Measured = 1
				if found {
					in.Measured = math.NaN()
				}
				var out kernels.ControlOut
				kernels.Control(&in, &out)
				unscale := 1 / m.scale
				m.update(found)
				want := [...]float64{unscale, m.scale, float64(m.growthTracker), float64(m.hysteresisLeft)}
				got := [...]float64{out.Unscale, out.Scale, out.GrowthTracker, out.HysteresisTracker}
				if got != want || found != (out.Skip == 1) || in.Applied+in.Skipped != float64(k) {
					t.Fatalf("step %d of %b, hysteresis %d: got %v, want %v; %+v", k, sequence, hysteresis, got, want, out)
				}
				in.Scale, in.GrowthTracker, in.HysteresisTracker, in.Applied, in.Skipped = out.Scale, out.GrowthTracker, out.HysteresisTracker, out.Applied, out.Skipped
			}
		}
	}
}

// What is skipped: what is not finite, and what is above a limit, of the norm after unscaling.
func TestControlSkips(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, tt := range []struct {
		measured, scaler, nonFinite, above float64
		skip, found, norm                  float64
	}{
		{measured: 8, norm: 8}, {measured: inf, found: 1, norm: inf}, {measured: nan, found: 1, norm: nan},
		{measured: inf, nonFinite: 1, skip: 1, found: 1, norm: inf}, {measured: 8, nonFinite: 1, norm: 8},
		{measured: 8, above: 8, norm: 8}, {measured: 8, above: 7.5, skip: 1, norm: 8}, {measured: nan, above: 7, skip: 1, found: 1, norm: nan},
		{measured: inf, above: 7, skip: 1, found: 1, norm: inf},
		{measured: 8, scaler: 1, above: 2, norm: 2}, {measured: 8, scaler: 1, above: 1.5, skip: 1, norm: 2},
	} {
		in := kernels.ControlIn{Measured: tt.measured, Scaler: tt.scaler, Scale: 4, SkipNonFinite: tt.nonFinite, SkipAbove: tt.above, GrowthInterval: 9}
		var out kernels.ControlOut
		kernels.Control(&in, &out)
		require.Equal(t, [...]float64{tt.skip, tt.found}, [...]float64{out.Skip, out.FoundInf}, "%+v", tt)
		require.True(t, out.Norm == tt.norm || tt.norm != tt.norm && out.Norm != out.Norm, "%+v", tt)
		if tt.scaler == 0 {
			require.Equal(t, [...]float64{4, 0, 1}, [...]float64{out.Scale, out.GrowthTracker, out.Unscale}, "%+v", tt)
		}
		require.Equal(t, [...]float64{1 - tt.skip, tt.skip}, [...]float64{out.Applied, out.Skipped}, "%+v", tt)
	}
	in := kernels.ControlIn{Measured: 1, Scaler: 1, Scale: 0x1p-130, SkipNonFinite: 1, GrowthInterval: 9} // 1/scale is none of float32
	var out kernels.ControlOut
	kernels.Control(&in, &out)
	require.Equal(t, [...]float64{1, 1}, [...]float64{out.Skip, out.FoundInf})
}

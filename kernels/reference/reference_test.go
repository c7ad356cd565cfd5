package reference_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

func memory[T device.Element](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(x[0])))
}

// TestMap holds the evaluator's step to the rule and the formats as the Go compiler made them, on more elements than are evaluated at a
// time.
func TestMap(t *testing.T) {
	const n = 9000
	adam := rules.AdamRule().With(rules.AdamHyper{LR: 0.1, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8}, rules.AdamOptions{AMSGrad: true})
	lion := rules.LionRule().With(rules.LionHyper{LR: 0.1, Beta1: 0.9, Beta2: 0.99}, rules.LionOptions{})
	for _, s := range []kernels.Spec{
		{Rule: adam.Rule, Options: adam.Options, Around: rule.Penalties, Compute: device.Float32},
		{Rule: adam.Rule, Options: adam.Options, Compute: device.Float32, Formats: "param=bf16 grad=f16 exp_avg=bf16"},
		{Rule: lion.Rule, Compute: device.Float32, Formats: "grad=f16 exp_avg=f16"},
		{Rule: lion.Rule, Compute: device.Float32, Formats: "param=bf16+f32 grad=f16"},
		{Rule: adam.Rule, Options: adam.Options, Compute: device.Float32, Formats: "param=bf16+i16 exp_avg=f16"},
		{Rule: lion.Rule, Compute: device.Float32, Formats: "param=bf16+i8"},
		{Rule: lion.Rule, Around: rule.ClipValue | rule.EMA | rule.ZeroGrad, Compute: device.Float32},
		{Rule: lion.Rule, Around: rule.ClipValue | rule.EMA | rule.ZeroGrad, Compute: device.Float32, Formats: "param=bf16 grad=f16 ema=bf16"},
	} {
		p, err := kernels.New(s)
		require.NoError(t, err)
		hyper := map[*rule.Rule][]float64{adam.Rule: adam.Hyper, lion.Rule: lion.Hyper}[s.Rule]
		step := kernels.GroupStep{Hyper: hyper, Scale: -1, MaxNorm: 1, L1: 0.1, WeightDecay: 0.2, DecoupledDecay: 0.3, ClipValue: 0.5, EMADecay: 0.9}
		counters, again := p.InitialCounters(), p.InitialCounters()
		for _, of := range [][]float64{counters, again} { // the second step, as an average begins with the first
			p.RunScalars(&step, 3, 0.75, of, make([]float64, p.NumScalars()))
		}

		rng := rand.New(rand.NewPCG(1, 2))
		pass := rule.Pass[float32]{Slots: make([][]float32, len(s.SlotNames())), Options: s.Options, Around: s.Around}
		pass.Loads, pass.Stores = p.RuleSlots(0)
		var planes [][]byte
		var got reference.Tensor
		for _, plane := range p.Planes {
			x := make(reference.Plane, n)
			for i := range x {
				if x[i] = reference.Bits(plane.DType, rng.NormFloat64()); plane.Name == "remainder" {
					x[i] = rng.Uint64() >> (64 - 8*plane.DType.Size())
				}
			}
			got.Planes = append(got.Planes, x)
			switch plane.DType.Size() {
			case 4:
				planes = append(planes, memory(reference.Elements[float32](x)))
			case 2:
				planes = append(planes, memory(reference.Elements[uint16](x)))
			default:
				planes = append(planes, memory(reference.Elements[int8](x)))
			}
		}
		for _, slot := range p.Slots {
			pass.Slots[slot.Index] = make([]float32, n)
			format.Load(slot.Format, pass.Slots[slot.Index], planes[slot.Plane:][:slot.Format.NumPlanes()])
		}
		out := make([]float64, p.NumScalars())
		p.RunScalars(&step, 3, 0.75, again, out)
		var rounded []float32
		for _, x := range out {
			rounded = append(rounded, float32(x))
		}
		own := len(s.Rule.Scalars)
		pass.Scalars, pass.Shared = rounded[:own], rule.SharedOf(rounded[own:])
		rule.Apply(s.Rule, &pass)
		for _, slot := range p.Slots {
			format.Store(slot.Format, planes[slot.Plane:][:slot.Format.NumPlanes()], pass.Slots[slot.Index], nil)
		}

		reference.Update(p, step, 3, 0.75, counters, []reference.Tensor{got})
		require.Equal(t, again, counters)
		for k, plane := range p.Planes {
			for i, x := range got.Planes[k] {
				var want uint64
				switch plane.DType.Size() {
				case 4:
					want = reference.BitsOf(*(*float32)(unsafe.Pointer(&planes[k][4*i])))
				case 2:
					want = reference.BitsOf(*(*uint16)(unsafe.Pointer(&planes[k][2*i])))
				default:
					want = reference.BitsOf(*(*int8)(unsafe.Pointer(&planes[k][i])))
				}
				if !reference.Same(plane.DType, x, want) {
					t.Fatalf("%s: %s[%d] is %s, want %s", p, p.PlaneName(k), i, reference.Text(plane.DType, x), reference.Text(plane.DType, want))
				}
			}
		}
	}
}

func TestBits(t *testing.T) {
	for _, tt := range []struct {
		t    device.DType
		x    float64
		want uint64
	}{
		{device.Float32, 1, 0x3f800000}, {device.Float64, 1, 0x3ff0000000000000}, {device.BFloat16, 1, 0x3f80}, {device.Float16, 1, 0x3c00},
		{device.BFloat16, 1 + 0x1p-8, 0x3f80}, {device.BFloat16, 1 + 0x3p-8, 0x3f82}, {device.Float16, 65520, 0x7c00},
		{device.BFloat16, math.Inf(-1), 0xff80}, {device.Int16, -2, 0xfffe}, {device.Int8, -128, 0x80},
	} {
		require.Equal(t, tt.want, reference.Bits(tt.t, tt.x), "%s %v", tt.t, tt.x)
	}
	for _, dtype := range []device.DType{device.Float32, device.Float64, device.BFloat16, device.Float16} {
		nan := reference.Bits(dtype, math.NaN())
		require.True(t, math.IsNaN(reference.Value(dtype, nan)), dtype)
		require.True(t, reference.Same(dtype, nan, nan^1), "NaN is NaN")
		require.False(t, reference.Same(dtype, nan, 0))
		require.False(t, reference.Same(dtype, 0, 1<<(8*dtype.Size()-1)), "zeros have signs")
	}
}

// A remainder is part of a NaN's payload, and of no number.
func TestAgree(t *testing.T) {
	p, err := kernels.New(kernels.Spec{Rule: rules.LionRule().Rule, Compute: device.Float32, Formats: "param=bf16+i16"})
	require.NoError(t, err)
	weight := p.Slot(rule.Param)
	for _, tt := range []struct {
		weight, remainder, got uint64
		want                   bool
	}{{0x3f80, 5, 5, true}, {0x3f80, 5, 6, false}, {0x7f80, 0, 1, false}, {0x7fc0, 0, 1, true}} {
		agree := reference.Agree(p, p.Slots[weight].Plane+1, tt.got, func(plane int) uint64 {
			return map[int]uint64{p.Slots[weight].Plane: tt.weight, p.Slots[weight].Plane + 1: tt.remainder}[plane]
		})
		require.Equal(t, tt.want, agree, "%+v", tt)
	}
}

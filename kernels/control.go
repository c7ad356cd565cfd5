package kernels

import (
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// ControlOut is what is made of the norm of a step's gradients: what the step is given, and the state behind it.
type ControlOut struct {
	Norm     float64 // of the gradients after unscaling
	Unscale  float64 // what the gradients are multiplied by: 1/Scale, rounded to float32; 1 without a scaler
	Skip     float64 // 1: the step changes nothing; 0: it is applied
	FoundInf float64 // 1: a gradient is NaN or infinite, or somebody else has found one; 0: none is

	Scale, GrowthTracker, HysteresisTracker, Applied, Skipped float64 // as in ControlIn, behind the step
}

// ControlIn is what that is made from. Zeros are no scaler, and nothing skipped.
type ControlIn struct {
	// The state before the step.
	Scale             float64 // that the loss was multiplied by, a float32
	GrowthTracker     float64 // steps in a row in which all was finite
	HysteresisTracker float64 // steps that may still overflow before Scale falls; 1, 0 and less: the next one makes it fall
	Applied, Skipped  float64 // steps

	// The settings.
	Scaler         float64 // 1: there is one; 0: there is none, and Scale and trackers stay
	GrowthFactor   float64
	BackoffFactor  float64
	GrowthInterval float64 // steps
	Hysteresis     float64 // steps
	MinScale       float64
	SkipNonFinite  float64 // 1: a step is skipped where FoundInf is 1
	SkipAbove      float64 // a step is skipped where Norm is NaN or above it; 0: none is
	Found          float64 // above 0: somebody else has found a NaN or an infinity, as torch's found_inf says

	Measured float64 // the norm of the gradients as they are in memory
}

// Words of Step.Control: a ControlOut, and a ControlIn behind it. What updates read comes first.
const (
	ControlNorm    = iota // ControlOut.Norm
	ControlUnscale        // ControlOut.Unscale
	ControlSkip           // ControlOut.Skip
	ControlFoundInf
	ControlNext      // ControlOut.Scale: the first word of the state behind the step
	ControlState = 9 // ControlIn.Scale: the first word of the state
	ControlWords = 9 + 15

	ControlStateWords = 5                // of the state, in the same order in both
	ControlFound      = ControlWords - 2 // ControlIn.Found
	controlMeasured   = ControlWords - 1
)

// controlOf are the words as what Control takes, in place.
func controlOf(words []float64) (*ControlIn, *ControlOut) {
	words = words[:ControlWords]
	return (*ControlIn)(unsafe.Pointer(&words[ControlState])), (*ControlOut)(unsafe.Pointer(&words[0]))
}

// RunControl is what Norm's last Scalars does with Step.Control once the norm is known, by the compiled functions, whose bits are the same.
func RunControl(words []float64, norm float64) {
	in, out := controlOf(words)
	in.Measured = norm
	Control(in, out)
}

// CommitControl makes the state behind the step the state.
func CommitControl(words []float64) {
	copy(words[ControlState:][:ControlStateWords], words[ControlNext:])
}

// NewControl allocates a Step.Control of zeros: there is no scaler, and nothing is skipped.
func NewControl(dev *device.Device) (*device.Buffer, error) {
	b, err := dev.Alloc(device.Float64, ControlWords)
	if err != nil {
		return nil, err
	}
	s := dev.DefaultStream()
	if err = s.Zero(b); err == nil {
		err = s.Synchronize()
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Control decides what becomes of a step. It is written as a prologue is, so that a device can run it. It writes none of what it reads, so
// that gradients can be measured again: the state behind the step becomes the state when the step has been enqueued, by Step.Commit.
//
// The sum of the squares, and so the norm, is finite exactly where all gradients are: see SumSquares. A norm that is not finite after
// unscaling alone, by a scale that has fallen below 2⁻¹²⁸, counts as found too.
//
// Scale and GrowthTracker go as torch.amp.GradScaler's update has it: the scale falls by BackoffFactor where something was found, and rises by
// GrowthFactor after GrowthInterval steps in a row without, unless float32 cannot hold that. Hysteresis and MinScale are those of Megatron-LM's
// DynamicGradScaler: the scale falls with the Hysteresis-th step that overflows since it last grew, and with each one after that, and not below
// MinScale. Torch has a Hysteresis of 1 and a MinScale of 0.
func Control(in *ControlIn, out *ControlOut) {
	out.Unscale = 1
	if in.Scaler == 1 {
		out.Unscale = toFloat32(1 / in.Scale)
	}
	out.Norm = float64(in.Measured * out.Unscale)
	out.FoundInf = 1
	if out.Norm <= 0x1.fffffffffffffp1023 {
		out.FoundInf = 0
	}
	if in.Found > 0 {
		out.FoundInf = 1
	}
	out.Skip = 0
	if in.SkipNonFinite == 1 && out.FoundInf == 1 {
		out.Skip = 1
	}
	if in.SkipAbove > 0 && !(out.Norm <= in.SkipAbove) {
		out.Skip = 1
	}
	out.Applied, out.Skipped = in.Applied, in.Skipped
	if out.Skip == 1 {
		out.Skipped = in.Skipped + 1
	} else {
		out.Applied = in.Applied + 1
	}
	out.Scale, out.GrowthTracker, out.HysteresisTracker = in.Scale, in.GrowthTracker, in.HysteresisTracker
	factor := in.GrowthFactor
	if out.FoundInf == 1 {
		factor = in.BackoffFactor
	}
	next := toFloat32(float64(in.Scale * factor))
	if in.Scaler == 1 {
		if out.FoundInf == 1 {
			out.GrowthTracker = 0
			out.HysteresisTracker = in.HysteresisTracker - 1
			if out.HysteresisTracker <= 0 {
				out.Scale = rule.Max(next, in.MinScale)
			}
		} else {
			out.GrowthTracker = in.GrowthTracker + 1
			if out.GrowthTracker == in.GrowthInterval {
				out.GrowthTracker, out.HysteresisTracker = 0, in.Hysteresis
				if next <= 0x1.fffffep127 {
					out.Scale = next
				}
			}
		}
	}
}

// toFloat32 is x rounded to float32, to nearest even, as a conversion is.
//
// |x|·(1-2⁻⁵³), rounded, is one ulp less than |x|, or half of one where x is a power of two (as in the ufp of Rump 2009, "Ultimately fast accurate
// summation"). 1.5·2⁸¹ ulps are c, whose last bit is the last of the upper 24 of x. So x + c is rounded to these, and c is an even number of them,
// so that a tie goes to the even one. Half an ulp is as good: a power of two has nothing to round. No bit of a float32 is below 2⁻¹⁴⁹.
func toFloat32(x float64) float64 {
	a := rule.Abs(x)
	ulp := a - float64(a*(1-0x1p-53))
	if ulp < 0x1p-178 {
		ulp = 0x1p-178 // that of 2⁻¹²⁶
	}
	c := float64(ulp * 0x1.8p81)
	near := (x + c) - c
	if a >= 0x1.ffffffp127 {
		near = float64(x * 0x1p1000) // infinite, with x's sign
	}
	return near
}

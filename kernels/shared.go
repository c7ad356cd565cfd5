package kernels

import "github.com/fusestep/fusestep/kernels/rule"

// SharedIn is what the shared scalars of a group are made from.
type SharedIn struct {
	Scale          float64 // the gradient's: -1 maximises
	Norm           float64 // global norm of the gradients, unscaled; 0 where nothing is clipped
	Unscale        float64 // what the gradients of a scaled loss are multiplied by; 1 where it is not scaled
	MaxNorm        float64 // +Inf where nothing is clipped
	LR             float64
	DecoupledDecay float64
	WeightDecay    float64
	L1             float64
	ClipValue      float64
	EMADecay       float64
	Step           float64 // which step this is: 1 is the first. 0 where the program does not count.
}

// SharedOut are the scalars that every program has beside its rule's: a rule.Shared.
type SharedOut struct {
	GradScale, Decay, WeightDecay, L1, ClipValue, EMADecay, OneMinusEMADecay float64
}

// sharedNames are the fields of SharedOut and rule.Shared, in order, as the fields of bank rule.SharedBank.
var sharedNames = []string{"gradScale", "decay", "weightDecay", "l1", "clipValue", "emaDecay", "oneMinusEMADecay"}

// Shared computes the shared scalars. It is written as a prologue is, so that a device can run it.
//
// The gradient's factor clips by the global norm (Pascanu et al. 2013) as torch.nn.utils.clip_grad_norm_ does: gradients are
// multiplied by max_norm / (norm + 1e-6) where that is below 1. A NaN or infinite norm is not hidden, but a max_norm of +Inf clips
// nothing, whatever the norm. Decay is AdamW's factor of the parameter (Loshchilov & Hutter 2019).
// The first step's average is the parameter, as torch.optim.swa_utils.AveragedModel's is.
func Shared(in *SharedIn, out *SharedOut) {
	out.GradScale = in.Scale * in.Unscale
	if in.MaxNorm <= 0x1.fffffffffffffp1023 {
		out.GradScale = float64(in.Scale*in.Unscale) * rule.Min(in.MaxNorm/(in.Norm+1e-6), 1)
	}
	out.Decay = 1 - float64(in.LR*in.DecoupledDecay)
	out.WeightDecay, out.L1, out.ClipValue = in.WeightDecay, in.L1, in.ClipValue
	out.EMADecay = in.EMADecay
	if in.Step == 1 {
		out.EMADecay = 0
	}
	out.OneMinusEMADecay = 1 - out.EMADecay
}

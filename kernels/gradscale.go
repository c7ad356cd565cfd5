package kernels

import (
	_ "embed"
	"sync"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed gradscale.go
var gradScaleSource string

// GradScaleGraph is GradScale for a device to run.
var GradScaleGraph = sync.OnceValue(func() *ir.Func {
	f, err := rule.Function(GradScale, gradScaleSource)
	if err != nil {
		panic(err)
	}
	return f
})

// GradScaleIn is what the gradient scale of a group is made from.
type GradScaleIn struct {
	Scale   float64 // the group's own: -1 maximises
	Norm    float64 // global norm of the gradients; 0 where nothing is clipped
	MaxNorm float64 // +Inf where nothing is clipped
}

// GradScaleOut is the one number that multiplies every gradient of a group.
type GradScaleOut struct{ GradScale float64 }

// GradScale clips by the global norm (Pascanu et al. 2013) as torch.nn.utils.clip_grad_norm_ does: gradients are
// multiplied by max_norm / (norm + 1e-6) where that is below 1. A NaN or infinite norm is not hidden. It is written as a
// prologue is, so that a device can run it.
func GradScale(in *GradScaleIn, out *GradScaleOut) {
	out.GradScale = in.Scale * rule.Min(in.MaxNorm/(in.Norm+1e-6), 1)
}

package kernels

import "github.com/fusestep/fusestep/kernels/rule"

// ClipTensorIn is what a tensor's gradient is multiplied by before it is clipped by its own norm, and that norm, as it is in memory.
type ClipTensorIn struct {
	GradScale     float64 // SharedOut's: it has unscaled and clipped by the global norm
	Norm          float64 // TensorNormOf's
	MaxTensorNorm float64 // +Inf where nothing is clipped
}

// ClipTensorOut is what it is multiplied by in all.
type ClipTensorOut struct{ GradScale float64 }

// ClipTensor clips a tensor's gradient as torch.nn.utils.clip_grad_norm_ does with that tensor alone, and Keras' clipnorm but for the 1e-6: it is
// multiplied by max_norm / (norm + 1e-6) where that is below 1. The norm is that of the gradient behind what GradScale does, so after
// clipping by the global norm. A NaN or infinite norm is not hidden, and changes no other tensor.
func ClipTensor(in *ClipTensorIn, out *ClipTensorOut) {
	out.GradScale = in.GradScale
	if in.MaxTensorNorm <= 0x1.fffffffffffffp1023 {
		out.GradScale = in.GradScale * rule.Min(in.MaxTensorNorm/(float64(in.Norm*rule.Abs(in.GradScale))+1e-6), 1)
	}
}

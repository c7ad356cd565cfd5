package optim

import (
	"fmt"

	"github.com/fusestep/fusestep/device"
)

// clips says whether a step needs the norm. A maxNorm of 0 is off.
func (o *Optimizer) clips() bool { return o.maxNorm > 0 }

// SetClipNorm clips gradients from the next step on: where the L2 norm over all gradients of all groups exceeds max, the
// step uses each gradient multiplied by max/(norm+1e-6), as torch.nn.utils.clip_grad_norm_ does. The gradient buffers
// themselves stay as they are. A max of +Inf measures the norm and clips nothing; 0 turns clipping off.
//
// The norm is summed in float64 by a tree that element indices alone define: its bits are the same on every device.
func (o *Optimizer) SetClipNorm(max float64) error {
	if o.closed {
		return fmt.Errorf("optim: clip: optimizer is %w", device.ErrClosed)
	}
	if !(max >= 0) {
		return &HyperparameterError{Algorithm: "clip_grad_norm", Name: "max_norm", Value: max, Want: "at least 0"}
	}
	old := o.maxNorm
	o.maxNorm = max
	if o.clips() == (o.norm != nil) {
		return nil
	}
	retire, err := o.compile(o.groups, o.parts)
	if err != nil {
		o.maxNorm = old
		return err
	}
	if err := retire(); err != nil {
		return fmt.Errorf("optim: clipping was changed, but what it replaces could not be freed: %w", err)
	}
	return nil
}

// GradNorm waits for the stream, nil for the default one, and returns the norm of the last step's gradients, before clipping. It
// is 0 before the first step with SetClipNorm on, and between AddGroup or Rebind and the next step.
func (o *Optimizer) GradNorm(s *device.Stream) (float64, error) {
	s, err := o.use(s)
	if err != nil {
		return 0, err
	}
	if o.norm == nil {
		return 0, fmt.Errorf("optim: gradient norm: SetClipNorm is off")
	}
	if !o.measured {
		return 0, nil
	}
	var out [1]float64
	if err := device.Download(s, out[:], o.norm.Total()); err != nil {
		return 0, fmt.Errorf("optim: gradient norm: %w", err)
	}
	if err := s.Synchronize(); err != nil {
		return 0, fmt.Errorf("optim: gradient norm: %w", err)
	}
	return out[0], nil
}

package optim

import (
	"errors"
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// norm is what measures and clips gradients. A max of 0 is off.
type norm struct {
	max       float64
	update    kernels.Update // of kernels.Norm, or of kernels.NormOfTensors where each tensor is clipped
	made      int            // updates so far
	work      kernels.Work   // of update
	params    []*param       // whose gradients these are
	stale     bool           // gradients are not those that were compiled
	elsewhere bool           // update is still to follow gradients
	measured  bool           // that of a step with the gradients there are
	ready     bool           // that of the next step was measured
}

// moved says that gradients are elsewhere, or others.
func (n *norm) moved() { n.stale, n.measured, n.ready = true, false, false }

// follow says that gradients are elsewhere, of the same tensors, or are left out or no longer are.
func (n *norm) follow() { n.elsewhere, n.measured, n.ready = true, false, false }

// find brings the update to where the gradients are.
func (n *norm) find(s *device.Stream) error {
	if !n.elsewhere {
		return nil
	}
	if err := s.Synchronize(); err != nil {
		return err
	}
	for i, p := range n.params {
		n.work.Tensors[i].Planes[0] = p.stepped()
	}
	if err := n.update.(kernels.Movable).Moved(1); err != nil {
		n.stale = true
		return err
	}
	n.elsewhere = false
	return nil
}

// stepped is what the next step takes for the tensor's gradient; nil where it leaves the tensor out.
func (p *param) stepped() *device.Buffer {
	if !p.active() {
		return nil
	}
	return p.grad()
}

// measures says whether a step measures its gradients.
func (o *Optimizer) measures() bool {
	return o.norm.max != 0 || o.common.clipTensorNorm != 0 || o.control.skips()
}

// errOff is the error of a call that needs that.
func errOff(what string) error {
	return fmt.Errorf("optim: %s: SetClipNorm, SetClipTensorNorm, SetGradScaler and SetSkip are off", what)
}

// compile makes what measures the optimizer's gradients, if they are to be measured. Its errors begin with "gradient norm".
func (n *norm) compile(o *Optimizer) error {
	if _, movable := n.update.(kernels.Movable); n.elsewhere && !movable {
		n.stale = true
	}
	if !o.measures() || n.update != nil && !n.stale {
		return nil
	}
	w := kernels.Work{Program: kernels.Norm()}
	if o.common.clipTensorNorm != 0 {
		w.Program = kernels.NormOfTensors()
	}
	params := o.where(func(p *param) bool { return o.mover != nil || p.active() })
	for _, p := range params {
		t := kernels.Tensor{ID: p.id, Shape: []int{p.Value.Len()}, Planes: []*device.Buffer{p.stepped()}}
		if o.common.clipTensorNorm != 0 {
			t.Sums = p.tensorSums
		}
		w.Tensors = append(w.Tensors, t)
	}
	made, err := o.backend.Compile(w)
	if err != nil {
		return fmt.Errorf("gradient norm: %w", err)
	}
	if err := o.control.allocate(o.backend.Device()); err != nil {
		return errors.Join(fmt.Errorf("gradient norm: %w", err), made.Close())
	}
	err = n.close()
	n.update, n.made, n.stale, n.elsewhere = made, n.made+1, false, false
	n.work, n.params = w, params
	if err != nil {
		return fmt.Errorf("gradient norm: what was compiled before could not be freed: %w", err)
	}
	return nil
}

// turnOn is compile between steps, so that what cannot be compiled is an error of the call that needs it.
func (n *norm) turnOn(o *Optimizer) error {
	before := n.made
	err := n.compile(o)
	if n.made != before {
		n.stale = o.common.accumulate // what the next step measures is still to be accumulated
	}
	return err
}

func (n *norm) close() error {
	update := n.update
	n.update, n.work, n.params, n.measured, n.ready = nil, kernels.Work{}, nil, false, false
	if update == nil {
		return nil
	}
	return update.Close()
}

// enqueue measures the gradients of the next step, if they are to be and have not been.
func (n *norm) enqueue(o *Optimizer, s *device.Stream) error {
	if n.ready || !o.measures() {
		return nil
	}
	if err := n.compile(o); err != nil {
		return err
	}
	err := n.find(s)
	if err == nil {
		err = o.control.begin(s)
	}
	if err == nil {
		err = n.update.Enqueue(s, kernels.Step{Control: o.control.words})
	}
	if err != nil {
		return fmt.Errorf("gradient norm: %w", err)
	}
	n.measured, o.control.measured = true, true
	return nil
}

// SetClipNorm clips gradients from the next step on: where the L2 norm over all gradients of all groups exceeds max, the step uses each gradient
// multiplied by max/(norm+1e-6), as torch.nn.utils.clip_grad_norm_ does. The gradient buffers themselves stay as they are. With SetAccumulate on,
// the gradients are the sums. A max of +Inf measures the norm and clips nothing; 0 turns clipping off. Tensors without a gradient do not count.
//
// The norm is summed in float64 by a tree that element indices alone define: its bits are the same on every device.
func (o *Optimizer) SetClipNorm(max float64) error {
	if err := o.open("set clip norm"); err != nil {
		return err
	}
	if !(max >= 0) {
		return clipNormError(max)
	}
	old := o.norm.max
	o.norm.max = max
	if !o.measures() {
		if err := o.norm.close(); err != nil {
			return fmt.Errorf("optim: clipping was turned off, but what it replaces could not be freed: %w", err)
		}
		return nil
	}
	if o.norm.update != nil {
		return nil
	}
	if err := o.norm.turnOn(o); err != nil {
		o.norm.max = old
		return fmt.Errorf("optim: set clip norm: %w", err)
	}
	return nil
}

// SetClipTensorNorm clips each tensor by itself from the next step on: where the L2 norm of a tensor's gradient exceeds max, the step uses that
// gradient multiplied by max/(norm+1e-6), as torch.nn.utils.clip_grad_norm_ does with this tensor alone, and Keras' clipnorm but for the 1e-6.
// The gradient buffers themselves stay as they are. It comes after unscaling and after SetClipNorm, whose norm is over the gradients as they are, and
// before SetClipValue: the tensor's norm is that of its gradient multiplied by what clips all. GradNorm stays the norm over all. A gradient
// that is not finite spoils its own tensor and no other. With SetAccumulate on, the gradients are the sums. A max of +Inf clips nothing; 0 turns it off.
//
// Tensors are the optimizer's: of a shard of a tensor it is the shard's norm. The sums are those that the global norm is made of: gradients are
// not read once more for them.
func (o *Optimizer) SetClipTensorNorm(max float64) error {
	const what = "set clip tensor norm"
	if err := o.open(what); err != nil {
		return err
	}
	if !(max >= 0) {
		return clipTensorNormError(max)
	}
	old, norm := o.common, o.norm
	c := old
	c.clipTensorNorm = max
	if err := o.setCommon(c); err != nil {
		return err
	}
	if (old.clipTensorNorm != 0) == (max != 0) {
		return nil
	}
	if !o.measures() {
		if err := o.norm.close(); err != nil {
			return fmt.Errorf("optim: %s: it was turned off, but what it replaces could not be freed: %w", what, err)
		}
		return nil
	}
	o.norm.stale, o.norm.ready = true, false // another program measures
	if err := o.norm.turnOn(o); err != nil {
		o.common = old
		o.norm.stale, o.norm.ready = norm.stale, norm.ready
		return fmt.Errorf("optim: %s: %w", what, err)
	}
	return nil
}

func clipTensorNormError(max float64) error {
	return &HyperparameterError{Algorithm: "clip_tensor_norm", Name: "max_norm", Value: max, Want: "at least 0"}
}

func clipNormError(max float64) error {
	return &HyperparameterError{Algorithm: "clip_grad_norm", Name: "max_norm", Value: max, Want: "at least 0"}
}

// GradNorm waits for the stream, nil for the default one, and returns the norm of the last step's gradients, or of those that MeasureGradNorm has
// measured since, unscaled and before clipping. It is 0 before the first step with SetClipNorm, SetClipTensorNorm, SetGradScaler or SetSkip on, and
// after AddGroup, Remove, Rebind, SetGrad and LoadStateDict until the next step.
func (o *Optimizer) GradNorm(s *device.Stream) (float64, error) {
	s, err := o.use("gradient norm", s)
	if err != nil {
		return 0, err
	}
	if !o.measures() {
		return 0, errOff("gradient norm")
	}
	if !o.norm.measured {
		return 0, nil
	}
	var out Outcome
	if err := o.downloadOutcome(s, &out); err != nil {
		return 0, fmt.Errorf("optim: gradient norm: %w", err)
	}
	if err := s.Synchronize(); err != nil {
		return 0, fmt.Errorf("optim: gradient norm: %w", err)
	}
	return out.GradNorm(), nil
}

// MeasureGradNorm enqueues measuring the gradients now, so that GradNorm and Outcome are theirs. The next Step does not measure them again: until
// then they must stay. With SetAccumulate on they are the sums, and another Accumulate has them measured again. Without SetClipNorm,
// SetClipTensorNorm, SetGradScaler and SetSkip it fails, and with ErrNotAccumulated.
func (o *Optimizer) MeasureGradNorm(s *device.Stream) error {
	const what = "measure gradient norm"
	s, err := o.use(what, s)
	if err != nil {
		return err
	}
	if !o.measures() {
		return errOff(what)
	}
	if o.common.accumulate && o.sums.taken == 0 {
		return fmt.Errorf("optim: %s: %w", what, ErrNotAccumulated)
	}
	o.norm.ready = false // the gradients may be others than those that were measured
	if err := o.norm.enqueue(o, s); err != nil {
		return fmt.Errorf("optim: %s: %w", what, err)
	}
	o.norm.ready = true
	return nil
}

// SetClipValue clips gradients from the next step on: the step brings each number of a gradient between -max and max, as
// torch.nn.utils.clip_grad_value_ does; a NaN stays. It does so before it adds L1 and L2, and after SetClipNorm and SetClipTensorNorm have
// scaled the gradient, whose norm is that before any. The gradient buffers themselves stay as they are. 0 turns it off.
func (o *Optimizer) SetClipValue(max float64) error {
	if err := o.open("set clip value"); err != nil {
		return err
	}
	c := o.common
	c.clipValue = max
	return o.setCommon(c)
}

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
	others    bool           // which are other buffers
	measured  bool           // that of a step with the gradients there are
	ready     bool           // that of the next step was measured
}

// moved says that gradients are elsewhere, or others.
func (n *norm) moved() { n.stale, n.measured, n.ready = true, false, false }

// follow says that gradients are elsewhere, of the same tensors, or, where others says so, are left out or no longer are.
func (n *norm) follow(others bool) {
	n.elsewhere, n.others, n.measured, n.ready = true, n.others || others, false, false
}

// lookAgain says that the sums are of other tensors than those that were looked at: one Accumulate has more of them than another.
func (n *norm) lookAgain(o *Optimizer) {
	switch {
	case !o.common.accumulate || n.update == nil || n.stale || n.sees(o):
	case o.mover != nil:
		n.follow(true)
	default:
		n.moved()
	}
}

// sees says whether the update is of what the next step takes.
func (n *norm) sees(o *Optimizer) bool {
	seen := 0
	for _, g := range o.all() {
		for _, p := range g.params {
			switch {
			case o.mover == nil && !p.active():
			case seen == len(n.params) || n.params[seen] != p || n.work.Tensors[seen].Planes[0] != p.stepped():
				return false
			default:
				seen++
			}
		}
	}
	return seen == len(n.params)
}

// find brings the update to where the gradients are.
func (n *norm) find(s *device.Stream) error {
	if !n.elsewhere {
		return nil
	}
	if err := s.Synchronize(); err != nil {
		return err
	}
	for i := 0; n.others && i < len(n.params); i++ {
		n.work.Tensors[i].Planes[0] = n.params[i].stepped()
	}
	if err := n.update.(kernels.Movable).Moved(1, n.others); err != nil {
		n.stale = true
		return err
	}
	n.elsewhere, n.others = false, false
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

// measuresGradients says whether a step that measures looks at them, and not only at what somebody else has found.
func (o *Optimizer) measuresGradients() bool {
	return !o.control.given.found || o.norm.max != 0 || o.common.clipTensorNorm != 0 || o.control.skip != Skip{}
}

// errOff is the error of a call that needs that.
func errOff(what string) error {
	return fmt.Errorf("optim: %s: SetClipNorm, SetClipTensorNorm, SetGradScaler and SetSkip are off", what)
}

// compile makes what measures the optimizer's gradients, if they are to be measured; on a stream, if it is not nil, what only has to go on elsewhere. Its
// errors begin with "gradient norm".
func (n *norm) compile(o *Optimizer, s *device.Stream) error {
	if _, movable := n.update.(kernels.Movable); n.elsewhere && !movable {
		n.stale = true
	}
	if !o.measures() || n.update != nil && !n.stale {
		return nil
	}
	w, params := o.normWork()
	if r, ok := n.update.(kernels.Retabled); ok && s != nil {
		did, err := r.Retable(s, w)
		if err != nil {
			return fmt.Errorf("gradient norm: %w", err)
		}
		if did {
			n.made, n.stale, n.elsewhere, n.work, n.params = n.made+1, false, false, w, params
			return nil
		}
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

// normWork is what measures the gradients of the next step, and the tensors that these are of.
func (o *Optimizer) normWork() (kernels.Work, []*param) {
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
	return w, params
}

// turnOn is compile between steps, so that what cannot be compiled is an error of the call that needs it.
func (n *norm) turnOn(o *Optimizer) error {
	before := n.made
	err := n.compile(o, nil)
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
	given := &o.control.given
	if n.ready && !given.on || !o.measures() {
		return nil
	}
	update, measures := given.alone, o.measuresGradients()
	if measures {
		n.lookAgain(o)
		if err := n.compile(o, s); err != nil {
			return err
		}
		if err := n.find(s); err != nil {
			return fmt.Errorf("gradient norm: %w", err)
		}
		update = n.update
	}
	err := o.control.begin(s)
	if err == nil {
		err = update.Enqueue(s, kernels.Step{Control: o.control.words})
	}
	if err != nil {
		return fmt.Errorf("gradient norm: %w", err)
	}
	n.measured, o.control.measured = measures, true
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

// SetAdaptiveClip clips each unit of each tensor by the norm of its parameter from the next step on, which is adaptive gradient clipping (Brock et al.
// 2021, NFNets): where the L2 norm of a unit's gradient is not below clipping·max(‖parameter‖, eps), the step uses that gradient multiplied by
// clipping·max(‖parameter‖, eps)/max(‖gradient‖, 1e-6), as timm's adaptive_clip_grad and optax's adaptive_grad_clip do. They have eps 1e-3, and clipping
// is 0.01 in timm. A clipping of 0 turns it off.
//
// The units of a tensor whose Shape has several axes are the rows of its matrix view: Param.Rows of them, or as many as the first axis is long, which is
// the output of PyTorch's layers. An algorithm with numbers of rows of its own, as Adafactor, keeps its rows. A tensor of one axis, and one whose
// Shape nobody has told, is one unit.
//
// It comes after unscaling, SetClipNorm and SetClipTensorNorm, and before SetClipValue and penalties. The parameter is that before the step, its
// master where it has one, before it decays. A gradient that is not finite spoils its own unit. A row's sums of squares are rounded to the type that is
// calculated with: of float32, a norm above 1.8e19 is infinite, and its unit's gradient 0. One pass more reads gradients and parameters. What
// State has returned of state that a tensor has once, as NovoGrad's exp_avg_sq, may be elsewhere afterwards.
func (o *Optimizer) SetAdaptiveClip(clipping, eps float64) error {
	if err := o.open("set adaptive clip"); err != nil {
		return err
	}
	c, old := o.common, o.common
	if c.clipping, c.clipEps = clipping, eps; clipping == 0 {
		c.clipEps = 0
	}
	if err := o.setCommon(c); err != nil {
		return err
	}
	if (old.clipping != 0) == (clipping != 0) {
		return nil
	}
	for _, g := range o.all() {
		for _, q := range g.parts {
			q.mixed = true // with it on, matrices and vectors are apart
		}
	}
	if c.clipTensorNorm != 0 {
		o.norm.moved() // what is measured may go elsewhere
	}
	return nil
}

// SetClipValue clips gradients from the next step on: the step brings each number of a gradient between -max and max, as
// torch.nn.utils.clip_grad_value_ does; a NaN stays. It does so before it adds L1 and L2, and after SetClipNorm, SetClipTensorNorm and
// SetAdaptiveClip have scaled the gradient, whose norm is that before any. The gradient buffers themselves stay as they are. 0 turns it off.
func (o *Optimizer) SetClipValue(max float64) error {
	if err := o.open("set clip value"); err != nil {
		return err
	}
	c := o.common
	c.clipValue = max
	return o.setCommon(c)
}

package optim

import (
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// common is what an optimizer does around the rules of all its groups.
type common struct {
	clipTensorNorm float64 // 0 is off
	clipping       float64 // of adaptive clipping; 0 is off
	clipEps        float64 // likewise
	clipValue      float64 // 0 is off
	zeroGrad       bool
	accumulate     bool // steps take sums of gradients, and set them to 0

	together *arena // the kernels.Tensor.Sums that all tensors share whose rule is rule.Rule.Everything; nil where there are none
}

// around is that as a program has it.
func (c *common) around() (a rule.Around) {
	if c.clipTensorNorm != 0 {
		a |= rule.ClipTensorNorm
	}
	if c.clipping != 0 {
		a |= rule.AdaptiveClip
	}
	if c.clipValue != 0 {
		a |= rule.ClipValue
	}
	if c.zeroGrad || c.accumulate {
		a |= rule.ZeroGrad
	}
	return a
}

// check says whether elements of a type can be clipped so.
func (c *common) check(t device.DType) error {
	r := ranges{algorithm: "clip_grad_value"}
	r.atLeast0("clip_value", c.clipValue)
	r.holds("clip_value", c.clipValue, t)
	if r.err == nil {
		r = ranges{algorithm: "adaptive_grad_clip"}
		r.atLeast0("clipping", c.clipping)
		r.atLeast0("eps", c.clipEps)
		r.holds("clipping", c.clipping, t)
		r.holds("eps", c.clipEps, t)
	}
	return r.err
}

// setCommon makes c what is done from the next step on, or changes nothing.
func (o *Optimizer) setCommon(c common) error {
	if err := c.check(device.Float64); err != nil {
		return err
	}
	for _, g := range o.all() {
		for _, q := range g.parts {
			if err := c.check(q.program.Compute); err != nil {
				return err
			}
		}
	}
	old := o.common
	o.common = c
	for _, g := range o.all() {
		if err := o.reprogram(g, g.setting); err != nil {
			o.common = old
			return err
		}
	}
	return nil
}

// SetZeroGrad makes each step set the gradients that it has read to 0, in its own pass, from the next one on: ZeroGrad after each step
// reads nothing and writes as much, but walks the memory once more. A step that is skipped does so, too. Tensors that are left out of a step keep their gradient. With
// SetAccumulate on it is Accumulate that does it. As gradients are then written, none may share memory with another tensor's: that is a
// TensorError, of this call and of those that bring gradients, and nothing changes.
func (o *Optimizer) SetZeroGrad(on bool) error {
	if err := o.open("set zero grad"); err != nil {
		return err
	}
	c := o.common
	c.zeroGrad = on
	if err := o.apartWith(c); err != nil {
		return err
	}
	o.memory.unmade = true
	o.sums.moved()
	return o.setCommon(c)
}

// apartWith says whether tensors share no memory that is written with c.
func (o *Optimizer) apartWith(c common) error {
	old := o.common
	o.common = c // for what trained says
	err := o.apart()
	o.common = old
	return err
}

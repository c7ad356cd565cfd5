package optim

import (
	"errors"
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// given is what somebody else keeps on the device of a loss scale.
type given struct {
	on            bool // the step that is being taken has it
	scaled, found bool // there is a scale, and what was found
	floats        *device.Buffer
	at            [2]*device.Buffer // of floats: the scale, and what was found
	words         [2]*device.Buffer // a kernels.Step.Control each, whose norm is that number
	to            [2]*device.Buffer // of the optimizer's Control: where the numbers go
	norms         [2]kernels.Update // of the numbers
	alone         kernels.Update    // of the Control where no gradient is measured
	left          bool              // the Control has what another step was given as found
	recorded      bool              // a step was recorded with what was found: its launches leave that
}

// StepScaled is Step with a loss scale that somebody else keeps on the device, as torch.amp.GradScaler does: the gradients are divided by scale, and where
// foundInf is above 0 the step is skipped. Both are buffers of one float32 that is at least 0, and are read when the step runs; either may be nil.
// Without foundInf, and where gradients are measured for clipping, a step is also skipped where a gradient is NaN or infinite. With a GradScaler of the
// optimizer's own it fails. Otherwise it fails as Step does.
func (o *Optimizer) StepScaled(s *device.Stream, scale, foundInf *device.Buffer) error {
	s, err := o.use("step", s)
	if err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("optim: step: nothing was updated: loss scale: %w", err) }
	numbers := [2]*device.Buffer{scale, foundInf}
	if err := o.give(numbers); err != nil {
		return fail(err)
	}
	g := &o.control.given
	defer g.take()
	if err := o.prepare(s); err != nil {
		return err
	}
	if err := g.copy(s, numbers); err != nil {
		return fail(err)
	}
	return o.enqueue(s)
}

// give lets the next step have a loss scale, or what was found, if one of the numbers is not nil. Take ends that.
func (o *Optimizer) give(numbers [2]*device.Buffer) error {
	if numbers == [2]*device.Buffer{} {
		return nil
	}
	if o.control.scaler != nil {
		return errors.New("there is a GradScaler")
	}
	for _, b := range numbers {
		if b != nil && (b.DType() != device.Float32 || b.Len() != 1) {
			return fmt.Errorf("%d %s, must be one float32: %w", b.Len(), b.DType(), device.ErrRange)
		}
	}
	g := &o.control.given
	err := o.control.allocate(o.backend.Device())
	if err == nil {
		err = g.allocate(o)
	}
	if err == nil {
		g.on, g.scaled, g.found = true, numbers[0] != nil, numbers[1] != nil
	}
	return err
}

func (g *given) take() { g.on, g.scaled, g.found = false, false, false }

// copy enqueues copying the numbers to where they are read.
func (g *given) copy(s *device.Stream, numbers [2]*device.Buffer) error {
	for i, b := range numbers {
		if b == nil {
			continue
		}
		if err := s.Copy(g.at[i], b); err != nil {
			return err
		}
	}
	return nil
}

// allocate makes what turns two float32 on the device into numbers of the Control: the norm of one number is it.
func (g *given) allocate(o *Optimizer) (err error) {
	if g.alone != nil {
		return nil
	}
	dev, made := o.backend.Device(), given{}
	defer func() {
		if err != nil {
			err = errors.Join(err, made.close())
		} else {
			*g = made
		}
	}()
	if made.floats, err = dev.Alloc(device.Float32, 2); err != nil {
		return err
	}
	for i, word := range []int{kernels.ControlState, kernels.ControlFound} {
		if made.at[i], err = made.floats.Slice(i, i+1); err != nil {
			return err
		}
		if made.to[i], err = o.control.words.Slice(word, word+1); err != nil {
			return err
		}
		if made.words[i], err = kernels.NewControl(dev); err != nil {
			return err
		}
		number := kernels.Tensor{Shape: []int{1}, Planes: []*device.Buffer{made.at[i]}}
		if made.norms[i], err = o.backend.Compile(kernels.Work{Program: kernels.Norm(), Tensors: []kernels.Tensor{number}}); err != nil {
			return err
		}
	}
	made.alone, err = o.backend.Compile(kernels.Work{Program: kernels.Norm()})
	return err
}

// begin enqueues bringing the numbers to the Control, and what was found before away from it.
func (g *given) begin(s *device.Stream) error {
	for i, is := range [2]bool{g.scaled, g.found} {
		if !is {
			continue
		}
		if err := g.norms[i].Enqueue(s, kernels.Step{Control: g.words[i]}); err != nil {
			return err
		}
		norm, err := g.words[i].Slice(kernels.ControlNorm, kernels.ControlNorm+1)
		if err == nil {
			err = s.Copy(g.to[i], norm)
		}
		if err != nil {
			return err
		}
	}
	if !g.found && g.left {
		if err := s.Zero(g.to[1]); err != nil {
			return err
		}
	}
	g.left = g.found || g.recorded
	return nil
}

func (g *given) close() error {
	var errs []error
	for _, u := range append(g.norms[:], g.alone) {
		if u != nil {
			errs = append(errs, u.Close())
		}
	}
	for _, b := range append(g.words[:], g.floats) {
		if b != nil {
			errs = append(errs, b.Close())
		}
	}
	*g = given{}
	return errors.Join(errs...)
}

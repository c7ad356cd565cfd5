package optim

import (
	"fmt"

	"github.com/fusestep/fusestep/device"
)

// Steps is the number of steps enqueued so far; the schedules' next step.
func (o *Optimizer) Steps() int {
	if o == nil {
		return 0
	}
	return o.steps
}

// SetSteps makes the next step the schedules' step n. LoadStateDict does so, too, and all else that a training goes on from; SetSteps is for who keeps
// state in another way.
//
// Each tensor counts its own steps beside that, for bias corrections: SetGroupCounters puts that number back. The next Step holds
// the two against each other, and refuses with a CountError:
//   - after SetGroupCounters or SetTensorCounters, tensors that would have taken more than n steps: SetSteps is missing. They may have taken
//     fewer, as tensors that were added late or left out of steps have.
//   - after SetSteps alone, tensors that have not taken n steps: SetGroupCounters is missing. Tensors that are added after SetSteps
//     are new, and may have taken none.
//
// What cannot be seen is state that was not uploaded to State's buffers, and a learning rate that was not set. To start a
// schedule again in a training that goes on, put it into a Sequence, after a stage of Steps() steps.
func (o *Optimizer) SetSteps(n int) error {
	if err := o.open("set steps"); err != nil {
		return err
	}
	if n < 0 {
		return fmt.Errorf("optim: set steps: %d is below 0: %w", n, device.ErrRange)
	}
	for _, g := range o.all() {
		for _, q := range g.parts {
			if !q.told {
				q.adrift += n - o.steps
			}
		}
	}
	o.steps = n
	o.control.setSteps(n)
	o.norm.ready = false // what was measured has the counts of before
	return nil
}

// agree holds the tensors' counts against the optimizer's. What a failed step left is read back first.
func (g *group) agree(s *device.Stream, steps int) error {
	for _, q := range g.parts {
		if q.unsure {
			if err := q.download(s); err != nil {
				return fmt.Errorf("optim: step: nothing was updated: group %d: counters: %w", g.index, err)
			}
		}
		if !q.told && q.adrift == 0 || !q.active() {
			continue
		}
		if err := q.settle(s); err != nil {
			return fmt.Errorf("optim: step: nothing was updated: %w", err)
		}
		taken, counted := q.steps()
		missing := ""
		switch {
		case !counted:
		case q.told && taken > float64(steps):
			missing = "SetSteps"
		case !q.told && taken != float64(steps):
			missing = "SetGroupCounters"
		}
		if missing != "" {
			return &CountError{Group: g.index, Tensor: q.params[0].Name, Taken: taken, Steps: steps, Missing: missing}
		}
	}
	return nil
}

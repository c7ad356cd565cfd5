package optim

import (
	"errors"
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// Outcome is what became of a step.
type Outcome struct {
	words [settingWord]float64
	base  int
}

// Applied says that the step was applied, and not skipped.
func (o *Outcome) Applied() bool { return o.words[kernels.ControlSkip] != 1 }

// FoundInf says that a gradient was NaN or infinite.
func (o *Outcome) FoundInf() bool { return o.words[kernels.ControlFoundInf] == 1 }

// GradNorm is the L2 norm over all gradients, unscaled and before clipping.
func (o *Outcome) GradNorm() float64 { return o.words[kernels.ControlNorm] }

// LossScale is the loss scale behind the step; 0 where there has been no GradScaler.
func (o *Outcome) LossScale() float64 { return o.words[kernels.ControlState] }

// AppliedSteps is how many steps were applied so far, those included that SetSteps was given.
func (o *Outcome) AppliedSteps() int { return o.base + int(o.words[tallyWord]) }

// SkippedSteps is how many steps were skipped so far, since SetSteps.
func (o *Outcome) SkippedSteps() int { return int(o.words[tallyWord+1]) }

// Outcome waits for the stream, nil for the default one, and returns what became of the last step, or what MeasureGradNorm has made of the next
// one's gradients. It fails before the first step that SetGradScaler, SetSkip, SetClipNorm or SetClipTensorNorm measures the gradients
// for.
func (o *Optimizer) Outcome(s *device.Stream) (Outcome, error) {
	s, err := o.on("outcome", s)
	if err != nil {
		return Outcome{}, err
	}
	var out Outcome
	if err = o.DownloadOutcome(s, &out); err == nil {
		err = s.Synchronize()
	}
	return out, err
}

// DownloadOutcome is Outcome without waiting: it enqueues writing to a place that the caller reads once the stream has come so far, which an
// event tells.
func (o *Optimizer) DownloadOutcome(s *device.Stream, to *Outcome) error {
	s, err := o.on("outcome", s)
	if err != nil {
		return err
	}
	if !o.control.measured {
		return errors.New("optim: outcome: no step was measured")
	}
	if err := o.downloadOutcome(s, to); err != nil {
		return fmt.Errorf("optim: outcome: %w", err)
	}
	return nil
}

func (o *Optimizer) downloadOutcome(s *device.Stream, to *Outcome) error {
	c := &o.control
	if err := c.begin(s); err != nil {
		return err
	}
	to.base = c.base
	return device.Download(s, to.words[:], c.outcome)
}

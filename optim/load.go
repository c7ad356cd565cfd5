package optim

import (
	"errors"
	"fmt"

	"github.com/fusestep/fusestep/device"
)

// LoadOptions says what a load may do beside making an optimizer what it was. The zero value is nothing.
type LoadOptions struct {
	// WithoutValues leaves values as they are. A dict need then have none.
	WithoutValues bool
	// Regroup lets tensors be in other groups than they were, or in another order. What groups have beside their tensors stays the optimizer's own:
	// hyperparameters, schedules, last rates.
	Regroup bool
	// Convert lets value and state be of other types than they were, values have other masters, and rounding be another: numbers are decoded and
	// encoded again, to nearest even, by way of the type that is calculated with.
	Convert bool
	// Pieces says which tensors are made of slices of those that were saved, one behind the other, by the optimizer's names for them. A slice
	// has the elements from From up to To. Tensors whose name is not there are those that were saved under their name. Bits that depend on an
	// element's index in its tensor, as those of stochastic rounding do, become others.
	Pieces map[string][]Piece
}

// Piece is a slice of a tensor that was saved.
type Piece struct {
	Tensor   string
	From, To int
}

// ErrHalfLoaded is in the error of a load that failed when it had begun to write, and of all steps and the like until a load succeeds.
var ErrHalfLoaded = errors.New("optimizer is half loaded")

// LoadStateDict makes the optimizer what it was when the dict was made, and waits for the stream, nil for the default one, and for that of the last step. Hyperparameters, rates,
// schedules and what is done around steps are restored, whatever the optimizer has. Tensors, their order where a norm is summed in it, types of
// algorithms, formats of value and state, masters, rounding and averages must be those that were saved. All that does not fit is in one MismatchError.
// Then, and where the dict's verification fails or there is no memory, nothing has changed. A mean of squares that a tensor has once, as NovoGrad's
// exp_avg_sq, is none where it is negative or NaN; state of elements may be any numbers.
//
// A ReduceOnPlateau that the optimizer follows gets the state of the one that was saved in its place; where there is none, Optimizer.Schedule finds the
// one that was made. A schedule of a type of the user's own must be there, and stays.
//
// The host's values of Placed are the new ones too. Between Evaluate and Resume it fails. A step that was captured is captured again.
//
// Where numbers cannot be read or written later on, ErrHalfLoaded is in the error: the optimizer has some of the old and some of the new, and refuses
// to step until a load succeeds. To keep all of the old until then would take the memory twice.
func (o *Optimizer) LoadStateDict(s *device.Stream, d *StateDict, how LoadOptions) error {
	const what = "load state dict"
	s, err := o.on(what, s)
	if err == nil {
		err = o.usable()
	}
	if err == nil {
		err = o.training(what)
	}
	if err == nil {
		err = o.settle(what, s)
	}
	if err != nil {
		return err
	}
	if d == nil {
		return fmt.Errorf("optim: %s: the dict is nil", what)
	}
	l := &loading{o: o, d: d, how: how, schedules: newScheduleReader(), saved: map[string]*savedTensor{}, noted: map[Mismatch]bool{}, together: Named{}}
	if l.check(); len(l.mismatches) > 0 {
		return &MismatchError{l.mismatches}
	}
	if d.verify != nil {
		err = d.verify()
	}
	if err == nil {
		err = l.provide(s)
	}
	if err == nil {
		err = s.Synchronize() // steps before this one read what was
	}
	if err == nil {
		err = l.numbers(s)
	}
	if err != nil && !l.touched {
		return fmt.Errorf("optim: %s: nothing was changed: %w", what, errors.Join(err, l.close()))
	}
	if err == nil {
		err = l.apply(s)
	}
	if err == nil && !how.WithoutValues {
		err = o.download()
	}
	err = errors.Join(err, l.close())
	if o.half = nil; err != nil {
		o.half = fmt.Errorf("%w: load again: %w", ErrHalfLoaded, err)
		return fmt.Errorf("optim: %s: %w", what, o.half)
	}
	return nil
}

// download brings values to the host that are placed: what the next gradients are of.
func (o *Optimizer) download() error {
	for _, g := range o.all() {
		for _, p := range g.params {
			if err := p.Download(); err != nil {
				return err
			}
		}
	}
	return nil
}

// loading is a load.
type loading struct {
	o          *Optimizer
	d          *StateDict
	how        LoadOptions
	mismatches []Mismatch
	noted      map[Mismatch]bool
	saved      map[string]*savedTensor
	groups     []*groupLoad
	schedules  *scheduleReader
	schedule   Schedule // of groups to come
	touched    bool     // something was written
	together   Named    // what tensors have together
	buffer     []byte   // of copy
}

// savedTensor is a tensor of the dict.
type savedTensor struct {
	g    *GroupState
	t    *TensorState
	used bool
}

// groupLoad is a group and what it is to be.
type groupLoad struct {
	g       *group
	as      *group      // a copy, as it will be but for its parts
	saved   *GroupState // nil: all but the tensors stays
	last    []float64   // hyperparameters of the last step; nil: none was taken
	tensors []*tensorLoad
	forks   map[*tensorLoad]*part // the parts of tensors that leave theirs
	fits    bool                  // it can be what was saved: what its tensors are to be follows from it
}

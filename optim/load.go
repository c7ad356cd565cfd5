package optim

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fusestep/fusestep/device"
)

// LoadOptions says what a load may do beside making an optimizer what it was. The zero value is nothing.
type LoadOptions struct {
	// WithoutValues leaves values as they are. A dict need then have none.
	WithoutValues bool
	// Regroup lets tensors be in other groups than they were. Hyperparameters, schedules and last rates of groups stay the optimizer's own, and so
	// does what is done around steps, but for the counts, the sums of gradients and the loss scale.
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

// MismatchError lists everything in a StateDict that does not fit the optimizer. Nothing has changed.
type MismatchError struct{ Mismatches []Mismatch }

// Mismatch is one thing that does not fit.
type Mismatch struct {
	Group  int    // its index; -1 where it concerns no group
	Tensor string // "" where it concerns no tensor
	Slot   string // "" where it concerns none
	What   string // the constants below
	Saved  string // what the dict has
	Here   string // what the optimizer has, or must have
}

// What does not fit: a Mismatch's What.
const (
	Missing            = "missing"    // the dict lacks what the optimizer has
	Unexpected         = "unexpected" // the dict has what the optimizer lacks
	MismatchShape      = "shape"
	MismatchType       = "type" // of elements
	MismatchAlgorithm  = "algorithm"
	MismatchOption     = "option" // rule, formats, master, rounding, average, or what no hyperparameter's name reaches
	MismatchGroup      = "group"  // a tensor is in another
	MismatchOrder      = "order"  // of tensors, in which a norm is summed
	MismatchCounter    = "counter"
	MismatchSchedule   = "schedule"
	MismatchHyper      = "hyperparameter"
	MismatchPiece      = "piece"
	MismatchInvalid    = "invalid" // the dict contradicts itself
	MismatchAround     = "around"  // what is done around steps cannot be
	mismatchesInErrors = 20
)

func (m Mismatch) String() string {
	var b strings.Builder
	if m.Group >= 0 {
		fmt.Fprintf(&b, "group %d", m.Group)
	}
	if m.Tensor != "" {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "tensor %q", m.Tensor)
	}
	if m.Slot != "" {
		fmt.Fprintf(&b, ", %s", m.Slot)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(m.What)
	if m.Saved != "" {
		fmt.Fprintf(&b, ": saved %s", m.Saved)
	}
	if m.Here != "" {
		fmt.Fprintf(&b, ", here %s", m.Here)
	}
	return b.String()
}

func (e *MismatchError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "optim: load state dict: nothing was changed: %d things do not fit:", len(e.Mismatches))
	for i, m := range e.Mismatches {
		if i == mismatchesInErrors {
			fmt.Fprintf(&b, "\n\tand %d more", len(e.Mismatches)-i)
			break
		}
		b.WriteString("\n\t" + m.String())
	}
	return b.String()
}

// ErrHalfLoaded is in the error of a load that failed when it had begun to write, and of all steps and the like until a load succeeds.
var ErrHalfLoaded = errors.New("optimizer is half loaded")

// LoadStateDict makes the optimizer what a dict says.
func (o *Optimizer) LoadStateDict(s *device.Stream, d *StateDict, how LoadOptions) error {
	return errors.New("optim: load state dict: not yet")
}

package optim

import (
	"fmt"
	"strings"
)

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
	fit := "things do not fit"
	if len(e.Mismatches) == 1 {
		fit = "thing does not fit"
	}
	fmt.Fprintf(&b, "optim: load state dict: nothing was changed: %d %s:", len(e.Mismatches), fit)
	for i, m := range e.Mismatches {
		if i == mismatchesInErrors {
			fmt.Fprintf(&b, "\n\tand %d more", len(e.Mismatches)-i)
			break
		}
		b.WriteString("\n\t" + m.String())
	}
	return b.String()
}

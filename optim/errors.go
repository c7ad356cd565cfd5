package optim

import (
	"errors"
	"fmt"

	"github.com/fusestep/fusestep/device"
)

// ErrRemoved is in the error of a call that names a group which RemoveGroup has removed. Its index is not used again.
var ErrRemoved = errors.New("was removed")

// TensorError is a tensor that an optimizer cannot work with, found before anything was written. Err says why: a
// ShapeError, device.LengthError, device.DTypeError or format.Error, or one of the sentinels of package device.
type TensorError struct {
	Group  int
	Tensor string
	Err    error
}

func (e *TensorError) Error() string {
	return fmt.Sprintf("optim: group %d, tensor %q: %v", e.Group, e.Tensor, e.Err)
}

func (e *TensorError) Unwrap() error { return e.Err }

// ShapeError is a Param's shape that is none of its elements, or rows that do not divide them, or matrices that do not divide its rows. It is in a
// TensorError.
type ShapeError struct {
	Shape    []int // nil: one axis
	Rows     int   // what does not divide the elements; 0: the shape is wrong
	Matrices int   // what does not divide the rows; 0: the rows or the shape are wrong
	Elements int   // of the value
}

func (e *ShapeError) Error() string {
	if e.Matrices != 0 {
		return fmt.Sprintf("%d matrices do not divide %d rows of %d elements", e.Matrices, e.Rows, e.Elements)
	}
	if e.Rows != 0 {
		return fmt.Sprintf("%d rows do not divide %d elements", e.Rows, e.Elements)
	}
	return fmt.Sprintf("shape %v is not that of %d elements", e.Shape, e.Elements)
}

// DefaultError is an algorithm's value that was made without its Default function, as a literal, so that every field left out is
// 0.
type DefaultError struct {
	Algorithm string // "adamw"
	Default   string // the function to start from: "DefaultAdamW"
}

func (e *DefaultError) Error() string {
	return fmt.Sprintf("optim: %s: the value does not start from %s(): fields that it leaves out would be 0", e.Algorithm, e.Default)
}

// HyperparameterError is a hyperparameter, or a field of a schedule, outside its range.
type HyperparameterError struct {
	Algorithm string // "adamw"; "one-cycle"
	Name      string // as PyTorch spells it: "lr", "betas[0]", "weight_decay"; "pct_start"
	Value     float64
	Want      string // "at least 0"; of a flag what it needs: "amsgrad, without eps_hat"
	Flag      bool   // the hyperparameter is a bool, and is on: Value is 1
}

func (e *HyperparameterError) Error() string {
	if e.Flag {
		return fmt.Sprintf("optim: %s: %s is on, which needs %s", e.Algorithm, e.Name, e.Want)
	}
	return fmt.Sprintf("optim: %s: %s is %v, must be %s", e.Algorithm, e.Name, e.Value, e.Want)
}

// ScalarError is a number that a step would multiply all elements by, or add to them, and that their type cannot hold: it is NaN
// or infinite there, though the hyperparameters that it is made from are finite.
type ScalarError struct {
	Group     int
	Algorithm string
	Scalar    string // the rule's name for it, such as "StepSize"
	Value     float64
	DType     device.DType
	Step      int // Optimizer.Steps of the step that was refused
}

func (e *ScalarError) Error() string {
	return fmt.Sprintf("optim: group %d: %s: in step %d scalar %s is %v, which %s cannot hold: nothing was updated",
		e.Group, e.Algorithm, e.Step, e.Scalar, e.Value, e.DType)
}

// CountError is tensors of a group whose number of steps does not fit the optimizer's. A training that goes on was told one of the
// two numbers and not the other. SetSteps says how they must agree.
type CountError struct {
	Group   int
	Tensor  string  // the first of them
	Taken   float64 // by these tensors
	Steps   int     // Optimizer.Steps
	Missing string  // the call that would make them agree: "SetSteps" or "SetGroupCounters"
}

func (e *CountError) Error() string {
	return fmt.Sprintf("optim: group %d, tensor %q: has taken %v steps, the optimizer %d: %s is missing",
		e.Group, e.Tensor, e.Taken, e.Steps, e.Missing)
}

// RestoreError is a number that SetGroupCounters or SetTensorCounters was given and that the group's rule cannot have come to.
type RestoreError struct {
	Group int
	Name  string // as the rule has it: "step", "beta1_power"
	Value float64
	Want  string // "a whole number, at least 0"
}

func (e *RestoreError) Error() string {
	return fmt.Sprintf("optim: group %d: set counters: %s is %v, must be %s", e.Group, e.Name, e.Value, e.Want)
}

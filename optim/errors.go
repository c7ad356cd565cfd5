package optim

import "fmt"

// TensorError is a tensor that an optimizer cannot work with, found before anything was written. Err says why: a
// device.LengthError or device.DTypeError, or one of the sentinels of package device.
type TensorError struct {
	Group  int
	Tensor string
	Err    error
}

func (e *TensorError) Error() string {
	return fmt.Sprintf("optim: group %d, tensor %q: %v", e.Group, e.Tensor, e.Err)
}

func (e *TensorError) Unwrap() error { return e.Err }

// DefaultError is an algorithm's value that was made without its Default function, as a literal, so that every field left out is 0.
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
	Want      string // "at least 0"
}

func (e *HyperparameterError) Error() string {
	return fmt.Sprintf("optim: %s: %s is %v, must be %s", e.Algorithm, e.Name, e.Value, e.Want)
}

// Package door is what the C interface does, in Go: fusestep.h says what each call means.
package door

import (
	"errors"
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// Code is a result, as fusestep.h numbers it.
type Code int

// The results.
const (
	OK Code = iota
	Argument
	HyperparameterRange
	Tensor
	Handle
	Forked
	State
	Internal
	RuleSource
	Unavailable
	Capturing
)

// Error is an error whose code is known.
type Error struct {
	Code Code
	Text string
}

func (e *Error) Error() string { return e.Text }

func argumentf(format string, args ...any) error {
	return &Error{Argument, fmt.Sprintf(format, args...)}
}

// CodeOf is the result that an error is.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	if errors.Is(err, optim.ErrUnready) || errors.Is(err, optim.ErrRecorded) {
		return Capturing
	}
	if _, ok := errors.AsType[*optim.HyperparameterError](err); ok {
		return HyperparameterRange
	}
	if _, ok := errors.AsType[*optim.ScalarError](err); ok {
		return HyperparameterRange
	}
	if _, ok := errors.AsType[*optim.TensorError](err); ok {
		return Tensor
	}
	if errors.Is(err, device.ErrUnavailable) {
		return Unavailable
	}
	if _, ok := errors.AsType[*device.PanicError](err); ok || errors.Is(err, device.ErrOutOfMemory) {
		return Internal
	}
	return Argument
}

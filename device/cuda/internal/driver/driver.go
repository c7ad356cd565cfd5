//go:build cuda && cgo && linux

package driver

// #cgo CFLAGS: -fvisibility=hidden -Wall
// #cgo LDFLAGS: -L${SRCDIR} -ldl -lpthread
// #include "shim.h"
import "C"

import "fmt"

// Entry names a function of the driver API, such as [CuMemAlloc].
type Entry uint32

// String is the C name without the suffix of a later version, "cuMemAlloc".
func (e Entry) String() string {
	if int(e) < len(entryNames) {
		return entryNames[e]
	}
	return fmt.Sprintf("Entry(%d)", uint32(e))
}

// Result is the code that a call returned, a CUresult. As an error it serves errors.Is.
type Result uint32

// String is the C name, "CUDA_ERROR_OUT_OF_MEMORY".
func (r Result) String() string {
	if name, ok := resultNames[r]; ok {
		return name
	}
	return fmt.Sprintf("CUresult(%d)", uint32(r))
}

func (r Result) Error() string { return r.String() }

// Error is a call that failed.
type Error struct {
	Entry  Entry
	Result Result
	Cause  error // what [LoadError] says, when that is why, or a hook's [Explain]
}

func (e *Error) Error() string {
	s := fmt.Sprintf("cuda: %v: %v (%d)", e.Entry, e.Result, uint32(e.Result))
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap gives the Result and the Cause, so that errors.Is(err, driver.ErrorOutOfMemory) works.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Result}
	}
	return []error{e.Result, e.Cause}
}

// LoadError opens and initializes libcuda.so.1, unless a call has done so before, and says what is wrong with it; nil
// when nothing is. The outcome stays the same for the life of the process. Hooks are not asked.
func LoadError() error {
	var reason *C.char
	if C.fs_load(&reason) == C.CUDA_SUCCESS {
		return nil
	}
	return loadError(reason)
}

// check makes an error of what a call returned.
func check(e Entry, code C.CUresult) error {
	if code == C.CUDA_SUCCESS {
		return nil
	}
	return NewError(e, Result(code))
}

// NewError is the error of a call that was made some other way, such as through gorgonia.org/cu, and returned r.
func NewError(e Entry, r Result) *Error {
	err := &Error{Entry: e, Result: r}
	var reason *C.char
	if Result(C.fs_failure(&reason)) == r && r != Success {
		err.Cause = loadError(reason)
	} else if f := explain.Load(); f != nil {
		err.Cause = (*f)(r)
	}
	return err
}

func loadError(reason *C.char) error { return fmt.Errorf("driver library: %s", C.GoString(reason)) }

// Describe is the library's own sentence about a result, such as "out of memory"; it needs the library or a hook that
// answers.
func (r Result) Describe() (string, error) {
	var s *C.char
	err := check(CuGetErrorString, C.cuGetErrorString(C.CUresult(r), &s))
	return C.GoString(s), err
}

// Name is the library's name of a result. It may know newer ones than String does.
func (r Result) Name() (string, error) {
	var s *C.char
	err := check(CuGetErrorName, C.cuGetErrorName(C.CUresult(r), &s))
	return C.GoString(s), err
}

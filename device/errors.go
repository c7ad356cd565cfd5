package device

import (
	"errors"
	"fmt"
)

// What a caller may want to tell apart with errors.Is.
var (
	ErrUnavailable = errors.New("unavailable")                  // the device, its driver or support for it is missing
	ErrOutOfMemory = errors.New("out of memory")                // the device has not enough memory left
	ErrClosed      = errors.New("closed")                       // the device, buffer, stream or event was closed
	ErrForeign     = errors.New("belongs to another device")    // a buffer, stream or event of one device was given to another
	ErrOverlap     = errors.New("overlaps")                     // two buffers that must be apart share memory
	ErrUnsupported = errors.New("not supported by this device") // such as an element type that a backend lacks
	ErrNotRecorded = errors.New("event has not been recorded")  // an event that no stream has been told to record
	ErrMisaligned  = errors.New("misaligned")                   // an address that is no multiple of its element's size
	ErrRange       = errors.New("out of range")                 // a length that no memory has, a slice beyond its buffer, or addresses where there is no memory
)

// LengthError is data whose length is not what it must be.
type LengthError struct {
	What string // what is too long or too short, such as "grad"
	Got  int
	Ref  string // what its length is held against, such as "value"
	Want int
}

// Error reads "grad has 12 elements, value has 16".
func (e *LengthError) Error() string {
	return fmt.Sprintf("%s has %d elements, %s has %d", e.What, e.Got, e.Ref, e.Want)
}

// DTypeError is data whose element type is not what it must be.
type DTypeError struct {
	What string // what has the wrong type, such as "grad"
	Got  DType
	Ref  string // what its type is held against, such as "value"
	Want DType
}

// Error reads "grad is float64, value is float32".
func (e *DTypeError) Error() string {
	return fmt.Sprintf("%s is %s, %s is %s", e.What, e.Got, e.Ref, e.Want)
}

// PanicError is work of a stream that panicked: a fault of a rule or of fusestep. Synchronize returns it, and so does
// every later call of the stream.
type PanicError struct {
	Value any    // what was given to panic
	Stack string // of the goroutine that panicked
}

// Error is the value, then the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("panic in enqueued work: %v\n%s", e.Value, e.Stack)
}

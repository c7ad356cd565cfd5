package kernels

import (
	"unsafe"

	"github.com/fusestep/fusestep/device"
)

// Mover is a Backend that takes memory as somebody else has it, which may be elsewhere at each step, without compiling again.
type Mover interface {
	Backend
	// WrapAt makes a buffer of n elements of memory that somebody else owns, at an address that is aligned to them; nil is nowhere. Closing the
	// buffer frees nothing.
	WrapAt(t device.DType, n int, at unsafe.Pointer) (*device.Buffer, error)
	// Move puts a buffer of WrapAt, or of a slice that was wrapped, elsewhere: its slices, too. Updates of it are to be told by Moved, and whatever is
	// under way with it must be over. Of any other buffer it fails with device.ErrUnsupported.
	Move(b *device.Buffer, at unsafe.Pointer) error
}

// Movable is what a Mover makes updates of. Tensors that a step leaves out by GroupStep.Off, or all steps of Norm, may have a nil buffer.
type Movable interface {
	Update
	// Moved looks again where buffers are, of the planes whose bits are set: they were moved, or the Planes of the work's tensors, which the update
	// shares with its caller, have others of the same type and length. No step may be under way. On an error the update must not be used.
	Moved(planes uint64) error
}

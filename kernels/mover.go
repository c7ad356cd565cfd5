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
	// Word is where the address of a buffer of WrapAt, or of a slice that was wrapped, stands as long as there is the buffer. Who writes to it moves the
	// buffer, and its slices, when whatever was under way with them is over, and tells updates by Moved. Of any other buffer it fails with device.ErrUnsupported.
	Word(b *device.Buffer) (*unsafe.Pointer, error)
}

// Retabled is an Update that can go on with buffers elsewhere, as a GPU's.
type Retabled interface {
	Update
	// Retable enqueues making the work another, which differs in where the Planes of its tensors are and in nothing else, from the next step on. Where it
	// differs otherwise it says false, and the update stays.
	Retable(s *device.Stream, w Work) (bool, error)
}

// Movable is what a Mover makes updates of. Tensors that a step leaves out by GroupStep.Off, or all steps of Norm, may have a nil buffer.
type Movable interface {
	Update
	// Moved looks again where buffers are, of the planes whose bits are set: they were moved, or, where others says so, the Planes of the work's tensors,
	// which the update shares with its caller, have others of the same type and length. No step may be under way. On an error the update must not be used.
	Moved(planes uint64, others bool) error
}

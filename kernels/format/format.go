// Package format says how memory holds the numbers that rules calculate with. A format has planes, which are the buffers that hold a
// tensor's elements, and functions that make a number of what the planes hold for one element, and back. The functions are written
// once, in the language that package rule defines, with words: the scalar executor runs them compiled, all others as graphs.
//
// A Format is bound to a compute type, as what is to be done to an element depends on it: float32 in memory is no operation where
// float32 is calculated with, and one where float64 is.
package format

import (
	"slices"
	"sync"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Format is how memory holds numbers of a compute type. There is one of each, so that equal formats are equal pointers.
type Format struct {
	name           string
	compute        device.DType
	planes         []Plane
	decode, encode func() *ir.Func // both are nil where the plane holds the number itself
	noisy          bool            // encode takes noise, too
	runs           any             // *runs[F], where F is the compute type
}

// Plane is one of the buffers that hold a tensor's elements.
type Plane struct {
	Name  string       // "" of the first, which the others stand beside: "master" or "remainder"
	DType device.DType // of the buffer
	Type  ir.Type      // of the field that a graph of the compute type loads and stores
}

// runs do to a run of elements, by compiled functions, what the graphs do to one.
type runs[F rule.Float] struct {
	load       func(dst []F, planes [][]byte)
	store      func(planes [][]byte, src []F)
	storeNoisy func(planes [][]byte, src []F, noise []uint32) // or
}

var all = sync.OnceValue(func() []*Format { return append(plain(), masters()...) })

// Plain is the format that holds a number in one element of the storage type. It fails with an *Error where there is none.
func Plain(storage, compute device.DType) (*Format, error) {
	for _, f := range all() {
		if f.NumPlanes() == 1 && f.planes[0].DType == storage && f.compute == compute && !f.noisy {
			return f, nil
		}
	}
	return nil, &Error{Format: storage.Short(), Compute: compute}
}

// Parse reads a name as String writes it, or that of a device.DType. It fails with an *Error.
func Parse(name string, compute device.DType) (*Format, error) {
	for _, f := range all() {
		if f.name == name && f.compute == compute {
			return f, nil
		}
	}
	storage, err := device.ParseDType(name)
	if err != nil {
		return nil, &Error{Format: name, Compute: compute}
	}
	return Plain(storage, compute)
}

// Stochastic is the format with the same planes that rounds stochastically: itself where there is none, as only 16 bits for numbers of
// float32 have one.
func (f *Format) Stochastic() *Format {
	if g, err := Parse(f.name+"/sr", f.compute); err == nil {
		return g
	}
	return f
}

// String is the format's name, such as "bf16", or "bf16+i16" of two planes.
func (f *Format) String() string { return f.name }

// Compute is the type that is calculated with.
func (f *Format) Compute() device.DType { return f.compute }

// Planes are the buffers, in the order in which Decode takes them and Encode gives them.
func (f *Format) Planes() []Plane { return slices.Clone(f.planes) }

// NumPlanes is how many there are.
func (f *Format) NumPlanes() int { return len(f.planes) }

// Identity says whether the one plane holds the number itself, so that Decode and Encode are no operations.
func (f *Format) Identity() bool { return f.decode == nil }

// Encodes says whether numbers can be put into memory. Where the compute type is wider than what memory holds, they can be read alone.
func (f *Format) Encodes() bool { return f.encode != nil || f.Identity() }

// Noisy says whether numbers are rounded stochastically: Encode and Store take noise.
func (f *Format) Noisy() bool { return f.noisy }

// Decode adds to a graph of the compute type's width what makes a number of an element: of one value a plane.
func (f *Format) Decode(b *ir.Builder, planes []ir.Value) ir.Value {
	if f.Identity() {
		return planes[0]
	}
	return apply(b, f.decode(), planes)[0]
}

// Encode adds what makes an element of x: one value a plane. The format is one that Encodes. Noise is what Noise makes, and is not looked at
// where the format is not Noisy.
func (f *Format) Encode(b *ir.Builder, x, noise ir.Value) []ir.Value {
	switch {
	case f.Identity():
		return []ir.Value{x}
	case f.noisy:
		return apply(b, f.encode(), []ir.Value{x, noise})
	}
	return apply(b, f.encode(), []ir.Value{x})
}

// apply inlines a function's graph: its fields are the parameters and then the results.
func apply(b *ir.Builder, fn *ir.Func, in []ir.Value) []ir.Value {
	entry := make([]ir.Value, len(fn.Vars))
	copy(entry, in)
	return b.Inline(fn, entry)[len(in):]
}

// Load decodes len(dst) elements. Each plane's memory is of as many elements at least, and aligned to them. F is the compute type.
func Load[F rule.Float](f *Format, dst []F, planes [][]byte) {
	f.runs.(*runs[F]).load(dst, planes)
}

// Store encodes src into the planes' memory. The format is one that Encodes. Noise has a number for each element, as Encode takes it, and may
// be nil where the format is not Noisy.
func Store[F rule.Float](f *Format, planes [][]byte, src []F, noise []uint32) {
	if f.noisy {
		f.runs.(*runs[F]).storeNoisy(planes, src, noise)
	} else {
		f.runs.(*runs[F]).store(planes, src)
	}
}

// view is the first n elements of a plane's memory.
func view[T uint8 | uint16 | uint32 | float32 | float64](plane []byte, n int) []T {
	plane = slices.Clip(plane)[:n*int(unsafe.Sizeof(T(0)))] // not beyond its length
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(plane))), n)
}

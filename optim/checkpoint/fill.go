package checkpoint

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint/internal/safetensors"
)

// FitError is parameters that do not fit: everything that was found. Nothing was written.
type FitError struct {
	Path   string // of the file or index
	Faults []Fault
}

func (e *FitError) Error() string {
	return "checkpoint: weights of " + e.Path + " do not fit" + texts(e.Faults)
}

// Fill fills the values of parameters, each by its name, which must be all that there are. Types are converted as Weight.Fill does. What does not fit
// is a FitError, which lists everything, before anything is written. The host's values of optim.Placed are the new ones too. It is for values that an optimizer has not stepped on yet: one that has, and
// keeps masters, needs Optimizer.AdoptValues.
func (w *Weights) Fill(s *device.Stream, params []optim.Param) error {
	e := &FitError{Path: w.path}
	known := map[string]bool{}
	for _, p := range params {
		known[p.Name] = true
		if t, ok := w.Lookup(p.Name); !ok {
			e.Faults = append(e.Faults, Fault{p.Name, "is missing"})
		} else if f, ok := t.fits(p.Value.DType(), p.Value.Len()); !ok {
			e.Faults = append(e.Faults, f)
		}
	}
	for t := range w.All() {
		if !known[t.Name] {
			e.Faults = append(e.Faults, Fault{t.Name, "is there, and no parameter has its name"})
		}
	}
	if e.Faults != nil {
		return e
	}
	for _, p := range params {
		t, _ := w.Lookup(p.Name)
		if err := t.Fill(s, p.Value); err != nil {
			return err
		}
		if err := p.Download(); err != nil {
			return fmt.Errorf("checkpoint: weights: %w", err)
		}
	}
	return nil
}

// exact says which types' numbers are all numbers of another type.
var exact = map[device.DType][]string{
	device.Float64: {"F64", "F32", "BF16", "F16"}, device.Float32: {"F32", "BF16", "F16"}, device.BFloat16: {"BF16"}, device.Float16: {"F16"},
}

// fits says what is wrong where the tensor cannot be put into so many elements of a type.
func (t Weight) fits(to device.DType, n int) (Fault, bool) {
	switch {
	case !slices.Contains(exact[to], t.DType):
		return Fault{t.Name, fmt.Sprintf("is of %s, which %s does not hold exactly", t.DType, to)}, false
	case int64(n) != t.elements:
		return Fault{t.Name, fmt.Sprintf("has %d elements of shape %v, the value has %d", t.elements, t.Shape, n)}, false
	}
	return Fault{}, true
}

// Fill writes the tensor to a buffer of as many elements, of its type or one that holds each number of it: float32 for BF16 and F16, float64 for these
// and F32. Anything else is a FitError, and nothing is written. It waits for the stream, nil for the default one. Where the buffer is
// of optim.Placed, Param.Download follows.
func (t Weight) Fill(s *device.Stream, b *device.Buffer) error {
	if f, ok := t.fits(b.DType(), b.Len()); !ok {
		return &FitError{t.path, []Fault{f}}
	}
	if s == nil {
		s = b.Device().DefaultStream()
	}
	var err error
	switch b.DType() {
	case device.Float32:
		err = fillNumbers[float32](t, s, b)
	case device.Float64:
		err = fillNumbers[float64](t, s, b)
	default: // as they are
		err = fill(t, s, b, func(x []uint16, raw []byte) {
			for i := range x {
				x[i] = binary.LittleEndian.Uint16(raw[2*i:])
			}
		})
	}
	if err != nil {
		return fmt.Errorf("checkpoint: weights: tensor %q: %w", t.Name, err)
	}
	return nil
}

// fillNumbers is Fill of a buffer of F.
func fillNumbers[F device.Float](t Weight, s *device.Stream, b *device.Buffer) error {
	f, err := format.Parse(strings.ToLower(t.DType), b.DType())
	if err != nil {
		return err
	}
	return fill(t, s, b, func(x []F, raw []byte) { format.Load(f, x, [][]byte{raw}) })
}

// fill writes what decode makes of bytes to a buffer, chunk by chunk.
func fill[T device.Element](t Weight, s *device.Stream, b *device.Buffer, decode func(x []T, raw []byte)) error {
	const chunk = 1 << 20
	x, raw := make([]T, min(b.Len(), chunk)), make([]byte, min(b.Len(), chunk)*t.size())
	for lo := 0; lo < b.Len(); lo += chunk {
		n := min(b.Len()-lo, chunk)
		part, err := b.Slice(lo, lo+n)
		if err == nil {
			err = t.read(lo, raw[:n*t.size()])
		}
		if err == nil {
			decode(x[:n], raw)
			err = device.Upload(s, part, x[:n])
		}
		if err == nil {
			err = s.Synchronize()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t Weight) size() int { return safetensors.Bits[t.DType] / 8 }

func (t Weight) read(lo int, to []byte) error {
	return safetensors.ReadAt(t.file, to, t.from+int64(lo)*int64(t.size()))
}

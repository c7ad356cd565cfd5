package safetensors

import (
	"fmt"
	"math"
	"math/bits"
)

// Bits are those of an element of each type that the format has.
var Bits = map[string]int{
	"BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
	"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}

// Elements is how many elements a shape has, and whether an int64 holds it.
func Elements(shape []int) (int64, bool) {
	n, over := uint64(1), false
	for _, d := range shape {
		if d == 0 {
			return 0, true
		}
		hi, lo := bits.Mul64(n, uint64(d))
		over = over || d < 0 || hi != 0 || lo > math.MaxInt64
		n = lo
	}
	return int64(n), !over
}

// bytes is what the tensor takes by its type and shape, and whether it can be told.
func (t *Tensor) bytes() (int64, bool) {
	n, ok := Elements(t.Shape)
	hi, lo := bits.Mul64(uint64(n), uint64(Bits[t.DType]))
	return int64(lo / 8), ok && hi == 0 && lo%8 == 0
}

// Place lays the tensors out, one behind the other.
func Place(tensors []Tensor) error {
	at := int64(0)
	for i := range tensors {
		t := &tensors[i]
		n, ok := t.bytes()
		if !ok || at > math.MaxInt64-n {
			return fault("tensor %q of %s and shape %v takes no number of bytes that a file can hold", t.Name, t.DType, t.Shape)
		}
		t.From, t.To = at, at+n
		at = t.To
	}
	return nil
}

// check finds everything that is wrong with the tensors, which are in the order of their bytes, in a file with so many bytes of data.
func (h *Header) check(data int64) (faults []Fault) {
	at, last := int64(0), ""
	for _, t := range h.Tensors {
		add := func(format string, a ...any) { faults = append(faults, Fault{t.Name, fmt.Sprintf(format, a...)}) }
		switch {
		case t.To < t.From:
			add("ends at byte %d, before it begins at byte %d", t.To, t.From)
			continue
		case t.From < at:
			add("begins at byte %d, where %q lies up to byte %d", t.From, last, at)
		case t.From > at:
			add("begins at byte %d, and what is before it from byte %d on belongs to no tensor", t.From, at)
		}
		if Bits[t.DType] > 0 {
			if n, ok := t.bytes(); !ok {
				add("of %s has the shape %v, which is no whole number of bytes below 2^63", t.DType, t.Shape)
			} else if n != t.To-t.From {
				add("of %s and shape %v takes %d bytes, and has %d", t.DType, t.Shape, n, t.To-t.From)
			}
		} else if _, ok := Elements(t.Shape); !ok {
			add("has the shape %v, which is 2^63 elements or more", t.Shape)
		}
		if t.To > data {
			add("ends at byte %d of the data, and the file has %d", t.To, data)
		}
		if t.To >= at {
			at, last = t.To, t.Name
		}
	}
	if at < data {
		faults = append(faults, Fault{What: fmt.Sprintf("the file has %d bytes behind the last tensor", data-at)})
	}
	return faults
}

package device

import "fmt"

// DType is the type of a buffer's elements.
type DType uint8

// The element types. Float16 and BFloat16 are storage types: arithmetic on them is done in float32. Int16 and Int8 hold remainders, of which
// a number is made together with a BFloat16: no type of a number by themselves.
const (
	Float32 DType = iota + 1
	Float64
	BFloat16
	Float16
	Int16
	Int8
)

var dtypes = [...]struct {
	name, short string
	size        int
}{
	{"invalid", "invalid", 0},
	Float32:  {"float32", "f32", 4},
	Float64:  {"float64", "f64", 8},
	BFloat16: {"bfloat16", "bf16", 2},
	Float16:  {"float16", "f16", 2},
	Int16:    {"int16", "i16", 2},
	Int8:     {"int8", "i8", 1},
}

// Size is the number of bytes of an element, 0 for a value that is no element type.
func (t DType) Size() int {
	if int(t) < len(dtypes) {
		return dtypes[t].size
	}
	return 0
}

// String is the name in full, such as "bfloat16".
func (t DType) String() string {
	if t.Size() == 0 {
		return fmt.Sprintf("DType(%d)", uint8(t))
	}
	return dtypes[t].name
}

// Short is the short name, such as "bf16".
func (t DType) Short() string {
	if t.Size() == 0 {
		return t.String()
	}
	return dtypes[t].short
}

// ParseDType reads a name as String or Short writes it: float32 or f32, f64, bf16, f16, i16, i8. It fails on all others.
func ParseDType(s string) (DType, error) {
	for i, d := range dtypes {
		if d.size > 0 && (s == d.name || s == d.short) {
			return DType(i), nil
		}
	}
	return 0, fmt.Errorf("dtype %q is not one of f32, f64, bf16, f16, i16, i8", s)
}

// Element is a Go type that holds a buffer's elements: a float32, float64, int16 or int8, or the bits of a BFloat16 or Float16.
type Element interface {
	float32 | float64 | uint16 | int16 | int8
}

// DTypeOf is the element type that T holds: BFloat16 for uint16, which holds Float16 too.
func DTypeOf[T Element]() DType {
	switch any(T(0)).(type) {
	case float32:
		return Float32
	case float64:
		return Float64
	case int16:
		return Int16
	case int8:
		return Int8
	}
	return BFloat16
}

// holds says whether T is the Go type of elements of type t.
func holds[T Element](t DType) bool {
	return t == DTypeOf[T]() || t == Float16 && DTypeOf[T]() == BFloat16
}

// integer says whether elements are no numbers that a rule could calculate with.
func (t DType) integer() bool { return t == Int16 || t == Int8 }

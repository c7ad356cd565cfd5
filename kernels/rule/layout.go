package rule

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/fusestep/fusestep/kernels/internal/syntax"
)

// sameStruct checks that a compiled struct is the one of the source: flat, all of one kind, the same names and tags.
func sameStruct[S any](bank syntax.Bank, kind reflect.Kind) error {
	t := reflect.TypeFor[S]()
	if t.Kind() != reflect.Struct || t.NumField() != len(bank.Fields) {
		return fmt.Errorf("type %s is not the struct that the source gives parameter %s", t, bank.Param)
	}
	for i, f := range bank.Fields {
		if g := t.Field(i); g.Name != f.Name || g.Tag != f.Tag || g.Type.Kind() != kind {
			return fmt.Errorf("field %s of %s is not the source's field %s", g.Name, t, f.Name)
		}
	}
	return nil
}

func sameOptions[O any](names []string) error {
	t := reflect.TypeFor[O]()
	if t.Kind() != reflect.Struct || t.NumField() != len(names) {
		return fmt.Errorf("type %s is not the options struct of the source", t)
	}
	for i, name := range names {
		if g := t.Field(i); g.Name != name || g.Type.Kind() != reflect.Bool {
			return fmt.Errorf("field %s of %s is not the source's option %s", g.Name, t, name)
		}
	}
	return nil
}

// numbers views a flat struct of numbers as a slice. New has checked that it is one.
func numbers[F Float, S any](s *S) []F {
	n := unsafe.Sizeof(*s) / unsafe.Sizeof(F(0))
	return unsafe.Slice((*F)(unsafe.Pointer(s)), n)
}

// structOf is the struct that numbers are: of as many of the first as it has.
func structOf[S any](numbers []float64) *S {
	var s S
	return (*S)(unsafe.Pointer(unsafe.SliceData(numbers[:unsafe.Sizeof(s)/unsafe.Sizeof(float64(0))])))
}

func bools[O any](o *O) []bool {
	return unsafe.Slice((*bool)(unsafe.Pointer(o)), unsafe.Sizeof(*o))
}

func setOptions[O any](o *O, set uint64) {
	b := bools(o)
	for i := range b {
		b[i] = set>>i&1 != 0
	}
}

func optionSet[O any](o O) (set uint64) {
	for i, on := range bools(&o) {
		if on {
			set |= 1 << i
		}
	}
	return set
}

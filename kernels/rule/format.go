package rule

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"

	"github.com/fusestep/fusestep/kernels/internal/syntax"
	"github.com/fusestep/fusestep/kernels/ir"
)

// FormatFunction makes the graph of a format function, one of words and numbers, and compares it with the compiled function as New does.
// Fn is the instance for the width if the function is generic. The graph's fields are the parameters, bank 0, and then the
// results, bank 1.
func FormatFunction(fn any, width int, source string) (*ir.Func, error) {
	name, file := funcName(fn)
	f, err := formatFunction(name, file, reflect.ValueOf(fn), width, source)
	if err != nil {
		return nil, fmt.Errorf("format function %s: %w", name, err)
	}
	return f, nil
}

func formatFunction(name, file string, fn reflect.Value, width int, source string) (*ir.Func, error) {
	parsed, err := syntax.Parse(file, source, lang)
	if err != nil {
		return nil, err
	}
	sf, err := parsed.FormatFunction(name)
	if err != nil {
		return nil, err
	}
	f, err := sf.Lower(width, 0)
	if err != nil {
		return nil, err
	}
	if err := sameSignature(fn.Type(), f); err != nil {
		return nil, err
	}
	if width == 32 {
		return f, compareFormat(f, fn, float32Of)
	}
	return f, compareFormat(f, fn, float64Of)
}

// sameSignature checks that a compiled function takes and returns what the source says.
func sameSignature(t reflect.Type, f *ir.Func) error {
	if t.NumIn()+t.NumOut() != len(f.Vars) {
		return fmt.Errorf("%s has %d parameters and results, in the source it has %d", t, t.NumIn()+t.NumOut(), len(f.Vars))
	}
	number := reflect.Float64
	if f.Width == 32 {
		number = reflect.Float32
	}
	for i, v := range f.Vars {
		var is reflect.Type
		if in := t.NumIn(); i < in {
			is = t.In(i)
		} else {
			is = t.Out(i - in)
		}
		want := number
		if v.Type == ir.U32 {
			want = reflect.Uint32
		}
		if is.Kind() != want {
			return fmt.Errorf("%s of %s is a %s, at %d bits by the source a %s", v.Name, t, is, f.Width, want)
		}
	}
	return nil
}

// compareFormat runs the graph and the function on the same numbers and words.
func compareFormat[F Float](f *ir.Func, fn reflect.Value, of func(uint64) F) error {
	n, words := newNumbers(f, of), newWords(f)
	eval := ir.NewEvaluator[F](f)
	vars, in := make([]F, len(f.Vars)), make([]reflect.Value, fn.Type().NumIn())
	for t := range trials {
		n.fill(vars, t)
		for i := range in {
			if f.Vars[i].Type == ir.Float {
				in[i] = reflect.ValueOf(vars[i])
			} else {
				eval.Words[i] = words.any()
				in[i] = reflect.ValueOf(eval.Words[i])
			}
		}
		eval.Run(vars)
		for i, want := range fn.Call(in) {
			v := len(in) + i
			got, differs := any(vars[v]), false
			if f.Vars[v].Type == ir.Float {
				differs = !same(float64(vars[v]), want.Float())
			} else {
				got, differs = eval.Words[v], uint64(eval.Words[v]) != want.Uint()
			}
			if differs {
				var args []string
				for i, x := range in {
					args = append(args, fmt.Sprintf("%s = %v", f.Vars[i].Name, x))
				}
				return fmt.Errorf("the source is not that of the compiled function, at %d bits: %s becomes %v by the source, %v by the function; parameters %s",
					f.Width, f.Vars[v].Name, got, want, strings.Join(args, ", "))
			}
		}
	}
	return nil
}

// wordsFor draws the words of trials.
type wordsFor struct {
	rng       *rand.Rand
	constants []uint32 // the graph's own, those beside them, and the ends of the range of numbers
}

func newWords(f *ir.Func) *wordsFor {
	w := &wordsFor{rng: rand.New(rand.NewPCG(3, 4)), constants: []uint32{0, 1, math.MaxInt32, math.MaxUint32, 0x7f800000, 0xff800000, 0x7fc00000, 0x00800000}}
	for _, n := range f.Nodes {
		if n.Op == ir.Word {
			c := uint32(n.Bits)
			w.constants = append(w.constants, c-1, c, c+1)
		}
	}
	return w
}

// any is a word of any kind: of any bits, of few low ones, or a constant with a few bits changed.
func (w *wordsFor) any() uint32 {
	switch r := w.rng; r.IntN(4) {
	case 0:
		return r.Uint32()
	case 1:
		return r.Uint32() >> r.IntN(32)
	case 2:
		return w.constants[r.IntN(len(w.constants))]
	default:
		return w.constants[r.IntN(len(w.constants))] ^ 1<<r.IntN(32)
	}
}

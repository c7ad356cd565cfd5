package rule

import (
	"reflect"
	"slices"

	"github.com/fusestep/fusestep/kernels/internal/syntax"
)

// StageFunc is an element function or a tensor function of a rule with the scalars S and the options O. Elements and Tensors make it.
type StageFunc[S, O any] struct{ stageFunc }

// stageFunc is a function of a rule. Of a rule that was read from its source alone it is not compiled: it has a name and flags.
type stageFunc struct {
	name, file string
	tensors    bool // a tensor function
	alone      bool // an element function without a tensor struct

	same    func(*syntax.Function) error // says whether its types are the source's
	apply32 func(*Rule, *Pass[float32])
	apply64 func(*Rule, *Pass[float64])
	run     func(tensor, scalars []float64, options uint64)

	source *syntax.Function
}

// Elements is an element function of NewStaged, for both widths.
func Elements[E32, E64, S32, S64, T32, T64, O any](f32 func(*E32, *S32, *T32, O), f64 func(*E64, *S64, *T64, O)) StageFunc[S64, O] {
	if f32 == nil || f64 == nil {
		return StageFunc[S64, O]{}
	}
	f := elementsOf[E32, E64, S32, S64, T32, T64, O](f32)
	f.apply32, f.apply64 = applier[float32](nil, f32), applier[float64](nil, f64)
	return StageFunc[S64, O]{f}
}

// elementsOf is an element function, but for what runs it.
func elementsOf[E32, E64, S32, S64, T32, T64, O any](f32 any) stageFunc {
	name, file := funcName(f32)
	return stageFunc{name: name, file: file,
		same: func(fn *syntax.Function) error {
			banks := append(slices.Clip(fn.Banks), syntax.Bank{}) // of a function without a tensor struct
			return firstError(
				sameStruct[E32](banks[0], reflect.Float32), sameStruct[E64](banks[0], reflect.Float64),
				sameStruct[S32](banks[1], reflect.Float32), sameStruct[S64](banks[1], reflect.Float64),
				sameStruct[T32](banks[2], reflect.Float32), sameStruct[T64](banks[2], reflect.Float64), sameOptions[O](fn.Options))
		}}
}

// Tensors is a tensor function of NewStaged.
func Tensors[T, S, O any](f func(*T, *S, O)) StageFunc[S, O] {
	if f == nil {
		return StageFunc[S, O]{}
	}
	name, file := funcName(f)
	return StageFunc[S, O]{stageFunc{name: name, file: file, tensors: true, run: tensorRunner(f),
		same: func(fn *syntax.Function) error {
			return firstError(sameStruct[T](fn.Banks[0], reflect.Float64), sameStruct[S](fn.Banks[1], reflect.Float64), sameOptions[O](fn.Options))
		}}}
}

func firstError(errs ...error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

// elements is the element function of a stage.
func (r *Rule) elements(stage int) *stageFunc { return &r.functions[2*stage] }

// tensors is the tensor function before the element function of a stage.
func (r *Rule) tensors(stage int) *stageFunc { return &r.functions[2*stage-1] }

// lookUp finds the functions in the source.
func (r *Rule) lookUp(parsed *syntax.File) (err error) {
	for i := range r.functions {
		f := &r.functions[i]
		modes := make([]syntax.Mode, len(f.banks())) // each Read
		if !f.tensors {
			modes[0] = syntax.ReadWrite
		}
		if f.source, err = parsed.Function(f.name, modes...); err != nil {
			return err
		}
		switch pos := f.source.Pos; {
		case f.tensors && f.source.Generic:
			return wrong(pos, "the tensor function %s must be a float64 function, not a generic one", f.name)
		case !f.tensors && !f.source.Generic:
			return wrong(pos, "the element function must be generic: func %s[F rule.Float](…)", f.name)
		case f.tensors && (i%2 == 0 || i == len(r.functions)-1):
			return wrong(pos, "the tensor function %s does not stand between two element functions", f.name)
		case !f.tensors && i%2 != 0:
			return wrong(pos, "no tensor function stands between the element functions %s and %s", r.functions[i-1].name, f.name)
		}
	}
	r.Stages = len(r.functions)/2 + 1
	return nil
}

// banks are those of the graph's fields, in the order of the parameters.
func (f *stageFunc) banks() []int {
	switch {
	case f.tensors:
		return []int{TensorBank, ScalarsBank}
	case f.alone:
		return []int{ElemBank, ScalarsBank}
	}
	return []int{ElemBank, ScalarsBank, TensorBank}
}

// bank is one of them in the source; nil where the function has none.
func (f *stageFunc) bank(bank int) *syntax.Bank {
	if i := slices.Index(f.banks(), bank); i >= 0 {
		return &f.source.Banks[i]
	}
	return nil
}

package rule

import (
	"reflect"
	"slices"

	"github.com/fusestep/fusestep/kernels/internal/syntax"
	"github.com/fusestep/fusestep/kernels/ir"
)

// StageFunc is a function of a rule with the scalars S and the options O. Elements, MatrixElements, Rows, Columns, Tensors and All make it.
type StageFunc[S, O any] struct{ stageFunc }

// stageFunc is a function of a rule. Of a rule that was read from its source alone it is not compiled: it has a name, a domain and banks.
type stageFunc struct {
	name, file string
	domain     Domain
	stage      int   // of the element functions, which this is or stands before
	all        bool  // of OfTensor: it is a function of everything
	banks      []int // of the graph's fields, in the order of the parameters

	same    func(*syntax.Function) error // says whether its types are the source's
	apply32 func(*Rule, *Pass[float32])
	apply64 func(*Rule, *Pass[float64])
	run     func(tensor, scalars []float64, options uint64)

	source *syntax.Function
	lower  func(width int, options uint64) (*ir.Func, error) // its graph, of a function that has no source, or of another rule
}

// The banks of the kinds of functions.
var (
	aloneBanks   = []int{ElemBank, ScalarsBank}
	elementBanks = []int{ElemBank, ScalarsBank, TensorBank}
	matrixBanks  = []int{ElemBank, ScalarsBank, TensorBank, RowBank, ColumnBank}
	rowBanks     = []int{RowBank, ScalarsBank, TensorBank}
	columnBanks  = []int{ColumnBank, ScalarsBank, TensorBank}
	tensorBanks  = []int{TensorBank, ScalarsBank}
)

// Elements is an element function of NewStaged, for both widths.
func Elements[E32, E64, S32, S64, T32, T64, O any](f32 func(*E32, *S32, *T32, O), f64 func(*E64, *S64, *T64, O)) StageFunc[S64, O] {
	if f32 == nil || f64 == nil {
		return StageFunc[S64, O]{}
	}
	type none = struct{}
	f := stageFuncOf[O](f32, OfElements, elementBanks, both[E32, E64], both[S32, S64], both[T32, T64])
	f.apply32 = applier(calls[float32, E32, S32, T32, none, none, O]{element: f32})
	f.apply64 = applier(calls[float64, E64, S64, T64, none, none, O]{element: f64})
	return StageFunc[S64, O]{f}
}

// MatrixElements is an element function of NewStaged that has numbers of the element's row and column, for both widths.
func MatrixElements[E32, E64, S32, S64, T32, T64, R32, R64, C32, C64, O any](f32 func(*E32, *S32, *T32, *R32, *C32, O),
	f64 func(*E64, *S64, *T64, *R64, *C64, O)) StageFunc[S64, O] {
	if f32 == nil || f64 == nil {
		return StageFunc[S64, O]{}
	}
	f := stageFuncOf[O](f32, OfElements, matrixBanks, both[E32, E64], both[S32, S64], both[T32, T64], both[R32, R64], both[C32, C64])
	f.apply32 = applier(calls[float32, E32, S32, T32, R32, C32, O]{matrix: f32})
	f.apply64 = applier(calls[float64, E64, S64, T64, R64, C64, O]{matrix: f64})
	return StageFunc[S64, O]{f}
}

// Rows is a row function of NewStaged, for both widths: it runs over the rows of a tensor that has a matrix view.
func Rows[R32, R64, S32, S64, T32, T64, O any](f32 func(*R32, *S32, *T32, O), f64 func(*R64, *S64, *T64, O)) StageFunc[S64, O] {
	return overLines(OfRows, rowBanks, f32, f64)
}

// Columns is a column function of NewStaged, for both widths: it runs over the columns of a tensor that has a matrix view.
func Columns[C32, C64, S32, S64, T32, T64, O any](f32 func(*C32, *S32, *T32, O), f64 func(*C64, *S64, *T64, O)) StageFunc[S64, O] {
	return overLines(OfColumns, columnBanks, f32, f64)
}

// overLines is a function over rows or columns.
func overLines[L32, L64, S32, S64, T32, T64, O any](d Domain, banks []int, f32 func(*L32, *S32, *T32, O), f64 func(*L64, *S64, *T64, O)) StageFunc[S64, O] {
	if f32 == nil || f64 == nil {
		return StageFunc[S64, O]{}
	}
	f := stageFuncOf[O](f32, d, banks, both[L32, L64], both[S32, S64], both[T32, T64])
	f.apply32, f.apply64 = lineApplier[float32](f32), lineApplier[float64](f64)
	return StageFunc[S64, O]{f}
}

// Tensors is a tensor function of NewStaged.
func Tensors[T, S, O any](f func(*T, *S, O)) StageFunc[S, O] {
	if f == nil {
		return StageFunc[S, O]{}
	}
	of := stageFuncOf[O](f, OfTensor, tensorBanks, wide[T], wide[S])
	of.run = tensorRunner(f)
	return StageFunc[S, O]{of}
}

// All is a function of everything of NewStaged: a tensor function that runs once for all tensors of a step, which have the numbers of its struct
// together. It sees the scalars of the first tensor's group. The struct's fills are tagged `all:"sum"` and the like, and a rule has no Tensors beside it.
func All[T, S, O any](f func(*T, *S, O)) StageFunc[S, O] {
	of := Tensors(f)
	of.all = true
	return of
}

// stageFuncOf is a function, but for what runs it. Structs check its parameters, in order.
func stageFuncOf[O any](f any, d Domain, banks []int, structs ...func(syntax.Bank) error) stageFunc {
	name, file := funcName(f)
	return stageFunc{name: name, file: file, domain: d, banks: banks,
		same: func(fn *syntax.Function) error {
			var err error
			for i, same := range structs {
				err = firstError(err, same(fn.Banks[i]))
			}
			return firstError(err, sameOptions[O](fn.Options))
		}}
}

// both checks the structs of a generic function's parameter.
func both[S32, S64 any](bank syntax.Bank) error {
	return firstError(sameStruct[S32](bank, reflect.Float32), wide[S64](bank))
}

// wide checks that of a float64 function's.
func wide[S any](bank syntax.Bank) error { return sameStruct[S](bank, reflect.Float64) }

func firstError(errs ...error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

// function is that of a domain, and of a stage of the element functions, which it is or stands before; nil where there is none.
func (r *Rule) function(d Domain, stage int) *stageFunc {
	for i := range r.functions {
		if f := &r.functions[i]; f.domain == d && f.stage == stage {
			return f
		}
	}
	return nil
}

// runs says whether the function is left out of the rule with a set of options: of a tensor without a matrix view, rows and columns are.
func (f *stageFunc) runs(r *Rule, set uint64) bool {
	return f.domain != OfRows && f.domain != OfColumns || set&r.MatrixOption() != 0
}

// last is the last element function.
func (r *Rule) last() *stageFunc { return &r.functions[len(r.functions)-1] }

// lookUp finds the functions in the source.
func (r *Rule) lookUp(parsed *syntax.File) (err error) {
	last := len(r.functions) - 1
	for i := range r.functions {
		f := &r.functions[i]
		modes := make([]syntax.Mode, len(f.banks)) // each Read
		if f.domain == OfElements {
			modes[0] = syntax.ReadWrite
		}
		if f.source, err = parsed.Function(f.name, modes...); err != nil {
			return err
		}
		before := OfElements
		if i > 0 {
			before = r.functions[i-1].domain
		}
		if f.domain != OfElements && before == OfElements || f.domain == OfElements && i > 0 {
			f.stage = r.Stages
		} else if i > 0 {
			f.stage = r.functions[i-1].stage
		}
		if f.domain == OfElements {
			r.Stages++
		}
		switch pos := f.source.Pos; {
		case f.domain == OfTensor && f.source.Generic:
			return wrong(pos, "the tensor function %s must be a float64 function, not a generic one", f.name)
		case f.domain != OfTensor && !f.source.Generic:
			return wrong(pos, "the %s function must be generic: func %s[F rule.Float](…)", f.domain, f.name)
		case f.domain == OfElements && i > 0 && before == OfElements:
			return wrong(pos, "no function of the tensor, of rows or of columns stands between the element functions %s and %s", r.functions[i-1].name, f.name)
		case f.domain != OfElements && (i == 0 || i == last || f.domain == before && f.domain == OfTensor):
			return wrong(pos, "the %s function %s does not stand between two element functions", f.domain, f.name)
		case f.domain != OfElements && f.domain <= before:
			return wrong(pos, "the %s function %s stands behind the %s function %s: between two element functions stand at most one of rows, "+
				"one of columns and one of tensors, in this order", f.domain, f.name, before, r.functions[i-1].name)
		}
	}
	return nil
}

// bank is one of the structs in the source; nil where the function has none of them.
func (f *stageFunc) bank(bank int) *syntax.Bank {
	if i := slices.Index(f.banks, bank); i >= 0 {
		return &f.source.Banks[i]
	}
	return nil
}

// bank is a struct of the rule: the last element function's or, where it has none, another one's, and that function; nil where none has it.
func (r *Rule) bank(bank int) (*syntax.Bank, *stageFunc) {
	if b := r.last().bank(bank); b != nil {
		return b, r.last()
	}
	for i := range r.functions {
		if b := r.functions[i].bank(bank); b != nil {
			return b, &r.functions[i]
		}
	}
	return nil, nil
}

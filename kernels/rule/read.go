package rule

import (
	"fmt"
	"go/token"
	"slices"
	"sync"

	"github.com/fusestep/fusestep/kernels/internal/syntax"
	"github.com/fusestep/fusestep/kernels/ir"
)

// Read makes a rule of a source that is not compiled into the program: the text of a Go file as New and NewStaged describe it, whose name is for errors,
// and the names of the prologue and of the other functions, in the order of NewStaged. What kind of function each is follows from the structs that it
// takes. One that is alone may be as New's. So a program has rules that were written after it was built, and needs no Go compiler for them.
//
// Its graphs are its only meaning: where an executor has no better code, their evaluator runs, in about the time of a compiled function. Every
// executor has the evaluator's bits, as with New. What New checks beside, that a Go compiler makes the same of the source, is not checked, and what the
// functions do not reach of the file need not compile.
//
// A source that is not a rule is an *Error.
func Read(file, source, prologue string, functions ...string) (*Rule, error) {
	if len(functions) == 0 {
		return nil, errNone
	}
	all, err := kinds(file, source, functions)
	if err != nil {
		return nil, err
	}
	r, err := read(source, prologue, all)
	if err != nil {
		return nil, err
	}
	for i := range r.functions {
		f := &r.functions[i]
		if f.domain != OfTensor {
			f.apply32, f.apply64 = evaluated[float32](r, f, 32), evaluated[float64](r, f, 64)
			continue
		}
		run := evaluatedNumbers(r, func(options uint64) (*ir.Func, error) { return r.TensorFunction(f.stage, options) })
		f.run = func(tensor, scalars []float64, options uint64) { run(options, [3][]float64{tensor, scalars}) }
	}
	run := evaluatedNumbers(r, r.Prologue)
	r.runPrologue = func(hyper, counters, scalars []float64, options uint64) {
		run(options, [3][]float64{hyper, counters, scalars})
	}
	return r, nil
}

// kinds says which kind of function each is, by the structs that it takes.
func kinds(file, source string, functions []string) ([]stageFunc, error) {
	name := functions[len(functions)-1]
	parsed, err := syntax.Parse(file, source, lang)
	if err != nil {
		return nil, fmt.Errorf("rule %s: %w", name, err)
	}
	all, structs := make([]stageFunc, len(functions)), make([][]token.Position, len(functions))
	var rows, columns token.Position
	for i := range all {
		f := &all[i]
		f.name, f.file, f.banks = functions[i], file, elementBanks
		var generic bool
		if structs[i], generic, err = parsed.Structs(f.name); err != nil {
			return nil, fmt.Errorf("rule %s: %w", name, err)
		}
		switch n := len(structs[i]); {
		case !generic && i > 0 && i < len(functions)-1:
			f.domain, f.banks = OfTensor, tensorBanks
		case n <= len(aloneBanks) && len(functions) == 1:
			f.banks = aloneBanks
		case generic && n == len(matrixBanks)-1:
			return nil, fmt.Errorf("rule %s: %w", name, wrong(structs[i][n-1], "the element function %s takes a row struct and no column struct: "+
				"it takes both, *struct{} where a rule has none", f.name))
		case n >= len(matrixBanks):
			f.banks = matrixBanks
			rows, columns = structs[i][3], structs[i][4]
		}
	}
	for i := range all {
		switch f, of := &all[i], structs[i]; {
		case len(f.banks) != len(elementBanks) || len(of) == 0:
		case of[0] == rows:
			f.domain, f.banks = OfRows, rowBanks
		case of[0] == columns:
			f.domain, f.banks = OfColumns, columnBanks
		case len(of) == len(aloneBanks):
			return nil, fmt.Errorf("rule %s: %w", name, wrong(of[1], "the function %s takes structs of the element and of scalars, as one that is alone may: "+
				"beside others it takes the tensor's, too, *struct{} where a rule has none", f.name))
		}
	}
	return all, nil
}

// read makes a rule of its source alone: of the functions and the prologue of those names. It is described and has graphs, but cannot be run yet.
func read(source, prologue string, functions []stageFunc) (*Rule, error) {
	last := functions[len(functions)-1]
	r := &Rule{Name: last.name, functions: functions, graphs: map[graphKey]*ir.Func{}}
	if err := r.read(last.file, source, prologue); err != nil {
		return nil, fmt.Errorf("rule %s: %w", r.Name, err)
	}
	return r, nil
}

// lowered is a graph that Read has made.
func lowered(f *ir.Func, err error) *ir.Func {
	if err != nil {
		panic(err)
	}
	return f
}

// evaluatedNumbers runs a function of numbers by its graph: on the fields of its structs, one behind the other.
func evaluatedNumbers(r *Rule, graph func(options uint64) (*ir.Func, error)) func(options uint64, structs [3][]float64) {
	type frame struct {
		*ir.Evaluator[float64]
		vars []float64
	}
	pools := make([]sync.Pool, 1<<len(r.Options)) // an evaluator is for one goroutine
	return func(options uint64, structs [3][]float64) {
		f, ok := pools[options].Get().(*frame)
		if !ok {
			g := lowered(graph(options))
			f = &frame{ir.NewEvaluator[float64](g), make([]float64, len(g.Vars))}
		}
		defer pools[options].Put(f)
		at := 0
		for _, s := range structs {
			at += copy(f.vars[at:], s)
		}
		f.Run(f.vars)
		at = 0
		for _, s := range structs {
			at += copy(s, f.vars[at:])
		}
	}
}

// evaluatedLen is how many elements are computed together.
const evaluatedLen = 128

// evaluator is what one goroutine evaluates an element, row or column function with.
type evaluator[F Float] struct {
	*ir.Evaluator[F]
	slots   [][]F // of each slot, and of the average
	numbers []F   // of each other field of the graph, where it is the same for all elements
	terms   [][]F // of each field that the function fills or that columns have: of those of numbers behind the scalars
	vars    [][]F // of each field of the graph, which are slots, scalars, tensor fields, and those of the row and the column
	lines   lines[F]
}

// evaluated is applier for a function that has a graph alone.
func evaluated[F Float](r *Rule, fn *stageFunc, width int) func(*Rule, *Pass[F]) {
	pools := make([]sync.Pool, 1<<len(r.Options))
	return func(r *Rule, p *Pass[F]) {
		e, ok := pools[p.Options].Get().(*evaluator[F])
		if !ok {
			f := lowered(r.graph(fn.source, width, p.Options, fn.banks))
			slots, scalars := slots(r, fn.domain), len(r.Scalars)
			e = &evaluator[F]{Evaluator: ir.NewEvaluator[F](f), slots: make([][]F, slots+1), numbers: make([]F, len(f.Vars)-slots),
				terms: make([][]F, len(f.Vars)-slots-scalars), vars: make([][]F, len(f.Vars))}
			for i := range e.slots {
				e.slots[i] = make([]F, evaluatedLen)
			}
			for i := range e.numbers {
				e.vars[slots+i] = e.numbers[i : i+1]
			}
			for v := slots + scalars; v < len(f.Vars); v++ {
				if fn.banks[0] != f.Vars[v].Bank && f.Vars[v].Bank == ColumnBank || slices.ContainsFunc(f.Stores, func(s ir.Store) bool { return s.Var == v }) {
					e.terms[v-slots-scalars] = make([]F, evaluatedLen)
				}
			}
		}
		defer pools[p.Options].Put(e)
		e.apply(r, p)
	}
}

func (e *evaluator[F]) apply(r *Rule, p *Pass[F]) {
	n, slots := p.len(), slots(r, p.Domain)
	copy(e.numbers, p.Scalars)
	copy(e.numbers[len(r.Scalars):], p.Tensor)
	if p.Domain == OfElements {
		copy(e.numbers[len(r.Scalars)+len(r.Tensor):], p.Row)
	}
	e.lines.of(p, len(r.Tensor), len(r.Tensor)+len(r.Row), len(e.terms))
	defer e.lines.drop()
	for lo := 0; lo < n; lo += evaluatedLen {
		m := min(evaluatedLen, n-lo)
		for i := range slots {
			e.vars[i] = e.slots[i][:m]
		}
		for i, terms := range e.terms {
			if terms != nil {
				e.vars[slots+len(r.Scalars)+i] = terms[:m]
			}
		}
		for _, k := range p.Loads {
			copy(e.slots[k], p.Slots[k][lo:lo+m])
		}
		for _, c := range e.lines.columns {
			copy(e.terms[c.field], c.numbers[lo:lo+m])
		}
		if p.Domain == OfElements {
			e.before(r, p, m)
		}
		e.RunEach(m, e.vars, nil)
		if p.Domain == OfElements {
			e.behind(r, p, m)
		}
		for _, k := range p.Stores {
			copy(p.Slots[k][lo:lo+m], e.slots[k])
		}
		for _, t := range e.lines.filled {
			copy(t.numbers[lo:lo+m], e.terms[t.field])
		}
	}
}

// before does what is done around the rule before it, to the first n elements.
func (e *evaluator[F]) before(r *Rule, p *Pass[F], n int) {
	if p.Shared == nil {
		return
	}
	param, grad := e.slots[r.Slot(Param)], e.slots[r.Slot(Grad)]
	reads, last := slices.Contains(p.Loads, r.Slot(Grad)), p.Stage == r.Stages-1
	for i := range n {
		if reads {
			grad[i] = p.Shared.gradient(p.Around, grad[i], param[i], p.factor)
		}
		if last {
			param[i] = F(param[i] * p.Shared.Decay)
		}
	}
}

// behind does what is done behind it.
func (e *evaluator[F]) behind(r *Rule, p *Pass[F], n int) {
	param, grad, ema := e.slots[r.Slot(Param)], e.slots[r.Slot(Grad)], e.slots[len(r.Slots)]
	last := p.Stage == r.Stages-1
	for i := range n {
		if p.Shared != nil && last {
			param[i] = Flush(param[i])
			if p.Around&EMA != 0 {
				ema[i] = p.Shared.average(ema[i], param[i])
			}
		}
		if p.Around&ZeroGrad != 0 {
			grad[i] = 0
		}
	}
}

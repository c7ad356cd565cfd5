package rule

import (
	"fmt"
	"slices"
	"sync"

	"github.com/fusestep/fusestep/kernels/ir"
)

// Read makes a rule of a source that is not compiled into the program: the text of a Go file as New and NewStaged describe it, whose name is for errors,
// and the names of the prologue and of the other functions, in the order of NewStaged: element functions, and a tensor function between each two. One
// that is alone is as New's. So a program has rules that were written after it was built, and needs no Go compiler for them.
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
	var all []stageFunc
	for i, name := range functions {
		all = append(all, stageFunc{name: name, file: file, tensors: i%2 != 0, alone: len(functions) == 1})
	}
	r, err := read(source, prologue, all)
	if err != nil {
		return nil, err
	}
	for stage := range r.Stages {
		f := r.elements(stage)
		f.apply32, f.apply64 = evaluated[float32](r, stage, 32), evaluated[float64](r, stage, 64)
		if stage > 0 {
			run := evaluatedNumbers(r, func(options uint64) (*ir.Func, error) { return r.TensorFunction(stage, options) })
			r.tensors(stage).run = func(tensor, scalars []float64, options uint64) { run(options, [3][]float64{tensor, scalars}) }
		}
	}
	run := evaluatedNumbers(r, r.Prologue)
	r.runPrologue = func(hyper, counters, scalars []float64, options uint64) {
		run(options, [3][]float64{hyper, counters, scalars})
	}
	return r, nil
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

// evaluator is what one goroutine evaluates an element function with.
type evaluator[F Float] struct {
	*ir.Evaluator[F]
	slots   [][]F // of each slot, and of the average
	numbers []F   // scalars, tensor fields
	terms   [][]F // of each tensor field that the function fills
	vars    [][]F // of each field of the graph, which are slots, scalars and tensor fields
}

// evaluated is applier for an element function that has a graph alone.
func evaluated[F Float](r *Rule, stage, width int) func(*Rule, *Pass[F]) {
	pools := make([]sync.Pool, 1<<len(r.Options))
	return func(r *Rule, p *Pass[F]) {
		e, ok := pools[p.Options].Get().(*evaluator[F])
		if !ok {
			f := lowered(r.Element(stage, width, p.Options))
			slots := len(r.Slots)
			e = &evaluator[F]{ir.NewEvaluator[F](f), make([][]F, slots+1), make([]F, len(f.Vars)-slots), make([][]F, len(r.Tensor)), make([][]F, len(f.Vars))}
			for i := range e.slots {
				e.slots[i] = make([]F, evaluatedLen)
			}
			for i := range e.numbers {
				e.vars[slots+i] = e.numbers[i : i+1]
			}
			for _, s := range f.Stores {
				if v := f.Vars[s.Var]; v.Bank == TensorBank {
					e.terms[v.Index] = make([]F, evaluatedLen)
				}
			}
		}
		defer pools[p.Options].Put(e)
		e.apply(r, p)
	}
}

func (e *evaluator[F]) apply(r *Rule, p *Pass[F]) {
	n := 0
	for _, k := range p.Stores {
		n = len(p.Slots[k])
	}
	for _, terms := range p.Terms {
		n = max(n, len(terms))
	}
	scalars, tensor := len(r.Slots), len(r.Slots)+len(r.Scalars)
	copy(e.numbers, p.Scalars)
	copy(e.numbers[len(r.Scalars):], p.Tensor)
	param, grad, ema, last := e.slots[r.Slot(Param)], e.slots[r.Slot(Grad)], e.slots[scalars], p.Stage == r.Stages-1
	reads := slices.Contains(p.Loads, r.Slot(Grad))
	for lo := 0; lo < n; lo += evaluatedLen {
		m := min(evaluatedLen, n-lo)
		for i := range scalars {
			e.vars[i] = e.slots[i][:m]
		}
		for i, terms := range e.terms {
			if terms != nil {
				e.vars[tensor+i] = terms[:m]
			}
		}
		for _, k := range p.Loads {
			copy(e.slots[k], p.Slots[k][lo:lo+m])
		}
		for i := range m {
			if p.Shared != nil && reads {
				grad[i] = p.Shared.gradient(p.Around, grad[i], param[i])
			}
			if p.Shared != nil && last {
				param[i] = F(param[i] * p.Shared.Decay)
			}
		}
		e.RunEach(m, e.vars, nil)
		for i := range m {
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
		for _, k := range p.Stores {
			copy(p.Slots[k][lo:lo+m], e.slots[k])
		}
		for k, terms := range p.Terms {
			if terms != nil {
				copy(terms[lo:lo+m], e.terms[k])
			}
		}
	}
}

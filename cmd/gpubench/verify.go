package main

import (
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// verifySteps is how many steps are verified: a first, a second that finds state, and one more.
const verifySteps = 3

// verification is what verify found.
type verification struct {
	params int64  // whose values, gradients and state were compared
	maxULP uint64 // the largest distance of any of them from what it should be
	first  string // what is known of the first that is not
}

// mismatchError is a step that does not compute what its rule says.
type mismatchError struct{ what, first string }

func (e *mismatchError) Error() string { return e.what + ": verification failed: " + e.first }

// oracle is what the verified elements should be, by the evaluator of the rule's graph: nothing of what runs the step has a
// part in it, not even the compiled rule.
type oracle[F rule.Float] struct {
	plan
	graph, prologue *ir.Func
	state           []float64
	runs            []run
	from            []int // per run, where it stands in expect
	expect          [][]F // by slot, the runs one after the other
}

func newOracle[F rule.Float](p plan, runs []run) (*oracle[F], error) {
	o := &oracle[F]{plan: p, state: p.setting.Rule.InitialState(), runs: runs, expect: make([][]F, len(p.setting.Rule.Slots))}
	var err error
	if o.graph, err = p.program.Graph(); err != nil {
		return nil, err
	}
	if o.prologue, err = p.setting.Rule.Prologue(p.setting.Options); err != nil {
		return nil, err
	}
	n := 0
	for _, r := range runs {
		o.from = append(o.from, n)
		n += int(r.hi - r.lo)
	}
	for _, k := range p.slots {
		o.expect[k] = make([]F, n)
	}
	return o, nil
}

// set says what a slot was filled with, at which phases.
func (o *oracle[F]) set(slot int, p pattern[F], phase func(tensor int) int64) {
	for j, r := range o.runs {
		for i := r.lo; i < r.hi; i++ {
			o.expect[slot][o.from[j]+int(i-r.lo)] = p.at(phase(r.tensor) + i)
		}
	}
}

// step is one step on everything that is expected: the prologue in float64, its scalars rounded once, then the graph.
func (o *oracle[F]) step() {
	hyper := o.setting.Hyper
	vars := make([]float64, len(o.prologue.Vars)) // hyperparameters, state, scalars
	copy(vars, hyper)
	copy(vars[len(hyper):], o.state)
	ir.Eval(o.prologue, vars)
	copy(o.state, vars[len(hyper):])
	elem := make([]F, len(o.graph.Vars)) // slots, scalars, those that every program has
	for i, x := range vars[len(hyper)+len(o.state):] {
		elem[len(o.setting.Rule.Slots)+i] = F(x)
	}
	shared := rule.Round[F](kernels.GroupStepOf(o.setting, hyper).Shared(o.setting.Rule, nil, 0))
	copy(elem[len(elem)-kernels.SharedScalars:], shared.Numbers())
	var wait sync.WaitGroup
	total := len(o.expect[o.slots[0]])
	share := (total + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0)
	for lo := 0; lo < total; lo += share {
		wait.Go(func() { o.elements(slices.Clone(elem), lo, min(lo+share, total)) })
	}
	wait.Wait()
}

func (o *oracle[F]) elements(elem []F, lo, hi int) {
	eval := ir.NewEvaluator[F](o.graph)
	for i := lo; i < hi; i++ {
		for _, k := range o.slots {
			elem[k] = o.expect[k][i]
		}
		eval.Run(elem)
		for _, s := range o.graph.Stores {
			o.expect[s.Var][i] = elem[s.Var]
		}
	}
}

// verify runs steps on wild numbers and compares what the model became with the oracle.
func (w *work[F]) verify(cfg *config, p *progress, what string) (verification, error) {
	runs := chooseRuns(lengths(cfg.model))
	v := verification{params: sampled(runs)}
	o, err := newOracle[F](w.plan, runs)
	if err != nil {
		return v, err
	}
	got := make([]F, v.params)
	for step := range verifySteps {
		p.show("%s: verifying step %d of %d", what, step+1, verifySteps)
		for _, k := range w.plan.slots {
			name := w.setting.Rule.Slots[k]
			if step > 0 && name != rule.Grad {
				continue
			}
			numbers := wild[F](w.rng, name != rule.Param && name != rule.Grad)
			phase := func(tensor int) int64 { return int64(tensor) * 7919 }
			for i, t := range w.tensors {
				if err := numbers.fill(w.stream, t.slots[k], phase(i)); err != nil {
					return v, err
				}
			}
			if err := w.stream.Synchronize(); err != nil {
				return v, err
			}
			o.set(k, numbers, phase)
		}
		if err := w.opt.Step(w.stream); err != nil {
			return v, err
		}
		o.step()
		if err := w.compareGroup(&v, o, step); err != nil {
			return v, err
		}
		for _, k := range w.plan.slots {
			if err := w.compare(&v, o, k, got, step); err != nil {
				return v, err
			}
		}
	}
	return v, nil
}

// compareGroup compares what the prologue keeps.
func (w *work[F]) compareGroup(v *verification, o *oracle[F], step int) error {
	state, err := w.opt.GroupState(w.stream, 0)
	if err != nil {
		return err
	}
	for i, f := range w.setting.Rule.State {
		note(v, state[f.Name], o.state[i], func() string { return fmt.Sprintf("step %d: %s", step+1, f.Name) })
	}
	return nil
}

// compare compares a slot of all runs; got is scratch.
func (w *work[F]) compare(v *verification, o *oracle[F], slot int, got []F, step int) error {
	for j, r := range o.runs {
		part, err := w.tensors[r.tensor].slots[slot].Slice(int(r.lo), int(r.hi))
		if err == nil {
			err = device.Download(w.stream, got[o.from[j]:o.from[j]+int(r.hi-r.lo)], part)
		}
		if err != nil {
			return err
		}
	}
	if err := w.stream.Synchronize(); err != nil {
		return err
	}
	for j, r := range o.runs {
		for i := r.lo; i < r.hi; i++ {
			at := o.from[j] + int(i-r.lo)
			note(v, got[at], o.expect[slot][at], func() string {
				return fmt.Sprintf("step %d: tensor %q: %s[%d]", step+1, w.tensors[r.tensor].name, w.setting.Rule.Slots[slot], i)
			})
		}
	}
	return nil
}

// note keeps the largest distance, and the place of the first.
func note[F rule.Float](v *verification, got, want F, where func() string) {
	d := ulps(got, want)
	if d == 0 {
		return
	}
	if v.maxULP == 0 {
		v.first = fmt.Sprintf("%s is %v (%#x), must be %v (%#x)", where(), got, bitsOf(got), want, bitsOf(want))
	}
	v.maxULP = max(v.maxULP, d)
}

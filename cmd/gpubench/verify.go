package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
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

// oracle is what the verified elements should be.
type oracle struct {
	plan
	counters []float64
	maxNorm  float64                               // 0: gradients are not clipped
	ofTensor float64                               // the same of each tensor
	adaptive float64                               // to which part of its parameter's norm a row's, or vector's, are
	clipped  map[*kernels.Program]*kernels.Program // what then runs in a program's place
	control  kernels.ControlIn                     // the loss scale
	runs     []run
	tensors  []tensor
	parts    []reference.Tensor // each of the runs; or
	whole    []reference.Tensor // each tensor, where what its elements add up to counts: what its elements, rows and columns repeat
}

func newOracle(p plan, runs []run, tensors []tensor) *oracle {
	o := &oracle{plan: p, counters: p.program.InitialCounters(), runs: runs, tensors: tensors}
	if p.sums() {
		for _, t := range tensors {
			n, rows := int(t.Len()), t.matrixRows()
			whole := reference.Tensor{Index: firstIndex(t.Name), Sums: t.program.InitialSums(n, rows, int(t.Matrices()))}
			if p.program.Rule.Everything && len(o.whole) > 0 {
				whole.Sums = o.whole[0].Sums
			}
			if rows > 0 {
				whole.Whole.Rows, whole.Whole.Columns, whole.Whole.Matrices = int(each(rule.OfRows, t.Tensor)), n/rows, int(t.Matrices())
				whole.Rows = min(whole.Whole.Rows, periodRows)
			} else {
				whole.Len = n
			}
			for _, plane := range t.program.Planes {
				whole.Planes = append(whole.Planes, make(reference.Plane, distinct(t, plane.Domain)))
			}
			o.whole = append(o.whole, whole)
		}
		return o
	}
	for _, r := range runs {
		part := reference.Tensor{Index: firstIndex(tensors[r.tensor].Name) + uint64(r.lo)}
		for range p.program.Planes {
			part.Planes = append(part.Planes, make(reference.Plane, r.hi-r.lo))
		}
		o.parts = append(o.parts, part)
	}
	return o
}

// distinct is how many elements, rows or columns of a tensor the others repeat.
func distinct(t tensor, d rule.Domain) int64 {
	if t.matrixRows() == 0 {
		return min(numbers(d, t.Tensor), period)
	}
	rows, columns := min(each(rule.OfRows, t.Tensor), periodRows), min(each(rule.OfColumns, t.Tensor), periodColumns)
	return map[rule.Domain]int64{rule.OfElements: rows * columns, rule.OfRows: rows, rule.OfColumns: columns}[d]
}

// repeated is which of the distinct ones number i repeats.
func repeated(t tensor, d rule.Domain, i int64) int64 {
	if t.matrixRows() == 0 {
		return i % period
	}
	i %= each(d, t.Tensor)
	switch {
	case d == rule.OfRows:
		return i % periodRows
	case d == rule.OfColumns:
		return i % periodColumns
	}
	columns := each(rule.OfColumns, t.Tensor)
	return i/columns%periodRows*min(columns, periodColumns) + i%columns%periodColumns
}

// expect is the bits of number i of a plane of a run's tensor.
func (o *oracle) expect(run, plane int, i int64) uint64 {
	r := o.runs[run]
	if o.whole == nil {
		return o.parts[run].Planes[plane][i-r.lo]
	}
	t := o.tensors[r.tensor]
	return o.whole[r.tensor].Planes[plane][repeated(t, t.program.Planes[plane].Domain, i)]
}

// firstIndex is the index of a tensor's first element, as optim.Param has it.
func firstIndex(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.LittleEndian.Uint64(sum[:])
}

// set says what a plane of a program was filled with, at which phases.
func (o *oracle) set(program *kernels.Program, plane int, p *pattern, phase func(tensor int) int64) {
	for j, part := range o.parts {
		if r := o.runs[j]; o.tensors[r.tensor].program == program {
			for i := range part.Planes[plane] {
				part.Planes[plane][i] = p.at(phase(r.tensor) + r.lo + int64(i))
			}
		}
	}
	for k, whole := range o.whole {
		t := o.tensors[k]
		if t.program != program {
			continue
		}
		d := program.Planes[plane].Domain
		columns := distinct(t, rule.OfColumns)
		for i := range whole.Planes[plane] {
			at := int64(i)
			if t.matrixRows() > 0 && d == rule.OfElements { // of the tensor
				at = at/columns*each(rule.OfColumns, t.Tensor) + at%columns
			}
			whole.Planes[plane][i] = p.number(t, d, phase(k), at)
		}
	}
}

// clipTensors makes the steps to come clip each tensor.
func (o *oracle) clipTensors(max float64) error {
	o.ofTensor, o.clipped = max, map[*kernels.Program]*kernels.Program{}
	for i, t := range o.tensors {
		spec := t.program.Spec
		spec.Around |= rule.ClipTensorNorm
		program, err := kernels.New(spec)
		if err != nil {
			return err
		}
		o.clipped[t.program] = program
		if o.whole != nil {
			o.whole[i].Sums = program.InitialSums(int(t.Len()), t.matrixRows(), int(t.Matrices()))
		}
	}
	return nil
}

// step is one step on everything that is expected, with gradients of these norms.
func (o *oracle) step(norms norms) {
	var out kernels.ControlOut
	in := &o.control
	in.Measured = norms.all
	kernels.Control(in, &out)
	in.Scale, in.GrowthTracker, in.HysteresisTracker, in.Applied, in.Skipped = out.Scale, out.GrowthTracker, out.HysteresisTracker, out.Applied, out.Skipped
	if out.Skip == 1 {
		return
	}
	g := kernels.GroupStepOf(o.setting, o.setting.Hyper)
	g.MaxNorm, g.MaxTensorNorm, g.Clipping, g.ClipEps = o.maxNorm, o.ofTensor, o.adaptive, adaptiveEps
	for i := range norms.sums {
		if o.whole != nil && len(o.whole[i].Sums) > 0 {
			o.whole[i].Sums[0], o.whole[i].Sums[1] = norms.sums[i].Sum, norms.sums[i].Scaled
		}
	}
	of := map[*kernels.Program][]reference.Tensor{}
	for i, whole := range o.whole {
		p := o.tensors[i].program
		of[p] = append(of[p], whole)
	}
	for j, part := range o.parts {
		r := o.runs[j]
		if norms.sums != nil {
			part.Sums = []float64{norms.sums[r.tensor].Sum, norms.sums[r.tensor].Scaled}
		}
		p := o.tensors[r.tensor].program
		of[p] = append(of[p], part)
	}
	var counters []float64
	for p, tensors := range of { // one group's, of which each advances the counters alike
		if o.clipped != nil {
			p = o.clipped[p]
		}
		counters = slices.Clone(o.counters)
		reference.Update(p, g, out.Norm, out.Unscale, counters, tensors)
	}
	o.counters = counters
}

// gradients are those of a step to verify. The norm of wild numbers is NaN, and hides what else a step does: so gradients that are clipped are
// tame, in all steps but the last. Those with a loss scale are finite, but for an infinity in the second step, which so is skipped and changes
// the scale.
func (w *work) gradients(cfg *config, t device.DType, step int) *pattern {
	scale := 1.0
	if cfg.scale > 0 {
		scale = cfg.scale * tameGradient
	}
	var numbers *pattern
	switch {
	case cfg.scale == 0 && !cfg.clips() && w.sums():
		numbers = moderate(w.rng, t, false)
	case cfg.scale == 0 && (!cfg.clips() || step == verifySteps-1):
		return wild(w.rng, t, 1, false)
	case cfg.clips():
		numbers = tame(w.rng, t, scale*[]float64{1, 0x1p-12}[min(step, 1)])
	default:
		numbers = finite(w.rng, t, scale)
	}
	if cfg.scale > 0 && step == 1 {
		return numbers.overflowed(t)
	}
	return numbers
}

// verify runs steps on wild numbers and compares what the model became with the oracle.
func (w *work) verify(cfg *config, p *cli.Progress, what string) (verification, error) {
	runs := chooseRuns(lengths(cfg.model))
	v := verification{params: sampled(runs)}
	if err := w.repeats(cfg); err != nil {
		return v, fmt.Errorf("%s: %w", what, err)
	}
	o := newOracle(w.plan, runs, w.tensors)
	o.maxNorm, o.adaptive = cfg.clip, cfg.adaptive
	if cfg.clipTensor > 0 {
		if err := o.clipTensors(cfg.clipTensor); err != nil {
			return v, err
		}
	}
	if s := w.scaler; s != nil {
		o.control = kernels.ControlIn{Scaler: 1, SkipNonFinite: 1, Scale: float64(float32(s.InitScale)), HysteresisTracker: 1, Hysteresis: 1,
			GrowthFactor: s.GrowthFactor, BackoffFactor: s.BackoffFactor, GrowthInterval: float64(s.GrowthInterval)}
	}
	if cfg.dtype.master != optim.NoMaster { // the first step makes masters of values, and here they are to be any
		if err := errors.Join(w.start(), w.opt.Step(w.stream), w.rescale()); err != nil {
			return v, err
		}
		reference.Scalars(w.program, kernels.GroupStepOf(w.setting, w.setting.Hyper), 0, 1, o.counters)
		err := w.eachKept(func(tensor int, x kernels.TensorState, got float64) { o.whole[tensor].Sums[x.Word] = got })
		if err != nil {
			return v, err
		}
	}
	for step := range verifySteps {
		p.Show("%s: verifying step %d of %d", what, step+1, verifySteps)
		var measured norms
		phase := func(tensor int) int64 { return int64(tensor) * 7919 }
		gradients := w.gradients(cfg, cfg.dtype.grad, step)
		if cfg.measures() {
			measured = normsOf(gradients, cfg.dtype.grad, w.tensors, phase)
		}
		for _, program := range w.programs() {
			for k, plane := range program.Planes {
				role := program.Of(k).Role
				if step > 0 && role != kernels.Gradient || role == kernels.Scratch {
					continue
				}
				numbers := gradients
				switch {
				case role != kernels.Gradient && w.sums():
					numbers = moderate(w.rng, plane.DType, role != kernels.Parameter)
				case role != kernels.Gradient:
					numbers = wild(w.rng, plane.DType, 1, role == kernels.State || role == kernels.Input)
				}
				for i, t := range w.tensors {
					if t.program != program {
						continue
					}
					if err := numbers.fillAs(w.stream, t.planes[k], t, plane.Domain, phase(i)); err != nil {
						return v, err
					}
				}
				if err := w.stream.Synchronize(); err != nil {
					return v, err
				}
				o.set(program, k, numbers, phase)
			}
		}
		if err := w.opt.Step(w.stream); err != nil {
			return v, err
		}
		o.step(measured)
		if err := w.compareGroup(&v, o, step); err != nil {
			return v, err
		}
		if err := w.compareKept(&v, o, step); err != nil {
			return v, err
		}
		for _, program := range w.programs() {
			for k := range program.Planes {
				if program.Of(k).Role == kernels.Scratch {
					continue
				}
				if err := w.compare(&v, o, program, k, step); err != nil {
					return v, err
				}
			}
		}
	}
	return v, nil
}

// repeats says whether the elements of a rule with numbers of tensors repeat as patterns do, so that the oracle knows what they add up to.
func (w *work) repeats(cfg *config) error {
	if !w.sums() {
		return nil
	}
	for _, t := range w.tensors {
		if t.program.NumNoise() > 0 && distinct(t, rule.OfElements) < t.Len() {
			return fmt.Errorf("verification of a rule with sums of tensors longer than %d elements, or %d rows of %d, that are rounded stochastically: %w",
				period, periodRows, periodColumns, device.ErrUnsupported)
		}
	}
	return nil
}

// compareGroup compares what the prologue keeps, and the loss scale.
func (w *work) compareGroup(v *verification, o *oracle, step int) error {
	counters, err := w.opt.GroupCounters(w.stream, 0)
	if err != nil {
		return err
	}
	for i, f := range w.program.Counters {
		got, want := math.Float64bits(counters[f.Name]), math.Float64bits(o.counters[i])
		note(v, device.Float64, got, want, func() string { return fmt.Sprintf("step %d: %s", step+1, f.Name) })
	}
	if w.scaler == nil {
		return nil
	}
	state, err := w.opt.GradScalerState(w.stream)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name      string
		got, want float64
	}{{"loss scale", state.Scale, o.control.Scale}, {"growth tracker", float64(state.GrowthTracker), o.control.GrowthTracker}} {
		note(v, device.Float64, math.Float64bits(f.got), math.Float64bits(f.want), func() string { return fmt.Sprintf("step %d: %s", step+1, f.name) })
	}
	return nil
}

// eachKept calls f with each number that each tensor keeps.
func (w *work) eachKept(f func(tensor int, x kernels.TensorState, got float64)) error {
	for i, t := range w.tensors {
		for _, x := range t.program.TensorStates() {
			b, err := w.opt.State(t.Name, x.Name)
			if err != nil {
				return err
			}
			var got [1]float64
			if err := device.Download(w.stream, got[:], b); err != nil {
				return err
			}
			if err := w.stream.Synchronize(); err != nil {
				return err
			}
			f(i, x, got[0])
		}
	}
	return nil
}

// compareKept compares what tensors keep.
func (w *work) compareKept(v *verification, o *oracle, step int) error {
	return w.eachKept(func(tensor int, x kernels.TensorState, got float64) {
		note(v, device.Float64, math.Float64bits(got), math.Float64bits(o.whole[tensor].Sums[x.Word]), func() string {
			return fmt.Sprintf("step %d: tensor %q: %s", step+1, w.tensors[tensor].Name, x.Name)
		})
	})
}

// compare compares a plane of a program: its elements in all runs, or all rows or columns of the tensors.
func (w *work) compare(v *verification, o *oracle, program *kernels.Program, plane int, step int) error {
	dtype, d := program.Planes[plane].DType, program.Planes[plane].Domain
	var runs []run
	var at []int // where they are in o.runs
	for j, r := range o.runs {
		switch t := w.tensors[r.tensor]; {
		case t.program != program:
		case d == rule.OfElements:
			runs, at = append(runs, r), append(at, j)
		case r.lo == 0:
			runs, at = append(runs, run{r.tensor, 0, numbers(d, t.Tensor)}), append(at, j)
		}
	}
	got, err := map[device.DType]func(*work, []run, int) (reference.Plane, error){device.Float32: download[float32], device.Float64: download[float64],
		device.BFloat16: download[uint16], device.Float16: download[uint16], device.Int16: download[int16], device.Int8: download[int8]}[dtype](w, runs, plane)
	if err != nil {
		return err
	}
	for j, r := range runs {
		own := got[:r.hi-r.lo]
		got = got[r.hi-r.lo:]
		for i := r.lo; i < r.hi; i++ {
			if reference.Agree(program, plane, own[i-r.lo], func(k int) uint64 { return o.expect(at[j], k, i) }) {
				continue
			}
			note(v, dtype, own[i-r.lo], o.expect(at[j], plane, i), func() string {
				return fmt.Sprintf("step %d: tensor %q: %s[%d]", step+1, w.tensors[r.tensor].Name, program.PlaneName(plane), i)
			})
		}
	}
	return nil
}

// download is the bits of a plane in the runs.
func download[T device.Element](w *work, runs []run, plane int) (reference.Plane, error) {
	n := int64(0)
	for _, r := range runs {
		n += r.hi - r.lo
	}
	got := make([]T, n)
	to := got
	for _, r := range runs {
		part, err := w.tensors[r.tensor].planes[plane].Slice(int(r.lo), int(r.hi))
		if err == nil {
			err = device.Download(w.stream, to[:r.hi-r.lo], part)
		}
		if err != nil {
			return nil, err
		}
		to = to[r.hi-r.lo:]
	}
	if err := w.stream.Synchronize(); err != nil {
		return nil, err
	}
	return reference.PlaneOf(got), nil
}

// note keeps the largest distance, and the place of the first.
func note(v *verification, t device.DType, got, want uint64, where func() string) {
	d := ulps(t, got, want)
	if d == 0 {
		return
	}
	if v.maxULP == 0 {
		v.first = fmt.Sprintf("%s is %s, must be %s", where(), reference.Text(t, got), reference.Text(t, want))
	}
	v.maxULP = max(v.maxULP, d)
}

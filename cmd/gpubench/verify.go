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
	maxNorm  float64           // 0: gradients are not clipped
	ofTensor float64           // the same of each tensor
	control  kernels.ControlIn // the loss scale
	runs     []run
	from     []int              // per run, where it stands in expect
	expect   reference.Tensor   // the runs one after the other
	parts    []reference.Tensor // each of the runs; or
	whole    []reference.Tensor // each tensor, where what its elements add up to counts, as long as a pattern at most
}

func newOracle(p plan, runs []run, tensors []tensor) *oracle {
	o := &oracle{plan: p, counters: p.program.InitialCounters(), runs: runs}
	n := 0
	for _, r := range runs {
		o.from = append(o.from, n)
		n += int(r.hi - r.lo)
	}
	for range p.program.Planes {
		o.expect.Planes = append(o.expect.Planes, make(reference.Plane, n))
	}
	if p.program.Rule.Tensor != nil {
		for _, t := range tensors {
			n := t.planes[0].Len()
			whole := reference.Tensor{Index: firstIndex(t.name), Sums: p.program.InitialSums(n), Len: n}
			for range p.program.Planes {
				whole.Planes = append(whole.Planes, make(reference.Plane, min(n, period)))
			}
			o.whole = append(o.whole, whole)
		}
	}
	for j, r := range runs {
		part := reference.Tensor{Index: firstIndex(tensors[r.tensor].name) + uint64(r.lo)}
		for _, plane := range o.expect.Planes {
			part.Planes = append(part.Planes, plane[o.from[j]:][:r.hi-r.lo])
		}
		o.parts = append(o.parts, part)
	}
	return o
}

// firstIndex is the index of a tensor's first element, as optim.Param has it.
func firstIndex(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.LittleEndian.Uint64(sum[:])
}

// set says what a plane was filled with, at which phases.
func (o *oracle) set(plane int, p *pattern, phase func(tensor int) int64) {
	for j, r := range o.runs {
		for i := r.lo; i < r.hi; i++ {
			o.expect.Planes[plane][o.from[j]+int(i-r.lo)] = p.at(phase(r.tensor) + i)
		}
	}
	for t, whole := range o.whole {
		for i := range whole.Planes[plane] {
			whole.Planes[plane][i] = p.at(phase(t) + int64(i))
		}
	}
}

// clipTensors makes the steps to come clip each tensor.
func (o *oracle) clipTensors(max float64) error {
	spec := o.program.Spec
	spec.Around |= rule.ClipTensorNorm
	var err error
	o.program, err = kernels.New(spec)
	o.ofTensor = max
	return err
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
	g.MaxNorm, g.MaxTensorNorm = o.maxNorm, o.ofTensor
	if o.whole != nil {
		for i := range norms.sums {
			o.whole[i].Sums[0], o.whole[i].Sums[1] = norms.sums[i].Sum, norms.sums[i].Scaled
		}
		reference.Update(o.program, g, out.Norm, out.Unscale, o.counters, o.whole)
		for j, r := range o.runs {
			for k, to := range o.parts[j].Planes {
				for i := range to {
					to[i] = o.whole[r.tensor].Planes[k][(int(r.lo)+i)%period]
				}
			}
		}
		return
	}
	for j, r := range o.runs {
		if norms.sums != nil {
			sums := &norms.sums[r.tensor]
			o.parts[j].Sums = []float64{sums.Sum, sums.Scaled}
		}
	}
	reference.Update(o.program, g, out.Norm, out.Unscale, o.counters, o.parts)
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
	case cfg.scale == 0 && !cfg.clips() && w.program.Rule.Tensor != nil:
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
		return v, err
	}
	o := newOracle(w.plan, runs, w.tensors)
	o.maxNorm = cfg.clip
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
		for k := range w.program.Planes {
			role := w.slot(k).Role
			if step > 0 && role != kernels.Gradient {
				continue
			}
			dtype := w.program.Planes[k].DType
			phase := func(tensor int) int64 { return int64(tensor) * 7919 }
			var numbers *pattern
			switch {
			case role != kernels.Gradient && w.program.Rule.Tensor != nil:
				numbers = moderate(w.rng, dtype, role != kernels.Parameter)
			case role != kernels.Gradient:
				numbers = wild(w.rng, dtype, 1, role == kernels.State || role == kernels.Input)
			default:
				if numbers = w.gradients(cfg, dtype, step); cfg.measures() {
					measured = normsOf(numbers, dtype, lengths(cfg.model), phase)
				}
			}
			for i, t := range w.tensors {
				if err := numbers.fill(w.stream, t.planes[k], phase(i)); err != nil {
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
		o.step(measured)
		if err := w.compareGroup(&v, o, step); err != nil {
			return v, err
		}
		if err := w.compareKept(&v, o, step); err != nil {
			return v, err
		}
		for k := range w.program.Planes {
			if err := w.compare(&v, o, k, step); err != nil {
				return v, err
			}
		}
	}
	return v, nil
}

// repeats says whether the elements of a rule with numbers of tensors repeat as patterns do, so that the oracle knows what they add up to.
func (w *work) repeats(cfg *config) error {
	switch p := w.program; {
	case p.Rule.Tensor == nil:
		return nil
	case p.NumNoise() > 0 && slices.Max(lengths(cfg.model)) > period:
		return fmt.Errorf("verification of a rule with sums of tensors longer than %d elements that are rounded stochastically: %w", period, device.ErrUnsupported)
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
	for _, x := range w.program.TensorStates() {
		for i, t := range w.tensors {
			b, err := w.opt.State(t.name, x.Name)
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
			return fmt.Sprintf("step %d: tensor %q: %s", step+1, w.tensors[tensor].name, x.Name)
		})
	})
}

// compare compares a plane of all runs.
func (w *work) compare(v *verification, o *oracle, plane int, step int) error {
	dtype := w.program.Planes[plane].DType
	got, err := map[device.DType]func(*work, *oracle, int) (reference.Plane, error){device.Float32: download[float32], device.Float64: download[float64],
		device.BFloat16: download[uint16], device.Float16: download[uint16], device.Int16: download[int16], device.Int8: download[int8]}[dtype](w, o, plane)
	if err != nil {
		return err
	}
	want := o.expect.Planes[plane]
	for j, r := range o.runs {
		for i := r.lo; i < r.hi; i++ {
			at := o.from[j] + int(i-r.lo)
			if reference.Agree(w.program, plane, got[at], func(k int) uint64 { return o.expect.Planes[k][at] }) {
				continue
			}
			note(v, dtype, got[at], want[at], func() string {
				return fmt.Sprintf("step %d: tensor %q: %s[%d]", step+1, w.tensors[r.tensor].name, w.program.PlaneName(plane), i)
			})
		}
	}
	return nil
}

// download is the bits of a plane's elements in all runs.
func download[T device.Element](w *work, o *oracle, plane int) (reference.Plane, error) {
	got := make([]T, len(o.expect.Planes[plane]))
	for j, r := range o.runs {
		part, err := w.tensors[r.tensor].planes[plane].Slice(int(r.lo), int(r.hi))
		if err == nil {
			err = device.Download(w.stream, got[o.from[j]:o.from[j]+int(r.hi-r.lo)], part)
		}
		if err != nil {
			return nil, err
		}
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

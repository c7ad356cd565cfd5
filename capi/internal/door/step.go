package door

import (
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// Args is an fs_args.
type Args struct {
	Hyper              []float64          // of all groups, or nil
	Rows               [][]unsafe.Pointer // of all groups, or nil; nil where they are as before
	Mask               []uint8            // of all groups, or nil
	Scale              float32            // 0: none
	FoundInf           bool
	ScaleAt, FoundAt   unsafe.Pointer // the two on a GPU, float32; nil: none
	MaxNorm, ClipValue float64
	MaxTensorNorm      float64
	// AdaptiveClip and AdaptiveEps are of optim.Optimizer.SetAdaptiveClip.
	AdaptiveClip, AdaptiveEps float64
	Tell                      bool // the result is asked for, for which a GPU is waited for
	// Rates are, of Capture, where on the GPU the groups' learning rates are, float64; nil, or nil of a group: Hyper has it.
	Rates []unsafe.Pointer
}

// Result is what a step tells.
type Result struct {
	Norm    float64
	Skipped bool
}

// Step is fs_step.
func (d *Optimizer) Step(in Args) (out Result, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.o == nil {
		return out, argumentf("step: there is no group")
	}
	if err := d.free(); err != nil {
		return out, err
	}
	if slices.ContainsFunc(in.Rates, func(at unsafe.Pointer) bool { return at != nil }) {
		return out, argumentf("step: lr is given, which fs_capture alone takes from the GPU")
	}
	given, err := d.take(in)
	if err != nil {
		return out, err
	}
	if in.FoundInf {
		return Result{Skipped: true}, nil
	}
	if err := d.o.StepScaled(d.stream, given.Scale, given.FoundInf); err != nil {
		return out, err
	}
	if err := d.done(); err != nil {
		return out, err
	}
	if in.Tell && (d.clipNorm != 0 || d.clipTensorNorm != 0 || d.scale != 0 || given.Scale != nil || given.FoundInf != nil) {
		return d.outcome()
	}
	return out, nil
}

// Capture is fs_capture.
func (d *Optimizer) Capture(in Args) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.o == nil:
		return argumentf("capture: there is no group")
	case d.dev.gpu == nil:
		return argumentf("capture: the optimizer's device is no GPU")
	}
	captured, err := cuda.Captured(d.stream)
	if err != nil {
		return err
	}
	if !captured {
		return argumentf("capture: the stream %#x is not being captured", d.handle)
	}
	given, err := d.take(in)
	if err != nil {
		return err
	}
	return d.o.Record(d.stream, given)
}

// take tells the optimizer what a step is given.
func (d *Optimizer) take(in Args) (given optim.Given, err error) {
	if err := d.setHyper(in.Hyper); err != nil {
		return given, err
	}
	if err := d.move(in.Rows, in.Mask); err != nil {
		return given, err
	}
	if err := d.setCommon(in); err != nil {
		return given, err
	}
	if given.Scale, err = d.number("grad_scale", device.Float32, in.ScaleAt); err != nil {
		return given, err
	}
	if given.FoundInf, err = d.number("found_inf", device.Float32, in.FoundAt); err != nil {
		return given, err
	}
	given.LR = map[int]*device.Buffer{}
	for i, at := range in.Rates {
		b, err := d.number("lr", device.Float64, at)
		if err != nil {
			return given, err
		}
		if b != nil {
			given.LR[i] = b
		}
	}
	return given, nil
}

// number is a number of the caller's on the GPU; nil where there is none.
func (d *Optimizer) number(what string, t device.DType, at unsafe.Pointer) (*device.Buffer, error) {
	if at == nil {
		return nil, nil
	}
	b, err := d.dev.wrap(t, 1, at)
	if err != nil {
		return nil, argumentf("%s: %v", what, err)
	}
	return b, nil
}

// Outcome is fs_outcome.
func (d *Optimizer) Outcome() (Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.o == nil {
		return Result{}, argumentf("outcome: there is no group")
	}
	if err := d.free(); err != nil {
		return Result{}, err
	}
	return d.outcome()
}

func (d *Optimizer) outcome() (Result, error) {
	o, err := d.o.Outcome(d.stream)
	return Result{o.GradNorm(), err == nil && !o.Applied()}, err
}

// OnGPU says whether tensors are on a GPU.
func (d *Optimizer) OnGPU() bool { return d.dev.gpu != nil }

// setHyper gives groups the hyperparameters that have changed. What can be wrong with them is found before any is set.
func (d *Optimizer) setHyper(hyper []float64) error {
	if hyper == nil {
		return nil
	}
	n := len(d.kind.Hyper)
	changed := map[int]optim.Algorithm{}
	arounds := map[int]arounds{}
	for i, g := range d.groups {
		now := hyper[i*n : (i+1)*n]
		if slices.Equal(now, g.hyper) {
			continue
		}
		a, around, err := d.algorithm(&g.options, now)
		if err != nil {
			return err
		}
		if around != g.around {
			if err := g.needs(a); err != nil {
				return err
			}
		}
		changed[i], arounds[i] = a, around
	}
	for i, a := range changed {
		if err := d.o.SetAlgorithm(i, a); err != nil {
			return err
		}
		d.groups[i].around = arounds[i]
		copy(d.groups[i].hyper, hyper[i*n:])
	}
	return nil
}

// nothing is where the gradient of a tensor without elements is.
var nothing float64

// move tells the optimizer where tensors are.
func (d *Optimizer) move(rows [][]unsafe.Pointer, mask []uint8) error {
	d.rows = d.rows[:0]
	at, first := 0, 0 // the group's first row, and tensor
	for i, g := range d.groups {
		n := len(g.lengths)
		for k, name := range g.rows {
			var row []unsafe.Pointer
			if rows != nil {
				row = rows[at+k]
			}
			if k == 1 {
				if row != nil {
					copy(g.grads, row)
				}
				if mask != nil {
					if err := g.leave(mask[first : first+n]); err != nil {
						return err
					}
					row = g.masked
				}
			}
			if k > 1 && !slices.ContainsFunc(row, func(at unsafe.Pointer) bool { return at != nil }) {
				continue // there is no such state
			}
			if row != nil {
				d.rows = append(d.rows, optim.Row{Group: i, Name: name, At: row})
			}
		}
		at, first = at+len(g.rows), first+n
	}
	defer clear(d.rows)
	if d.dev.gpu != nil {
		return d.rebind()
	}
	return d.o.Move(d.rows...)
}

// rebind is Move on a GPU, for which the next step compiles its table of tensors again. State stays where it is.
func (d *Optimizer) rebind() error {
	rows := map[int][]optim.Row{}
	for _, r := range d.rows {
		rows[r.Group] = append(rows[r.Group], r)
	}
	var moved []optim.Param
	i, last := 0, -1
	for of, p := range d.o.Params() {
		if i++; of != last {
			i, last = 0, of
		}
		value, grad := p.Value, p.Grad
		for _, r := range rows[of] {
			if err := d.groups[of].rebound(d, &p, i, r); err != nil {
				return err
			}
		}
		if p.Value != value || p.Grad != grad {
			p.State = nil
			moved = append(moved, p)
		}
	}
	if moved == nil {
		return nil
	}
	return d.o.Rebind(moved)
}

// rebound puts one buffer of a tensor where its row says.
func (g *group) rebound(d *Optimizer, p *optim.Param, i int, r optim.Row) (err error) {
	at, b, t := r.At[i], &p.Value, g.types[i].value
	switch r.Name {
	case "value":
	case "grad":
		b, t = &p.Grad, g.types[i].gradient
	default:
		if b, err := d.o.State(p.Name, r.Name); at != nil && (err != nil || uint64(uintptr(at)) != b.Addr()) {
			return &Error{Tensor, fmt.Sprintf("tensor %q: state %s: on a GPU it stays where it was given", p.Name, r.Name)}
		}
		return nil
	}
	switch {
	case at == nil && r.Name == "grad":
		*b = nil
	case *b == nil || uint64(uintptr(at)) != (*b).Addr() && g.lengths[i] > 0:
		*b, err = d.wrap(p.Name, r.Name, t, g.lengths[i], at)
	}
	return err
}

// leave makes masked the gradients of the tensors that a mask leaves in.
func (g *group) leave(mask []uint8) error {
	for i, in := range mask {
		switch at := g.grads[i]; {
		case in == 0:
			g.masked[i] = nil
		case at == nil && g.lengths[i] > 0:
			return &Error{Tensor, "tensor \"" + g.names[i] + "\": the mask has it, and its gradient's address is NULL"}
		case at == nil:
			g.masked[i] = unsafe.Pointer(&nothing)
		default:
			g.masked[i] = at
		}
	}
	return nil
}

// setCommon sets what is done to all gradients.
func (d *Optimizer) setCommon(in Args) error {
	if in.MaxNorm != d.clipNorm {
		if err := d.o.SetClipNorm(in.MaxNorm); err != nil {
			return err
		}
		d.clipNorm = in.MaxNorm
	}
	if in.MaxTensorNorm != d.clipTensorNorm {
		if err := d.o.SetClipTensorNorm(in.MaxTensorNorm); err != nil {
			return err
		}
		d.clipTensorNorm = in.MaxTensorNorm
	}
	if in.AdaptiveClip != d.adaptiveClip || in.AdaptiveClip != 0 && in.AdaptiveEps != d.adaptiveEps {
		if err := d.o.SetAdaptiveClip(in.AdaptiveClip, in.AdaptiveEps); err != nil {
			return err
		}
		d.adaptiveClip, d.adaptiveEps = in.AdaptiveClip, in.AdaptiveEps
	}
	if in.ClipValue != d.clipValue {
		if err := d.o.SetClipValue(in.ClipValue); err != nil {
			return err
		}
		d.clipValue = in.ClipValue
	}
	if in.Scale == d.scale {
		return nil
	}
	var scaler *optim.GradScaler
	if in.Scale != 0 { // one that stays as it is: whoever gives the scale changes it
		g := optim.DefaultGradScaler()
		g.InitScale, g.MinScale, g.GrowthInterval = float64(in.Scale), float64(in.Scale), math.MaxInt32
		scaler = &g
	}
	if err := d.o.SetGradScaler(d.stream, scaler); err != nil {
		return err
	}
	d.scale = in.Scale
	return nil
}

// Counters is fs_counters.
func (d *Optimizer) Counters(index int, out []float64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	g, all, err := d.counters(index)
	if err != nil {
		return err
	}
	for i, name := range g.names {
		for k, counter := range d.kind.Counters {
			x, counted := all[name][counter]
			if !counted {
				x = math.NaN()
			}
			out[i*len(d.kind.Counters)+k] = x
		}
	}
	return nil
}

// counters are a group and what all tensors have counted.
func (d *Optimizer) counters(index int) (*group, map[string]map[string]float64, error) {
	g, err := d.group(index)
	if err == nil {
		err = d.free()
	}
	if err != nil {
		return nil, nil, err
	}
	all, err := d.o.Counters(d.stream)
	if err != nil || d.kind.once == nil {
		return g, all, err
	}
	type number struct {
		of   map[string]float64
		name string
		x    []float64
	}
	var numbers []number
	for _, name := range g.names {
		for _, state := range d.kind.once {
			b, err := d.o.State(name, state)
			if err != nil {
				return nil, nil, err
			}
			x := make([]float64, 1)
			if err := device.Download(d.stream, x, b); err != nil {
				return nil, nil, err
			}
			numbers = append(numbers, number{all[name], state, x})
		}
	}
	if err := d.stream.Synchronize(); err != nil {
		return nil, nil, err
	}
	for _, n := range numbers {
		n.of[n.name] = n.x[0]
	}
	return g, all, nil
}

// NumCounters is how many columns Counters has.
func (d *Optimizer) NumCounters() int { return len(d.kind.Counters) }

// SetCounters is fs_set_counters. The optimizer's own count of steps, which no schedule here uses, becomes the most that a tensor has taken; so all
// tensors are told theirs, as those of another count would be refused.
func (d *Optimizer) SetCounters(index int, in []float64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	g, all, err := d.counters(index)
	if err != nil {
		return err
	}
	together := map[string]float64{}
	for i, name := range g.names {
		for k, counter := range d.kind.Counters {
			x := in[i*len(d.kind.Counters)+k]
			if !d.kind.together || math.IsNaN(x) || !slices.Contains(d.kind.once, counter) {
				continue
			}
			if y, ok := together[counter]; ok && x != y {
				return argumentf("%s of tensor %q is %v, and of one before it %v: all tensors have one", counter, name, x, y)
			}
			together[counter] = x
		}
	}
	set, most := map[string]map[string]float64{}, d.o.Steps()
	for i, name := range g.names {
		for k, counter := range d.kind.Counters {
			x := in[i*len(d.kind.Counters)+k]
			if _, counted := all[name][counter]; math.IsNaN(x) || !counted {
				continue
			}
			if slices.Contains(d.kind.once, counter) {
				b, err := d.o.State(name, counter)
				if err == nil {
					err = device.Upload(d.stream, b, []float64{x})
				}
				if err != nil {
					return err
				}
				continue
			}
			if set[name] == nil {
				set[name] = map[string]float64{}
			}
			set[name][counter] = x
			if counter == rule.StepCounter && x < 1<<53 {
				most = max(most, int(x))
			}
		}
	}
	if most > d.o.Steps() {
		for name, counters := range all {
			if set[name] == nil {
				set[name] = counters
			}
		}
	}
	for _, counters := range set {
		for _, name := range d.kind.once { // those are set
			delete(counters, name)
		}
	}
	if err := d.stream.Synchronize(); err != nil {
		return err
	}
	if err := d.o.SetCounters(d.stream, set); err != nil {
		return err
	}
	if most > d.o.Steps() {
		return d.o.SetSteps(most)
	}
	return nil
}

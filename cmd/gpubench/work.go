package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/models"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// work is one optimizer on one model: what a step runs on, and the ceiling over the same buffers.
type work struct {
	plan
	stream  *device.Stream
	rng     *rand.Rand
	tensors []tensor
	opt     *optim.Optimizer
	scaler  *optim.GradScaler  // nil: none
	ceiling [][]kernels.Update // of all programs; the fastest is it
	close   []func() error     // in order of making
}

// tensor is a parameter with its gradient and state.
type tensor struct {
	models.Tensor
	program *kernels.Program
	planes  []*device.Buffer // of the program; of those that nobody keeps ours, for the ceiling
}

// newWork allocates the model and its optimizer's state, in a few large blocks as frameworks do. What it returns must be closed,
// even with an error.
func newWork(cfg *config, b kernels.Backend, o optimizer) (w *work, err error) {
	dev := b.Device()
	w = &work{stream: dev.DefaultStream(), rng: rand.New(rand.NewPCG(1, 2))}
	if w.plan, err = cfg.planned(o); err != nil {
		return w, err
	}
	var params []optim.Param
	for _, t := range cfg.model.Tensors {
		w.tensors = append(w.tensors, tensor{Tensor: t, program: w.of(t)})
		params = append(params, optim.Param{Name: t.Name, Shape: t.Shape, Rows: int(t.Rows()), Matrices: int(t.Matrices())})
	}
	n := lengths(cfg.model)
	values, err := w.arena(dev, cfg.dtype.param, n)
	if err != nil {
		return w, fmt.Errorf("parameters: %w", err)
	}
	grads, err := w.arena(dev, cfg.dtype.grad, n)
	if err != nil {
		return w, fmt.Errorf("gradients: %w", err)
	}
	for i := range params {
		params[i].Value, params[i].Grad = values[i], grads[i]
	}
	if w.opt, err = optim.New(b, w.algorithm, params); err != nil {
		return w, err
	}
	w.close = append(w.close, w.opt.Close)
	if err := errors.Join(w.opt.SetClipNorm(cfg.clip), w.opt.SetClipTensorNorm(cfg.clipTensor), w.opt.SetAdaptiveClip(cfg.adaptive, adaptiveEps)); err != nil {
		return w, err
	}
	if cfg.scale > 0 { // it is not to grow while steps are measured
		scaler := optim.DefaultGradScaler()
		scaler.InitScale, scaler.GrowthInterval = cfg.scale, math.MaxInt
		w.scaler = &scaler
		if err := w.opt.SetGradScaler(w.stream, w.scaler); err != nil {
			return w, err
		}
	}
	for i := range w.tensors {
		if err := w.bind(dev, &w.tensors[i], params[i]); err != nil {
			return w, err
		}
	}
	return w, w.compileCeiling(b)
}

// arena allocates tensors of the lengths in one block.
func (w *work) arena(dev *device.Device, t device.DType, lengths []int64) (out []*device.Buffer, err error) {
	total, align := int64(0), w.align()
	for _, n := range lengths {
		total += (n + align - 1) / align * align
	}
	block, err := dev.Alloc(t, int(total))
	if err != nil {
		return nil, err
	}
	w.close = append(w.close, block.Close)
	at := int64(0)
	for _, n := range lengths {
		b, err := block.Slice(int(at), int(at+n))
		if err != nil {
			return nil, err
		}
		out = append(out, b)
		at += (n + align - 1) / align * align
	}
	return out, nil
}

// bind fills in the tensor's buffers.
func (w *work) bind(dev *device.Device, t *tensor, p optim.Param) (err error) {
	for k, plane := range t.program.Planes {
		role := t.program.Of(k).Role
		b := map[kernels.Role]*device.Buffer{kernels.Parameter: p.Value, kernels.Gradient: p.Grad}[role]
		switch {
		case role == kernels.Scratch:
			if b, err = dev.Alloc(plane.DType, int(numbers(plane.Domain, t.Tensor))); err == nil {
				w.close = append(w.close, b.Close)
			}
		case b == nil || plane.Name != "":
			b, err = w.opt.State(p.Name, t.program.PlaneName(k))
		}
		if err != nil {
			return err
		}
		t.planes = append(t.planes, b)
	}
	return nil
}

// programs are those that step the tensors.
func (w *work) programs() (out []*kernels.Program) {
	for _, p := range []*kernels.Program{w.program, w.matrix} {
		is := func(t tensor) bool { return t.program == p }
		if slices.ContainsFunc(w.tensors, is) && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// compileCeiling makes the ceiling over the step's own buffers: it leaves every byte as it is, and so neither needs memory of
// its own nor finds another placement, huge pages or cache contents than the step does.
func (w *work) compileCeiling(b kernels.Backend) error {
	counters, err := b.Device().Alloc(device.Float64, len(w.program.Counters))
	if err != nil {
		return fmt.Errorf("ceiling: %w", err)
	}
	w.close = append(w.close, counters.Close)
	for _, program := range w.programs() {
		in := kernels.Work{Program: program, Counters: []*device.Buffer{counters}}
		for _, t := range w.tensors {
			if t.program == program {
				in.Tensors = append(in.Tensors, kernels.Tensor{Planes: t.planes, Rows: t.matrixRows(), Matrices: int(t.Matrices())})
			}
		}
		ways, err := b.CompileTraffic(in)
		if err != nil {
			return fmt.Errorf("ceiling: %w", err)
		}
		for i, u := range ways {
			w.close = append(w.close, u.Close)
			if i == len(w.ceiling) {
				w.ceiling = append(w.ceiling, nil)
			}
			w.ceiling[i] = append(w.ceiling[i], u)
		}
	}
	return nil
}

// matrixRows is kernels.Tensor.Rows.
func (t *tensor) matrixRows() int {
	if t.program.Matrix() {
		return int(t.Rows())
	}
	return 0
}

// Close gives everything back.
func (w *work) Close() error {
	var errs []error
	for i := len(w.close) - 1; i >= 0; i-- {
		errs = append(errs, w.close[i]())
	}
	return errors.Join(errs...)
}

// start makes the optimizer new again, on tame parameters and gradients. State that a step only reads comes from outside, as the
// gradient does.
func (w *work) start() error {
	for _, program := range w.programs() {
		for k, plane := range program.Planes {
			role, scale := program.Of(k).Role, tameGradient
			switch {
			case role == kernels.Parameter:
				scale = 0x1p-5
			case role == kernels.Gradient && w.scaler != nil:
				scale *= w.scaler.InitScale
			}
			numbers := tame(w.rng, plane.DType, scale)
			for i, t := range w.tensors {
				var err error
				switch {
				case t.program != program:
				case role == kernels.State || role == kernels.Scratch:
					err = w.stream.Zero(t.planes[k])
				default:
					err = numbers.fill(w.stream, t.planes[k], int64(i))
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return w.restart()
}

// rescale sets the loss scale as it was before the first step.
func (w *work) rescale() error {
	if w.scaler == nil {
		return nil
	}
	return w.opt.SetGradScaler(w.stream, w.scaler)
}

// restart sets the counters and the loss scale as they were before the first step, and waits for the stream.
func (w *work) restart() error {
	if err := w.rescale(); err != nil {
		return err
	}
	initial := map[string]float64{}
	for _, f := range w.program.Counters {
		initial[f.Name] = f.Init
	}
	return w.opt.SetGroupCounters(w.stream, 0, initial)
}

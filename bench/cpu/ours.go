package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// step is an optimizer of ours on tensors of its own.
type step struct {
	dev     *cpu.Device
	threads int
	params  []optim.Param
	opt     *optim.Optimizer
	bytes   float64
	traffic []kernels.Update
}

// newStep makes an optimizer on tensors of so many elements, by an implementation, or the best where that is "".
func newStep(f form, alg optim.Algorithm, lengths []int, threads int, implementation string) (*step, error) {
	if err := os.Setenv(cpu.Environment, implementation); err != nil {
		return nil, err
	}
	defer os.Unsetenv(cpu.Environment)
	s := &step{dev: cpu.NewThreads(threads), threads: threads}
	total := 0
	for _, n := range lengths {
		total += (n + 31) / 32 * 32
	}
	var arenas [2]*device.Buffer
	for i := range arenas {
		var err error
		if arenas[i], err = s.dev.Alloc([]device.DType{f.value, f.grad}[i], total); err != nil {
			return nil, errors.Join(err, s.close())
		}
		if err := fill(s.dev.DefaultStream(), arenas[i], []float32{0x1p-5, 0x1p-7}[i]); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	at := 0
	for _, n := range lengths {
		var slices [2]*device.Buffer
		for i, a := range arenas {
			var err error
			if slices[i], err = a.Slice(at, at+n); err != nil {
				return nil, errors.Join(err, s.close())
			}
		}
		s.params = append(s.params, optim.Param{Value: slices[0], Grad: slices[1], Shape: f.shape(n)})
		at += (n + 31) / 32 * 32
	}
	var err error
	alg = f.of(alg)
	if s.opt, err = optim.New(s.dev, alg, s.params); err == nil && f.clipping > 0 {
		err = s.opt.SetAdaptiveClip(f.clipping, 1e-3)
	}
	if err == nil {
		err = s.compileTraffic(f, alg, lengths)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// fill sets a buffer to numbers of both signs between scale and twice that, which leave arithmetic ordinary for any number of
// steps.
func fill(s *device.Stream, b *device.Buffer, scale float32) error {
	rng := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, min(b.Len(), 1<<20))
	for i := range x {
		if x[i] = scale * (1 + rng.Float32()); rng.IntN(2) == 0 {
			x[i] = -x[i]
		}
	}
	for lo := 0; lo < b.Len(); lo += len(x) {
		part, err := b.Slice(lo, min(lo+len(x), b.Len()))
		if err == nil {
			err = device.UploadFloats(s, part, x[:part.Len()])
		}
		if err != nil {
			return err
		}
	}
	return s.Synchronize()
}

// compileTraffic makes the ceiling, over the step's own memory.
func (s *step) compileTraffic(f form, alg optim.Algorithm, lengths []int) error {
	setting, err := alg.Setting()
	if err != nil {
		return err
	}
	spec := kernels.SpecOfTypes(setting, f.value, f.grad)
	if f.clipping > 0 {
		spec.Around |= rule.AdaptiveClip
	}
	p, err := kernels.New(spec.WithMatrix(f.columns > 0))
	if err != nil {
		return err
	}
	counters, err := s.dev.Alloc(device.Float64, len(p.Counters))
	if err != nil {
		return err
	}
	w := kernels.Work{Program: p, Counters: []*device.Buffer{counters}}
	for i, param := range s.params {
		t := kernels.Tensor{}
		if p.Matrix() {
			t.Rows = param.Shape[0]
		}
		for k, plane := range p.Planes {
			b := map[string]*device.Buffer{rule.Param: param.Value, rule.Grad: param.Grad}[p.PlaneName(k)]
			switch {
			case p.Of(k).Role == kernels.Scratch:
				b, err = s.dev.Alloc(plane.DType, param.Shape[plane.Domain-rule.OfRows])
			case b == nil:
				b, err = s.opt.State(fmt.Sprintf("0.%d", i), p.PlaneName(k))
			}
			if err != nil {
				return err
			}
			t.Planes = append(t.Planes, b)
		}
		w.Tensors = append(w.Tensors, t)
		s.bytes += float64(p.Bytes * lengths[i])
	}
	s.traffic, err = s.dev.CompileTraffic(w)
	return err
}

// contender is the step under a name.
func (s *step) contender(name string) contender {
	return contender{name: name, bytes: s.bytes, setting: plural(s.threads, "thread"), run: func(n int) (time.Duration, error) {
		return s.time(n, func() error { return s.opt.Step(nil) })
	}}
}

// ceiling is the step's traffic, in the fastest way.
func (s *step) ceiling() contender {
	c := contender{name: "ceiling", bytes: s.bytes, setting: plural(s.threads, "thread")}
	for i, u := range s.traffic {
		c.ways = append(c.ways, contender{setting: fmt.Sprintf("loop %d", i+1), run: func(n int) (time.Duration, error) {
			return s.time(n, func() error { return u.Enqueue(s.dev.DefaultStream(), kernels.Step{}) })
		}})
	}
	return c
}

func (s *step) time(n int, enqueue func() error) (time.Duration, error) {
	began := time.Now()
	for range n {
		if err := enqueue(); err != nil {
			return 0, err
		}
	}
	err := s.dev.DefaultStream().Synchronize()
	return time.Since(began), err
}

func (s *step) close() error { return s.dev.Close() }

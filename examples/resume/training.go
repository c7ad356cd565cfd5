package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

const (
	microBatches = 2 // of a step
	microBatch   = 32
)

// training is a network, and the optimizer that trains it on a device.
type training struct {
	net     *network
	tensors []tensor
	held    []optim.Param // on the device, by index as tensors
	stream  *device.Stream
	opt     *optim.Optimizer
	loss    float64 // of the last step's rows, before the step
}

// newTraining has three groups: weights in bfloat16 with a remainder beside each, biases in float32 with another algorithm and an average, and the table
// of kinds in bfloat16 alone, rounded stochastically, with its state. Gradients are in float16, so that there is a loss scale, which steps that overflow
// lower.
func newTraining(b optim.Backend, width int) (*training, error) {
	t := &training{net: newNetwork(width), stream: b.Device().DefaultStream()}
	adam := optim.DefaultAdam()
	adam.LR = 1e-2
	adamW := optim.DefaultAdamW()
	adamW.LR = 5e-3
	sgd := optim.DefaultSGD()
	sgd.LR, sgd.Momentum, sgd.Nesterov = 2e-2, 0.9, true
	var weights, biases []tensor
	for _, l := range t.net.layers {
		weights, biases = append(weights, l.weights), append(biases, l.bias)
	}
	for _, g := range []struct {
		tensors []tensor
		dtype   device.DType
		alg     optim.Algorithm
	}{
		{weights, device.BFloat16, optim.Stored{Algorithm: adamW, Master: optim.MasterRemainder}},
		{biases, device.Float32, optim.Averaged{Algorithm: sgd, Decay: 0.99}},
		{[]tensor{t.net.kinds}, device.BFloat16, optim.Stored{Algorithm: adam, All: device.BFloat16, Stochastic: true, Seed: 1}},
	} {
		params, err := t.place(b.Device(), g.tensors, g.dtype)
		if err == nil && t.opt == nil {
			t.opt, err = optim.New(b, g.alg, params)
		} else if err == nil {
			err = t.opt.AddGroup(g.alg, params)
		}
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	scaler := optim.DefaultGradScaler()
	scaler.GrowthInterval = 20
	err := errors.Join(t.opt.SetSchedule(optim.Warmup{Steps: 50, Then: optim.InverseSqrt{Timescale: 200}}), t.opt.SetClipNorm(1),
		t.opt.SetGradScaler(t.stream, &scaler), t.opt.SetAccumulate(true), t.download())
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// place brings tensors to the device.
func (t *training) place(dev *device.Device, tensors []tensor, dtype device.DType) ([]optim.Param, error) {
	from := len(t.held)
	for _, x := range tensors {
		p := optim.Param{Name: x.name}
		var err error
		if p.Value, err = dev.Alloc(dtype, len(x.value)); err == nil {
			p.Grad, err = dev.Alloc(device.Float16, len(x.value))
		}
		t.tensors, t.held = append(t.tensors, x), append(t.held, p)
		if err == nil {
			err = device.UploadFloats(t.stream, p.Value, x.value)
		}
		if err != nil {
			return nil, err
		}
	}
	return t.held[from:], nil
}

// download brings the values to the host.
func (t *training) download() error {
	for i, p := range t.held {
		if err := device.DownloadFloats(t.stream, t.tensors[i].value, p.Value); err != nil {
			return err
		}
	}
	return nil
}

// step takes the next step: all that it depends on is the optimizer's state and the number of the step.
func (t *training) step() error {
	scaler, err := t.opt.GradScalerState(t.stream)
	if err != nil {
		return err
	}
	const n = microBatches * microBatch
	t.loss = 0
	for micro := range microBatches {
		t.loss += t.net.gradient(rows(t.opt.Steps(), micro, microBatch), float32(scaler.Scale/n)) / n
		for i, p := range t.held {
			if err := device.UploadFloats(t.stream, p.Grad, t.tensors[i].grad); err != nil {
				return err
			}
		}
		if err := t.opt.Accumulate(t.stream); err != nil {
			return err
		}
	}
	if err := t.opt.Step(t.stream); err != nil {
		return err
	}
	return t.download()
}

// digest is the SHA-256 of a state dict: of parameters and of all else that later steps depend on.
func digest(d *optim.StateDict) (string, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write(text)
	for _, tensor := range d.Tensors() {
		for _, x := range tensor.Numbers {
			b := make([]byte, x.Len*x.DType.Size())
			if err := x.Read(0, b); err != nil {
				return "", err
			}
			h.Write(b)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Close frees what is on the device.
func (t *training) Close() error {
	var errs []error
	if t.opt != nil {
		errs = append(errs, t.opt.Close())
	}
	for _, p := range t.held {
		for _, b := range []*device.Buffer{p.Grad, p.Value} {
			if b != nil {
				errs = append(errs, b.Close())
			}
		}
	}
	return errors.Join(errs...)
}

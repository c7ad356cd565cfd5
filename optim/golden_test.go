package optim_test

import (
	"encoding/json"
	"math"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// torchFile reads one of testdata/torch, whose README tells what the files hold and derives the bounds in them.
func torchFile(t *testing.T, name string, into any) {
	text, err := os.ReadFile("testdata/torch/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

type torchHyper struct {
	LR, Momentum, Dampening, Eps, L1 float64
	WeightDecay                      float64    `json:"weight_decay"`
	Betas                            [3]float64 // two, but for Adan and AdEMAMix
	Nesterov, AMSGrad, Maximize      bool
	Alpha                            float64
	Centered                         bool
	LRDecay                          float64 `json:"lr_decay"`
	InitialAccumulator               float64 `json:"initial_accumulator_value"`
	MomentumDecay                    float64 `json:"momentum_decay"`
	Decoupled                        bool    `json:"decoupled_weight_decay"`
	Rho                              float64
	Etas                             [2]float64
	StepSizes                        [2]float64 `json:"step_sizes"`
	Lambd, T0, Beta                  float64
	NoProx                           bool `json:"no_prox"`
	AlphaWarmup                      int  `json:"alpha_warmup"`
	Beta3Warmup                      int  `json:"beta3_warmup"`
	L2, Beta1, Gamma                 float64
	L2Shrinkage                      float64 `json:"l2_shrinkage"`
	ClipThreshold                    float64 `json:"clip_threshold"`
	BiasCorrection                   bool    `json:"bias_correction"`
	WarmupSteps                      int     `json:"warmup_steps"`
	R                                float64
	WeightLRPower                    float64 `json:"weight_lr_power"`
}

func (h torchHyper) algorithm(t *testing.T, name string) optim.Algorithm {
	betas := [2]float64(h.Betas[:2])
	adam := optim.Adam{LR: h.LR, Betas: betas, Eps: h.Eps, WeightDecay: h.WeightDecay, L1: h.L1, AMSGrad: h.AMSGrad, Maximize: h.Maximize}
	switch name {
	case "sgd":
		return optim.SGD{LR: h.LR, Momentum: h.Momentum, Dampening: h.Dampening, Nesterov: h.Nesterov, WeightDecay: h.WeightDecay, L1: h.L1, Maximize: h.Maximize}
	case "adam":
		return adam
	case "adamw":
		return optim.AdamW(adam)
	case "asgd":
		return optim.ASGD{LR: h.LR, Lambd: h.Lambd, Alpha: h.Alpha, T0: h.T0, WeightDecay: h.WeightDecay, Maximize: h.Maximize}
	case "sgdw":
		return optim.SGDW{LR: h.LR, Momentum: h.Momentum, WeightDecay: h.WeightDecay, Maximize: h.Maximize}
	case "signsgd":
		return optim.SignSGD{LR: h.LR, WeightDecay: h.WeightDecay, Maximize: h.Maximize}
	case "signum":
		return optim.Signum{LR: h.LR, Beta: h.Beta, WeightDecay: h.WeightDecay, Maximize: h.Maximize}
	case "yogi":
		return optim.Yogi{LR: h.LR, Betas: betas, Eps: h.Eps, InitialAccumulator: h.InitialAccumulator, Maximize: h.Maximize}
	case "adabelief":
		return optim.AdaBelief{LR: h.LR, Betas: betas, Eps: h.Eps, WeightDecay: h.WeightDecay, Decoupled: h.Decoupled, AMSGrad: h.AMSGrad, Maximize: h.Maximize}
	case "adan":
		return optim.Adan{LR: h.LR, Betas: h.Betas, Eps: h.Eps, WeightDecay: h.WeightDecay, NoProx: h.NoProx, Maximize: h.Maximize}
	case "ademamix":
		return optim.AdEMAMix{LR: h.LR, Betas: h.Betas, Alpha: h.Alpha, AlphaWarmup: h.AlphaWarmup, Beta3Warmup: h.Beta3Warmup, Eps: h.Eps, WeightDecay: h.WeightDecay, Maximize: h.Maximize}
	case "lion":
		return optim.Lion{LR: h.LR, Betas: betas, WeightDecay: h.WeightDecay, Maximize: h.Maximize}
	case "rmsprop":
		return optim.RMSprop{LR: h.LR, Alpha: h.Alpha, Eps: h.Eps, WeightDecay: h.WeightDecay, Momentum: h.Momentum, Centered: h.Centered, Maximize: h.Maximize}
	case "adagrad":
		return optim.Adagrad{LR: h.LR, LRDecay: h.LRDecay, WeightDecay: h.WeightDecay, InitialAccumulator: h.InitialAccumulator, Eps: h.Eps, Maximize: h.Maximize}
	case "adamax":
		return optim.Adamax{LR: h.LR, Betas: betas, Eps: h.Eps, WeightDecay: h.WeightDecay, Maximize: h.Maximize}
	case "nadam":
		return optim.NAdam{LR: h.LR, Betas: betas, Eps: h.Eps, WeightDecay: h.WeightDecay, MomentumDecay: h.MomentumDecay, Decoupled: h.Decoupled, Maximize: h.Maximize}
	case "radam":
		return optim.RAdam{LR: h.LR, Betas: betas, Eps: h.Eps, WeightDecay: h.WeightDecay, Decoupled: h.Decoupled, Maximize: h.Maximize}
	case "adadelta":
		return optim.Adadelta{LR: h.LR, Rho: h.Rho, Eps: h.Eps, WeightDecay: h.WeightDecay, Maximize: h.Maximize}
	case "rprop":
		return optim.Rprop{LR: h.LR, Etas: h.Etas, StepSizes: h.StepSizes, Maximize: h.Maximize}
	case "ftrl":
		return optim.FTRL{LR: h.LR, InitialAccumulator: h.InitialAccumulator, L1: h.L1, L2: h.L2, L2Shrinkage: h.L2Shrinkage, Beta: h.Beta, Maximize: h.Maximize}
	case "proximalsgd":
		return optim.ProximalSGD{LR: h.LR, L1: h.L1, L2: h.L2, Maximize: h.Maximize}
	case "proximaladagrad":
		return optim.ProximalAdagrad{LR: h.LR, InitialAccumulator: h.InitialAccumulator, L1: h.L1, L2: h.L2, Maximize: h.Maximize}
	case "sophia":
		return optim.Sophia{LR: h.LR, Beta1: h.Beta1, Gamma: h.Gamma, Eps: h.Eps, ClipThreshold: h.ClipThreshold, WeightDecay: h.WeightDecay, BiasCorrection: h.BiasCorrection, Maximize: h.Maximize}
	case "schedulefreesgd":
		return optim.ScheduleFreeSGD{LR: h.LR, Momentum: h.Momentum, WeightDecay: h.WeightDecay, WarmupSteps: h.WarmupSteps, R: h.R, WeightLRPower: h.WeightLRPower, Maximize: h.Maximize}
	case "schedulefreeadamw":
		return optim.ScheduleFreeAdamW{LR: h.LR, Betas: betas, Eps: h.Eps, WeightDecay: h.WeightDecay, WarmupSteps: h.WarmupSteps, R: h.R, WeightLRPower: h.WeightLRPower, Maximize: h.Maximize}
	}
	t.Fatalf("no algorithm %q", name)
	return nil
}

type values map[string][]float64

type torchCase struct {
	Name, Optimizer, DType string
	Hyper                  torchHyper
	Input                  map[string]values // state that is written from outside, by the step before which it is
	Param                  values
	ParamBound             values            `json:"param_bound"`
	State                  map[string]values `json:"state"`
	StateBound             map[string]values `json:"state_bound"`
}

func TestTorch(t *testing.T) {
	var file struct {
		Steps    int
		Init     values
		Grads    map[string][][]float64
		LRFactor []float64 `json:"lr_factor"`
		Cases    []torchCase
	}
	torchFile(t, "optimizers.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, name := range []string{"more.json", "variants.json", "../libraries/sparse.json", "../libraries/sophia.json", "../libraries/schedule_free.json"} { // on the same numbers
		var more struct{ Cases []torchCase }
		torchFile(t, name, &more)
		require.NotEmpty(t, more.Cases)
		file.Cases = append(file.Cases, more.Cases...)
	}
	schedule := optim.ScheduleFunc(func(k int) float64 { return file.LRFactor[k] })
	for _, c := range file.Cases {
		t.Run(c.Name+"/"+c.DType, func(t *testing.T) {
			dtype, err := device.ParseDType(c.DType)
			require.NoError(t, err)
			h := newHarness(t, dtype, file.Init[c.DType])
			o := h.optimizer(c.Hyper.algorithm(t, c.Optimizer))
			require.NoError(t, o.SetSchedule(schedule))
			before, path := h.values(h.value), make([]float64, len(file.Init[c.DType]))
			for step := 1; step <= file.Steps; step++ {
				key := strconv.Itoa(step)
				h.set(h.grad, file.Grads[c.DType][step-1])
				for name, x := range c.Input[key] {
					h.set(h.state(o, name), x)
				}
				require.NoError(t, o.Step(nil))
				now := h.values(h.value)
				for i, p := range now {
					path[i] += math.Abs(p - before[i])
				}
				before = now
				if want := c.Param[key]; want != nil {
					within(t, key+" param", now, want, c.ParamBound[key])
					for i, p := range now { // beside the derived bound: float64 agrees to 1e-12 of what the parameter moved through, but for RAdam (README)
						if dtype == device.Float64 && c.Optimizer != "radam" && math.Abs(p-want[i]) > 1e-12*(math.Abs(p)+path[i]) {
							t.Errorf("step %s: param[%d] is %v, torch has %v: more than 1e-12 of %v apart", key, i, p, want[i], math.Abs(p)+path[i])
						}
					}
				}
				for name, want := range c.State[key] {
					within(t, key+" "+name, h.values(h.state(o, name)), want, c.StateBound[key][name])
				}
			}
		})
	}
}

func within(t *testing.T, what string, got, want, bound []float64) {
	t.Helper()
	require.Len(t, got, len(want))
	require.Len(t, bound, len(want))
	for i := range got {
		if !(math.Abs(got[i]-want[i]) <= bound[i]) {
			t.Errorf("step %s[%d] is %v (%x), torch has %v (%x): %.3g apart, bound %.3g", what, i, got[i], got[i], want[i], want[i],
				math.Abs(got[i]-want[i]), bound[i])
		}
	}
}

// harness is one tensor on a CPU device, seen as float64 whatever its type.
type harness struct {
	t           *testing.T
	dev         *cpu.Device
	value, grad *device.Buffer
}

func newHarness(t *testing.T, dtype device.DType, init []float64) *harness {
	h := &harness{t: t, dev: cpu.NewThreads(2)}
	t.Cleanup(func() { require.NoError(t, h.dev.Close()) })
	h.value, h.grad = h.buffer(dtype, init), h.buffer(dtype, make([]float64, len(init)))
	return h
}

func (h *harness) buffer(dtype device.DType, x []float64) *device.Buffer {
	b, err := h.dev.Alloc(dtype, len(x))
	require.NoError(h.t, err)
	h.set(b, x)
	return b
}

func (h *harness) optimizer(a optim.Algorithm) *optim.Optimizer {
	o, err := optim.New(h.dev, a, []optim.Param{{Value: h.value, Grad: h.grad}})
	require.NoError(h.t, err)
	return o
}

// state is the tensor's state in the optimizer, or what EvalParams makes of it.
func (h *harness) state(o *optim.Optimizer, name string) *device.Buffer {
	if name == "eval_params" {
		b := h.buffer(h.value.DType(), make([]float64, h.value.Len()))
		require.NoError(h.t, o.EvalParams(nil, map[string]*device.Buffer{"0.0": b}))
		return b
	}
	b, err := o.State("0.0", name)
	require.NoError(h.t, err)
	return b
}

func (h *harness) set(b *device.Buffer, x []float64) {
	s := h.dev.DefaultStream()
	if b.DType() == device.Float64 {
		require.NoError(h.t, device.Upload(s, b, x))
	} else {
		y := make([]float32, len(x))
		for i := range x {
			y[i] = float32(x[i])
		}
		require.NoError(h.t, device.Upload(s, b, y))
	}
	require.NoError(h.t, s.Synchronize())
}

func (h *harness) values(b *device.Buffer) []float64 {
	s := h.dev.DefaultStream()
	x := make([]float64, b.Len())
	if b.DType() == device.Float64 {
		require.NoError(h.t, device.Download(s, x, b))
		require.NoError(h.t, s.Synchronize())
		return x
	}
	y := make([]float32, b.Len())
	require.NoError(h.t, device.Download(s, y, b))
	require.NoError(h.t, s.Synchronize())
	for i := range y {
		x[i] = float64(y[i])
	}
	return x
}

func TestTorchClip(t *testing.T) {
	var file struct {
		LR    float64
		Init  map[string][][]float64
		Grads map[string][][][]float64
		Cases []struct {
			Name, DType string
			MaxNorm     float64   `json:"max_norm"`
			GradScale   float64   `json:"grad_scale"`
			TotalNorm   []float64 `json:"total_norm"`
			Param       [][]float64
		}
	}
	torchFile(t, "clip.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, c := range file.Cases {
		if c.MaxNorm == 0 {
			continue // turns clipping off here; torch makes all gradients 0
		}
		t.Run(c.Name+"/"+c.DType, func(t *testing.T) {
			dtype, err := device.ParseDType(c.DType)
			require.NoError(t, err)
			u := map[device.DType]float64{device.Float32: 0x1p-24, device.Float64: 0x1p-53}[dtype]
			const chain = 16 // torch's norm may err by so many roundings, see the README
			h := newHarness(t, dtype, nil)
			var params []optim.Param
			var bounds [][]float64
			for _, x := range file.Init[c.DType] {
				params = append(params, optim.Param{Value: h.buffer(dtype, x), Grad: h.buffer(dtype, make([]float64, len(x)))})
				bounds = append(bounds, make([]float64, len(x)))
			}
			o, err := optim.New(h.dev, optim.SGD{LR: file.LR}, params)
			require.NoError(t, err)
			require.NoError(t, o.SetClipNorm(c.MaxNorm))
			for step, total := range c.TotalNorm {
				coef := math.Min(1, c.MaxNorm/(total+1e-6))
				for i, p := range params {
					g := append([]float64(nil), file.Grads[c.DType][step][i]...)
					for k := range g {
						g[k] *= c.GradScale
						bounds[i][k] += file.LR*math.Abs(g[k])*coef*(chain+8)*u + 2*u*math.Abs(h.values(p.Value)[k])
					}
					h.set(p.Grad, g)
				}
				require.NoError(t, o.Step(nil))
				norm, err := o.GradNorm(nil)
				require.NoError(t, err)
				require.InDelta(t, total, norm, chain*u*total, "norm of step %d", step)
			}
			for i, p := range params {
				within(t, "3 param", h.values(p.Value), c.Param[i], bounds[i])
			}
		})
	}
}

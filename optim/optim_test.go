package optim_test

import (
	"errors"
	"math"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

func TestHyperparameterRanges(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	adam := func(change func(*optim.Adam)) optim.Algorithm {
		c := optim.DefaultAdam()
		change(&c)
		return c
	}
	sophia := func(change func(*optim.Sophia)) optim.Algorithm {
		c := optim.DefaultSophia()
		change(&c)
		return c
	}
	free := func(change func(*optim.ScheduleFreeAdamW)) optim.Algorithm {
		c := optim.DefaultScheduleFreeAdamW()
		change(&c)
		return c
	}
	tests := []struct {
		alg  optim.Algorithm
		want string
	}{
		{sgd(-1), "optim: sgd: lr is -1, must be at least 0, and finite"},
		{sgd(nan), "optim: sgd: lr is NaN, must be at least 0, and finite"},
		{sgd(inf), "optim: sgd: lr is +Inf, must be at least 0, and finite"},
		{with(optim.DefaultSGD(), func(c *optim.SGD) { c.Momentum = -0.5 }), "optim: sgd: momentum is -0.5, must be at least 0, and finite"},
		{with(optim.DefaultSGD(), func(c *optim.SGD) { c.Dampening = nan }), "optim: sgd: dampening is NaN, must be finite"},
		{with(optim.DefaultSGD(), func(c *optim.SGD) { c.WeightDecay = -1 }), "optim: sgd: weight_decay is -1, must be at least 0, and finite"},
		{with(optim.DefaultSGD(), func(c *optim.SGD) { c.L1 = -1 }), "optim: sgd: l1 is -1, must be at least 0, and finite"},
		{with(optim.DefaultSGD(), func(c *optim.SGD) { c.Nesterov = true }), "optim: sgd: momentum is 0, must be above 0 with nesterov"},
		{with(optim.DefaultSGD(), func(c *optim.SGD) { c.Nesterov, c.Momentum, c.Dampening = true, 0.9, 0.1 }), "optim: sgd: dampening is 0.1, must be 0 with nesterov"},
		{adam(func(c *optim.Adam) { c.LR = -1 }), "optim: adam: lr is -1, must be at least 0, and finite"},
		{adam(func(c *optim.Adam) { c.Betas[0] = 1 }), "optim: adam: betas[0] is 1, must be at least 0 and below 1"},
		{adam(func(c *optim.Adam) { c.Betas[1] = -0.1 }), "optim: adam: betas[1] is -0.1, must be at least 0 and below 1"},
		{adam(func(c *optim.Adam) { c.Eps = -1e-8 }), "optim: adam: eps is -1e-08, must be at least 0, and finite"},
		{adam(func(c *optim.Adam) { c.EpsRoot = -1 }), "optim: adam: eps_root is -1, must be at least 0, and finite"},
		{adam(func(c *optim.Adam) { c.NormCoefficientPost = nan }), "optim: adam: norm_coefficient_post is NaN, must be at least 0, and finite"},
		// I17: what is wrong with a flag is a sentence about the flag.
		{adam(func(c *optim.Adam) { c.CorrectedMax = true }), "optim: adam: corrected_max is on, which needs amsgrad, without eps_hat"},
		{adam(func(c *optim.Adam) { c.AMSGrad, c.CorrectedMax, c.EpsHat = true, true, true }), "optim: adam: corrected_max is on, which needs amsgrad, without eps_hat"},
		{with(optim.DefaultAdamW(), func(c *optim.AdamW) { c.Betas, c.WeightDecay = [2]float64{0.9, 0.999}, -1 }), "optim: adamw: weight_decay is -1, must be at least 0, and finite"},
		{with(optim.DefaultLion(), func(c *optim.Lion) { c.LR = nan }), "optim: lion: lr is NaN, must be at least 0, and finite"},
		{with(optim.DefaultLion(), func(c *optim.Lion) { c.Betas = [2]float64{1, 0} }), "optim: lion: betas[0] is 1, must be at least 0 and below 1"},
		{with(optim.DefaultLion(), func(c *optim.Lion) { c.Betas = [2]float64{0, 1} }), "optim: lion: betas[1] is 1, must be at least 0 and below 1"},
		{with(optim.DefaultLion(), func(c *optim.Lion) { c.WeightDecay = -1 }), "optim: lion: weight_decay is -1, must be at least 0, and finite"},
		{with(optim.DefaultRMSprop(), func(c *optim.RMSprop) { c.Alpha = -1 }), "optim: rmsprop: alpha is -1, must be at least 0, and finite"},
		{with(optim.DefaultRMSprop(), func(c *optim.RMSprop) { c.Momentum = inf }), "optim: rmsprop: momentum is +Inf, must be at least 0, and finite"},
		{with(optim.DefaultRMSprop(), func(c *optim.RMSprop) { c.EpsRoot = -1 }), "optim: rmsprop: eps_root is -1, must be at least 0, and finite"},
		{with(optim.DefaultRMSprop(), func(c *optim.RMSprop) { c.InitialScale = -1 }), "optim: rmsprop: initial_scale is -1, must be at least 0, and finite"},
		{with(optim.DefaultAdafactor(), func(c *optim.Adafactor) { c.Eps[0] = 0 }), "optim: adafactor: eps[0] is 0, must be above 0"},
		{with(optim.DefaultAdafactor(), func(c *optim.Adafactor) { c.EpsSquare = 1e-30 }), "optim: adafactor: eps[0] is 1.1920928955078125e-07, must be 0 with eps_square"},
		{with(optim.DefaultAdagrad(), func(c *optim.Adagrad) { c.EpsRoot = inf }), "optim: adagrad: eps_root is +Inf, must be at least 0, and finite"},
		{with(optim.DefaultAdagrad(), func(c *optim.Adagrad) { c.LRDecay = -1 }), "optim: adagrad: lr_decay is -1, must be at least 0, and finite"},
		{with(optim.DefaultAdagrad(), func(c *optim.Adagrad) { c.InitialAccumulator = nan }), "optim: adagrad: initial_accumulator_value is NaN, must be at least 0, and finite"},
		{with(optim.DefaultAdamax(), func(c *optim.Adamax) { c.Betas = [2]float64{0, 1} }), "optim: adamax: betas[1] is 1, must be at least 0 and below 1"},
		{with(optim.DefaultNAdam(), func(c *optim.NAdam) { c.MomentumDecay = -1 }), "optim: nadam: momentum_decay is -1, must be at least 0, and finite"},
		{with(optim.DefaultRAdam(), func(c *optim.RAdam) { c.Eps = -1 }), "optim: radam: eps is -1, must be at least 0, and finite"},
		{with(optim.DefaultAdadelta(), func(c *optim.Adadelta) { c.Rho = 1.5 }), "optim: adadelta: rho is 1.5, must be at least 0 and at most 1"},
		{with(optim.DefaultASGD(), func(c *optim.ASGD) { c.Lambd = -1 }), "optim: asgd: lambd is -1, must be at least 0, and finite"},
		{with(optim.DefaultASGD(), func(c *optim.ASGD) { c.Alpha = 16 }), "optim: asgd: alpha is 16, must be at least 0 and below 16"},
		{with(optim.DefaultASGD(), func(c *optim.ASGD) { c.T0 = nan }), "optim: asgd: t0 is NaN, must be finite"},
		{with(optim.DefaultSGDW(), func(c *optim.SGDW) { c.Momentum = -1 }), "optim: sgdw: momentum is -1, must be at least 0, and finite"},
		{with(optim.DefaultSGDW(), func(c *optim.SGDW) { c.WeightDecay = inf }), "optim: sgdw: weight_decay is +Inf, must be at least 0, and finite"},
		{with(optim.DefaultSignSGD(), func(c *optim.SignSGD) { c.LR = -1 }), "optim: signsgd: lr is -1, must be at least 0, and finite"},
		{with(optim.DefaultSignum(), func(c *optim.Signum) { c.Beta = 1 }), "optim: signum: beta is 1, must be at least 0 and below 1"},
		{with(optim.DefaultSignum(), func(c *optim.Signum) { c.WeightDecay = -1 }), "optim: signum: weight_decay is -1, must be at least 0, and finite"},
		{with(optim.DefaultYogi(), func(c *optim.Yogi) { c.Betas = [2]float64{0, 1} }), "optim: yogi: betas[1] is 1, must be at least 0 and below 1"},
		{with(optim.DefaultYogi(), func(c *optim.Yogi) { c.InitialAccumulator = -1 }), "optim: yogi: initial_accumulator_value is -1, must be at least 0, and finite"},
		{with(optim.DefaultAdaBelief(), func(c *optim.AdaBelief) { c.Betas = [2]float64{-1, 0} }), "optim: adabelief: betas[0] is -1, must be at least 0 and below 1"},
		{with(optim.DefaultAdaBelief(), func(c *optim.AdaBelief) { c.Decoupled, c.WeightDecay = true, -1 }), "optim: adabelief: weight_decay is -1, must be at least 0, and finite"},
		{with(optim.DefaultAdan(), func(c *optim.Adan) { c.Betas = [3]float64{0, 0, 1} }), "optim: adan: betas[2] is 1, must be at least 0 and below 1"},
		{with(optim.DefaultAdan(), func(c *optim.Adan) { c.WeightDecay = -1 }), "optim: adan: weight_decay is -1, must be at least 0, and finite"},
		{with(optim.DefaultAdEMAMix(), func(c *optim.AdEMAMix) { c.Betas = [3]float64{0, 0, 1} }), "optim: ademamix: betas[2] is 1, must be at least 0 and below 1"},
		{with(optim.DefaultAdEMAMix(), func(c *optim.AdEMAMix) { c.Alpha = -1 }), "optim: ademamix: alpha is -1, must be at least 0, and finite"},
		{with(optim.DefaultAdEMAMix(), func(c *optim.AdEMAMix) { c.AlphaWarmup = -1 }), "optim: ademamix: alpha_warmup is -1, must be at least 0, and finite"},
		{with(optim.DefaultAdEMAMix(), func(c *optim.AdEMAMix) { c.Beta3Warmup = -1 }), "optim: ademamix: beta3_warmup is -1, must be at least 0, and finite"},
		{with(optim.DefaultAdEMAMix(), func(c *optim.AdEMAMix) { c.Beta3Warmup, c.Betas = 1, [3]float64{0, 0, 0.5} }), "optim: ademamix: betas[0] is 0, must be above 0 with beta3_warmup"},
		{with(optim.DefaultAdEMAMix(), func(c *optim.AdEMAMix) { c.Beta3Warmup, c.Betas = 1, [3]float64{0.9, 0, 0.5} }), "optim: ademamix: betas[2] is 0.5, must be at least betas[0] with beta3_warmup"},
		{with(optim.DefaultRprop(), func(c *optim.Rprop) { c.Etas = [2]float64{1, 1.2} }), "optim: rprop: etas[0] is 1, must be above 0 and below 1"},
		{with(optim.DefaultRprop(), func(c *optim.Rprop) { c.Etas = [2]float64{0.5, 1} }), "optim: rprop: etas[1] is 1, must be above 1, and finite"},
		{with(optim.DefaultRprop(), func(c *optim.Rprop) { c.Etas, c.StepSizes = [2]float64{0.5, 1.2}, [2]float64{1, 0.5} }), "optim: rprop: step_sizes[1] is 0.5, must be at least step_sizes[0], and finite"},
		{with(optim.DefaultFTRL(), func(c *optim.FTRL) { c.LR = -1 }), "optim: ftrl: lr is -1, must be at least 0, and finite"},
		{with(optim.DefaultFTRL(), func(c *optim.FTRL) { c.InitialAccumulator = -1 }), "optim: ftrl: initial_accumulator_value is -1, must be at least 0, and finite"},
		{with(optim.DefaultFTRL(), func(c *optim.FTRL) { c.L1 = nan }), "optim: ftrl: l1 is NaN, must be at least 0, and finite"},
		{with(optim.DefaultFTRL(), func(c *optim.FTRL) { c.L2 = -1 }), "optim: ftrl: l2 is -1, must be at least 0, and finite"},
		{with(optim.DefaultFTRL(), func(c *optim.FTRL) { c.L2Shrinkage = inf }), "optim: ftrl: l2_shrinkage is +Inf, must be at least 0, and finite"},
		{with(optim.DefaultFTRL(), func(c *optim.FTRL) { c.Beta = -1 }), "optim: ftrl: beta is -1, must be at least 0, and finite"},
		{with(optim.DefaultProximalSGD(), func(c *optim.ProximalSGD) { c.LR = inf }), "optim: proximalsgd: lr is +Inf, must be at least 0, and finite"},
		{with(optim.DefaultProximalSGD(), func(c *optim.ProximalSGD) { c.L1 = -1 }), "optim: proximalsgd: l1 is -1, must be at least 0, and finite"},
		{with(optim.DefaultProximalSGD(), func(c *optim.ProximalSGD) { c.L2 = -1 }), "optim: proximalsgd: l2 is -1, must be at least 0, and finite"},
		{with(optim.DefaultProximalAdagrad(), func(c *optim.ProximalAdagrad) { c.LR = -1 }), "optim: proximaladagrad: lr is -1, must be at least 0, and finite"},
		{with(optim.DefaultProximalAdagrad(), func(c *optim.ProximalAdagrad) { c.InitialAccumulator = 0 }), "optim: proximaladagrad: initial_accumulator_value is 0, must be above 0, and finite"},
		{with(optim.DefaultProximalAdagrad(), func(c *optim.ProximalAdagrad) { c.InitialAccumulator, c.L1 = 1, -1 }), "optim: proximaladagrad: l1 is -1, must be at least 0, and finite"},
		{with(optim.DefaultProximalAdagrad(), func(c *optim.ProximalAdagrad) { c.InitialAccumulator, c.L2 = 1, nan }), "optim: proximaladagrad: l2 is NaN, must be at least 0, and finite"},
		{sophia(func(c *optim.Sophia) { c.LR = nan }), "optim: sophia: lr is NaN, must be at least 0, and finite"},
		{sophia(func(c *optim.Sophia) { c.Beta1 = 1 }), "optim: sophia: beta1 is 1, must be at least 0 and below 1"},
		{sophia(func(c *optim.Sophia) { c.Gamma = -1 }), "optim: sophia: gamma is -1, must be at least 0, and finite"},
		{sophia(func(c *optim.Sophia) { c.Eps = 0 }), "optim: sophia: eps is 0, must be above 0, and finite"},
		{sophia(func(c *optim.Sophia) { c.ClipThreshold = -1 }), "optim: sophia: clip_threshold is -1, must be at least 0, and finite"},
		{sophia(func(c *optim.Sophia) { c.WeightDecay = -1 }), "optim: sophia: weight_decay is -1, must be at least 0, and finite"},
		{free(func(c *optim.ScheduleFreeAdamW) { c.LR = -1 }), "optim: schedulefreeadamw: lr is -1, must be at least 0, and finite"},
		{free(func(c *optim.ScheduleFreeAdamW) { c.Betas[0] = 0 }), "optim: schedulefreeadamw: betas[0] is 0, must be above 0 and below 1"},
		{free(func(c *optim.ScheduleFreeAdamW) { c.Betas[1] = 1 }), "optim: schedulefreeadamw: betas[1] is 1, must be at least 0 and below 1"},
		{free(func(c *optim.ScheduleFreeAdamW) { c.Eps = nan }), "optim: schedulefreeadamw: eps is NaN, must be at least 0, and finite"},
		{free(func(c *optim.ScheduleFreeAdamW) { c.WeightDecay = inf }), "optim: schedulefreeadamw: weight_decay is +Inf, must be at least 0, and finite"},
		{free(func(c *optim.ScheduleFreeAdamW) { c.WarmupSteps = -1 }), "optim: schedulefreeadamw: warmup_steps is -1, must be at least 0, and finite"},
		{free(func(c *optim.ScheduleFreeAdamW) { c.R = 16 }), "optim: schedulefreeadamw: r is 16, must be above -16 and below 16"},
		{free(func(c *optim.ScheduleFreeAdamW) { c.WeightLRPower = -1 }), "optim: schedulefreeadamw: weight_lr_power is -1, must be at least 0 and below 16"},
		{with(optim.DefaultScheduleFreeSGD(), func(c *optim.ScheduleFreeSGD) { c.Momentum = 1 }), "optim: schedulefreesgd: momentum is 1, must be above 0 and below 1"},
	}
	dev := cpu.New()
	defer dev.Close()
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			_, err := optim.New(dev, tt.alg, nil)
			var e *optim.HyperparameterError
			require.True(t, errors.As(err, &e), "%v", err)
			require.EqualError(t, err, tt.want)
		})
	}
	fine := []optim.Algorithm{optim.DefaultSGD(), with(optim.DefaultSGD(), func(c *optim.SGD) { c.Momentum, c.Dampening = 2, -1 }), optim.DefaultLion()}
	for _, c := range optim.Cases() {
		fine = append(fine, c.Algorithm)
	}
	for _, alg := range fine {
		_, err := optim.New(dev, alg, nil)
		require.NoError(t, err)
	}
}

type noRule struct{}

func (noRule) Setting() (rule.Setting, error) { return rule.Setting{}, nil }

func TestNoAlgorithm(t *testing.T) {
	dev := cpu.New()
	defer dev.Close()
	_, err := optim.New(dev, nil, nil)
	require.EqualError(t, err, "optim: group 0: the algorithm is nil")
	_, err = optim.New(dev, noRule{}, nil)
	require.EqualError(t, err, "optim: group 0: algorithm optim_test.noRule gives no rule")
}

// A bad tensor is named, and nothing is written: neither by New nor by a later step.
func TestTensorErrors(t *testing.T) {
	dev, other := cpu.New(), cpu.New()
	defer dev.Close()
	defer other.Close()
	alloc := func(d *cpu.Device, dt device.DType, n int) *device.Buffer {
		b, err := d.Alloc(dt, n)
		require.NoError(t, err)
		return b
	}
	closed := alloc(dev, device.Float32, 8)
	require.NoError(t, closed.Close())
	whole := alloc(dev, device.Float32, 32)
	part := func(i, j int) *device.Buffer {
		b, err := whole.Slice(i, j)
		require.NoError(t, err)
		return b
	}
	f32 := func(n int) *device.Buffer { return alloc(dev, device.Float32, n) }
	ok := optim.Param{Name: "ok", Value: f32(3), Grad: f32(3)}
	tests := []struct {
		name string
		p    optim.Param
		is   error
		want string
	}{
		{"length", optim.Param{Name: "wte", Value: f32(16), Grad: f32(12)}, nil, `optim: group 0, tensor "wte": grad has 12 elements, value has 16`},
		{"dtype", optim.Param{Name: "wte", Value: f32(8), Grad: alloc(dev, device.Float64, 8)}, nil,
			`optim: group 0, tensor "wte": slot "grad": no format "f64" for calculations in float32: there are f32, bf16, f16`},
		{"narrow gradient", optim.Param{Name: "wte", Value: alloc(dev, device.Float64, 8), Grad: alloc(dev, device.BFloat16, 8)}, nil,
			`optim: group 0, tensor "wte": slot "grad": no format "bf16" for calculations in float64: there are f64`},
		{"closed", optim.Param{Name: "wte", Value: closed, Grad: f32(8)}, device.ErrClosed, `optim: group 0, tensor "wte": value: buffer is closed`},
		{"foreign", optim.Param{Name: "wte", Value: f32(8), Grad: alloc(other, device.Float32, 8)}, device.ErrForeign,
			`optim: group 0, tensor "wte": grad: buffer of device cpu belongs to another device`},
		{"nil value", optim.Param{Grad: f32(8)}, nil, `optim: group 0, tensor "0.1": value is nil`},
		{"name twice", optim.Param{Name: "ok", Value: f32(8), Grad: f32(8)}, nil, `optim: group 0, tensor "ok": another tensor has this name`},
		{"grad is value", optim.Param{Name: "wte", Value: whole, Grad: whole}, device.ErrOverlap, `optim: group 0, tensor "wte": grad overlaps value of group 0, tensor "wte"`},
		{"grad in value", optim.Param{Name: "wte", Value: part(0, 16), Grad: part(15, 31)}, device.ErrOverlap, `optim: group 0, tensor "wte": grad overlaps value of group 0, tensor "wte"`},
		{"value is another's", optim.Param{Name: "wte", Value: ok.Value, Grad: f32(3)}, device.ErrOverlap, `optim: group 0, tensor "wte": value overlaps value of group 0, tensor "ok"`},
		{"value is another's grad", optim.Param{Name: "wte", Value: ok.Grad, Grad: f32(3)}, device.ErrOverlap, `optim: group 0, tensor "wte": value overlaps grad of group 0, tensor "ok"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, err := optim.New(dev, optim.DefaultAdam(), []optim.Param{ok, tt.p})
			require.Nil(t, o)
			var e *optim.TensorError
			require.True(t, errors.As(err, &e), "%v", err)
			require.EqualError(t, err, tt.want)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
		})
	}
	t.Run("typed", func(t *testing.T) {
		_, err := optim.New(dev, optim.DefaultAdam(), []optim.Param{tests[0].p})
		var length *device.LengthError
		require.True(t, errors.As(err, &length))
		require.Equal(t, device.LengthError{What: "grad", Got: 12, Ref: "value", Want: 16}, *length)
		_, err = optim.New(dev, optim.DefaultAdam(), []optim.Param{tests[1].p})
		var dtype *format.Error
		require.True(t, errors.As(err, &dtype))
		require.Equal(t, format.Error{Slot: "grad", Format: "f64", Compute: device.Float32}, *dtype)
	})
	t.Run("shared gradients and touching slices are fine", func(t *testing.T) {
		g := f32(8)
		o, err := optim.New(dev, optim.DefaultAdam(), []optim.Param{{Value: part(0, 8), Grad: g}, {Value: part(8, 16), Grad: g}, {Value: part(20, 20), Grad: part(3, 3)}})
		require.NoError(t, err)
		require.NoError(t, o.Close())
	})
}

// A step that is refused leaves parameters and state as they were.
func TestRefusedStepChangesNothing(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1, 2, 3})
	other := cpu.New()
	defer other.Close()
	v, g := h.buffer(device.Float32, []float64{4}), h.buffer(device.Float32, []float64{5})
	h.set(h.grad, []float64{1, 1, 1})
	o, err := optim.New(h.dev, with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR, c.Momentum = 1, 0.9 }), []optim.Param{{Name: "a", Value: h.value, Grad: h.grad}, {Name: "b", Value: v, Grad: g}})
	require.NoError(t, err)
	unchanged := func() {
		t.Helper()
		require.Equal(t, []float64{1, 2, 3}, h.values(h.value))
		buf, err := o.State("a", "momentum_buffer")
		require.NoError(t, err)
		require.Equal(t, []float64{0, 0, 0}, h.values(buf))
		require.Equal(t, 0, o.Steps())
	}
	require.ErrorIs(t, o.Step(other.DefaultStream()), device.ErrForeign)
	unchanged()
	s, err := h.dev.NewStream()
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.ErrorIs(t, o.Step(s), device.ErrClosed)
	unchanged()
	require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(int) float64 { return math.NaN() })))
	require.EqualError(t, o.Step(nil), "optim: sgd: lr is NaN, must be at least 0, and finite, after its schedule")
	require.NoError(t, o.SetSchedule(optim.Constant{}))
	unchanged()
	require.NoError(t, g.Close())
	require.EqualError(t, o.Step(nil), `optim: group 0, tensor "b": grad: buffer is closed`)
	unchanged()
	require.NoError(t, o.Close())
	require.ErrorIs(t, o.Step(nil), device.ErrClosed)
	require.ErrorIs(t, o.Close(), device.ErrClosed)
}

// Groups have their own hyperparameters and state, whether they share a program or not, also when one comes late.
func TestGroups(t *testing.T) {
	init, grad := []float64{1, -2, 3}, []float64{0.5, 0.25, -1}
	algs := []optim.Algorithm{
		with(optim.DefaultAdamW(), func(c *optim.AdamW) { c.LR, c.Betas, c.Eps, c.WeightDecay = 0.1, [2]float64{0.9, 0.99}, 1e-8, 0.1 }),
		with(optim.DefaultAdamW(), func(c *optim.AdamW) { c.LR, c.Betas, c.Eps = 0.01, [2]float64{0.5, 0.9}, 1e-3 }),
		with(optim.DefaultAdamW(), func(c *optim.AdamW) {
			c.LR, c.Betas, c.Eps, c.AMSGrad, c.Maximize = 0.1, [2]float64{0.9, 0.99}, 1e-8, true, true
		}),
		with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR, c.Momentum, c.Dampening = 0.1, 0.9, 0.5 }),
	}
	alone := func(a optim.Algorithm, dtype device.DType, steps int) []float64 {
		h := newHarness(t, dtype, init)
		h.set(h.grad, grad)
		o := h.optimizer(a)
		for range steps {
			require.NoError(t, o.Step(nil))
		}
		return h.values(h.value)
	}
	h := newHarness(t, device.Float32, nil)
	var o *optim.Optimizer
	var params [][]optim.Param
	for i, a := range algs {
		group := []optim.Param{ // both types in each group
			{Value: h.buffer(device.Float32, init), Grad: h.buffer(device.Float32, grad)},
			{Value: h.buffer(device.Float64, init), Grad: h.buffer(device.Float64, grad)}}
		params = append(params, group)
		if i == 0 {
			var err error
			o, err = optim.New(h.dev, a, group)
			require.NoError(t, err)
		} else {
			require.NoError(t, o.AddGroup(a, group))
		}
		require.NoError(t, o.Step(nil)) // a group's state lives on when the next one comes
	}
	for i, a := range algs {
		steps := len(algs) - i
		require.Equal(t, alone(a, device.Float32, steps), h.values(params[i][0].Value), "group %d, float32", i)
		require.Equal(t, alone(a, device.Float64, steps), h.values(params[i][1].Value), "group %d, float64", i)
		st, err := o.GroupCounters(nil, i)
		require.NoError(t, err)
		require.Equal(t, float64(steps), st["step"])
	}
	names, err := o.StateNames(2)
	require.NoError(t, err)
	require.Equal(t, []string{"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}, names)
	names, err = o.StateNames(0)
	require.NoError(t, err)
	require.Equal(t, []string{"exp_avg", "exp_avg_sq"}, names)

	err = o.AddGroup(optim.DefaultAdam(), []optim.Param{{Name: "late", Value: params[0][0].Value, Grad: params[0][0].Grad}})
	require.ErrorIs(t, err, device.ErrOverlap)
	require.NoError(t, o.Step(nil))
	require.Equal(t, alone(algs[0], device.Float32, len(algs)+1), h.values(params[0][0].Value), "a refused group changes nothing")
}

func requireLR(t *testing.T, o *optim.Optimizer, want float64) {
	t.Helper()
	lr, err := o.LR(0)
	require.NoError(t, err)
	require.Equal(t, want, lr)
}

func TestLearningRate(t *testing.T) {
	h := newHarness(t, device.Float64, []float64{0})
	h.set(h.grad, []float64{1})
	o := h.optimizer(sgd(1))
	step := func(want float64) {
		t.Helper()
		before := h.values(h.value)[0]
		require.NoError(t, o.Step(nil))
		require.Equal(t, want, before-h.values(h.value)[0])
	}
	step(1)
	require.NoError(t, o.SetLR(0.5))
	requireLR(t, o, 0.5)
	step(0.5)
	require.NoError(t, o.SetSchedule(optim.StepDecay{Every: 3, Gamma: 0.5}))
	step(0.5) // step 2
	step(0.25)
	require.ErrorIs(t, o.SetLR(1, 3), device.ErrRange)
	require.EqualError(t, o.SetLR(-1), "optim: sgd: lr is -1, must be at least 0, and finite")
	requireLR(t, o, 0.5)
}

// State taken out of one optimizer and put into another continues bit for bit.
func TestStateRoundTrip(t *testing.T) {
	init, grads := []float64{1, -2, 3}, [][]float64{{1, 2, 3}, {-1, 0.5, 0}, {3, 3, 3}, {0, 0, 1}}
	run := func(h *harness, o *optim.Optimizer, grads [][]float64) {
		for _, g := range grads {
			h.set(h.grad, g)
			require.NoError(t, o.Step(nil))
		}
	}
	for _, c := range optim.Cases() {
		whole := newHarness(t, device.Float32, init)
		run(whole, whole.optimizer(c.Algorithm), grads)

		first := newHarness(t, device.Float32, init)
		o1 := first.optimizer(c.Algorithm)
		run(first, o1, grads[:2])
		second := newHarness(t, device.Float32, first.values(first.value))
		o2 := second.optimizer(c.Algorithm)
		states, err := o1.States("0.0")
		require.NoError(t, err)
		for name, b := range states {
			second.set(second.state(o2, name), first.values(b))
		}
		st, err := o1.GroupCounters(nil, 0)
		require.NoError(t, err)
		require.NoError(t, o2.SetGroupCounters(nil, 0, st))
		require.NoError(t, o2.SetSteps(o1.Steps()))
		run(second, o2, grads[2:])
		require.Equal(t, whole.values(whole.value), second.values(second.value), c.Name)
	}
}

func TestStateErrors(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	o := h.optimizer(with(optim.DefaultAdam(), func(c *optim.Adam) { c.AMSGrad = true }))
	_, err := o.State("0.0", "momentum_buffer")
	require.EqualError(t, err, `optim: group 0, tensor "0.0": has no state "momentum_buffer", only ["exp_avg" "exp_avg_sq" "max_exp_avg_sq"]`)
	_, err = o.State("nosuch", "exp_avg")
	require.EqualError(t, err, `optim: state: there is no tensor "nosuch"`)
	st, err := o.GroupCounters(nil, 0)
	require.NoError(t, err)
	require.ErrorIs(t, o.SetGroupCounters(nil, 1, st), device.ErrRange)
}

// A step allocates nothing, neither on the caller's thread nor on all of them.
func TestStepAllocatesNothing(t *testing.T) {
	for i, n := range []int{1000, 300_000, 1000} {
		dtype, alg := device.Float32, optim.Algorithm(optim.DefaultAdamW())
		if i == 2 {
			dtype, alg = device.BFloat16, optim.Stored{Algorithm: alg, Master: optim.MasterRemainder}
		}
		h := newHarness(t, dtype, make([]float64, n))
		o := h.optimizer(alg)
		require.NoError(t, o.SetClipNorm(1))
		step := func() {
			require.NoError(t, o.Step(nil))
			require.NoError(t, h.dev.DefaultStream().Synchronize())
		}
		for range 10 {
			step()
		}
		allocatesNothing(t, step)
	}
}

// allocatesNothing requires that a step allocates nothing. The count is the process's: what earlier tests have left to be freed adds to it now and
// then, but what a step allocates is there every time. Under the race detector nothing is counted: a sync.Pool forgets there, by chance, what it is given.
func allocatesNothing(t *testing.T, step func()) {
	t.Helper()
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return
	}
	least := testing.AllocsPerRun(100, step)
	for try := 0; least >= 1 && try < 5; try++ {
		least = min(least, testing.AllocsPerRun(100, step))
	}
	require.Zero(t, least)
}

// State starts as the hyperparameter that the rule names, however long it is.
func TestStateStartsAsHyperparameter(t *testing.T) {
	for _, dtype := range []device.DType{device.Float32, device.Float64} {
		h := newHarness(t, dtype, make([]float64, 1<<17+3))
		o := h.optimizer(with(optim.DefaultAdagrad(), func(c *optim.Adagrad) { c.InitialAccumulator = 0.1 }))
		sum, err := o.State("0.0", "sum")
		require.NoError(t, err)
		want := 0.1
		if dtype == device.Float32 {
			want = float64(float32(want))
		}
		for i, x := range h.values(sum) {
			require.Equal(t, want, x, "%s: element %d", dtype, i)
		}
	}
}

func TestZeroGrad(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1, 2})
	h.set(h.grad, []float64{3, 4})
	o := h.optimizer(optim.DefaultAdam())
	require.NoError(t, o.ZeroGrad(nil))
	require.Equal(t, []float64{0, 0}, h.values(h.grad))
	require.Equal(t, []float64{1, 2}, h.values(h.value))
}

// Clipping looks at all groups, leaves the gradients alone, and can be changed at any time.
func TestClipNorm(t *testing.T) {
	h := newHarness(t, device.Float64, []float64{0, 0})
	h.set(h.grad, []float64{3, 0})
	o := h.optimizer(sgd(1))
	v, g := h.buffer(device.Float32, []float64{0}), h.buffer(device.Float32, []float64{4})
	require.NoError(t, o.AddGroup(sgd(1), []optim.Param{{Value: v, Grad: g}}))
	_, err := o.GradNorm(nil)
	require.EqualError(t, err, "optim: gradient norm: SetClipNorm, SetClipTensorNorm, SetGradScaler and SetSkip are off")
	require.NoError(t, o.SetClipNorm(1))
	require.NoError(t, o.Step(nil))
	norm, err := o.GradNorm(nil)
	require.NoError(t, err)
	require.Equal(t, 5.0, norm)
	coef := 1 / (5 + 1e-6)
	require.Equal(t, []float64{-3 * coef, 0}, h.values(h.value))
	require.Equal(t, []float64{float64(-4 * float32(coef))}, h.values(v))
	require.Equal(t, []float64{3, 0}, h.values(h.grad))
	require.NoError(t, o.SetClipNorm(math.Inf(1)))
	h.set(v, []float64{0})
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{-4}, h.values(v))
	h.set(g, []float64{math.NaN()})
	require.NoError(t, o.SetClipNorm(1))
	require.NoError(t, o.Step(nil))
	require.True(t, math.IsNaN(h.values(v)[0]), "a NaN must not be hidden")
	require.True(t, math.IsNaN(h.values(h.value)[0]), "a NaN norm clips everything to NaN, as torch's does")
	require.NoError(t, o.SetClipNorm(0))
	_, err = o.GradNorm(nil)
	require.Error(t, err)
	require.EqualError(t, o.SetClipNorm(-1), "optim: clip_grad_norm: max_norm is -1, must be at least 0")
	require.EqualError(t, o.SetClipNorm(math.NaN()), "optim: clip_grad_norm: max_norm is NaN, must be at least 0")
}

// A step that a backend fails half way says which groups were updated.
func TestStepFailsHalfWay(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	b := &failing{cpuDevice: h.dev, fail: 1}
	o, err := optim.New(b, optim.DefaultSGD(), []optim.Param{{Value: h.value, Grad: h.grad}})
	require.NoError(t, err)
	require.NoError(t, o.AddGroup(optim.DefaultAdam(), []optim.Param{{Value: h.buffer(device.Float32, []float64{1}), Grad: h.buffer(device.Float32, []float64{1})}}))
	require.EqualError(t, o.Step(nil), "optim: step: groups [0] were updated, groups [1] were not: no more steps")
	require.Equal(t, 0, o.Steps())
	b.compile = errors.New("no more programs")
	err = o.AddGroup(optim.DefaultAdamW(), []optim.Param{{Value: h.buffer(device.Float32, []float64{1}), Grad: h.buffer(device.Float32, []float64{1})}})
	require.EqualError(t, err, "optim: group 2: no more programs")
	b.fail = math.MaxInt
	require.NoError(t, o.Step(nil), "after a refused group the optimizer is as it was")

	b.compile, b.close = nil, errors.New("stuck")
	late := h.buffer(device.Float32, []float64{1})
	require.NoError(t, o.AddGroup(optim.DefaultSGD(), []optim.Param{{Name: "late", Value: late, Grad: h.buffer(device.Float32, []float64{1})}}))
	require.EqualError(t, o.Step(nil), "optim: step: nothing was updated: what was compiled before could not be freed: stuck\nstuck")
	require.Equal(t, []float64{1}, h.values(late))
	require.NoError(t, o.Step(nil))
	require.NotEqual(t, []float64{1}, h.values(late))
}

// failing is a backend whose updates fail after so many steps, and whose Compile fails if it is told to.
type failing struct {
	*cpuDevice
	fail    int
	compile error
	close   error
}

func (f *failing) Compile(w kernels.Work) (kernels.Update, error) {
	if f.compile != nil {
		return nil, f.compile
	}
	u, err := f.cpuDevice.Compile(w)
	return &failingUpdate{u, f}, err
}

type cpuDevice = cpu.Device

type failingUpdate struct {
	kernels.Update
	f *failing
}

func (u *failingUpdate) Close() error { return errors.Join(u.f.close, u.Update.Close()) }

func (u *failingUpdate) Enqueue(s *device.Stream, step kernels.Step) error {
	if u.f.fail == 0 {
		return errors.New("no more steps")
	}
	u.f.fail--
	return u.Update.Enqueue(s, step)
}

// Where Keras divides 0 by 0, or by a learning rate of 0, FTRL has weights that are 0, or leaves everything as it is.
func TestFTRLNeverDividesByZero(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1, -2, 3})
	h.set(h.grad, []float64{0, 1e-30, 2})
	o := h.optimizer(with(optim.DefaultFTRL(), func(c *optim.FTRL) { c.LR, c.InitialAccumulator = 0.5, 0 }))
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{0, 0, 3 - 0.5}, h.values(h.value))
	linear, err := o.State("0.0", "linear")
	require.NoError(t, err)
	before := h.values(linear)
	require.NoError(t, o.SetLR(0))
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{0, 0, 2.5}, h.values(h.value))
	require.Equal(t, before, h.values(linear))
}

package optim_test

import (
	_ "embed"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
	"github.com/fusestep/fusestep/optim"
)

// Averages come from all groups, of both types, values from the others, and training does not notice.
func TestEvalParams(t *testing.T) {
	alg := with(optim.DefaultScheduleFreeSGD(), func(c *optim.ScheduleFreeSGD) { c.LR, c.Momentum, c.WeightLRPower = 0.5, 0.5, 0 })
	h := newHarness(t, device.Float64, []float64{0, 0}) // New finds other values than the first step does
	h.set(h.grad, []float64{8, 8})
	o := h.optimizer(alg)
	h.set(h.value, []float64{1, 2})
	single, grad := h.buffer(device.Float32, []float64{1, 2, 3}), h.buffer(device.Float32, []float64{8, 8, 0})
	plain, late := h.buffer(device.Float32, []float64{1}), h.buffer(device.Float32, []float64{8})
	require.NoError(t, o.AddGroup(alg, []optim.Param{{Name: "single", Value: single, Grad: grad}}))
	require.NoError(t, o.AddGroup(sgd(0.5), []optim.Param{{Name: "plain", Value: plain, Grad: late}}))

	x, single2, plain2 := h.buffer(device.Float64, []float64{9, 9}), grad, h.buffer(device.Float32, []float64{9})
	to := map[string]*device.Buffer{"0.0": x, "plain": plain2}
	require.NoError(t, o.EvalParams(nil, to))
	require.Equal(t, []float64{1, 2}, h.values(x), "before the first step")
	require.Equal(t, []float64{1}, h.values(plain2))
	require.NoError(t, o.Step(nil))
	to["single"] = single2
	require.NoError(t, o.EvalParams(nil, to))
	// After one step the average is where z is, and so is y.
	require.Equal(t, []float64{-3, -2}, h.values(x))
	require.Equal(t, []float64{-3, -2, 3}, h.values(single2), "in the gradient's memory")
	require.Equal(t, []float64{-3}, h.values(plain2))
	require.Equal(t, []float64{-3, -2}, h.values(h.value))
	require.Equal(t, []float64{-3, -2, 3}, h.values(single))
	require.NoError(t, o.Step(nil))
	require.NoError(t, o.EvalParams(nil, map[string]*device.Buffer{"0.0": x}))
	// z is at -7 and -6, the average half way, y half way to that.
	require.Equal(t, []float64{-5, -4}, h.values(x))
	require.Equal(t, []float64{-6, -5}, h.values(h.value))
	z, err := o.State("0.0", "z")
	require.NoError(t, err)
	require.Equal(t, []float64{-7, -6}, h.values(z))
	require.NoError(t, o.EvalParams(nil, nil))
	require.NoError(t, o.Close())
	require.ErrorIs(t, o.EvalParams(nil, to), device.ErrClosed)
}

// A bad buffer is named, and nothing is written, to the good ones neither.
func TestEvalParamsErrors(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1, 2, 3})
	other := cpu.New()
	defer other.Close()
	foreign, err := other.Alloc(device.Float32, 3)
	require.NoError(t, err)
	v, g, good := h.buffer(device.Float32, []float64{4, 5, 6}), h.buffer(device.Float32, make([]float64, 3)), h.buffer(device.Float32, []float64{7, 7, 7})
	o, err := optim.New(h.dev, optim.DefaultScheduleFreeSGD(), []optim.Param{{Name: "a", Value: v, Grad: g}, {Name: "w", Value: h.value, Grad: h.grad}})
	require.NoError(t, err)
	z, err := o.State("a", "z")
	require.NoError(t, err)
	closed := h.buffer(device.Float32, []float64{1, 2, 3})
	require.NoError(t, closed.Close())
	tests := []struct {
		name string
		to   *device.Buffer
		is   error
		want string
	}{
		{"nil", nil, device.ErrClosed, `optim: group 0, tensor "w": eval: buffer is closed`},
		{"closed", closed, device.ErrClosed, `optim: group 0, tensor "w": eval: buffer is closed`},
		{"foreign", foreign, device.ErrForeign, `optim: group 0, tensor "w": eval: buffer of device cpu belongs to another device`},
		{"length", h.buffer(device.Float32, []float64{1}), nil, `optim: group 0, tensor "w": eval has 1 elements, value has 3`},
		{"dtype", h.buffer(device.Float64, []float64{1, 2, 3}), nil, `optim: group 0, tensor "w": eval is float64, value is float32`},
		{"value", h.value, device.ErrOverlap, `optim: group 0, tensor "w": eval overlaps value of group 0, tensor "w"`},
		{"another's value", v, device.ErrOverlap, `optim: group 0, tensor "w": eval overlaps value of group 0, tensor "a"`},
		{"state", z, device.ErrOverlap, `optim: group 0, tensor "w": eval overlaps z of group 0, tensor "a"`},
		{"another's", good, device.ErrOverlap, `optim: group 0, tensor "w": eval overlaps eval of group 0, tensor "a"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := o.EvalParams(nil, map[string]*device.Buffer{"a": good, "w": tt.to})
			var e *optim.TensorError
			require.ErrorAs(t, err, &e)
			require.EqualError(t, err, tt.want)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
			require.Equal(t, []float64{7, 7, 7}, h.values(good))
		})
	}
	err = o.EvalParams(nil, map[string]*device.Buffer{"a": good, "nosuch": good})
	require.EqualError(t, err, `optim: eval params: there is no tensor "nosuch"`)
	require.ErrorIs(t, o.EvalParams(other.DefaultStream(), nil), device.ErrForeign)
}

//go:embed eval_test.go
var evalSource string

type evalElem[F rule.Float] struct {
	X F `slot:"param"`
	Y F `slot:"grad"`
	M F `slot:"momentum_buffer"`
}
type evalScalars[F rule.Float] struct{ LR F }
type evalHyper struct{ LR, Momentum, Dampening, LRInMomentum float64 }
type evalCounters struct {
	Step float64 `counter:"step"`
}

// lookAhead evaluates where SGD with momentum would be if it took its last step once more.
func lookAhead[F rule.Float](e *evalElem[F], s *evalScalars[F], _ struct{}) {
	e.X = e.Y - F(s.LR*e.M)
}

func lookAheadPrologue(h *evalHyper, _ *evalCounters, s *evalScalars[float64], _ struct{}) {
	s.LR = h.LR
}

// ahead is SGD with a rule for evaluation.
type ahead struct {
	optim.SGD
	eval *rule.Rule
}

func (a ahead) Setting() (rule.Setting, error) {
	s, err := a.SGD.Setting()
	s.Eval = a.eval
	return s, err
}

// A rule of one's own can say what is to be evaluated, if it fits the one that trains.
func TestEvalRule(t *testing.T) {
	own, err := rule.New(lookAhead[float32], lookAhead[float64], lookAheadPrologue, evalSource)
	require.NoError(t, err)
	h := newHarness(t, device.Float32, []float64{1, 2})
	h.set(h.grad, []float64{1, -1})
	o := h.optimizer(ahead{with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR, c.Momentum = 0.25, 0.5 }), own.Rule})
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{0.5, 2.5}, h.values(h.state(o, "eval_params")))

	_, err = optim.New(h.dev, ahead{sgd(0.25), own.Rule}, nil)
	require.EqualError(t, err, `optim: group 0: algorithm optim_test.ahead: rule lookAhead for evaluation has the slot "momentum_buffer", but rule SGD has ["param" "grad"] with these options`)
	_, err = optim.New(h.dev, ahead{sgd(0.25), rules.ScheduleFreeAverageRule().Rule}, nil)
	require.ErrorContains(t, err, `optim: group 0: algorithm optim_test.ahead: rule ScheduleFreeAverage for evaluation has the hyperparameters ["LR" "Beta1" `)
}

// A tensor that leaves a part of its group for another that was there is evaluated with the history of its own, also where the
// buffers are those of the call before.
func TestEvalParamsFollowsHistories(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	a, b := h.buffer(device.Float32, []float64{2}), h.buffer(device.Float32, []float64{3})
	g := h.buffer(device.Float32, []float64{1})
	o, err := optim.New(h.dev, optim.DefaultScheduleFreeSGD(), []optim.Param{{Name: "c", Value: h.value}, {Name: "a", Value: a, Grad: g}, {Name: "b", Value: b, Grad: g}})
	require.NoError(t, err)
	require.NoError(t, o.SetGrad("b", nil)) // from now on it is as c, which has not taken a step either
	x := h.buffer(device.Float32, []float64{0})
	for range 3 {
		require.NoError(t, o.EvalParams(nil, map[string]*device.Buffer{"b": x}))
		require.Equal(t, []float64{3}, h.values(x), "it has taken no step")
		require.NoError(t, o.Step(nil))
	}
}

// A training that goes on is evaluated, before its first step, with the hyperparameters that its schedules gave the last step.
func TestEvalParamsAfterResuming(t *testing.T) {
	start := func(x []float64) (*harness, *optim.Optimizer) {
		h := newHarness(t, device.Float64, x)
		h.set(h.grad, []float64{0.5, 0.25})
		o := h.optimizer(optim.DefaultScheduleFreeSGD())
		require.NoError(t, o.SetHyperparameterSchedule("momentum", optim.Linear{Steps: 10, Min: 0.5}))
		return h, o
	}
	evaluated := func(h *harness, o *optim.Optimizer) []float64 {
		x := h.buffer(device.Float64, []float64{0, 0})
		require.NoError(t, o.EvalParams(nil, map[string]*device.Buffer{"0.0": x}))
		return h.values(x)
	}
	h, o := start([]float64{1, -2})
	for range 5 {
		require.NoError(t, o.Step(nil))
	}
	on, p := start(h.values(h.value))
	require.NoError(t, p.SetSteps(5))
	counters, err := o.TensorCounters(nil, "0.0")
	require.NoError(t, err)
	require.NoError(t, p.SetTensorCounters(nil, "0.0", counters))
	on.set(on.state(p, "z"), h.values(h.state(o, "z")))
	require.Equal(t, evaluated(h, o), evaluated(on, p))
	require.NoError(t, o.Step(nil))
	require.NoError(t, p.Step(nil))
	require.Equal(t, h.values(h.value), on.values(on.value))
	require.Equal(t, evaluated(h, o), evaluated(on, p))
}

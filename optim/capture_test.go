package optim_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// training is an optimizer whose groups have schedules, and all that it has.
type training struct {
	*harness
	o      *optim.Optimizer
	params []optim.Param
	rng    *rand.Rand
}

// newTraining makes two groups of the algorithm, of tensors of the types, and one of Lion.
func newTraining(t *testing.T, b kernels.Backend, alg optim.Algorithm, value, grad device.DType) *training {
	x := &training{harness: onBackend(t, b), rng: rand.New(rand.NewPCG(3, 9))}
	for i, n := range []int{37, 1, 9, 4} {
		x.params = append(x.params, optim.Param{Name: fmt.Sprint("t", i), Value: x.buffer(value, random(x.rng, n)), Grad: x.buffer(grad, random(x.rng, n))})
	}
	var err error
	x.o, err = optim.New(b, alg, x.params[:2])
	require.NoError(t, err)
	require.NoError(t, x.o.AddGroup(alg, x.params[2:3]))
	require.NoError(t, x.o.AddGroup(optim.DefaultLion(), x.params[3:]))
	require.NoError(t, x.o.SetSchedule(optim.Warmup{Start: 0.3, Steps: 2, Then: optim.Cosine{Steps: 9, Min: 0.1}}))
	if !setting(t, alg).Rule.Everything { // whose groups have one learning rate
		require.NoError(t, x.o.SetSchedule(optim.StepDecay{Every: 2, Gamma: 0.5}, 1))
	}
	require.NoError(t, x.o.SetHyperparameterSchedule("betas[0]", optim.StepDecay{Every: 1, Gamma: 0.9}, 2))
	for _, p := range x.params[:3] {
		if hessian, err := x.o.State(p.Name, "hessian"); err == nil {
			x.set(hessian, random(x.rng, hessian.Len()))
		}
	}
	return x
}

func (x *training) gradients() {
	for _, p := range x.params {
		x.set(p.Grad, random(x.rng, p.Grad.Len()))
	}
}

// all is what the training has come to, by name.
func (x *training) all() map[string][]float64 {
	out := map[string][]float64{"steps": {float64(x.o.Steps())}}
	for _, p := range x.params {
		out[p.Name] = x.values(p.Value)
		states, err := x.o.States(p.Name)
		require.NoError(x.t, err)
		for name, b := range states {
			out[p.Name+" "+name] = x.values(b)
		}
		counters, err := x.o.TensorCounters(nil, p.Name)
		require.NoError(x.t, err)
		for _, name := range slices.Sorted(maps.Keys(counters)) {
			out[p.Name+" counters"] = append(out[p.Name+" counters"], counters[name])
		}
	}
	for g := range x.o.Groups() {
		lr, err := x.o.LastLR(g)
		require.NoError(x.t, err)
		out["lr"] = append(out["lr"], lr)
	}
	if norm, err := x.o.GradNorm(nil); err == nil {
		out["norm"] = []float64{norm}
	}
	return out
}

// Steps that are captured once and replayed have the bits of steps that are enqueued, whatever changes from step to step: gradients,
// schedules, the limit of clipping, counts. They may be mixed.
func TestReplay(t *testing.T) {
	forms := []struct{ value, grad, state device.DType }{
		{device.Float32, device.Float32, 0},
		{device.BFloat16, device.BFloat16, device.BFloat16},
		{device.Float64, device.Float64, 0},
		{device.Float16, device.Float32, 0},
	}
	cases := optim.Cases()
	if testing.Short() {
		cases, forms = cases[:6], forms[:2]
	}
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for i, c := range cases {
			for k, form := range forms {
				for _, clip := range []float64{0, 0.5} {
					name := fmt.Sprintf("%s %s %s, clipped to %v", c.Name, form.value, form.grad, clip)
					run := func(how string) (out []map[string][]float64) {
						x := newTraining(t, b, optim.Stored{Algorithm: c.Algorithm, All: form.state}, form.value, form.grad)
						var captured []*optim.Captured
						for _, do := range how {
							if do == 'C' {
								s, err := x.o.Capture(nil)
								require.NoError(t, err, name)
								captured = append(captured, s)
								continue
							}
							x.gradients()
							require.NoError(t, x.o.SetClipNorm(clip*float64(1+x.o.Steps())))
							if kernels.Refused(setting(t, c.Algorithm).Rule) == 0 {
								require.NoError(t, x.o.SetClipTensorNorm(float64(i%3)*clip*float64(1+x.o.Steps())/4))
							}
							if do == 'S' {
								require.NoError(t, x.o.Step(nil), name)
							} else {
								require.NoError(t, captured[int(do-'0')].Replay(nil), name)
							}
							require.NoError(t, x.o.Foreseen(), name)
							out = append(out, x.all())
						}
						for _, s := range captured {
							require.NoError(t, s.Close())
						}
						require.NoError(t, x.o.Close())
						return out
					}
					how := "SC0SC10S"
					if (i+k)%2 == 1 {
						how = "C000C0S1"
					}
					if clip > 0 { // which a first step turns on
						how = "S" + how[:len(how)-1]
					}
					want := run("SSSSSS")
					require.NotEqual(t, want[0], want[5])
					require.Equal(t, want, run(how), name)
				}
			}
		}
	})
}

// What a step runs may change: then a replay is refused, nothing is updated, and a new capture goes on. What only changes numbers changes
// nothing of that.
func TestReplayStale(t *testing.T) {
	for _, c := range []struct {
		name   string
		stale  bool
		change func(x *training) error
	}{
		{"nothing", false, func(x *training) error { return nil }},
		{"lr", false, func(x *training) error { return x.o.SetLR(0.5) }},
		{"another limit", false, func(x *training) error { return x.o.SetClipNorm(3) }},
		{"a tensor's limit", true, func(x *training) error { return x.o.SetClipTensorNorm(0.5) }},
		{"other counters", false, func(x *training) error { return x.o.SetGroupCounters(nil, 0, map[string]float64{"step": 1}) }},
		{"a schedule", false, func(x *training) error { return x.o.SetSchedule(optim.InverseSqrt{Timescale: 1}) }},
		{"state", false, func(x *training) error {
			b, err := x.o.State("t0", "exp_avg")
			x.set(b, random(x.rng, b.Len()))
			return err
		}},
		{"the same gradient", false, func(x *training) error { return x.o.SetGrad("t0", x.params[0].Grad) }},
		{"no gradient", true, func(x *training) error { return x.o.SetGrad("t0", nil) }},
		{"another gradient", true, func(x *training) error { return x.o.SetGrad("t0", x.buffer(device.Float32, random(x.rng, 37))) }},
		{"another value", true, func(x *training) error {
			x.params[1].Value = x.buffer(device.Float32, []float64{1})
			return x.o.Rebind(x.params[1:2])
		}},
		{"no clipping", true, func(x *training) error { return x.o.SetClipNorm(0) }},
		{"other clipping", true, func(x *training) error {
			require.NoError(x.t, x.o.SetClipNorm(0))
			return x.o.SetClipNorm(1)
		}},
		{"a term", true, func(x *training) error { return x.o.SetHyperparameter("weight_decay", 0.1, 0) }},
		{"a term by its schedule", true, func(x *training) error {
			return x.o.SetHyperparameterSchedule("weight_decay", optim.StepDecay{Every: 1, Gamma: 0}, 1)
		}},
		{"another group", true, func(x *training) error {
			p := optim.Param{Name: "new", Value: x.buffer(device.Float32, []float64{1}), Grad: x.buffer(device.Float32, []float64{1})}
			return x.o.AddGroup(optim.DefaultSGD(), []optim.Param{p})
		}},
		{"a tensor without a gradient, which the norm leaves out", true, func(x *training) error {
			return x.o.AddGroup(optim.DefaultSGD(), []optim.Param{{Name: "new", Value: x.buffer(device.Float32, []float64{1})}})
		}},
		{"a tensor less", true, func(x *training) error { x.params = x.params[1:]; return x.o.Remove("t0") }},
		{"a group less", true, func(x *training) error { x.params = x.params[:3]; return x.o.RemoveGroup(2) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			onExecutors(t, func(t *testing.T, b kernels.Backend) {
				started := func() *training {
					alg := optim.DefaultAdam()
					if c.name == "a term by its schedule" {
						alg.WeightDecay = 0.1
					}
					x := newTraining(t, b, alg, device.Float32, device.Float32)
					require.NoError(t, x.o.SetClipNorm(1))
					require.NoError(t, x.o.Step(nil))
					x.gradients()
					return x
				}
				want, got := started(), started()
				captured, err := got.o.Capture(nil)
				require.NoError(t, err)
				require.NoError(t, c.change(want))
				require.NoError(t, c.change(got))
				before := got.all()
				if c.stale {
					for range 2 {
						require.ErrorIs(t, captured.Replay(nil), optim.ErrStale)
						require.Equal(t, before, got.all())
					}
					require.NoError(t, captured.Close())
					captured, err = got.o.Capture(nil)
					require.NoError(t, err)
				}
				require.NoError(t, captured.Replay(nil))
				require.NoError(t, want.o.Step(nil))
				require.Equal(t, want.all(), got.all())
				require.NoError(t, got.o.Close())
				require.NoError(t, captured.Close())
			})
		})
	}
}

// A capture takes no step: all is as it was, and so is what EvalParams makes of the last step.
func TestCaptureTakesNoStep(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		x := newTraining(t, b, optim.DefaultScheduleFreeAdamW(), device.Float32, device.Float32)
		require.NoError(t, x.o.SetHyperparameterSchedule("betas[0]", optim.StepDecay{Every: 1, Gamma: 0.9}))
		eval := x.buffer(device.Float32, random(x.rng, 37))
		average := func() []float64 {
			require.NoError(t, x.o.EvalParams(nil, map[string]*device.Buffer{"t0": eval}))
			return x.values(eval)
		}
		for range 3 {
			x.gradients()
			require.NoError(t, x.o.Step(nil))
		}
		before, averaged := x.all(), average()
		_, err := x.o.Capture(nil)
		require.NoError(t, err)
		require.Equal(t, before, x.all())
		require.Equal(t, averaged, average())
		require.NoError(t, x.o.Close())
	})
}

// What is wrong is found before anything is enqueued.
func TestReplayRefuses(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		x := newTraining(t, b, optim.DefaultAdam(), device.Float32, device.Float32)
		captured, err := x.o.Capture(nil)
		require.NoError(t, err)
		require.NoError(t, captured.Replay(nil))
		x.gradients()
		before := x.all()

		require.NoError(t, x.o.SetSchedule(optim.Exponential{Gamma: math.MaxFloat64}))
		var scalar *optim.ScalarError
		require.ErrorAs(t, captured.Replay(nil), &scalar)
		_, err = x.o.Capture(nil)
		require.ErrorAs(t, err, &scalar)
		require.NoError(t, x.o.SetSchedule(nil))
		require.NoError(t, x.o.SetSteps(7))
		var count *optim.CountError
		require.ErrorAs(t, captured.Replay(nil), &count)
		require.NoError(t, x.o.SetSteps(1))
		closed, err := x.memory.NewStream()
		require.NoError(t, err)
		require.NoError(t, closed.Close())
		require.ErrorIs(t, captured.Replay(closed), device.ErrClosed)
		_, err = x.o.Capture(closed)
		require.ErrorIs(t, err, device.ErrClosed)
		require.Equal(t, before, x.all())

		again, err := x.o.Capture(nil)
		require.NoError(t, err)
		require.NoError(t, captured.Close())
		require.ErrorIs(t, captured.Replay(nil), device.ErrClosed)
		require.ErrorIs(t, captured.Close(), device.ErrClosed)
		require.NoError(t, again.Replay(nil), "two captures are two things")
		require.NoError(t, x.params[0].Grad.Close())
		var tensor *optim.TensorError
		require.ErrorAs(t, again.Replay(nil), &tensor)
		_, err = x.o.Capture(nil)
		require.ErrorAs(t, err, &tensor)
		require.NoError(t, x.o.Close())
		require.ErrorIs(t, again.Replay(nil), device.ErrClosed)
		_, err = x.o.Capture(nil)
		require.ErrorIs(t, err, device.ErrClosed)
		require.NoError(t, again.Close())
		var none *optim.Captured
		require.ErrorIs(t, none.Replay(nil), device.ErrClosed)
		require.ErrorIs(t, none.Close(), device.ErrClosed)
		require.ErrorIs(t, (&optim.Captured{}).Replay(nil), device.ErrClosed)
	})
}

// A processor records nothing of somebody else's. Nothing changes.
func TestRecordOnProcessor(t *testing.T) {
	x := newTraining(t, cpu.New(), optim.DefaultAdam(), device.Float32, device.Float32)
	require.NoError(t, x.o.SetClipNorm(1))
	require.NoError(t, x.o.Step(nil))
	before := x.all()
	require.ErrorIs(t, x.o.Record(nil, optim.Given{}), device.ErrUnsupported)
	require.Equal(t, before, x.all())
	require.NoError(t, x.o.Step(nil))
	require.NoError(t, x.o.Close())
	require.ErrorIs(t, x.o.Record(nil, optim.Given{}), device.ErrClosed)
}

package optim_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// What is left after a removal is trained as if what was removed had been in an optimizer of its own, on everything that runs a
// step.
func TestRemove(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		param := func(name string, dtype device.DType) optim.Param {
			return optim.Param{Name: name, Value: h.buffer(dtype, []float64{1, -2, 3}), Grad: h.buffer(dtype, []float64{0.5, 0.25, -1})}
		}
		groups := func(with bool) (*optim.Optimizer, []optim.Param) {
			keep := []optim.Param{param("a", device.Float32), param("b", device.Float64), param("c", device.Float32)}
			first, third := []optim.Param{keep[0], keep[1]}, []optim.Param{keep[2]}
			if with {
				first = []optim.Param{param("x", device.Float32), keep[0], param("y", device.Float64), keep[1], param("z", device.Float32)}
			}
			o, err := optim.New(b, optim.DefaultAdamW(), first)
			require.NoError(t, err)
			if with {
				require.NoError(t, o.AddGroup(optim.DefaultLion(), []optim.Param{param("w", device.Float32)}))
			}
			require.NoError(t, o.AddGroup(optim.DefaultAdamW(), third))
			return o, keep
		}
		o, got := groups(true)
		plain, want := groups(false)
		step := func() {
			require.NoError(t, o.Step(nil))
			require.NoError(t, plain.Step(nil))
		}
		step()
		require.NoError(t, o.RemoveGroup(1))
		step()
		require.EqualError(t, o.Remove("x", "nosuch"), `optim: remove: there is no tensor "nosuch"`)
		require.NoError(t, o.Remove("z", "x"))
		step()
		require.NoError(t, o.Remove("y"))
		require.NoError(t, o.AddGroup(optim.DefaultAdamW(), []optim.Param{param("x", device.Float32)})) // the name is free
		step()
		for i, p := range got {
			require.Equal(t, h.values(want[i].Value), h.values(p.Value), p.Name)
			for _, slot := range []string{"exp_avg", "exp_avg_sq"} {
				one, err := o.State(p.Name, slot)
				require.NoError(t, err)
				other, err := plain.State(p.Name, slot)
				require.NoError(t, err)
				require.Equal(t, h.values(other), h.values(one), p.Name)
			}
		}
		_, err := o.LR(1)
		require.ErrorIs(t, err, optim.ErrRemoved)
		require.EqualError(t, err, "optim: hyperparameter: group 1 was removed")
		require.EqualError(t, o.SetLR(1, 0, 1), "optim: set lr: group 1 was removed")
		require.EqualError(t, o.RemoveGroup(1), "optim: remove group: group 1 was removed")
		require.ErrorIs(t, o.RemoveGroup(4), device.ErrRange)
		_, err = o.State("w", "exp_avg")
		require.EqualError(t, err, `optim: state: there is no tensor "w"`)
		require.Equal(t, []int{0, 2, 3}, slices.Sorted(maps.Keys(maps.Collect(o.Groups()))), "indices stay")
		require.NoError(t, o.Close())
		require.NoError(t, plain.Close())
	})
}

// Removing gives memory back, and leaves values and gradients open.
func TestRemoveFrees(t *testing.T) {
	dev := cpu.New()
	defer dev.Close()
	const n = 1 << 20
	var params []optim.Param
	for i := range 2 {
		v, err := dev.Alloc(device.Float32, n)
		require.NoError(t, err)
		params = append(params, optim.Param{Name: fmt.Sprint(i), Value: v, Grad: v})
	}
	o, err := optim.New(dev, optim.DefaultSGD(), nil)
	require.NoError(t, err)
	params[0].Grad, err = dev.Alloc(device.Float32, n)
	require.NoError(t, err)
	params[1].Grad = params[0].Grad
	require.NoError(t, o.AddGroup(optim.DefaultAdam(), params))
	state, err := o.State("0", "exp_avg")
	require.NoError(t, err)
	require.NoError(t, o.Remove("0"))
	require.NoError(t, state.Check(dev.Device()), "the other tensor's memory is the same")
	require.NoError(t, o.Remove("1"))
	require.ErrorIs(t, state.Check(dev.Device()), device.ErrClosed)
	require.NoError(t, params[0].Value.Check(dev.Device()))
	require.NoError(t, o.AddGroup(optim.DefaultAdam(), params))
	state, err = o.State("0", "exp_avg")
	require.NoError(t, err)
	require.NoError(t, o.RemoveGroup(2))
	require.ErrorIs(t, state.Check(dev.Device()), device.ErrClosed)
	require.NoError(t, o.Step(nil))
}

func TestIterate(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	o := h.optimizer(optim.DefaultAdamW())
	second := optim.Param{Name: "b", Value: h.buffer(device.Float32, []float64{2}), Grad: h.grad}
	sgd := optim.DefaultSGD()
	sgd.Momentum = 0.5
	require.NoError(t, o.AddGroup(&sgd, []optim.Param{second}))
	sgd.Momentum = 7 // the optimizer has a copy
	groups := maps.Collect(o.Groups())
	require.Equal(t, map[int]optim.Algorithm{0: optim.DefaultAdamW(), 1: groups[1]}, groups)
	require.Equal(t, 0.5, groups[1].(*optim.SGD).Momentum)
	groups[1].(*optim.SGD).Momentum = 8 // and gave away another
	alg, err := o.Algorithm(1)
	require.NoError(t, err)
	require.Equal(t, 0.5, alg.(*optim.SGD).Momentum)
	var names []string
	for g, p := range o.Params() {
		names = append(names, fmt.Sprint(g, " ", p.Name))
	}
	require.Equal(t, []string{"0 0.0", "1 b"}, names)
	for range o.Params() {
		break
	}
	for range o.Groups() {
		break
	}
	states, err := o.States("0.0")
	require.NoError(t, err)
	var slots []string
	for name, b := range states {
		slots = append(slots, name)
		require.Equal(t, 1, b.Len())
	}
	require.Equal(t, []string{"exp_avg", "exp_avg_sq"}, slots)
	_, err = o.States("nosuch")
	require.EqualError(t, err, `optim: states: there is no tensor "nosuch"`)
}

// I4: an empty group is a group.
func TestEmptyGroup(t *testing.T) {
	dev := cpu.New()
	defer dev.Close()
	o, err := optim.New(dev, optim.DefaultAdam(), nil)
	require.NoError(t, err)
	counters, err := o.GroupCounters(nil, 0)
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"step": 0, "beta1_power": 1, "beta2_power": 1}, counters)
	require.NoError(t, o.SetGroupCounters(nil, 0, counters))
	require.NoError(t, o.Step(nil))
	names, err := o.StateNames(0)
	require.NoError(t, err)
	require.Empty(t, names)
	require.NoError(t, o.RemoveGroup(0))
	require.NoError(t, o.Step(nil))
	require.NoError(t, o.SetLR(1), "of no group")
}

// I5: names that are made up keep out of the way of those that are given, whichever comes first in a call.
func TestDefaultNames(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	param := func(name string) optim.Param {
		return optim.Param{Name: name, Value: h.buffer(device.Float32, []float64{1}), Grad: h.grad}
	}
	o, err := optim.New(h.dev, optim.DefaultSGD(), []optim.Param{param("1.0"), param(""), param("0.3"), param(""), param("0.1"), param("1.0#2")})
	require.NoError(t, err)
	require.NoError(t, o.AddGroup(optim.DefaultSGD(), []optim.Param{param("")}))
	var names []string
	for _, p := range o.Params() {
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"1.0", "0.1#2", "0.3", "0.3#2", "0.1", "1.0#2", "1.0#3"}, names)
}

// I9, C4: what is nil, or was never made, is an error.
func TestNothingPanics(t *testing.T) {
	dev := cpu.New()
	defer dev.Close()
	_, err := optim.New(nil, optim.DefaultSGD(), nil)
	require.EqualError(t, err, "optim: new: the backend is nil")
	_, err = optim.New((*cpu.Device)(nil), optim.DefaultSGD(), nil)
	require.EqualError(t, err, "optim: new: the backend is nil")
	_, err = optim.New(dev, (*optim.AdamW)(nil), nil)
	require.EqualError(t, err, "optim: group 0: the algorithm is nil")

	o, err := optim.New(dev, optim.DefaultSGD(), nil)
	require.NoError(t, err)
	for _, s := range []optim.Schedule{optim.ScheduleFunc(nil), (*optim.ReduceOnPlateau)(nil), optim.Warmup{Then: optim.ScheduleFunc(nil)}} {
		require.ErrorContains(t, o.SetSchedule(s), "is nil")
		require.ErrorContains(t, o.SetHyperparameterSchedule("momentum", s), "is nil")
	}
	require.EqualError(t, o.SetSchedule(optim.ScheduleFunc(nil)), "optim: schedule optim.ScheduleFunc is nil")
	require.NoError(t, o.SetSchedule(optim.Sequence(nil)), "which has no stages")
	require.EqualError(t, o.SetAlgorithm(0, (*optim.SGD)(nil)), "optim: group 0: the algorithm is nil")

	for name, call := range calls() {
		for what, o := range map[string]*optim.Optimizer{"zero": {}, "nil": nil} {
			require.ErrorContains(t, call(o), "was not made by New", "%s: %s", what, name)
		}
	}
	var zero optim.Optimizer
	require.Zero(t, zero.Steps())
	require.Empty(t, maps.Collect(zero.Groups()))
	for _, call := range []func(int) error{
		func(i int) error { _, err := o.LR(i); return err },
		func(i int) error { _, err := o.LastLR(i); return err },
		func(i int) error { _, err := o.StateNames(i); return err },
		func(i int) error { _, err := o.Algorithm(i); return err },
		func(i int) error { _, err := o.Hyperparameters(i); return err },
		func(i int) error { _, err := o.GroupCounters(nil, i); return err },
		func(i int) error { return o.SetAlgorithm(i, optim.DefaultSGD()) },
		func(i int) error { return o.SetSchedule(optim.Constant{}, i) },
		func(i int) error { return o.RemoveGroup(i) },
	} {
		require.ErrorIs(t, call(7), device.ErrRange)
		require.ErrorIs(t, call(-1), device.ErrRange)
	}
}

// calls are the methods that need an optimizer.
func calls() map[string]func(*optim.Optimizer) error {
	return map[string]func(*optim.Optimizer) error{
		"AddGroup":                  func(o *optim.Optimizer) error { return o.AddGroup(optim.DefaultSGD(), nil) },
		"RemoveGroup":               func(o *optim.Optimizer) error { return o.RemoveGroup(0) },
		"Remove":                    func(o *optim.Optimizer) error { return o.Remove("a") },
		"Rebind":                    func(o *optim.Optimizer) error { return o.Rebind(nil) },
		"SetGrad":                   func(o *optim.Optimizer) error { return o.SetGrad("a", nil) },
		"Step":                      func(o *optim.Optimizer) error { return o.Step(nil) },
		"ZeroGrad":                  func(o *optim.Optimizer) error { return o.ZeroGrad(nil) },
		"EvalParams":                func(o *optim.Optimizer) error { return o.EvalParams(nil, nil) },
		"SetClipNorm":               func(o *optim.Optimizer) error { return o.SetClipNorm(0) },
		"GradNorm":                  func(o *optim.Optimizer) error { _, err := o.GradNorm(nil); return err },
		"SetLR":                     func(o *optim.Optimizer) error { return o.SetLR(1) },
		"LR":                        func(o *optim.Optimizer) error { _, err := o.LR(0); return err },
		"LastLR":                    func(o *optim.Optimizer) error { _, err := o.LastLR(0); return err },
		"Algorithm":                 func(o *optim.Optimizer) error { _, err := o.Algorithm(0); return err },
		"SetAlgorithm":              func(o *optim.Optimizer) error { return o.SetAlgorithm(0, optim.DefaultSGD()) },
		"Hyperparameters":           func(o *optim.Optimizer) error { _, err := o.Hyperparameters(0); return err },
		"Hyperparameter":            func(o *optim.Optimizer) error { _, err := o.Hyperparameter(0, "lr"); return err },
		"SetHyperparameter":         func(o *optim.Optimizer) error { return o.SetHyperparameter("lr", 1) },
		"SetSchedule":               func(o *optim.Optimizer) error { return o.SetSchedule(nil) },
		"SetHyperparameterSchedule": func(o *optim.Optimizer) error { return o.SetHyperparameterSchedule("momentum", nil) },
		"SetSteps":                  func(o *optim.Optimizer) error { return o.SetSteps(1) },
		"State":                     func(o *optim.Optimizer) error { _, err := o.State("a", "exp_avg"); return err },
		"States":                    func(o *optim.Optimizer) error { _, err := o.States("a"); return err },
		"StateNames":                func(o *optim.Optimizer) error { _, err := o.StateNames(0); return err },
		"GroupCounters":             func(o *optim.Optimizer) error { _, err := o.GroupCounters(nil, 0); return err },
		"TensorCounters":            func(o *optim.Optimizer) error { _, err := o.TensorCounters(nil, "a"); return err },
		"SetGroupCounters":          func(o *optim.Optimizer) error { return o.SetGroupCounters(nil, 0, nil) },
		"SetTensorCounters":         func(o *optim.Optimizer) error { return o.SetTensorCounters(nil, "a", nil) },
		"Close":                     func(o *optim.Optimizer) error { return o.Close() },
	}
}

// I10: a closed optimizer refuses everything, and changes nothing.
func TestClosedOptimizer(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	o, err := optim.New(h.dev, optim.DefaultSGD(), []optim.Param{{Name: "a", Value: h.value, Grad: h.grad}})
	require.NoError(t, err)
	require.NoError(t, o.Step(nil))
	require.NoError(t, o.Close())
	for name, call := range calls() {
		require.ErrorIs(t, call(o), device.ErrClosed, name)
	}
	require.Equal(t, 1, o.Steps())
}

// I10: an error of a hyperparameter names the algorithm of the group that it is about.
func TestErrorNamesItsGroup(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	o := h.optimizer(optim.DefaultSGD())
	require.NoError(t, o.AddGroup(optim.DefaultAdam(), nil))
	require.NoError(t, o.AddGroup(optim.DefaultLion(), nil))
	require.EqualError(t, o.SetLR(-1, 2), "optim: lion: lr is -1, must be at least 0, and finite")
	require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(int) float64 { return -1 }), 1))
	require.EqualError(t, o.Step(nil), "optim: adam: lr is -0.001, must be at least 0, and finite, after its schedule")
	require.Zero(t, o.Steps())
}

// I12: groups cost what tensors cost.
func TestManyGroups(t *testing.T) {
	dev := cpu.New()
	defer dev.Close()
	const groups = 2000
	values, err := dev.Alloc(device.Float32, groups*4)
	require.NoError(t, err)
	grads, err := dev.Alloc(device.Float32, groups*4)
	require.NoError(t, err)
	require.NoError(t, dev.DefaultStream().Zero(values))
	require.NoError(t, dev.DefaultStream().Zero(grads))
	counting := &counting{cpuDevice: dev}
	o, err := optim.New(counting, optim.DefaultAdamW(), nil)
	require.NoError(t, err)
	began := time.Now()
	for i := range groups {
		v, err := values.Slice(4*i, 4*i+4)
		require.NoError(t, err)
		g, err := grads.Slice(4*i, 4*i+4)
		require.NoError(t, err)
		require.NoError(t, o.AddGroup(optim.DefaultAdamW(), []optim.Param{{Value: v, Grad: g}}))
	}
	t.Log(time.Since(began))
	require.Equal(t, groups, counting.tensors, "each is compiled once")
	require.NoError(t, o.SetClipNorm(1))
	require.Equal(t, groups, counting.tensors, "clipping compiles no updates")
	require.NoError(t, o.Step(nil))
	require.NoError(t, o.Step(nil))
	require.Equal(t, 2*groups, counting.tensors, "and once more, all together, at the next step")
	require.NoError(t, o.AddGroup(optim.DefaultLion(), []optim.Param{{Value: value(t, dev, 1), Grad: value(t, dev, 1)}}))
	require.NoError(t, o.Step(nil))
	require.NoError(t, o.Rebind([]optim.Param{{Name: fmt.Sprintf("%d.0", groups+1), Value: value(t, dev, 1), Grad: value(t, dev, 1)}}))
	require.NoError(t, o.Step(nil))
	require.Equal(t, 2*groups+1, counting.tensors, "neither is another program compiled again, nor what has only moved")
	overlap, err := values.Slice(2, 3)
	require.NoError(t, err)
	require.ErrorIs(t, o.AddGroup(optim.DefaultAdamW(), []optim.Param{{Value: overlap, Grad: value(t, dev, 1)}}), device.ErrOverlap)
}

func value(t *testing.T, dev *cpu.Device, n int) *device.Buffer {
	b, err := dev.Alloc(device.Float32, n)
	require.NoError(t, err)
	require.NoError(t, dev.DefaultStream().Zero(b))
	return b
}

// counting is a backend that counts the tensors it has compiled updates of.
type counting struct {
	*cpuDevice
	tensors, updates int
}

func (c *counting) Compile(w kernels.Work) (kernels.Update, error) {
	if !w.Program.Reduces() {
		c.tensors += len(w.Tensors)
		c.updates++
	}
	return c.cpuDevice.Compile(w)
}

// I12: EvalParams compiles once for a set of buffers.
func TestEvalParamsKeepsWhatItCompiled(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1, 2})
	h.set(h.grad, []float64{1, 1})
	counting := &counting{cpuDevice: h.dev}
	o, err := optim.New(counting, optim.DefaultScheduleFreeSGD(), []optim.Param{{Name: "a", Value: h.value, Grad: h.grad}})
	require.NoError(t, err)
	x := h.buffer(device.Float32, []float64{0, 0})
	to := map[string]*device.Buffer{"a": x}
	var seen [][]float64
	for range 3 {
		require.NoError(t, o.Step(nil))
		require.NoError(t, o.EvalParams(nil, to))
		seen = append(seen, h.values(x))
	}
	require.Equal(t, 2, counting.updates, "one of training, one of evaluation")
	require.NotEqual(t, seen[0], seen[1])
	to["a"] = h.buffer(device.Float32, []float64{0, 0})
	require.NoError(t, o.EvalParams(nil, to))
	require.Equal(t, 3, counting.updates)
	require.Equal(t, seen[2], h.values(to["a"]))
	moved := h.buffer(device.Float32, h.values(h.value))
	require.NoError(t, o.Rebind([]optim.Param{{Name: "a", Value: moved, Grad: h.grad}}))
	h.set(h.value, []float64{9, 9}) // nobody's
	require.NoError(t, o.EvalParams(nil, to))
	require.Equal(t, seen[2], h.values(to["a"]))
}

// I8: an optimizer that nobody refers to is collected, with its state.
func TestUnreachableOptimizerIsCollected(t *testing.T) {
	h := newHarness(t, device.Float32, make([]float64, 1000))
	gone := make(chan string, 2)
	func() {
		o := h.optimizer(optim.DefaultAdamW())
		require.NoError(t, o.SetClipNorm(1))
		require.NoError(t, o.Step(nil))
		require.NoError(t, o.EvalParams(nil, map[string]*device.Buffer{"0.0": h.grad}))
		state, err := o.State("0.0", "exp_avg")
		require.NoError(t, err)
		require.NoError(t, h.dev.DefaultStream().Synchronize())
		runtime.AddCleanup(o, func(what string) { gone <- what }, "optimizer")
		runtime.AddCleanup(state, func(what string) { gone <- what }, "state")
	}()
	for range 2 {
		runtime.GC()
		select {
		case <-gone:
		case <-time.After(time.Minute):
			t.Fatal("something still refers to the optimizer")
		}
	}
}

// I8: what an optimizer that nobody closed had on a GPU is given back.
func TestUnreachableOptimizersGiveMemoryBack(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		if _, ok := b.(*cpu.Device); ok {
			t.Skip("what the system says is free is not ours alone; package cpu tests its buffers")
		}
		h := onBackend(t, b)
		value, grad := h.buffer(device.Float32, make([]float64, 1<<16)), h.buffer(device.Float32, make([]float64, 1<<16))
		before, _, err := b.Device().MemInfo()
		require.NoError(t, err)
		for range 20 {
			o, err := optim.New(b, optim.DefaultScheduleFreeAdamW(), []optim.Param{{Name: "w", Value: value, Grad: grad}})
			require.NoError(t, err)
			require.NoError(t, o.SetClipNorm(1))
			require.NoError(t, o.Step(nil))
			require.NoError(t, o.EvalParams(nil, map[string]*device.Buffer{"w": grad}))
		}
		require.NoError(t, b.Device().DefaultStream().Synchronize())
		require.Eventually(t, func() bool {
			runtime.GC()
			after, _, err := b.Device().MemInfo()
			require.NoError(t, err)
			return after == before
		}, 10*time.Second, 10*time.Millisecond)
		runtime.KeepAlive(value)
		runtime.KeepAlive(grad)
	})
}

// W1: this optimizer's state is memory that a step writes.
func TestStateCountsInOverlap(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1, 2, 3})
	o := h.optimizer(optim.DefaultAdam())
	state := h.state(o, "exp_avg")
	other := h.buffer(device.Float32, []float64{1, 2, 3})
	want := `overlaps exp_avg of group 0, tensor "0.0"`
	for name, err := range map[string]error{
		"value":        o.AddGroup(optim.DefaultSGD(), []optim.Param{{Value: state, Grad: other}}),
		"grad":         o.AddGroup(optim.DefaultSGD(), []optim.Param{{Value: other, Grad: state}}),
		"rebind value": o.Rebind([]optim.Param{{Name: "0.0", Value: state, Grad: h.grad}}),
		"rebind grad":  o.Rebind([]optim.Param{{Name: "0.0", Value: h.value, Grad: state}}),
		"set grad":     o.SetGrad("0.0", state),
		"eval":         o.EvalParams(nil, map[string]*device.Buffer{"0.0": state}),
	} {
		require.ErrorIs(t, err, device.ErrOverlap, name)
		var e *optim.TensorError
		require.ErrorAs(t, err, &e)
		if name == "rebind value" { // in order of address
			require.ErrorContains(t, err, "exp_avg")
			continue
		}
		require.ErrorContains(t, err, want, name)
	}
	require.NoError(t, o.Step(nil))
}

// W2: hyperparameters that are not the rule's are refused, wherever they come from.
func TestHyperOfWrongLength(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	bad := func(n int) error {
		_, err := optim.New(h.dev, resized{optim.DefaultSGD(), n}, nil)
		return err
	}
	require.ErrorContains(t, bad(1), "optim: group 0: algorithm optim_test.resized: rule SGD: there are 1 hyperparameters, must be ")
	require.ErrorContains(t, bad(9), "optim: group 0: algorithm optim_test.resized: rule SGD: there are 9 hyperparameters, must be ")
	o := h.optimizer(optim.DefaultSGD())
	require.ErrorContains(t, o.SetAlgorithm(0, resized{optim.DefaultSGD(), 1}), "rule SGD: there are 1 hyperparameters")
	require.ErrorContains(t, o.AddGroup(resized{optim.DefaultSGD(), 1}, nil), "rule SGD: there are 1 hyperparameters")
	require.NoError(t, o.Step(nil))
}

// resized gives its rule n hyperparameters.
type resized struct {
	optim.SGD
	n int
}

func (r resized) Setting() (rule.Setting, error) {
	s, err := r.SGD.Setting()
	s.Hyper = slices.Grow(s.Hyper, r.n)[:r.n]
	return s, err
}

// I11: a Value that another optimizer has is accepted, as Param's documentation says. A step of each is then a step of one after the
// other, on one stream. Another optimizer's state may be a Value too: Sophia's estimates are averaged so.
func TestOneValueInTwoOptimizers(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		w, g := h.buffer(device.Float32, []float64{1, 2}), h.buffer(device.Float32, []float64{1, -1})
		p := []optim.Param{{Name: "w", Value: w, Grad: g}}
		first, err := optim.New(b, optim.DefaultSophia(), p)
		require.NoError(t, err)
		second, err := optim.New(b, sgd(0.5), p)
		require.NoError(t, err)
		hessian, err := first.State("w", "hessian")
		require.NoError(t, err)
		averages, err := optim.New(b, sgd(1), []optim.Param{{Name: "hessian", Value: hessian, Grad: g}})
		require.NoError(t, err)
		require.NoError(t, averages.Step(nil))
		require.Equal(t, []float64{-1, 1}, h.values(hessian))
		require.NoError(t, second.Step(nil))
		require.NoError(t, second.Step(nil))
		require.Equal(t, []float64{0, 3}, h.values(w))
		require.NoError(t, first.SetLR(0.25))
		require.NoError(t, first.Step(nil)) // the divisor of one is eps, and its quotient is clipped to 1
		require.Equal(t, float64(-0.25), h.values(w)[0])
		for _, o := range []*optim.Optimizer{averages, second, first} {
			require.NoError(t, o.Close())
		}
	})
}

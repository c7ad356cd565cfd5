package optim_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/optim"
)

// twin is a tensor in an optimizer of many, and its like in an optimizer that trains nothing else. That has one more tensor, whose gradient is
// all others', so that the norm, and whether a step is skipped, are those of the many.
type twin struct {
	name              string
	group             int
	value, grad       *device.Buffer
	like, alone, rest *device.Buffer // value and gradient of the like, and the others' gradients
	o                 *optim.Optimizer
	left              bool
}

// A twin's optimizer has an empty group, the tensor's, and that of the others' gradients.
const (
	likeGroup = 1
	restLen   = 256 // more than all tensors have elements
)

// changes is a training in which anything may change between steps.
type changes struct {
	*harness
	b        kernels.Backend
	rng      *rand.Rand
	exact    bool // sums of squares of gradients are exact, and so is the norm, whatever the order of tensors
	o        *optim.Optimizer
	twins    []*twin
	groups   []int
	made     int // groups, and names
	applied  optim.ScheduleCounts
	captured *optim.Captured

	scaler                              *optim.GradScaler
	skip                                optim.Skip
	clipNorm, clipTensorNorm, clipValue float64
	accumulate, zeroGrad                bool
	decays                              map[int]bool // groups whose weight_decay has a schedule
	steps, appliedSteps                 int
}

// Whatever is done between steps, in whatever order, a tensor gets the bits that it gets alone.
func TestAnyOrderOfChanges(t *testing.T) {
	seeds := uint64(16)
	if testing.Short() {
		seeds = 4
	}
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for seed := range seeds {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				c := &changes{harness: onBackend(t, b), b: b, rng: rand.New(rand.NewPCG(seed, 1)), exact: seed%2 == 0, groups: []int{0}, made: 1,
					decays: map[int]bool{}}
				c.run(120)
			})
		}
	})
}

func (c *changes) run(n int) {
	t := c.t
	var err error
	c.o, err = optim.New(c.b, optim.DefaultAdamW(), nil)
	require.NoError(t, err)
	c.applied = optim.ScheduleCounts(c.rng.IntN(2))
	require.NoError(t, c.o.SetScheduleCounts(c.applied))
	require.NoError(t, c.o.SetSchedule(slowly))
	c.add()
	for range n {
		c.change()
	}
	c.forget(func(*twin) bool { return true })
	if c.captured != nil {
		require.NoError(t, c.captured.Close())
	}
	require.NoError(t, c.o.Close())
}

var slowly = optim.Exponential{Gamma: 0.97}

func (c *changes) chance(n int) bool { return c.rng.IntN(n) == 0 }

// all calls f with the optimizer of many and with the twins'.
func (c *changes) all(f func(o *optim.Optimizer) error) {
	require.NoError(c.t, f(c.o))
	for _, w := range c.twins {
		require.NoError(c.t, f(w.o), w.name)
	}
}

// inGroup calls f with a group of the optimizer of many, and with its tensors' twins.
func (c *changes) inGroup(group int, f func(o *optim.Optimizer, group int) error) {
	require.NoError(c.t, f(c.o, group))
	for _, w := range c.twins {
		if w.group == group {
			require.NoError(c.t, f(w.o, likeGroup))
		}
	}
}

// add adds a group of tensors, of an algorithm in one of its forms.
func (c *changes) add() {
	plain := []optim.Algorithm{optim.DefaultAdamW(), with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR = 0.1 }), optim.DefaultLion(), optim.DefaultRprop(),
		optim.DefaultNovoGrad(), optim.DefaultScheduleFreeAdamW(), with(optim.DefaultAdagrad(), func(c *optim.Adagrad) { c.InitialAccumulator = 0.25 })}
	alg := plain[c.rng.IntN(len(plain))]
	if !isScheduleFree(alg) && c.chance(3) {
		alg = optim.Averaged{Algorithm: alg, Decay: 0.9}
	}
	dtypes := []device.DType{device.Float32, device.BFloat16, device.Float16, device.Float64}
	if c.chance(2) {
		s := optim.Stored{Algorithm: alg, Master: optim.Master(c.rng.IntN(4)), Stochastic: c.chance(2), Seed: 3}
		if c.chance(2) {
			s.All = device.BFloat16
		}
		if dtypes = dtypes[:3]; s.Master >= optim.MasterRemainder {
			dtypes = dtypes[:2]
		}
		_, averaged := alg.(optim.Averaged)
		alg = s
		if !averaged && !isScheduleFree(s.Algorithm) && c.chance(4) {
			alg = optim.Averaged{Algorithm: s, Decay: 0.5}
		}
	}
	group := c.made
	c.made++
	var params []optim.Param
	for range c.rng.IntN(4) {
		dtype, init := dtypes[c.rng.IntN(len(dtypes))], random(c.rng, c.rng.IntN(6))
		w := &twin{name: fmt.Sprint("t", len(c.twins), " ", group), group: group, value: c.buffer(dtype, init), like: c.buffer(dtype, init),
			rest: c.buffer(device.Float64, make([]float64, restLen))}
		c.gradients(w)
		c.twins = append(c.twins, w)
		params = append(params, optim.Param{Name: w.name, Value: w.value, Grad: w.grad})
	}
	require.NoError(c.t, c.o.AddGroup(alg, params))
	for _, w := range c.twins {
		if w.group == group {
			c.pair(w, alg)
		}
	}
	c.groups = append(c.groups, group)
}

func isScheduleFree(a optim.Algorithm) bool {
	_, is := a.(optim.ScheduleFreeAdamW)
	return is
}

// gradients gives a tensor and its like other gradients, of a type that its value can have.
func (c *changes) gradients(w *twin) {
	dtypes := format.PlainTypes(format.Compute(w.value.DType()))
	dtype, zero := dtypes[c.rng.IntN(len(dtypes))], make([]float64, w.value.Len())
	w.grad, w.alone = c.buffer(dtype, zero), c.buffer(dtype, zero)
}

// pair makes the optimizer of the like, which has taken as many steps as the one of many.
func (c *changes) pair(w *twin, alg optim.Algorithm) {
	t := c.t
	var err error
	w.o, err = optim.New(c.b, optim.DefaultAdamW(), nil)
	require.NoError(t, err)
	steps := c.o.Steps()
	if out, err := c.o.Outcome(nil); err == nil && c.applied == optim.AppliedSteps {
		steps = out.AppliedSteps()
	}
	require.NoError(t, w.o.SetSteps(steps))
	require.NoError(t, w.o.SetScheduleCounts(c.applied))
	require.NoError(t, w.o.SetSchedule(slowly))
	grad := w.alone
	if w.left {
		grad = nil
	}
	require.NoError(t, w.o.AddGroup(alg, []optim.Param{{Name: w.name, Value: w.like, Grad: grad}}))
	rest := c.buffer(device.Float64, make([]float64, restLen))
	require.NoError(t, w.o.AddGroup(with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR = 0 }), []optim.Param{{Name: "rest", Value: rest, Grad: w.rest}}))
	require.NoError(t, c.around(w.o))
	if c.scaler != nil {
		state, err := c.o.GradScalerState(nil)
		require.NoError(t, err)
		require.NoError(t, w.o.SetGradScalerState(nil, state))
	}
	if c.decays[w.group] {
		require.NoError(t, w.o.SetHyperparameterSchedule("weight_decay", inTurn, likeGroup))
	}
}

// around makes an optimizer do around its steps what the one of many does.
func (c *changes) around(o *optim.Optimizer) error {
	return errors.Join(o.SetGradScaler(nil, c.scaler), o.SetSkip(nil, c.skip), o.SetAccumulate(c.accumulate), o.SetClipNorm(c.clipNorm),
		o.SetClipTensorNorm(c.clipTensorNorm), o.SetClipValue(c.clipValue), o.SetZeroGrad(c.zeroGrad))
}

// inTurn switches a term on and off.
var inTurn = optim.ScheduleFunc(func(k int) float64 { return float64(k / 2 % 2) })

// change does one thing, most often a step.
func (c *changes) change() {
	t, group := c.t, c.groups[c.rng.IntN(len(c.groups))]
	var some *twin
	if len(c.twins) > 0 {
		some = c.twins[c.rng.IntN(len(c.twins))]
	}
	switch op := c.rng.IntN(28); {
	case op == 0 && len(c.groups) < 8:
		c.add()
	case op == 1 && len(c.groups) > 3 && c.chance(3):
		require.NoError(t, c.o.RemoveGroup(group))
		c.forget(func(w *twin) bool { return w.group == group })
		c.groups = slices.DeleteFunc(c.groups, func(g int) bool { return g == group })
	case op == 2 && len(c.twins) > 4:
		require.NoError(t, c.o.Remove(some.name))
		c.forget(func(w *twin) bool { return w == some })
	case op == 3:
		x := []float64{0, 0.01, 0.5}[c.rng.IntN(3)]
		c.inGroup(group, func(o *optim.Optimizer, group int) error {
			err := o.SetHyperparameter("weight_decay", x, group)
			if err != nil { // Rprop
				return o.SetHyperparameter("maximize", 1, group)
			}
			return err
		})
	case op == 4:
		x := c.rng.Float64() / 10
		c.inGroup(group, func(o *optim.Optimizer, group int) error { return o.SetLR(x, group) })
	case op >= 5 && op <= 7 && some != nil:
		c.rebind(some)
	case op == 8 && some != nil:
		counters, err := c.o.TensorCounters(nil, some.name)
		require.NoError(t, err)
		counters = map[string]float64{"step": float64(c.rng.IntN(1 + int(counters["step"])))}
		require.NoError(t, c.o.SetTensorCounters(nil, some.name, counters))
		require.NoError(t, some.o.SetTensorCounters(nil, some.name, counters))
	case op == 9 && some != nil:
		x := random(c.rng, some.value.Len())
		c.set(some.value, x)
		c.set(some.like, x)
		require.NoError(t, c.o.AdoptValues(nil, some.name))
		require.NoError(t, some.o.AdoptValues(nil, some.name))
	case op == 10 && some != nil:
		c.resume(some)
	case op == 11:
		c.loss()
	case op == 12:
		c.clip()
	case op == 13:
		c.accumulate = !c.accumulate
		c.all(func(o *optim.Optimizer) error { return o.SetAccumulate(c.accumulate) })
	case op == 14:
		c.zeroGrad = !c.zeroGrad
		c.all(func(o *optim.Optimizer) error { return o.SetZeroGrad(c.zeroGrad) })
	case op == 15 && !c.decays[group]:
		if _, err := c.o.Hyperparameter(group, "weight_decay"); err == nil {
			c.decays[group] = true
			c.inGroup(group, func(o *optim.Optimizer, group int) error {
				return o.SetHyperparameterSchedule("weight_decay", inTurn, group)
			})
		}
	case op == 16:
		x := 1 - c.rng.Float64()/2
		c.inGroup(group, func(o *optim.Optimizer, group int) error {
			if _, err := o.Hyperparameter(group, "ema_decay"); err != nil {
				return nil
			}
			return o.SetHyperparameter("ema_decay", x, group)
		})
	case op == 17:
		seed := c.rng.Uint64()
		c.inGroup(group, func(o *optim.Optimizer, group int) error {
			alg, err := o.Algorithm(group)
			if stored, ok := alg.(optim.Stored); ok {
				stored.Seed = seed
				err = o.SetAlgorithm(group, stored)
			}
			return err
		})
	case op == 18:
		c.restart()
	default:
		c.step()
	}
}

// restart puts another run's optimizer in the place of the one of many, and makes it what that was.
func (c *changes) restart() {
	t, old := c.t, c.o
	saved, err := old.StateDict(nil)
	require.NoError(t, err)
	c.o, err = optim.New(c.b, optim.DefaultAdamW(), nil)
	require.NoError(t, err)
	for group := range c.made {
		alg, err := old.Algorithm(group)
		if gone := err != nil; gone || group == 0 {
			if group > 0 {
				require.NoError(t, c.o.AddGroup(optim.DefaultAdamW(), nil))
			}
			if gone {
				require.NoError(t, c.o.RemoveGroup(group))
			} else if c.decays[group] {
				require.NoError(t, c.o.SetHyperparameterSchedule("weight_decay", inTurn, group))
			}
			continue
		}
		if stored, ok := alg.(optim.Stored); ok {
			stored.Seed = 0
			alg = stored
		}
		var params []optim.Param
		for _, w := range c.twins {
			if w.group == group {
				w.value = c.buffer(w.value.DType(), random(c.rng, w.value.Len()))
				params = append(params, optim.Param{Name: w.name, Value: w.value, Grad: w.gradient(w.grad)})
			}
		}
		require.NoError(t, c.o.AddGroup(alg, params))
		require.NoError(t, c.o.SetLR(0.5, group))
		if c.decays[group] {
			require.NoError(t, c.o.SetHyperparameterSchedule("weight_decay", inTurn, group))
		}
	}
	require.NoError(t, c.o.LoadStateDict(nil, through(t, saved), optim.LoadOptions{}))
	loaded, err := c.o.StateDict(nil)
	require.NoError(t, err)
	same(t, "restarted", saved, loaded)
	if c.captured != nil {
		require.NoError(t, c.captured.Close())
		c.captured = nil
	}
	require.NoError(t, old.Close())
}

// rebind moves a tensor, leaves it out or takes it in again, or gives it a gradient of another type.
func (c *changes) rebind(w *twin) {
	switch c.rng.IntN(3) {
	case 0:
		moved := c.buffer(w.value.DType(), c.values(w.value))
		require.NoError(c.t, c.o.Rebind([]optim.Param{{Name: w.name, Value: moved, Grad: w.gradient(w.grad)}}))
		c.set(w.value, make([]float64, w.value.Len()))
		w.value = moved
	case 1:
		w.left = !w.left
		c.bind(w)
	default:
		c.gradients(w)
		c.bind(w)
	}
}

// gradient is a tensor's gradient, or nil where it is left out.
func (w *twin) gradient(b *device.Buffer) *device.Buffer {
	if w.left {
		return nil
	}
	return b
}

func (c *changes) bind(w *twin) {
	require.NoError(c.t, c.o.SetGrad(w.name, w.gradient(w.grad)))
	require.NoError(c.t, w.o.SetGrad(w.name, w.gradient(w.alone)))
}

// loss sets a loss scale, or which steps are skipped.
func (c *changes) loss() {
	if c.chance(2) {
		c.scaler = nil
		if c.chance(2) {
			c.scaler = &optim.GradScaler{InitScale: 8, GrowthFactor: 1.7, BackoffFactor: 0.3, GrowthInterval: 2, Hysteresis: 1 + c.rng.IntN(2)}
		}
		c.all(func(o *optim.Optimizer) error { return o.SetGradScaler(nil, c.scaler) })
		return
	}
	c.skip = optim.Skip{NonFinite: c.chance(2)}
	if c.exact && c.chance(2) {
		c.skip.NormAbove = 6
	}
	c.all(func(o *optim.Optimizer) error { return o.SetSkip(nil, c.skip) })
}

// clip sets how gradients are clipped. A sum of squares that is not exact differs where there are others, so that clipping would; measuring does not.
func (c *changes) clip() {
	if c.chance(2) {
		c.clipValue = []float64{0, 0.5}[c.rng.IntN(2)]
		c.all(func(o *optim.Optimizer) error { return o.SetClipValue(c.clipValue) })
		return
	}
	if c.chance(2) { // by a sum that no other tensor is in
		c.clipTensorNorm = []float64{0, 1, 0.3}[c.rng.IntN(3)]
		c.all(func(o *optim.Optimizer) error { return o.SetClipTensorNorm(c.clipTensorNorm) })
		return
	}
	c.clipNorm = []float64{0, 1e300}[c.rng.IntN(2)]
	if c.exact && c.chance(2) {
		c.clipNorm = 3
	}
	c.all(func(o *optim.Optimizer) error { return o.SetClipNorm(c.clipNorm) })
}

// resume puts a new optimizer in the place of a like's, and tells it what the old one knows. Before its first step a tensor has nothing to know.
func (c *changes) resume(w *twin) {
	t, old := c.t, w.o
	counters, err := old.TensorCounters(nil, w.name)
	require.NoError(t, err)
	if counters["step"] == 0 {
		return
	}
	alg, err := c.o.Algorithm(w.group)
	require.NoError(t, err)
	c.pair(w, alg)
	states, err := old.States(w.name)
	require.NoError(t, err)
	saved := maps.Collect(states)
	for name, b := range c.stateOf(w) {
		require.NoError(t, c.memory.DefaultStream().Copy(b, saved[name]))
	}
	require.NoError(t, w.o.SetTensorCounters(nil, w.name, counters))
	require.NoError(t, old.Close())
}

// stateOf is a like's state.
func (c *changes) stateOf(w *twin) map[string]*device.Buffer {
	states, err := w.o.States(w.name)
	require.NoError(c.t, err)
	return maps.Collect(states)
}

// step takes a step with new gradients, some of which may not be finite, and compares.
func (c *changes) step() {
	t := c.t
	batches, bad := 1, c.scaler != nil || c.skip != (optim.Skip{})
	if c.accumulate {
		require.ErrorIs(t, c.o.Step(nil), optim.ErrNotAccumulated)
		batches += c.rng.IntN(3)
	}
	for range batches {
		c.batch(bad && c.chance(4))
		if c.accumulate {
			c.all(func(o *optim.Optimizer) error { return o.Accumulate(nil) })
			if len(c.twins) > 0 && c.chance(2) {
				c.rebind(c.twins[c.rng.IntN(len(c.twins))])
			}
			if c.chance(6) {
				c.restart()
			}
		}
	}
	measures := bad || c.clipNorm != 0 || c.clipTensorNorm != 0
	if measures && c.chance(3) {
		require.NoError(t, c.o.MeasureGradNorm(nil))
	}
	if c.chance(2) {
		c.replay()
	} else {
		require.NoError(t, c.o.Step(nil))
	}
	for _, w := range c.twins {
		require.NoError(t, w.o.Step(nil))
	}
	c.steps++
	require.Equal(t, c.steps, c.o.Steps())
	if !bad {
		c.appliedSteps++
		require.NoError(t, c.o.Foreseen())
	}
	if measures {
		out, err := c.o.Outcome(nil)
		require.NoError(t, err)
		if bad && out.Applied() {
			c.appliedSteps++
		}
		require.Equal(t, c.appliedSteps, out.AppliedSteps())
		for _, w := range c.twins {
			like, err := w.o.Outcome(nil)
			require.NoError(t, err)
			require.Equal(t, []bool{like.Applied(), like.FoundInf()}, []bool{out.Applied(), out.FoundInf()}, w.name)
			if c.scaler != nil {
				require.Equal(t, like.LossScale(), out.LossScale(), w.name)
			}
			if c.exact {
				require.Equal(t, wordsOf(like.GradNorm()), wordsOf(out.GradNorm()), w.name)
			}
		}
	}
	for _, w := range c.twins {
		c.compare(w)
	}
}

// batch writes gradients, with one that is not finite if that is wanted.
func (c *changes) batch(bad bool) {
	at := c.rng.IntN(len(c.twins) + 1)
	for i, w := range c.twins {
		g := random(c.rng, w.grad.Len())
		for k := range g {
			if c.exact {
				g[k] = float64(c.rng.IntN(33)-16) / 16
			}
		}
		if bad && i == at && len(g) > 0 {
			g[c.rng.IntN(len(g))] = []float64{math.Inf(1), math.Inf(-1), math.NaN()}[c.rng.IntN(3)]
		}
		c.set(w.grad, g)
		c.set(w.alone, g)
	}
	for _, w := range c.twins {
		var rest []float64
		for _, other := range c.twins {
			g := make([]float64, other.grad.Len())
			if other != w && !other.left {
				g = c.values(other.grad)
			}
			rest = append(rest, g...)
		}
		require.LessOrEqual(c.t, len(rest), restLen)
		c.set(w.rest, append(rest, make([]float64, restLen-len(rest))...))
	}
}

// replay takes a step from a record, a new one where that is no longer what the step is.
func (c *changes) replay() {
	if c.captured != nil {
		err := c.captured.Replay(nil)
		if err == nil {
			return
		}
		require.ErrorIs(c.t, err, optim.ErrStale)
		require.NoError(c.t, c.captured.Close())
	}
	var err error
	c.captured, err = c.o.Capture(nil)
	require.NoError(c.t, err)
	require.NoError(c.t, c.captured.Replay(nil))
}

// compare holds a tensor to its like.
func (c *changes) compare(w *twin) {
	t := c.t
	same := func(what string, want, got *device.Buffer) {
		require.Equal(t, wordsOf(c.numbers(want)...), wordsOf(c.numbers(got)...), "step %d: %s: %s", c.steps, w.name, what)
	}
	same("value", w.like, w.value)
	same("grad", w.alone, w.grad)
	for name, want := range c.stateOf(w) {
		got, err := c.o.State(w.name, name)
		require.NoError(t, err)
		same(name, want, got)
	}
	counters, err := c.o.TensorCounters(nil, w.name)
	require.NoError(t, err)
	want, err := w.o.TensorCounters(nil, w.name)
	require.NoError(t, err)
	require.Equal(t, want, counters, w.name)
	zero := make([]float64, w.value.Len())
	like, value := c.buffer(w.value.DType(), zero), c.buffer(w.value.DType(), zero)
	require.NoError(t, w.o.EvalParams(nil, map[string]*device.Buffer{w.name: like}))
	require.NoError(t, c.o.EvalParams(nil, map[string]*device.Buffer{w.name: value}))
	same("evaluated", like, value)
}

// numbers are values of a buffer that may hold integers.
func (h *harness) numbers(b *device.Buffer) []float64 {
	switch b.DType() {
	case device.Int16:
		return integers[int16](h, b)
	case device.Int8:
		return integers[int8](h, b)
	}
	return h.values(b)
}

func integers[E int8 | int16](h *harness, b *device.Buffer) (out []float64) {
	x, s := make([]E, b.Len()), h.memory.DefaultStream()
	require.NoError(h.t, device.Download(s, x, b))
	require.NoError(h.t, s.Synchronize())
	for _, v := range x {
		out = append(out, float64(v))
	}
	return out
}

// wordsOf are numbers' bits, of a NaN always the same.
func wordsOf(x ...float64) (out []uint64) {
	for _, v := range x {
		if math.IsNaN(v) {
			v = math.NaN()
		}
		out = append(out, math.Float64bits(v))
	}
	return out
}

func (c *changes) forget(gone func(w *twin) bool) {
	c.twins = slices.DeleteFunc(c.twins, func(w *twin) bool {
		if !gone(w) {
			return false
		}
		require.NoError(c.t, w.o.Close())
		return true
	})
}

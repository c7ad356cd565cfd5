package optim_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// form is how memory holds what a case trains.
type form struct {
	name   string
	values [2]device.DType
	with   func(optim.Algorithm) optim.Algorithm
}

func resumeForms() []form {
	plain := func(a optim.Algorithm) optim.Algorithm { return a }
	stored := func(edit func(*optim.Stored)) func(optim.Algorithm) optim.Algorithm {
		return func(a optim.Algorithm) optim.Algorithm {
			s := optim.Stored{Algorithm: a}
			edit(&s)
			return s
		}
	}
	f32, f64, bf16, f16 := device.Float32, device.Float64, device.BFloat16, device.Float16
	return []form{
		{"f32", [2]device.DType{f32, f32}, plain},
		{"f64 and f32", [2]device.DType{f64, f32}, plain},
		{"16 bits", [2]device.DType{bf16, f16}, plain},
		{"master", [2]device.DType{bf16, f16}, stored(func(s *optim.Stored) { s.Master = optim.MasterFloat32 })},
		{"remainder", [2]device.DType{bf16, f32}, stored(func(s *optim.Stored) { s.Master = optim.MasterRemainder })},
		{"remainder of 8 bits", [2]device.DType{bf16, bf16}, stored(func(s *optim.Stored) { s.Master, s.All = optim.MasterRemainder8, bf16 })},
		{"stochastic", [2]device.DType{bf16, f16}, stored(func(s *optim.Stored) { s.Stochastic, s.Seed, s.All = true, 1<<63+7, bf16 })},
		{"average", [2]device.DType{f32, bf16}, func(a optim.Algorithm) optim.Algorithm {
			if _, err := (optim.Averaged{Algorithm: a, Decay: 0.5}).Setting(); err != nil { // it has an average already
				return a
			}
			return optim.Stored{Algorithm: optim.Averaged{Algorithm: a, Decay: 0.75}, Master: optim.MasterFloat32}
		}},
	}
}

// situations are what a training may be in when it is saved.
var situations = []string{"mid-schedule", "skipped", "accumulated", "first"}

// stopped is a training that can be stopped.
type stopped struct {
	*harness
	o         *optim.Optimizer
	params    []*device.Buffer
	grads     []*device.Buffer
	plateau   optim.ReduceOnPlateau
	situation string
	together  bool // tensors have numbers together, so one type and learning rate
}

// newStopped makes a program's training, as each of its runs does. Away shifts tensors in memory.
func newStopped(t *testing.T, b kernels.Backend, alg optim.Algorithm, f form, situation string, away int) *stopped {
	tr := &stopped{harness: onBackend(t, b), situation: situation, plateau: optim.DefaultReduceOnPlateau(), together: setting(t, alg).Rule.Everything}
	tr.plateau.Patience = 0
	var params []optim.Param
	for i, n := range []int{5, 3, 1} {
		dtype := f.values[i%2]
		if tr.together {
			dtype = f.values[0]
		}
		whole := tr.buffer(dtype, make([]float64, n+away))
		value, err := whole.Slice(away, away+n)
		require.NoError(t, err)
		init := make([]float64, n)
		for k := range init {
			init[k] = float64(k+1) / float64(i+3)
		}
		tr.set(value, init)
		grad := tr.buffer(dtype, make([]float64, n))
		tr.params, tr.grads = append(tr.params, value), append(tr.grads, grad)
		params = append(params, optim.Param{Name: fmt.Sprint("t", i), Value: value, Grad: grad})
	}
	var err error
	tr.o, err = optim.New(b, f.with(alg), params[:2])
	require.NoError(t, err)
	require.NoError(t, tr.o.SetSchedule(optim.Warmup{Start: 0.25, Steps: 2, Then: &tr.plateau}))
	if tr.together {
		alg = f.with(alg)
	}
	require.NoError(t, tr.o.AddGroup(alg, params[2:]))
	require.NoError(t, tr.o.SetClipNorm(0.5))
	return tr
}

// settle does what the first run does, and what later ones find in what was saved.
func (tr *stopped) settle() {
	t := tr.t
	if !tr.together {
		require.NoError(t, tr.o.SetLR(0.0625, 0))
	}
	if _, err := tr.o.Hyperparameter(0, "weight_decay"); err == nil {
		require.NoError(t, tr.o.SetHyperparameter("weight_decay", 0.125, 0))
		require.NoError(t, tr.o.SetHyperparameterSchedule("weight_decay", optim.Exponential{Gamma: 0.5}, 0))
	}
	require.NoError(t, tr.o.SetScheduleCounts(optim.AppliedSteps))
	switch tr.situation {
	case "skipped":
		scaler := optim.DefaultGradScaler()
		scaler.InitScale, scaler.GrowthInterval, scaler.Hysteresis = 8, 3, 2
		require.NoError(t, tr.o.SetGradScaler(nil, &scaler))
		require.NoError(t, tr.o.SetZeroGrad(true))
	case "accumulated":
		require.NoError(t, tr.o.SetAccumulate(true))
		require.NoError(t, tr.o.SetClipNorm(math.Inf(1)))
		require.NoError(t, tr.o.SetClipValue(0.375))
	}
}

// batch makes the gradients of a step.
func (tr *stopped) batch(step, micro int) {
	for i, g := range tr.grads {
		x := make([]float64, g.Len())
		for k := range x {
			x[k] = float64((step*7+micro*5+i*3+k*11)%17-8) / 16
		}
		if tr.situation == "skipped" && step%3 == 2 {
			x[0] = math.Inf(1)
		}
		tr.set(g, x)
	}
}

// accumulate is the first half of a step of two micro-batches.
func (tr *stopped) accumulate(step, micro int) {
	tr.batch(step, micro)
	if micro == 0 { // a tensor whose sum begins later
		require.NoError(tr.t, tr.o.SetGrad("t1", nil))
		defer func() { require.NoError(tr.t, tr.o.SetGrad("t1", tr.grads[1])) }()
	}
	require.NoError(tr.t, tr.o.Accumulate(nil))
}

// train takes steps. The first may have its first micro-batch behind it.
func (tr *stopped) train(from, to int, half bool) {
	for step := from; step < to; step++ {
		if tr.situation == "accumulated" {
			if !half || step > from {
				tr.accumulate(step, 0)
			}
			tr.accumulate(step, 1)
		} else {
			tr.batch(step, 0)
		}
		require.NoError(tr.t, tr.o.Step(nil))
		if step%2 == 1 {
			tr.plateau.Observe(float64(step%4) + 1)
		}
	}
}

// dict is what the training is.
func (tr *stopped) dict() *optim.StateDict {
	d, err := tr.o.StateDict(nil)
	require.NoError(tr.t, err)
	return d
}

// through is a dict as it comes from a file.
func through(t *testing.T, d *optim.StateDict) *optim.StateDict {
	text, err := json.Marshal(d)
	require.NoError(t, err)
	out := new(optim.StateDict)
	require.NoError(t, json.Unmarshal(text, out), string(text))
	for i := range d.Groups {
		for k, tensor := range d.Groups[i].Tensors {
			for _, n := range tensor.Numbers {
				made := optim.NewNumbers(n.Slot, n.DType, n.Len, n.Read)
				out.Groups[i].Tensors[k].Numbers = append(out.Groups[i].Tensors[k].Numbers, made)
			}
		}
	}
	return out
}

func same(t *testing.T, what string, want, got *optim.StateDict) {
	t.Helper()
	apart, err := want.Differences(got)
	require.NoError(t, err)
	require.Empty(t, apart, what)
}

// A training that is saved and goes on in another run has the bits that it has uninterrupted.
func TestResume(t *testing.T) {
	const saved, end = 3, 6
	pick := 3
	if testing.Short() {
		pick = 12
	}
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, c := range optim.Cases() {
			for i, f := range resumeForms() {
				h := fnv.New32()
				fmt.Fprint(h, t.Name(), c.Name, i)
				at := int(h.Sum32() >> 1) // which 32 bits hold
				if at/len(situations)%pick != 0 {
					continue
				}
				situation := situations[at%len(situations)]
				t.Run(c.Name+"/"+f.name+"/"+situation, func(t *testing.T) { resumed(t, b, c.Algorithm, f, situation, saved, end) })
			}
		}
	})
}

func resumed(t *testing.T, b kernels.Backend, alg optim.Algorithm, f form, situation string, saved, end int) {
	one := newStopped(t, b, alg, f, situation, 0)
	one.settle()
	if situation == "first" {
		saved = 0
	}
	one.train(0, saved, false)
	half := situation == "accumulated"
	if half {
		one.accumulate(saved, 0)
	}
	d := through(t, one.dict())
	live, err := one.o.LiveStateDict(nil)
	require.NoError(t, err)
	same(t, "live", d, live)

	other := newStopped(t, b, alg, f, situation, 3)
	require.NoError(t, other.o.LoadStateDict(nil, d, optim.LoadOptions{}))
	same(t, "loaded", d, other.dict())
	require.Equal(t, one.plateau, other.plateau)
	one.train(saved, end, half)
	other.train(saved, end, half)
	same(t, "at the end", one.dict(), other.dict())
	require.Equal(t, one.evaluated(), other.evaluated())
	want, err := one.o.Outcome(nil)
	require.NoError(t, err)
	got, err := other.o.Outcome(nil)
	require.NoError(t, err)
	require.Equal(t, []any{want.AppliedSteps(), want.SkippedSteps(), want.LossScale(), want.FoundInf(), want.GradNorm()},
		[]any{got.AppliedSteps(), got.SkippedSteps(), got.LossScale(), got.FoundInf(), got.GradNorm()})
	require.NoError(t, one.o.Close())
	require.NoError(t, other.o.Close())
}

// evaluated is what EvalParams makes.
func (tr *stopped) evaluated() (out [][]uint64) {
	for i, v := range tr.params {
		b := tr.buffer(v.DType(), make([]float64, v.Len()))
		require.NoError(tr.t, tr.o.EvalParams(nil, map[string]*device.Buffer{fmt.Sprint("t", i): b}))
		out = append(out, wordsOf(tr.numbers(b)...))
	}
	return out
}

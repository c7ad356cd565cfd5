package optim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// trainable is a tensor with a gradient that never changes.
func (h *harness) trainable(name string, dtype device.DType, x ...float64) optim.Param {
	g := make([]float64, len(x))
	for i := range g {
		g[i] = x[i]/8 + 0.25
	}
	return optim.Param{Name: name, Value: h.buffer(dtype, x), Grad: h.buffer(dtype, g)}
}

func stepping(t *testing.T, o *optim.Optimizer, n int) {
	for range n {
		require.NoError(t, o.Step(nil))
	}
}

// optimizerOf is one of parameters.
func optimizerOf(t *testing.T, b optim.Backend, alg optim.Algorithm, params []optim.Param) *optim.Optimizer {
	o, err := optim.New(b, alg, params)
	require.NoError(t, err)
	return o
}

// alike says that two optimizers have the same in their dicts.
func alike(t *testing.T, a, b *optim.Optimizer) {
	t.Helper()
	differences, err := dictOf(t, a).Differences(dictOf(t, b))
	require.NoError(t, err)
	require.Empty(t, differences)
}

func dictOf(t *testing.T, o *optim.Optimizer) *optim.StateDict {
	d, err := o.StateDict(nil)
	require.NoError(t, err)
	return d
}

// bitsIn are a slot's numbers.
func (h *harness) bitsIn(o *optim.Optimizer, tensor, slot string) []uint64 {
	b, err := o.State(tensor, slot)
	if slot == optim.ParamSlot {
		for _, p := range o.Params() {
			if p.Name == tensor {
				b, err = p.Value, nil
			}
		}
	}
	require.NoError(h.t, err)
	return wordsOf(h.numbers(b)...)
}

// Tensors that are in other groups, or that were slices of one, train on with the bits that they have where they were.
func TestRegroup(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		made := func(groups ...[]optim.Param) *optim.Optimizer {
			o, err := optim.New(b, optim.DefaultAdamW(), groups[0])
			require.NoError(t, err)
			for _, params := range groups[1:] {
				require.NoError(t, o.AddGroup(optim.DefaultAdamW(), params))
			}
			return o
		}
		whole := h.trainable("whole", device.Float32, 1, 2, 3, 4, 5)
		one := made([]optim.Param{h.trainable("a", device.Float32, 1, -2), h.trainable("b", device.Float32, 3)}, []optim.Param{whole})
		stepping(t, one, 1)
		require.NoError(t, one.SetGrad("b", nil))
		stepping(t, one, 2)
		d := dictOf(t, one)

		part := func(name string, lo, hi int) optim.Param {
			p := h.trainable(name, device.Float32, make([]float64, hi-lo)...)
			grad, err := whole.Grad.Slice(lo, hi)
			require.NoError(t, err)
			p.Grad = grad
			return p
		}
		other := made([]optim.Param{part("back", 3, 5), h.trainable("b", device.Float32, 0)}, nil, []optim.Param{part("front", 0, 3), h.trainable("a", device.Float32, 1, -2)})
		pieces := map[string][]optim.Piece{"front": {{Tensor: "whole", From: 0, To: 3}}, "back": {{Tensor: "whole", From: 3, To: 5}}}
		var mismatch *optim.MismatchError
		require.ErrorAs(t, other.LoadStateDict(nil, d, optim.LoadOptions{Pieces: pieces}), &mismatch)
		require.NoError(t, other.SetLR(0.5, 1))
		require.NoError(t, other.LoadStateDict(nil, d, optim.LoadOptions{Regroup: true, Pieces: pieces}))
		lr, err := other.LR(1)
		require.NoError(t, err)
		require.Equal(t, 0.5, lr, "groups keep their own")
		require.NoError(t, other.SetGrad("b", nil))
		stepping(t, one, 2)
		stepping(t, other, 2)
		for _, slot := range []string{optim.ParamSlot, "exp_avg", "exp_avg_sq"} {
			require.Equal(t, h.bitsIn(one, "whole", slot), append(h.bitsIn(other, "front", slot), h.bitsIn(other, "back", slot)...), slot)
			require.Equal(t, h.bitsIn(one, "a", slot), h.bitsIn(other, "a", slot), slot)
			require.Equal(t, h.bitsIn(one, "b", slot), h.bitsIn(other, "b", slot), slot)
		}

		third := made([]optim.Param{whole}, []optim.Param{h.trainable("b", device.Float32, 0), h.trainable("a", device.Float32, 0, 0)})
		require.NoError(t, third.LoadStateDict(nil, dictOf(t, other), optim.LoadOptions{Regroup: true, Pieces: map[string][]optim.Piece{
			"whole": {{Tensor: "front", From: 0, To: 3}, {Tensor: "back", From: 0, To: 2}}}}))
		for _, slot := range []string{optim.ParamSlot, "exp_avg", "exp_avg_sq"} {
			require.Equal(t, append(h.bitsIn(other, "front", slot), h.bitsIn(other, "back", slot)...), h.bitsIn(third, "whole", slot), slot)
		}
		counters, err := third.TensorCounters(nil, "b")
		require.NoError(t, err)
		require.Equal(t, 1.0, counters["step"])
	})
}

// Where it is asked for, numbers are kept as nearly as the types can hold them.
func TestConvert(t *testing.T) {
	b, h := onCPU(t)
	f32, f64, bf16, f16 := device.Float32, device.Float64, device.BFloat16, device.Float16
	const precise = 1 + 0x1p-14 // which bfloat16 cannot hold, and a remainder can
	for _, tt := range []struct {
		name      string
		from, to  device.DType
		was, is   optim.Stored
		value     float64 // of the first element, afterwards
		slot      string
		state     float64
		withValue bool
	}{
		{"moments into bfloat16", f32, f32, optim.Stored{}, optim.Stored{All: bf16}, precise, "exp_avg", 1, true},
		{"moments out of bfloat16", f32, f32, optim.Stored{All: bf16}, optim.Stored{}, precise, "exp_avg", 1, true},
		{"float64 to float32", f64, f32, optim.Stored{}, optim.Stored{}, precise, "exp_avg", precise, true},
		{"float32 to float64", f32, f64, optim.Stored{}, optim.Stored{}, precise, "exp_avg", precise, true},
		{"master to remainder", bf16, bf16, optim.Stored{Master: optim.MasterFloat32}, optim.Stored{Master: optim.MasterRemainder}, 1, "remainder", 512, true},
		{"remainder to master", bf16, f16, optim.Stored{Master: optim.MasterRemainder}, optim.Stored{Master: optim.MasterFloat32}, 1, "master", precise, true},
		{"master to value", f16, f32, optim.Stored{Master: optim.MasterFloat32}, optim.Stored{}, precise, "exp_avg", precise, true},
		{"value to master", f32, bf16, optim.Stored{}, optim.Stored{Master: optim.MasterFloat32}, 1, "master", precise, true},
		{"value to remainder of 8 bits", f32, bf16, optim.Stored{}, optim.Stored{Master: optim.MasterRemainder8, Stochastic: true}, 1, "remainder", 2, true},
		{"master to remainder, without values", bf16, bf16, optim.Stored{Master: optim.MasterFloat32}, optim.Stored{Master: optim.MasterRemainder}, 9, "remainder", 512, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			optimizer := func(stored optim.Stored, dtype device.DType, x float64) *optim.Optimizer {
				stored.Algorithm = optim.DefaultAdamW()
				o, err := optim.New(b, stored, []optim.Param{h.trainable("w", dtype, x, 2)})
				require.NoError(t, err)
				return o
			}
			one := optimizer(tt.was, tt.from, precise)
			stepping(t, one, 1)
			set := func(slot string, x float64) {
				if buffer, err := one.State("w", slot); err == nil {
					h.set(buffer, []float64{x, 3})
				}
			}
			set("exp_avg", precise)
			set("master", precise)
			for _, p := range one.Params() {
				h.set(p.Value, []float64{precise, 3})
			}
			if r, err := one.State("w", "remainder"); err == nil {
				s := h.memory.DefaultStream()
				require.NoError(t, device.Upload(s, r, []int16{512, 0})) // 2^-14 is so many units of the lower half
				require.NoError(t, s.Synchronize())
			}
			other := optimizer(tt.is, tt.to, 9)
			d := dictOf(t, one)
			var mismatch *optim.MismatchError
			require.ErrorAs(t, other.LoadStateDict(nil, d, optim.LoadOptions{WithoutValues: !tt.withValue}), &mismatch)
			require.NoError(t, other.LoadStateDict(nil, d, optim.LoadOptions{Convert: true, WithoutValues: !tt.withValue}))
			for _, p := range other.Params() {
				require.Equal(t, tt.value, h.values(p.Value)[0])
			}
			buffer, err := other.State("w", tt.slot)
			require.NoError(t, err)
			require.Equal(t, tt.state, h.numbers(buffer)[0])
			require.NoError(t, other.Step(nil))
		})
	}
}

// A dict of PyTorch's has values, state, steps and hyperparameters, and nothing else.
func TestForeignDict(t *testing.T) {
	b, h := onCPU(t)
	optimizer := func() *optim.Optimizer {
		o, err := optim.New(b, optim.DefaultNAdam(), []optim.Param{h.trainable("w", device.Float32, 1, 2)})
		require.NoError(t, err)
		require.NoError(t, o.AddGroup(optim.DefaultSignum(), []optim.Param{h.trainable("s", device.Float32, 3)}))
		require.NoError(t, o.SetSchedule(optim.Exponential{Gamma: 0.5}))
		require.NoError(t, o.SetClipNorm(1))
		return o
	}
	one := optimizer()
	stepping(t, one, 3)
	saved := through(t, dictOf(t, one))
	text := `{"steps":3,"groups":[
		{"index":0,"algorithm":"NAdam","hyperparameters":{"lr":0.002,"weight_decay":0},"schedule":null,"tensors":[{"name":"w","shape":[2,1],"counters":{"step":3}}]},
		{"index":1,"algorithm":"Signum","tensors":[{"name":"s","shape":[],"counters":{"step":3}}]}],"checksums":{}}`
	var d optim.StateDict
	require.NoError(t, json.Unmarshal([]byte(text), &d))
	require.Equal(t, 3, d.AppliedSteps)
	for i := range d.Groups {
		d.Groups[i].Tensors[0].Numbers = saved.Groups[i].Tensors[0].Numbers
	}
	other := optimizer()
	require.NoError(t, other.LoadStateDict(nil, &d, optim.LoadOptions{}))
	stepping(t, one, 2)
	stepping(t, other, 2)
	for _, slot := range []string{optim.ParamSlot, "exp_avg", "exp_avg_sq"} {
		require.Equal(t, h.bitsIn(one, "w", slot), h.bitsIn(other, "w", slot), slot)
	}
	require.Equal(t, h.bitsIn(one, "s", optim.ParamSlot), h.bitsIn(other, "s", optim.ParamSlot))
	counters, err := other.TensorCounters(nil, "w")
	require.NoError(t, err)
	want, err := one.TensorCounters(nil, "w")
	require.NoError(t, err)
	require.Equal(t, want, counters)

	d.Groups[0].Tensors[0].Counters["step"] = 4
	require.ErrorContains(t, other.LoadStateDict(nil, &d, optim.LoadOptions{}), "saved step 4, here at most the optimizer's 3 steps")
}

// State without values goes to values that are there.
func TestLoadWithoutValues(t *testing.T) {
	b := cpu.NewThreads(1)
	defer b.Close()
	_, one := loadable(t, b, 3)
	h, other := loadable(t, b, 0)
	d := dictOf(t, one)
	for _, x := range d.Tensors() {
		x.Numbers = x.Numbers[1:]
	}
	before := h.bitsIn(other, "w", optim.ParamSlot)
	require.NoError(t, other.LoadStateDict(nil, d, optim.LoadOptions{WithoutValues: true}))
	require.Equal(t, before, h.bitsIn(other, "w", optim.ParamSlot))
	require.Equal(t, h.bitsIn(one, "w", "exp_avg"), h.bitsIn(other, "w", "exp_avg"))
	require.Equal(t, h.bitsIn(one, "m", "master"), h.bitsIn(other, "m", "master"))
	stepping(t, other, 1)
	require.NotEqual(t, before, h.bitsIn(other, "w", optim.ParamSlot))
}

// Metrics go to the schedule that is followed: the program's where it has one, in all places where it stands.
func TestLoadPlateau(t *testing.T) {
	b := cpu.NewThreads(1)
	defer b.Close()
	followed := func(first, second optim.Schedule) *optim.Optimizer {
		_, o := loadable(t, b, 1)
		require.NoError(t, o.SetSchedule(first))
		require.NoError(t, o.SetSchedule(second, 1))
		return o
	}
	plateau := func() *optim.ReduceOnPlateau { p := optim.DefaultReduceOnPlateau(); return &p }
	p := plateau()
	p.Patience = 0
	one := followed(p, optim.Sequence{{Steps: 1}, {Schedule: optim.WSD{Decay: p}}})
	for range 3 {
		p.Observe(1)
	}
	d := through(t, dictOf(t, one))
	q := plateau()
	other := followed(q, optim.Sequence{{Steps: 9}, {Schedule: optim.WSD{Stable: 3, Decay: q}}, {}})
	require.NoError(t, other.LoadStateDict(nil, d, optim.LoadOptions{}))
	require.Equal(t, p, q)
	q.Observe(1)
	p.Observe(1)
	same(t, "after a metric", dictOf(t, one), dictOf(t, other))

	none := followed(nil, nil)
	require.NoError(t, none.LoadStateDict(nil, d, optim.LoadOptions{}))
	s, err := none.Schedule(0)
	require.NoError(t, err)
	s.(*optim.ReduceOnPlateau).Observe(1)
	same(t, "found again", dictOf(t, one), dictOf(t, none))

	for want, o := range map[string]*optim.Optimizer{
		"a ReduceOnPlateau that would be followed no more":      followed(nil, plateau()),
		"one ReduceOnPlateau was saved, in whose place are two": followed(plateau(), optim.Sequence{{}, {Schedule: optim.WSD{Decay: plateau()}}}),
	} {
		require.ErrorContains(t, o.LoadStateDict(nil, d, optim.LoadOptions{}), want)
	}
	two := dictOf(t, followed(plateau(), plateau()))
	shared := plateau()
	require.ErrorContains(t, followed(shared, shared).LoadStateDict(nil, two, optim.LoadOptions{}), "two ReduceOnPlateau were saved, in whose place is one")
}

// All schedules come back as they were.
func TestSchedulesText(t *testing.T) {
	for _, s := range []optim.Schedule{nil, optim.Constant{}, optim.Warmup{Start: 0.1, Steps: 3}, optim.WSD{Warmup: 1, Stable: 2, Decay: optim.Linear{Steps: 5, Min: 0.1}},
		optim.Sequence{}, optim.Sequence{{Steps: 2, Schedule: optim.Cosine{Steps: 3}}, {Schedule: optim.Warmup{Steps: 1, Then: optim.InverseSqrt{Timescale: 7}}}},
		optim.CosineWarmRestarts{T0: 2, TMult: 3, Min: 0.5}, optim.DefaultOneCycle(9), optim.StepDecay{Every: 2, Gamma: 0.3}, optim.MultiStep{Gamma: 0.1},
		optim.MultiStep{Milestones: []int{3, 1}, Gamma: 0.1}, optim.Exponential{Gamma: 1e-300}, optim.Polynomial{Steps: 3, Power: 2.5},
		optim.OneMinusSqrt{Steps: 4, Min: 0.25}, &optim.ReduceOnPlateau{Gamma: 0.5, State: optim.PlateauState{Reductions: 2, Observed: true, Best: -0.1}},
		&optim.Warmup{Steps: 3, Then: optim.ScheduleFunc(func(int) float64 { return 0.5 })}} {
		b := cpu.NewThreads(1)
		_, one := loadable(t, b, 0)
		require.NoError(t, one.SetSchedule(s))
		require.NoError(t, one.SetHyperparameterSchedule("weight_decay", s, 0))
		_, other := loadable(t, b, 0)
		if w, ok := s.(*optim.Warmup); ok {
			own := &optim.Warmup{Steps: 1, Then: w.Then}
			require.NoError(t, other.SetSchedule(own))
			require.NoError(t, other.SetHyperparameterSchedule("weight_decay", own, 0))
		}
		d := through(t, dictOf(t, one))
		require.NoError(t, other.LoadStateDict(nil, d, optim.LoadOptions{}), string(d.Schedule))
		same(t, string(d.Schedule), d, dictOf(t, other))
		if _, own := s.(*optim.Warmup); !own {
			got, err := other.Schedule(2)
			require.NoError(t, err)
			require.Equal(t, s, got)
			got, err = other.HyperparameterSchedule("weight_decay", 0)
			require.NoError(t, err)
			require.Equal(t, s, got)
		}
		require.NoError(t, b.Close())
	}
}

// What cannot be read leaves the optimizer as it was where nothing is written yet, and later one that does not step until it is loaded.
func TestHalfLoaded(t *testing.T) {
	b := cpu.NewThreads(1)
	defer b.Close()
	_, one := loadable(t, b, 2)
	_, o := loadable(t, b, 1)
	before, damaged := dictOf(t, o), errors.New("damaged")
	d := dictOf(t, one)
	d.VerifyWith(func() error { return damaged })
	err := o.LoadStateDict(nil, d, optim.LoadOptions{})
	require.ErrorIs(t, err, damaged)
	require.EqualError(t, err, "optim: load state dict: nothing was changed: damaged")
	same(t, "not verified", before, dictOf(t, o))

	d, left := dictOf(t, one), 0
	for _, x := range d.Tensors() {
		for i, n := range x.Numbers {
			x.Numbers[i] = optim.NewNumbers(n.Slot, n.DType, n.Len, func(lo int, to []byte) error {
				if left == 0 {
					return damaged
				}
				left--
				return n.Read(lo, to)
			})
		}
	}
	err = o.LoadStateDict(nil, d, optim.LoadOptions{})
	require.EqualError(t, err, `optim: load state dict: nothing was changed: optim: group 0, tensor "w": param: damaged`)
	same(t, "not read", before, dictOf(t, o))
	left = 4
	err = o.LoadStateDict(nil, d, optim.LoadOptions{})
	require.ErrorIs(t, err, optim.ErrHalfLoaded)
	require.ErrorIs(t, err, damaged)
	require.EqualError(t, err, `optim: load state dict: optimizer is half loaded: load again: optim: group 0, tensor "b": exp_avg: damaged`)
	for what, call := range map[string]func() error{
		"step":       func() error { return o.Step(nil) },
		"accumulate": func() error { return o.Accumulate(nil) },
		"state dict": func() error { _, err := o.StateDict(nil); return err },
		"capture":    func() error { _, err := o.Capture(nil); return err },
	} {
		require.ErrorIs(t, call(), optim.ErrHalfLoaded, what)
	}
	left = math.MaxInt
	require.NoError(t, o.LoadStateDict(nil, d, optim.LoadOptions{}))
	same(t, "loaded again", dictOf(t, one), dictOf(t, o))
	require.NoError(t, o.Step(nil))
}

// Live numbers are read before the next call, or never.
func TestLiveStateDict(t *testing.T) {
	b := cpu.NewThreads(1)
	defer b.Close()
	_, o := loadable(t, b, 2)
	d, err := o.LiveStateDict(nil)
	require.NoError(t, err)
	n, ok := d.Groups[0].Tensors[0].Slot("exp_avg")
	require.True(t, ok)
	x := make([]byte, 9)
	require.NoError(t, n.Read(1, x[1:]), "memory need not be aligned")
	require.ErrorIs(t, n.Read(3, x[1:]), device.ErrRange)
	require.ErrorIs(t, n.Read(0, x), device.ErrRange)
	require.ErrorIs(t, n.Read(-1, nil), device.ErrRange)
	_, other := loadable(t, b, 0)
	require.NoError(t, other.LoadStateDict(nil, d, optim.LoadOptions{}))
	same(t, "loaded", d, dictOf(t, other))
	require.ErrorIs(t, o.LoadStateDict(nil, d, optim.LoadOptions{}), optim.ErrStale, "its own, which it would change as it reads it")
	require.ErrorIs(t, n.Read(0, x[1:]), optim.ErrStale)
	require.NoError(t, o.Step(nil))
}

// An algorithm of the user's own is named with its package, and has what its struct has.
func TestLoadOwnAlgorithm(t *testing.T) {
	b, h := onCPU(t)
	optimizer := func(decay float64) *optim.Optimizer {
		o, err := optim.New(b, &optim.Regularized{Algorithm: driftRule(t), WeightDecay: decay}, []optim.Param{h.trainable("w", device.Float64, 1, 2)})
		require.NoError(t, err)
		return o
	}
	one := optimizer(0)
	require.NoError(t, one.SetLR(0.125))
	require.NoError(t, one.SetHyperparameter("weight_decay", 0.5))
	stepping(t, one, 2)
	d := through(t, dictOf(t, one))
	require.Equal(t, "github.com/fusestep/fusestep/optim_test.own", d.Groups[0].Algorithm)
	other := optimizer(0.25)
	require.NoError(t, other.LoadStateDict(nil, d, optim.LoadOptions{}))
	stepping(t, one, 2)
	stepping(t, other, 2)
	same(t, "at the end", dictOf(t, one), dictOf(t, other))
}

// State that no step uses any more is found again, and what is not in the dict starts again.
func TestLoadUnusedState(t *testing.T) {
	b := cpu.NewThreads(1)
	defer b.Close()
	_, one := loadable(t, b, 1)
	require.NoError(t, one.SetHyperparameter("amsgrad", 1, 0))
	stepping(t, one, 2)
	require.NoError(t, one.SetHyperparameter("amsgrad", 0, 0))
	stepping(t, one, 1)
	d := dictOf(t, one)
	_, other := loadable(t, b, 0)
	require.NoError(t, other.LoadStateDict(nil, d, optim.LoadOptions{}))
	for _, o := range []*optim.Optimizer{one, other} {
		require.NoError(t, o.SetHyperparameter("amsgrad", 1, 0))
		stepping(t, o, 2)
	}
	same(t, "found again", dictOf(t, one), dictOf(t, other))

	h, plain := loadable(t, b, 1)
	d = dictOf(t, plain)
	require.NoError(t, one.LoadStateDict(nil, d, optim.LoadOptions{}))
	require.Equal(t, wordsOf(0, 0, 0, 0), h.bitsIn(one, "w", "max_exp_avg_sq"))
	for _, o := range []*optim.Optimizer{one, plain} {
		require.NoError(t, o.SetHyperparameter("amsgrad", 1, 0))
		stepping(t, o, 2)
	}
	same(t, "started again", dictOf(t, plain), dictOf(t, one))
}

// A dict can be printed and compared.
func TestStateDictText(t *testing.T) {
	b := cpu.NewThreads(1)
	defer b.Close()
	_, o := loadable(t, b, 2)
	require.NoError(t, o.SetClipNorm(math.Inf(1)))
	d := dictOf(t, o)
	d.Extra = map[string]string{"epoch": "3"}
	require.Equal(t, d.Extra, through(t, d).Extra)
	require.NoError(t, o.LoadStateDict(nil, d, optim.LoadOptions{}))
	d.Extra = nil
	require.Contains(t, d.String(), "2 steps, 2 applied, 0 skipped")
	require.Contains(t, d.String(), `"clip_norm":"inf"`)
	require.Contains(t, d.String(), "\t\"m\" [2] step=2, param bf16, exp_avg f32, master f32\n")
	other := through(t, d)
	same(t, "through a file", d, other)
	stepping(t, o, 1)
	other = dictOf(t, o)
	apart, err := d.Differences(other)
	require.NoError(t, err)
	require.Contains(t, apart, "steps is 2 and 3")
	require.Contains(t, apart, "groups[0].tensors[1].counters.step is 2 and 3")
	var numbers int
	for _, line := range apart {
		if n := 0; line != "" {
			if _, err := fmt.Sscanf(line, "group 0, tensor \"w\", exp_avg: %d of 4 elements differ: element 0 is", &n); err == nil {
				numbers = n
			}
		}
	}
	require.Equal(t, 4, numbers)
	for _, text := range []string{`{"steps":1}{}`, `{"step":1}`, `{"groups":[{"index":0,"tensor":[]}]}`, `{"around":{"schedule_counts":"some"}}`,
		`{"around":{"clip":1}}`, `{"groups":[{"hyperparameters":{"lr":"big"}}]}`, `[]`, `{"steps":1.5}`} {
		require.Error(t, json.Unmarshal([]byte(text), new(optim.StateDict)), text)
	}
}

// What another stream is still doing is neither saved half done nor done to what was loaded.
func TestLoadOtherStream(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		dev := b.Device()
		x := make([]float32, 1<<18)
		value, err := dev.Alloc(device.Float32, len(x))
		require.NoError(t, err)
		grad, err := dev.Alloc(device.Float32, len(x))
		require.NoError(t, err)
		s, err := dev.NewStream()
		require.NoError(t, err)
		for i := range x {
			x[i] = float32(i)
		}
		require.NoError(t, device.Upload(s, value, x))
		require.NoError(t, device.Upload(s, grad, x))
		o, err := optim.New(b, optim.DefaultAdamW(), []optim.Param{{Name: "w", Value: value, Grad: grad}})
		require.NoError(t, err)
		steps := func() {
			for range 8 {
				require.NoError(t, o.Step(s))
			}
		}
		same := func(a *optim.StateDict) {
			require.NoError(t, s.Synchronize())
			now, err := o.StateDict(s)
			require.NoError(t, err)
			apart, err := a.Differences(now)
			require.NoError(t, err)
			require.Empty(t, apart)
		}
		steps()
		saved, err := o.StateDict(nil)
		require.NoError(t, err)
		same(saved)
		steps()
		require.NoError(t, o.LoadStateDict(nil, saved, optim.LoadOptions{}))
		same(saved)
		require.NoError(t, s.Close())
		_, err = o.StateDict(nil)
		require.NoError(t, err)
		require.NoError(t, o.Close())
	})
}

// State that starts at a hyperparameter starts again, before the first step, where that changes: what it was filled with is known.
func TestLoadFilled(t *testing.T) {
	b, h := onCPU(t)
	optimizer := func(start float64) *optim.Optimizer {
		alg := with(optim.DefaultAdagrad(), func(c *optim.Adagrad) { c.InitialAccumulator = start })
		o, err := optim.New(b, alg, []optim.Param{h.trainable("w", device.Float32, 1, 2)})
		require.NoError(t, err)
		return o
	}
	one, other := optimizer(0.25), optimizer(0)
	require.NoError(t, one.SetAlgorithm(0, with(optim.DefaultAdagrad(), func(c *optim.Adagrad) { c.InitialAccumulator = 0.5 })))
	d := through(t, dictOf(t, one))
	require.NoError(t, other.LoadStateDict(nil, d, optim.LoadOptions{}))
	same(t, "loaded", d, dictOf(t, other))
	stepping(t, one, 1)
	stepping(t, other, 1)
	same(t, "at the end", dictOf(t, one), dictOf(t, other))
}

// Tensors that were stepped together are apart where the dict says that they have taken different steps.
func TestLoadApart(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		_, one := loadable(t, b, 1)
		for _, p := range one.Params() {
			if p.Name == "b" {
				require.NoError(t, one.SetGrad("b", nil))
				stepping(t, one, 2)
				require.NoError(t, one.SetGrad("b", p.Grad))
				break
			}
		}
		_, other := loadable(t, b, 4)
		require.NoError(t, other.LoadStateDict(nil, dictOf(t, one), optim.LoadOptions{}))
		same(t, "loaded", dictOf(t, one), dictOf(t, other))
		d := dictOf(t, other)
		require.Equal(t, []float64{3, 1}, []float64{d.Groups[0].Tensors[0].Counters["step"], d.Groups[0].Tensors[1].Counters["step"]})
		stepping(t, other, 2)
		stepping(t, one, 2)
		same(t, "at the end", dictOf(t, one), dictOf(t, other))
		require.NoError(t, one.Close())
		require.NoError(t, other.Close())
	})
}

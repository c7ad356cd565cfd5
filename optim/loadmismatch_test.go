package optim_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// loadable is an optimizer of two groups that has taken steps, or is new.
func loadable(t *testing.T, b kernels.Backend, steps int) (*harness, *optim.Optimizer) {
	h := onBackend(t, b)
	param := func(name string, dtype device.DType, x ...float64) optim.Param {
		return optim.Param{Name: name, Value: h.buffer(dtype, x), Grad: h.buffer(dtype, x)}
	}
	o, err := optim.New(b, optim.DefaultAdamW(), []optim.Param{param("w", device.Float32, 1, 2, 3, 4), param("b", device.Float32, 5, 6)})
	require.NoError(t, err)
	noisy := optim.Stored{Algorithm: with(optim.DefaultSGD(), func(c *optim.SGD) { c.Momentum = 0.5 }), Stochastic: true, Seed: 3}
	require.NoError(t, o.AddGroup(noisy, []optim.Param{param("h", device.BFloat16, 7, 8, 9)}))
	require.NoError(t, o.AddGroup(optim.Stored{Algorithm: optim.DefaultLion(), Master: optim.MasterFloat32}, []optim.Param{param("m", device.BFloat16, 1, 2)}))
	for range steps {
		require.NoError(t, o.Step(nil))
	}
	return h, o
}

// All that does not fit is found before anything changes, and listed at once.
func TestMismatches(t *testing.T) {
	tensor := func(d *optim.StateDict, group, i int) *optim.TensorState { return &d.Groups[group].Tensors[i] }
	schedule := func(text string) func(*optim.StateDict) {
		return func(d *optim.StateDict) { d.Groups[0].Schedule = json.RawMessage(text) }
	}
	plain := optim.LoadOptions{}
	for _, tt := range []struct {
		name string
		edit func(d *optim.StateDict)
		how  optim.LoadOptions
		want []string
	}{
		{"tensors", func(d *optim.StateDict) { tensor(d, 0, 1).Name = "c" }, plain,
			[]string{`group 0, tensor "b": missing, here 2 elements`, `group 0, tensor "c": unexpected: saved [2]`}},
		{"groups", func(d *optim.StateDict) { d.Groups[1].Index = 5 }, plain,
			[]string{"group 1: missing, here a group of 1 tensors", "group 5: unexpected: saved a group of 1 tensors"}},
		{"another group", func(d *optim.StateDict) {
			d.Groups[2].Tensors = append(d.Groups[2].Tensors, *tensor(d, 0, 1))
			d.Groups[0].Tensors = d.Groups[0].Tensors[:1]
		}, plain, []string{`group 0, tensor "b": group: saved 2, here 0`}},
		{"shape", func(d *optim.StateDict) {
			x := tensor(d, 0, 0)
			x.Shape = []int{2, 3}
			for i := range x.Numbers {
				x.Numbers[i].Len = 6
			}
		}, plain, []string{`group 0, tensor "w": shape: saved [2 3], here 4 elements`}},
		{"type", func(d *optim.StateDict) { tensor(d, 0, 0).Numbers[1].DType = device.BFloat16 }, plain,
			[]string{`group 0, tensor "w", exp_avg: type: saved bfloat16, here float32`}},
		{"type that has no numbers", func(d *optim.StateDict) { tensor(d, 0, 0).Numbers[1].DType = device.Int8 }, optim.LoadOptions{Convert: true},
			[]string{`group 0, tensor "w", exp_avg: type: saved int8, here float32`}},
		{"type of the value", func(d *optim.StateDict) { tensor(d, 0, 0).Numbers[0].DType = device.Float16 }, plain,
			[]string{`group 0, tensor "w", param: type: saved float16, here float32`}},
		{"slots", func(d *optim.StateDict) { tensor(d, 0, 0).Numbers[2].Slot = "hessian" }, plain,
			[]string{`group 0, tensor "w", exp_avg_sq: missing, here float32`, `group 0, tensor "w", hessian: unexpected: saved float32`}},
		{"no value", func(d *optim.StateDict) { tensor(d, 0, 0).Numbers = tensor(d, 0, 0).Numbers[1:] }, plain,
			[]string{`group 0, tensor "w", param: missing, here float32`}},
		{"no master", func(d *optim.StateDict) { x := tensor(d, 2, 0); x.Numbers = x.Numbers[:2] }, plain,
			[]string{`group 2, tensor "m", master: missing, here float32`}},
		{"remainder", func(d *optim.StateDict) {
			x := &tensor(d, 2, 0).Numbers[2]
			x.Slot, x.DType = "remainder", device.Int16
		}, plain,
			[]string{`group 2, tensor "m", remainder: type: saved int16, here master float32`}},
		{"algorithm", func(d *optim.StateDict) { d.Groups[0].Algorithm = "Adam" }, plain,
			[]string{"group 0: algorithm: saved Adam, here AdamW"}},
		{"options", func(d *optim.StateDict) {
			s := d.Groups[1].Setting
			s.Rule, s.EMA, s.Formats, s.Master, s.Stochastic = "Lion", true, "momentum_buffer=bf16", "f32", false
		}, plain, []string{`group 1: option: saved rule "Lion", here "SGD"`, "group 1: option: saved ema true, here false",
			"group 1: option: saved formats \"momentum_buffer=bf16\", here \"\"", "group 1: option: saved master \"f32\", here \"\"",
			"group 1: option: saved stochastic false, here true"}},
		{"what no name reaches", func(d *optim.StateDict) {
			s := d.Groups[0].Setting
			s.Options, s.L1, s.Maximize, s.Hyper["Eps"] = []string{"AMSGrad"}, 0.5, true, 1e-6
		}, plain, []string{`group 0: option: saved options ["AMSGrad"], here []`, "group 0: option: saved maximize true, here false",
			"group 0: option: saved hyper Eps 1e-06, here 1e-08", "group 0: option: saved penalties l1 0.5, here 0"}},
		{"hyperparameters", func(d *optim.StateDict) {
			h := d.Groups[0].Hyperparameters
			h["betas[0]"], h["temperature"] = 1, 2
			delete(h, "eps")
		}, plain, []string{
			`group 0: hyperparameter: saved temperature 2, here optim: group 0: adamw has no hyperparameter "temperature", only ["lr" "betas[0]" "betas[1]" "eps" "weight_decay" "l1" "amsgrad" "maximize" "eps_hat" "eps_root" "corrected_max" "no_bias_correction" "norm_coefficient_post"]`,
			"group 0: hyperparameter: saved no eps, here eps",
			"group 0: hyperparameter, here optim: adamw: betas[0] is 1, must be at least 0 and below 1"}},
		{"hyperparameters of the last step", func(d *optim.StateDict) { delete(d.Groups[1].LastHyper, "LR"); d.Groups[1].LastHyper["X"] = 1 }, plain,
			[]string{"group 1: hyperparameter: saved no LR of the last step, here LR"}},
		{"order", func(d *optim.StateDict) {
			d.Around.ClipNorm = 1
			x := d.Groups[0].Tensors
			x[0], x[1] = x[1], x[0]
		}, plain, []string{`group 0: order: saved ["b" "w"], here ["w" "b"]`}},
		{"counters", func(d *optim.StateDict) {
			tensor(d, 0, 0).Counters["step"] = 3
			tensor(d, 0, 1).Counters = optim.Named{"step": 1.5}
			tensor(d, 2, 0).Counters = optim.Named{"steps": 1}
		}, plain, []string{`group 0, tensor "w": counter: saved step 3, here at most the optimizer's 2 steps`,
			`group 0, tensor "b": counter: saved map[step:1.5], here optim: group 0: set counters: step is 1.5, must be a whole number, at least 0`,
			`group 2, tensor "m": counter: saved map[steps:1], here optim: group 2: set counters: rule Lion keeps no "steps", only ["step"]`}},
		{"no schedule", schedule(`[1]`), plain, []string{`group 0: schedule: saved of lr [1], here [1] is no schedule`}},
		{"schedule of another program", schedule(`{"type":"spiral"}`), plain,
			[]string{`group 0: schedule: saved of lr {"type":"spiral"}, here there is no schedule "spiral"`}},
		{"field left out", schedule(`{"type":"cosine","steps":1}`), plain,
			[]string{`group 0: schedule: saved of lr {"type":"cosine","steps":1}, here cosine: there is no "min"`}},
		{"field too many", schedule(`{"type":"warmup","start":0,"steps":1,"then":{"type":"constant","x":1}}`), plain, []string{
			`group 0: schedule: saved of lr {"type":"warmup","start":0,"steps":1,"then":{"type":"constant","x":1}}, here warmup: then: constant has no ["x"]`}},
		{"field out of range", schedule(`{"type":"exponential","gamma":-1}`), plain, []string{
			`group 0: schedule: saved of lr {"type":"exponential","gamma":-1}, here optim: exponential: gamma is -1, must be at least 0, and finite`}},
		{"field of another type", schedule(`{"type":"step_decay","every":0.5,"gamma":1}`), plain, []string{
			`group 0: schedule: saved of lr {"type":"step_decay","every":0.5,"gamma":1}, here step_decay: every: json: cannot unmarshal number 0.5 into Go value of type int`}},
		{"own schedule", schedule(`{"type":"own","go":"ScheduleFunc"}`), plain, []string{
			`group 0: schedule: saved of lr {"type":"own","go":"ScheduleFunc"}, here schedule ScheduleFunc is the program's own, in whose place is none`}},
		{"schedule of what is not there", func(d *optim.StateDict) { d.Groups[2].Schedules["eps"] = json.RawMessage(`{"type":"constant"}`) }, plain,
			[]string{`group 2: schedule: saved of eps, here optim: group 2: lion has no hyperparameter "eps", only ["lr" "betas[0]" "betas[1]" "weight_decay" "maximize"]`}},
		{"around", func(d *optim.StateDict) {
			a := d.Around
			a.ClipNorm, a.ClipValue, a.Skip.NormAbove, a.Accumulated, a.ScheduleCounts = math.NaN(), -1, -2, 1, 7
			a.ScalerState = &optim.GradScalerState{}
		}, plain, []string{"around, here there are no ScheduleCounts 7",
			"around, here optim: clip_grad_norm: max_norm is NaN, must be at least 0",
			"around, here optim: skip: norm_above is -2, must be at least 0, and finite",
			"around, here one of grad_scaler and grad_scaler_state is missing",
			"around, here 1 micro-batches are accumulated, and accumulate is off",
			"around, here optim: clip_grad_value: clip_value is -1, must be at least 0, and finite"}},
		{"pieces", func(*optim.StateDict) {}, optim.LoadOptions{Pieces: map[string][]optim.Piece{"b": {{"x", 0, 1}, {"w", 3, 5}}, "m": {{"m", 0, 1}}}}, []string{
			`group 0, tensor "b": piece: saved "x" from 0 to 1, here of a tensor that was not saved`,
			`group 0, tensor "b": piece: saved "w" from 3 to 5, here of a tensor of 4 elements`,
			`group 2, tensor "m": piece: saved pieces of 1 elements together, here 2 elements`,
			`group 0, tensor "b": unexpected: saved [2]`}},
		{"pieces of a tensor that is not here", func(*optim.StateDict) {}, optim.LoadOptions{Pieces: map[string][]optim.Piece{"z": nil}},
			[]string{`tensor "z": piece, here no such tensor`}},
		{"pieces with another past", func(d *optim.StateDict) { tensor(d, 0, 1).Counters["step"] = 1 },
			optim.LoadOptions{Pieces: map[string][]optim.Piece{"w": {{"w", 0, 2}, {"b", 0, 2}}, "b": {{"b", 0, 2}}}},
			[]string{`group 0, tensor "w": counter: saved step 2 of "w", 1 of "b", here one tensor`}},
		{"dict that contradicts itself", func(d *optim.StateDict) {
			d.Steps, d.Groups[1].Index = -1, 0
			tensor(d, 0, 1).Name = "w"
			tensor(d, 1, 0).Shape = []int{math.MaxInt, 2}
			tensor(d, 0, 0).Numbers[1].Slot = "param"
			tensor(d, 0, 0).Numbers[2].Len = 3
		}, plain, []string{"invalid: saved steps -1, here at least 0", "group 0: invalid: saved the index twice, or below 0",
			`group 0, tensor "w", param: invalid: saved the slot twice`, `group 0, tensor "w", exp_avg_sq: invalid: saved 3 elements in shape [4]`,
			`group 0, tensor "w": invalid: saved the tensor twice`, fmt.Sprintf(`group 0, tensor "h": invalid: saved shape [%d 2]`, math.MaxInt)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := cpu.NewThreads(1)
			defer b.Close()
			_, saved := loadable(t, b, 2)
			d, err := saved.StateDict(nil)
			require.NoError(t, err)
			tt.edit(d)
			_, o := loadable(t, b, 1)
			before, err := o.StateDict(nil)
			require.NoError(t, err)
			err = o.LoadStateDict(nil, d, tt.how)
			var mismatch *optim.MismatchError
			require.ErrorAs(t, err, &mismatch)
			var got []string
			for _, m := range mismatch.Mismatches {
				got = append(got, m.String())
			}
			require.Equal(t, tt.want, got)
			after, err := o.StateDict(nil)
			require.NoError(t, err)
			same(t, "after a load that failed", before, after)
			require.NoError(t, o.Step(nil))
		})
	}
}

// The text has how many there are, and the first.
func TestMismatchErrorText(t *testing.T) {
	for n, want := range map[int]string{
		1:  "optim: load state dict: nothing was changed: 1 thing does not fit:\n\tgroup 0: missing",
		2:  "optim: load state dict: nothing was changed: 2 things do not fit:\n\tgroup 0: missing\n\tgroup 1: missing",
		22: "\n\tgroup 19: missing\n\tand 2 more",
	} {
		e := &optim.MismatchError{}
		for i := range n {
			e.Mismatches = append(e.Mismatches, optim.Mismatch{Group: i, What: optim.Missing})
		}
		require.True(t, strings.HasSuffix(e.Error(), want), e)
	}
}

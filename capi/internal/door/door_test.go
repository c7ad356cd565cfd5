package door

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// All algorithms of the one table are described, with the defaults of their Default functions, and what is taken by position is there.
func TestDescribe(t *testing.T) {
	var all []struct {
		Name, Doc, Source      string
		Arguments              []argument
		Hyper, Slots, Counters []string
		Evaluates              bool
		Tensors, Matrix        bool
	}
	require.NoError(t, json.Unmarshal([]byte(Describe()), &all))
	var names []string
	for _, k := range all {
		names = append(names, k.Name)
		require.NotEmpty(t, k.Doc, k.Name)
		require.NotNil(t, k.Slots, "%s: an array, though it may be empty", k.Name)
		require.Equal(t, "lr", k.Arguments[0].Name, "%s begins with it", k.Name)
		require.Contains(t, k.Counters, "step", k.Name)
		require.Equal(t, strings.HasPrefix(k.Name, "ScheduleFree"), k.Evaluates, k.Name)
		require.Equal(t, slices.Contains([]string{"Adafactor", "CAME", "AdamMini"}, k.Name), k.Matrix, k.Name)
		require.Equal(t, slices.Contains([]string{"LAMB", "LARS", "NovoGrad", "StableAdamW", "CautiousAdamW", "CautiousLion", "Adafactor", "CAME", "Prodigy"}, k.Name), k.Tensors, k.Name)
		var order []string
		keyword := false
		for _, x := range k.Arguments {
			require.False(t, keyword && x.Positional, "%s: %s follows a keyword-only argument", k.Name, x.Name)
			if keyword = !x.Positional; x.Positional {
				order = append(order, x.Name)
			}
		}
		if want, ok := positional[k.Name]; ok {
			require.Equal(t, strings.Fields(want), order, k.Name)
		}
		a, err := kinds[k.Name].with(kinds[k.Name].defaults())
		require.NoError(t, err)
		require.Equal(t, kinds[k.Name].start, a, "the defaults are the defaults")
		require.Len(t, k.Hyper, len(optim.HyperparametersOf(a)), k.Name)
	}
	for _, c := range optim.Cases() {
		require.Contains(t, names, reflect.TypeOf(c.Algorithm).Name())
	}
	require.Equal(t, slices.Compact(slices.Sorted(slices.Values(names))), slices.Sorted(slices.Values(names)))
	require.Equal(t, []string{"lr", "betas[0]", "betas[1]", "eps", "weight_decay", "amsgrad"}, kinds["AdamW"].Hyper[:6])
	require.Equal(t, []string{"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}, kinds["AdamW"].Slots)
}

func TestSlots(t *testing.T) {
	with := func(name string, change map[string]float64) []float64 {
		hyper := kinds[name].defaults()
		for name2, x := range change {
			hyper[slices.Index(kinds[name].Hyper, name2)] = x
		}
		return hyper
	}
	for _, tt := range []struct {
		name, algorithm string
		hyper           []float64
		options         string
		value, gradient device.DType
		want            string
		code            Code
		matrix          bool
	}{
		{"adamw", "AdamW", nil, "", device.Float32, device.Float32,
			`[{"name":"exp_avg","type":"f32","used":true,"of":"elements","start":0},{"name":"exp_avg_sq","type":"f32","used":true,"of":"elements","start":0},{"name":"max_exp_avg_sq","type":"","used":false,"of":"elements","start":0}]`, OK, false},
		{"with its maximum", "AdamW", with("AdamW", map[string]float64{"amsgrad": 1}), "", device.Float64, device.Float64,
			`[{"name":"exp_avg","type":"f64","used":true,"of":"elements","start":0},{"name":"exp_avg_sq","type":"f64","used":true,"of":"elements","start":0},{"name":"max_exp_avg_sq","type":"f64","used":true,"of":"elements","start":0}]`, OK, false},
		{"a start", "Rprop", with("Rprop", map[string]float64{"lr": 0.25}), "", device.Float32, device.Float32,
			`[{"name":"prev","type":"f32","used":true,"of":"elements","start":0},{"name":"step_size","type":"f32","used":true,"of":"elements","start":0.25}]`, OK, false},
		{"read alone", "Sophia", nil, "", device.Float32, device.Float32,
			`[{"name":"exp_avg","type":"f32","used":true,"of":"elements","start":0},{"name":"hessian","type":"f32","used":true,"of":"elements","start":0,"given":true}]`, OK, false},
		{"sixteen bits", "SGD", with("SGD", map[string]float64{"momentum": 0.9}), `{"all": "bf16", "master": "i16", "ema_decay": 0.9}`, device.BFloat16, device.Float32,
			`[{"name":"momentum_buffer","type":"bf16","used":true,"of":"elements","start":0},{"name":"ema","type":"f32","used":true,"of":"elements","start":0},{"name":"remainder","type":"i16","used":true,"of":"elements","start":null}]`, OK, false},
		{"no master", "SGD", nil, `{"master": "f32"}`, device.Float32, device.Float32,
			`[{"name":"momentum_buffer","type":"","used":false,"of":"elements","start":0},{"name":"master","type":"","used":false,"of":"elements","start":null}]`, OK, false},
		{"a matrix", "Adafactor", nil, "", device.BFloat16, device.BFloat16,
			`[{"name":"exp_avg","type":"","used":false,"of":"elements","start":0},{"name":"variance","type":"","used":false,"of":"elements","start":0},` +
				`{"name":"row_var","type":"f32","used":true,"of":"rows","start":0},{"name":"col_var","type":"f32","used":true,"of":"columns","start":0}]`, OK, true},
		{"a vector", "Adafactor", nil, "", device.Float64, device.Float64,
			`[{"name":"exp_avg","type":"","used":false,"of":"elements","start":0},{"name":"variance","type":"f64","used":true,"of":"elements","start":0},` +
				`{"name":"row_var","type":"","used":false,"of":"rows","start":0},{"name":"col_var","type":"","used":false,"of":"columns","start":0}]`, OK, false},
		{"rows of no use", "SGD", nil, "", device.Float32, device.Float32,
			`[{"name":"momentum_buffer","type":"","used":false,"of":"elements","start":0}]`, OK, true},
		{"name", "sgd", nil, "", device.Float32, device.Float32, "", Argument, false},
		{"range", "SGD", with("SGD", map[string]float64{"lr": math.NaN()}), "", device.Float32, device.Float32, "", HyperparameterRange, false},
		{"flag", "SGD", with("SGD", map[string]float64{"nesterov": 2}), "", device.Float32, device.Float32, "", HyperparameterRange, false},
		{"slot", "SGD", nil, `{"state": {"exp_avg": "bf16"}}`, device.Float32, device.Float32, "", Argument, false},
		{"type", "SGD", nil, `{"all": "f8"}`, device.Float32, device.Float32, "", Argument, false},
		{"master", "SGD", nil, `{"master": "f64"}`, device.Float32, device.Float32, "", Argument, false},
		{"field", "SGD", nil, `{"maximise": 1}`, device.Float32, device.Float32, "", Argument, false},
		{"behind", "SGD", nil, `{} {}`, device.Float32, device.Float32, "", Argument, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Slots(tt.algorithm, tt.hyper, tt.options, tt.value, tt.gradient, tt.matrix)
			require.Equal(t, tt.code, CodeOf(err), "%v", err)
			require.Equal(t, tt.want, got)
		})
	}
}

// world is tensors of a C program.
type world struct {
	values, grads [][]float32
}

func at(x [][]float32) (out []unsafe.Pointer) {
	for _, v := range x {
		out = append(out, unsafe.Pointer(&v[0]))
	}
	return out
}

func zeros(lengths []int) (out [][]float32) {
	for _, n := range lengths {
		out = append(out, make([]float32, n))
	}
	return out
}

// The caller who has the state is told where hyperparameters that change need more, before anything changes.
func TestStateIsNeeded(t *testing.T) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	lengths := []int{3, 2}
	k := kinds["AdamW"]
	types := slices.Repeat([]device.DType{device.Float32}, 2)
	w := world{values: zeros(lengths), grads: zeros(lengths)}
	group := Group{Lengths: lengths, Values: at(w.values), Value: types, Grad: types, State: make([][]unsafe.Pointer, 3)}
	first, second := zeros(lengths), zeros(lengths)
	group.State[0] = at(first)
	o, err := New(OnCPU(dev), "AdamW")
	require.NoError(t, err)
	err = o.AddGroup(group)
	require.EqualError(t, err, `tensor "0.0": state exp_avg_sq is needed, and not given`)
	require.Equal(t, State, CodeOf(err))
	group.State[1], group.State[2] = at(second), at(zeros(lengths))
	err = o.AddGroup(group)
	require.EqualError(t, err, `tensor "0.0": state max_exp_avg_sq is given, and there is none with these types and hyperparameters`)
	require.Equal(t, Argument, CodeOf(err))
	group.State[2] = nil
	require.NoError(t, o.AddGroup(group))
	hyper := k.defaults()
	hyper[slices.Index(k.Hyper, "amsgrad")] = 1
	w.grads[0][0] = 1
	rows := [][]unsafe.Pointer{nil, at(w.grads), nil, nil, nil}
	_, err = o.Step(Args{Hyper: hyper, Rows: rows})
	require.EqualError(t, err, "the hyperparameters now need state max_exp_avg_sq, which was not given")
	require.Equal(t, State, CodeOf(err))
	require.Zero(t, w.values[0][0])
	hyper[slices.Index(k.Hyper, "amsgrad")] = 0
	hyper[0] = 0.5
	_, err = o.Step(Args{Hyper: hyper, Rows: rows})
	require.NoError(t, err)
	require.InDelta(t, -0.5, w.values[0][0], 1e-6)
	require.InDelta(t, 0.1, first[0][0], 1e-7, "state is the caller's")
	require.NoError(t, o.Close())

	o, err = New(OnCPU(dev), "AdamW") // state of the library's grows as it must
	require.NoError(t, err)
	group.State = nil
	require.NoError(t, o.AddGroup(group))
	hyper[slices.Index(k.Hyper, "amsgrad")] = 1
	_, err = o.Step(Args{Hyper: hyper, Rows: rows})
	require.NoError(t, err)
	place := make([]unsafe.Pointer, 2)
	require.NoError(t, o.Row(0, 4, place))
	require.NotNil(t, place[1])
	require.NoError(t, o.Close())
}

// Counters go from one optimizer to another, of tensors that have taken different steps, and beside a group that has none.
func TestCounters(t *testing.T) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	lengths := []int{3, 2}
	types := slices.Repeat([]device.DType{device.Float32}, 2)
	make2 := func() (*Optimizer, world) {
		o, err := New(OnCPU(dev), "NAdam")
		require.NoError(t, err)
		w := world{values: zeros([]int{3, 2, 3, 2}), grads: zeros([]int{3, 2, 3, 2})}
		for i := range 2 {
			require.NoError(t, o.AddGroup(Group{Lengths: lengths, Values: at(w.values)[2*i:][:2], Value: types, Grad: types}))
		}
		for i := range w.grads {
			w.grads[i][0] = 1
		}
		return o, w
	}
	step := func(o *Optimizer, w world, mask ...uint8) {
		t.Helper()
		rows := make([][]unsafe.Pointer, 8)
		rows[1], rows[5] = at(w.grads)[:2], at(w.grads)[2:]
		_, err := o.Step(Args{Rows: rows, Mask: mask})
		require.NoError(t, err)
	}
	o, w := make2()
	step(o, w, 1, 1, 0, 0)
	step(o, w, 1, 0, 0, 0)
	n := o.NumCounters()
	saved := make([]float64, 2*n)
	require.NoError(t, o.Counters(0, saved))
	require.Equal(t, 2.0, saved[0])
	require.Equal(t, 1.0, saved[n])
	again, v := make2()
	require.NoError(t, again.SetCounters(0, saved))
	got := make([]float64, 2*n)
	require.NoError(t, again.Counters(0, got))
	require.Equal(t, saved, got)
	alone := slices.Repeat([]float64{math.NaN()}, 2*n)
	alone[0] = 2 // the second tensor is not told
	third, u := make2()
	require.NoError(t, third.SetCounters(0, alone))
	require.NoError(t, third.Counters(0, got))
	require.Equal(t, saved[:n], got[:n], "the step alone is enough")
	require.Equal(t, 0.0, got[n])
	for range 3 {
		step(again, v, 1, 1, 1, 1)
		step(third, u, 1, 1, 0, 1)
	}
	require.NoError(t, again.Counters(1, got))
	require.Equal(t, 3.0, got[0])
	bad := slices.Clone(saved)
	bad[0] = -1
	require.Equal(t, Argument, CodeOf(again.SetCounters(0, bad)))
	for _, o := range []*Optimizer{o, again, third} {
		require.NoError(t, o.Close())
	}
}

// Schedule-free tensors are evaluated where the caller says.
func TestEval(t *testing.T) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	o, err := New(OnCPU(dev), "ScheduleFreeSGD")
	require.NoError(t, err)
	w := world{values: zeros([]int{2}), grads: zeros([]int{2})}
	w.grads[0][1] = 1
	types := []device.DType{device.Float32}
	require.NoError(t, o.AddGroup(Group{Lengths: []int{2}, Values: at(w.values), Value: types, Grad: types}))
	n, err := o.Rows(0)
	require.NoError(t, err)
	rows := make([][]unsafe.Pointer, n)
	rows[1] = at(w.grads)
	for range 2 {
		_, err := o.Step(Args{Rows: rows})
		require.NoError(t, err)
	}
	to := zeros([]int{2})
	require.NoError(t, o.Eval(0, at(to)))
	require.Less(t, to[0][1], float32(0))
	require.NotEqual(t, to[0][1], w.values[0][1])
	require.Equal(t, Tensor, CodeOf(o.Eval(0, at(w.values))))
	require.NoError(t, o.Close())
}

// State that a tensor has once goes from one optimizer to another with the counters: the bits are those of one that went on.
func TestStateOnce(t *testing.T) {
	dev := OnCPU(cpu.NewThreads(1))
	defer dev.Close()
	lengths := []int{3, 500}
	types := slices.Repeat([]device.DType{device.Float32}, 2)
	w := world{values: zeros(lengths), grads: zeros(lengths)}
	state := zeros(lengths)
	start := func(values, state [][]float32) *Optimizer {
		o, err := New(dev, "NovoGrad")
		require.NoError(t, err)
		require.NoError(t, o.AddGroup(Group{Lengths: lengths, Values: at(values), Value: types, Grad: types, State: [][]unsafe.Pointer{at(state)}}))
		return o
	}
	step := func(o *Optimizer, mask ...uint8) {
		_, err := o.Step(Args{Rows: [][]unsafe.Pointer{nil, at(w.grads), nil}, Mask: mask})
		require.NoError(t, err)
	}
	for i := range w.grads {
		for k := range w.grads[i] {
			w.grads[i][k] = float32(math.Sin(float64(i + k + 1)))
		}
	}
	o := start(w.values, state)
	step(o, 1, 1)
	step(o, 1, 0)
	n := o.NumCounters()
	saved := make([]float64, 2*n)
	require.NoError(t, o.Counters(0, saved))
	require.Equal(t, "exp_avg_sq", kinds["NovoGrad"].Counters[n-1])
	require.Greater(t, saved[n-1], 0.1)
	require.Equal(t, []float64{2, 1}, []float64{saved[0], saved[n]})
	copied := func(x [][]float32) (out [][]float32) {
		for _, v := range x {
			out = append(out, slices.Clone(v))
		}
		return out
	}
	values, moments := copied(w.values), copied(state)
	again := start(values, moments)
	require.NoError(t, again.SetCounters(0, saved))
	for range 2 {
		step(o, 1, 1)
		step(again, 1, 1)
	}
	require.Equal(t, w.values, values)
	require.Equal(t, state, moments)
	require.NoError(t, o.Counters(0, saved))
	got := make([]float64, 2*n)
	require.NoError(t, again.Counters(0, got))
	require.Equal(t, saved, got)
	require.NoError(t, o.Close())
	require.NoError(t, again.Close())
}

// What all tensors have together stands in each tensor's row of counters, and must be one number.
func TestStateTogether(t *testing.T) {
	dev := OnCPU(cpu.NewThreads(1))
	defer dev.Close()
	lengths := []int{3, 500}
	types := slices.Repeat([]device.DType{device.Float32}, 2)
	w := world{values: zeros(lengths), grads: zeros(lengths)}
	o, err := New(dev, "Prodigy")
	require.NoError(t, err)
	require.NoError(t, o.AddGroup(Group{Lengths: lengths, Values: at(w.values), Value: types, Grad: types}))
	for step := range 6 {
		for i := range w.grads {
			for k := range w.grads[i] {
				w.grads[i][k] = w.values[i][k] - 1
			}
		}
		_, err = o.Step(Args{Rows: [][]unsafe.Pointer{nil, at(w.grads), nil, nil, nil, nil}, Mask: []uint8{1, uint8(step % 2)}})
		require.NoError(t, err)
	}
	n := o.NumCounters()
	require.Equal(t, []string{"d", "d_max", "d_numerator"}, kinds["Prodigy"].Counters[n-3:])
	saved := make([]float64, 2*n)
	require.NoError(t, o.Counters(0, saved))
	require.Equal(t, saved[n-3:n], saved[2*n-3:])
	require.Greater(t, saved[n-3], 1e-6)
	saved[2*n-3] = 1
	err = o.SetCounters(0, saved)
	require.ErrorContains(t, err, "d of tensor \"0.1\" is 1, and of one before it")
	saved[n-3] = 1
	require.NoError(t, o.SetCounters(0, saved))
	got := make([]float64, 2*n)
	require.NoError(t, o.Counters(0, got))
	require.Equal(t, saved, got)
	require.NoError(t, o.Close())
}

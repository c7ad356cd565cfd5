package optim_test

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// model is what a step of 16 bits is: numbers of float32 are made of what memory holds, the step calculates with these, and its results
// are rounded.
type model struct {
	setting  rule.Setting
	counters []float64
	sums     []float64
	types    map[string]device.DType // of slots; Float32 where there is none
	held     map[string]reference.Plane
}

func (m *model) dtype(slot string) device.DType {
	if t, ok := m.types[slot]; ok {
		return t
	}
	return device.Float32
}

// run is a program of float32 on the slots, under the names that the model has for them.
func (m *model) run(t *testing.T, s kernels.Spec, name func(string) string) {
	p, err := kernels.New(s)
	require.NoError(t, err)
	if m.sums == nil {
		m.sums = p.InitialSums(len(m.held["param"]), 0, 0)
	}
	numbers := reference.Tensor{Sums: m.sums}
	for _, slot := range p.Slots {
		held := m.held[name(slot.Name)]
		plane := make(reference.Plane, len(held))
		for i, w := range held {
			plane[i] = reference.Bits(device.Float32, reference.Value(m.dtype(name(slot.Name)), w))
		}
		numbers.Planes = append(numbers.Planes, plane)
	}
	counters := append([]float64{}, m.counters...)
	reference.Update(p, kernels.GroupStepOf(m.setting, m.setting.Hyper), 0, 1, counters, []reference.Tensor{numbers})
	for k, plane := range p.Planes {
		if plane.Store {
			to := name(p.Of(k).Name)
			for i, x := range numbers.Planes[k] {
				m.held[to][i] = reference.Bits(m.dtype(to), reference.Value(device.Float32, x))
			}
		}
	}
	for _, x := range p.TensorStates() {
		m.held[x.Name] = reference.PlaneOf(m.sums[x.Word : x.Word+1])
	}
	if !s.Eval {
		m.counters = counters
	}
}

func (m *model) step(t *testing.T) {
	m.run(t, kernels.SpecOf(m.setting, device.Float32), func(slot string) string { return slot })
}

// eval puts what is to be evaluated into the slot "eval".
func (m *model) eval(t *testing.T) {
	if m.setting.Eval == nil {
		copy(m.held["eval"], m.held["param"])
		return
	}
	m.run(t, kernels.Spec{Rule: m.setting.Eval, Compute: device.Float32, Eval: true}, func(slot string) string {
		switch slot {
		case rule.Param:
			return "eval"
		case rule.Grad:
			return rule.Param
		}
		return slot
	})
}

// planeOf is what a buffer holds.
func planeOf(t *testing.T, b *device.Buffer) reference.Plane {
	switch b.DType() {
	case device.Float32:
		return reference.PlaneOf(elements[float32](t, b))
	case device.Float64:
		return reference.PlaneOf(elements[float64](t, b))
	case device.Int16:
		return reference.PlaneOf(elements[int16](t, b))
	case device.Int8:
		return reference.PlaneOf(elements[int8](t, b))
	}
	return reference.PlaneOf(elements[uint16](t, b))
}

// elements are a buffer's.
func elements[E device.Element](t *testing.T, b *device.Buffer) []E {
	s, x := b.Device().DefaultStream(), make([]E, b.Len())
	require.NoError(t, device.Download(s, x, b))
	require.NoError(t, s.Synchronize())
	return x
}

// Every algorithm, a user's own too, does with 16 bits what it does with float32, between exact reading and rounding once.
func TestStored(t *testing.T) {
	forms := []struct {
		param, grad, all device.DType
		some             map[string]device.DType
	}{
		{device.BFloat16, device.BFloat16, 0, nil},
		{device.BFloat16, device.Float32, device.BFloat16, map[string]device.DType{"exp_avg_sq": device.Float32}},
		{device.Float32, device.BFloat16, device.Float16, nil},
		{device.Float16, device.BFloat16, 0, map[string]device.DType{"exp_avg": device.BFloat16}},
	}
	if testing.Short() {
		forms = forms[:2]
	}
	const n = 71
	cases := append(optim.Cases(), optim.Case{Name: "own", Algorithm: optim.Regularized{Algorithm: driftRule(t), L1: 0.1, WeightDecay: 0.2, Decoupled: true}})
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, c := range cases {
			for _, form := range forms {
				setting, err := c.Algorithm.Setting()
				require.NoError(t, err)
				m := &model{setting: setting, counters: setting.Rule.InitialCounters(), types: map[string]device.DType{}, held: map[string]reference.Plane{}}
				some := map[string]device.DType{}
				for _, slot := range setting.Rule.Slots {
					m.types[slot] = device.Float32
					if form.all != 0 {
						m.types[slot] = form.all
					}
					if dtype, ok := form.some[slot]; ok {
						m.types[slot], some[slot] = dtype, dtype
					}
				}
				for _, slot := range handed(t, setting) { // what one pass rounds, the next one reads
					m.types[slot], some[slot] = device.Float32, device.Float32
				}
				for _, f := range setting.Rule.Tensor {
					m.types[f.State] = device.Float64
				}
				m.types["param"], m.types["grad"], m.types["eval"] = form.param, form.grad, form.param

				h, rng := onBackend(t, b), rand.New(rand.NewPCG(1, 2))
				at := map[string]*device.Buffer{}
				for _, slot := range []string{"param", "grad", "eval"} {
					at[slot] = h.buffer(m.types[slot], random(rng, n))
				}
				o, err := optim.New(b, optim.Stored{Algorithm: c.Algorithm, State: some, All: form.all}, []optim.Param{{Name: "w", Value: at["param"], Grad: at["grad"]}})
				require.NoError(t, err, c.Name)
				states, err := o.States("w")
				require.NoError(t, err)
				for slot, buffer := range states {
					at[slot] = buffer
					require.Equal(t, m.types[slot], buffer.DType(), "%s: %s", c.Name, slot)
					if k := setting.Rule.Slot(slot); k < 0 {
						require.Equal(t, 1, buffer.Len(), "%s: %s", c.Name, slot)
					} else if h := setting.Rule.Start[k]; h >= 0 {
						require.Equal(t, reference.Bits(buffer.DType(), setting.Hyper[h]), planeOf(t, buffer)[0], "%s: %s", c.Name, slot)
					}
				}
				if hessian := at["hessian"]; hessian != nil {
					h.set(hessian, random(rng, n))
				}
				for slot, buffer := range at {
					m.held[slot] = planeOf(t, buffer)
				}
				for step := range 3 {
					h.set(at["grad"], random(rng, n))
					m.held["grad"] = planeOf(t, at["grad"])
					require.NoError(t, o.Step(nil))
					m.step(t)
					require.NoError(t, o.EvalParams(nil, map[string]*device.Buffer{"w": at["eval"]}))
					m.eval(t)
					for slot, buffer := range at {
						for i, w := range planeOf(t, buffer) {
							if dtype := buffer.DType(); !reference.Same(dtype, m.held[slot][i], w) {
								t.Fatalf("%s, %v: step %d: %s[%d] is %s, want %s", c.Name, form, step, slot, i, reference.Text(dtype, w), reference.Text(dtype, m.held[slot][i]))
							}
						}
					}
				}
				require.NoError(t, o.Close())
				for _, slot := range []string{"param", "grad", "eval"} {
					require.NoError(t, at[slot].Close())
				}
			}
		}
	})
}

// handed are the slots that a pass of a step writes and a later one reads.
func handed(t *testing.T, s rule.Setting) (slots []string) {
	p, err := kernels.New(kernels.SpecOf(s, device.Float32))
	require.NoError(t, err)
	written := map[int]bool{}
	for _, pass := range p.Passes {
		for _, k := range pass.Loads {
			if written[k] {
				slots = append(slots, p.Of(k).Name)
			}
		}
		for _, k := range pass.Stores {
			written[k] = true
		}
	}
	return slots
}

// What cannot be is named.
func TestStoredErrors(t *testing.T) {
	named := func(slot string) optim.Algorithm { // a rule with one slot
		r, err := rule.Read("own.go", strings.ReplaceAll(`package own

import "github.com/fusestep/fusestep/kernels/rule"

type Elem[F rule.Float] struct {
	P F "slot:\"param\""
	G F "slot:\"grad\""
	M F "slot:\"SLOT\""
}
type Scalars[F rule.Float] struct{ LR F }
type Options struct{}
type Hyper struct{ LR float64 }
type Counters struct{}

func Step[F rule.Float](e *Elem[F], s *Scalars[F], o Options) {
	e.M = e.G
	e.P -= F(s.LR * e.M)
}

func Prologue(h *Hyper, c *Counters, s *Scalars[float64], o Options) { s.LR = h.LR }
`, "SLOT", slot), "Prologue", "Step")
		require.NoError(t, err)
		a, err := optim.FromRule(r, map[string]float64{"lr": 0.1})
		require.NoError(t, err)
		return a
	}
	dev := cpu.NewThreads(1)
	defer dev.Close()
	h := onBackend(t, dev)
	param := func(dtype device.DType) []optim.Param {
		return []optim.Param{{Name: "w", Value: h.buffer(dtype, []float64{1}), Grad: h.buffer(dtype, []float64{1})}}
	}
	state := func(slot string, dtype device.DType) map[string]device.DType {
		return map[string]device.DType{slot: dtype}
	}
	adam, yogi := optim.DefaultAdam(), with(optim.DefaultYogi(), func(c *optim.Yogi) { c.InitialAccumulator = 1e-9 })
	for _, c := range []struct {
		alg   optim.Algorithm
		dtype device.DType
		want  string
		as    error
	}{
		{optim.Stored{Algorithm: adam, State: state("momentum", device.BFloat16)}, device.Float32,
			`optim: adam: format bf16 is for slot "momentum", which is none of "exp_avg", "exp_avg_sq", "max_exp_avg_sq"`, &format.SlotError{}},
		{optim.Stored{Algorithm: adam, State: state("param", device.BFloat16)}, device.Float32,
			`optim: adam: format bf16 is for slot "param", which is none of "exp_avg", "exp_avg_sq", "max_exp_avg_sq"`, &format.SlotError{}},
		{optim.Stored{Algorithm: optim.DefaultProximalSGD(), State: state("exp_avg", device.Float16)}, device.Float32,
			`optim: proximalsgd: format f16 is for slot "exp_avg", and there are none`, &format.SlotError{}},
		{optim.Stored{Algorithm: adam, State: state("exp_avg", device.Float64)}, device.BFloat16,
			`optim: group 0: kernels: Adam[] float32 param=bf16 grad=bf16 exp_avg=f64: slot "exp_avg": no format "f64" for calculations in float32: there are f32, bf16, f16`, &format.Error{}},
		{optim.Stored{Algorithm: adam, All: device.BFloat16}, device.Float64,
			`optim: group 0: kernels: Adam[] float64 exp_avg=bf16 exp_avg_sq=bf16 max_exp_avg_sq=bf16: slot "exp_avg": no format "bf16" for calculations in float64: there are f64`, &format.Error{}},
		{optim.Stored{Algorithm: adam, State: state("exp_avg", 0)}, device.Float32,
			`optim: group 0: kernels: Adam[] float32 exp_avg=DType(0): slot "exp_avg": no format "DType(0)" for calculations in float32: there are f32, bf16, f16`, &format.Error{}},
		{optim.Stored{Algorithm: yogi, All: device.Float16}, device.Float32,
			`optim: yogi: initial_accumulator_value is 1e-09, must be 0, or at least 2^-24, which is the least that float16 has`, &optim.HyperparameterError{}},
		{optim.Stored{Algorithm: named("master"), Master: optim.MasterFloat32}, device.BFloat16,
			`optim: step: the rule has state "master" of its own, which is what a master keeps beside a value of 16 bits: give the slot another name`, nil},
		{optim.Stored{Algorithm: named("remainder"), Master: optim.MasterRemainder8}, device.BFloat16,
			`optim: step: the rule has state "remainder" of its own, which is what a master keeps beside a value of 16 bits: give the slot another name`, nil},
		{optim.Stored{}, device.Float32, `optim: stored: the algorithm is nil`, nil},
		{optim.Stored{Algorithm: optim.Stored{Algorithm: adam, All: device.BFloat16}, State: state("exp_avg", device.Float16)}, device.Float32,
			`optim: group 0: kernels: Adam[] float32 exp_avg=bf16 exp_avg_sq=bf16 max_exp_avg_sq=bf16 exp_avg=f16: ` +
				`formats "exp_avg=bf16 exp_avg_sq=bf16 max_exp_avg_sq=bf16 exp_avg=f16": slot "exp_avg" has two, bf16 and f16`, nil},
	} {
		o, err := optim.New(dev, c.alg, param(c.dtype))
		require.EqualError(t, err, c.want)
		require.Nil(t, o)
		if c.as != nil {
			require.ErrorAs(t, err, reflect.New(reflect.TypeOf(c.as)).Interface())
		}
	}

	params := param(device.BFloat16)
	o, err := optim.New(dev, adam, params)
	require.NoError(t, err)
	wide := h.buffer(device.Float64, []float64{1})
	var tensor *optim.TensorError
	require.ErrorAs(t, o.SetGrad("w", wide), &tensor)
	require.Equal(t, &format.Error{Slot: "grad", Format: "f64", Compute: device.Float32}, tensor.Err)
	require.EqualError(t, o.EvalParams(nil, map[string]*device.Buffer{"w": wide}), `optim: group 0, tensor "w": eval is float64, value is bfloat16`)
	require.NoError(t, o.Step(nil), "as it was")

	// A group's types stay.
	stored := optim.Stored{Algorithm: adam, State: state("exp_avg", device.BFloat16)}
	o, err = optim.New(dev, stored, param(device.Float32))
	require.NoError(t, err)
	stored.State["exp_avg"] = device.Float16 // the optimizer has a copy
	require.NoError(t, o.SetHyperparameter("betas[0]", 0.5))
	require.NoError(t, o.SetHyperparameter("amsgrad", 1))
	require.NoError(t, o.Step(nil))
	for _, alg := range []optim.Algorithm{stored, adam} {
		require.ErrorContains(t, o.SetAlgorithm(0, alg), "other types need a new group")
	}
	buffer, err := o.State("w", "exp_avg")
	require.NoError(t, err)
	require.Equal(t, device.BFloat16, buffer.DType())
}

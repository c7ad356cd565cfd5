package optim_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// torchFile reads one of testdata/torch, whose README tells what the files hold and derives the bounds in them.
func torchFile(t *testing.T, name string, into any) {
	text, err := os.ReadFile("testdata/torch/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

// pythons spells hyperparameters as Go does, but for case, which encoding/json does not look at.
var pythons = strings.NewReplacer("initial_accumulator_value", "InitialAccumulator", "decoupled_weight_decay", "Decoupled", "_", "")

// algorithm is the named case of optim.Cases with these hyperparameters and no others. Each of them must be a field.
func algorithm(t *testing.T, name string, hyper map[string]json.RawMessage) optim.Algorithm {
	fields := map[string]json.RawMessage{}
	for key, x := range hyper {
		fields[pythons.Replace(key)] = x
	}
	text, err := json.Marshal(fields)
	require.NoError(t, err)
	for _, c := range optim.Cases() {
		if c.Name == name {
			a := reflect.New(reflect.TypeOf(c.Algorithm))
			a.Elem().Set(reflect.ValueOf(c.Algorithm)) // which starts from its defaults
			for _, f := range reflect.VisibleFields(a.Type().Elem()) {
				if f.IsExported() {
					a.Elem().FieldByIndex(f.Index).SetZero()
				}
			}
			d := json.NewDecoder(bytes.NewReader(text))
			d.DisallowUnknownFields()
			require.NoError(t, d.Decode(a.Interface()))
			return a.Elem().Interface().(optim.Algorithm)
		}
	}
	t.Fatalf("no algorithm %q", name)
	return nil
}

type values map[string][]float64

type torchCase struct {
	Name, Optimizer, DType string
	Listed                 bool // in docs/coming-from.md
	Hyper                  map[string]json.RawMessage
	Elements               []int             // of the inputs, which the tensor has; nil: all
	Input                  map[string]values // state that is written from outside, by the step before which it is
	Shape                  []int             // nil: one axis
	LRFactor               []float64         `json:"lr_factor"` // nil: the inputs'
	Param                  values
	ParamBound             values            `json:"param_bound"`
	State                  map[string]values `json:"state"`
	StateBound             map[string]values `json:"state_bound"`
}

// torchInputs are what all cases run on.
type torchInputs struct {
	Steps    int
	Init     values
	Grads    map[string][][]float64
	LRFactor []float64 `json:"lr_factor"`
	Cases    []torchCase
}

// run holds the case to its bounds. It returns how far apart the parameters are at most, and how far they may be, in units of
// roundoff of what they have moved through.
func (c torchCase) run(t *testing.T, in *torchInputs) (apart, bound float64) {
	dtype, err := device.ParseDType(c.DType)
	require.NoError(t, err)
	init := c.pick(in.Init[c.DType])
	h := newHarness(t, dtype, init)
	h.shape = c.Shape
	o := h.optimizer(algorithm(t, c.Optimizer, c.Hyper))
	factors := in.LRFactor
	if c.LRFactor != nil {
		factors = c.LRFactor
	}
	require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(k int) float64 { return factors[k] })))
	before, path := h.values(h.value), make([]float64, len(init))
	for step := 1; step <= in.Steps; step++ {
		key := strconv.Itoa(step)
		h.set(h.grad, c.pick(in.Grads[c.DType][step-1]))
		for name, x := range c.Input[key] {
			h.set(h.state(o, name), x)
		}
		require.NoError(t, o.Step(nil))
		now := h.values(h.value)
		for i, p := range now {
			path[i] += math.Abs(p - before[i])
		}
		before = now
		if want := c.Param[key]; want != nil {
			within(t, key+" param", now, want, c.ParamBound[key])
			for i, p := range now {
				through := math.Abs(p) + path[i]
				// Beside the derived bound: float64 agrees to 1e-12 of what the parameter moved through, but for RAdam (README).
				if dtype == device.Float64 && c.Optimizer != "radam" && math.Abs(p-want[i]) > 1e-12*through {
					t.Errorf("step %s: param[%d] is %v, torch has %v: more than 1e-12 of %v apart", key, i, p, want[i], through)
				}
				if unit := roundoff(dtype) * through; unit > 0 {
					apart, bound = max(apart, math.Abs(p-want[i])/unit), max(bound, c.ParamBound[key][i]/unit)
				}
			}
		}
		for name, want := range c.State[key] {
			within(t, key+" "+name, h.values(h.state(o, name)), want, c.StateBound[key][name])
		}
	}
	return apart, bound
}

// pick is what the case's tensor has of an input.
func (c torchCase) pick(x []float64) (out []float64) {
	if c.Elements == nil {
		return x
	}
	for _, i := range c.Elements {
		out = append(out, x[i])
	}
	return out
}

func roundoff(t device.DType) float64 {
	return map[device.DType]float64{device.Float32: 0x1p-24, device.Float64: 0x1p-53}[t]
}

// withoutGolden are cases of optim.Cases that no golden case is of, and why.
var withoutGolden = map[string]string{}

// goldens are the golden cases of all optimizers, by the file in testdata that holds them. They run on the same inputs. Files are
// found, not listed: a file holds an optimizer's if its cases name one.
func goldens(t *testing.T) (in torchInputs, cases map[string][]torchCase) {
	torchFile(t, "optimizers.json", &in)
	files, err := filepath.Glob("testdata/*/*.json")
	require.NoError(t, err)
	cases = map[string][]torchCase{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var named struct{ Cases []struct{ Optimizer string } }
		require.NoError(t, json.Unmarshal(text, &named), path)
		n := 0
		for _, c := range named.Cases {
			if c.Optimizer != "" {
				n++
			}
		}
		if n == 0 {
			continue // schedules, clipping: other tests read these
		}
		require.Equal(t, len(named.Cases), n, "%s: a case names no optimizer", path)
		name, err := filepath.Rel("testdata/torch", path)
		require.NoError(t, err)
		cases[path] = torchCases(t, name)
	}
	return in, cases
}

// Every algorithm computes what its golden cases say, within the bound of each number.
func TestGoldens(t *testing.T) {
	in, files := goldens(t)
	for path, cases := range files {
		for _, c := range cases {
			t.Run(path+"/"+c.Name+"/"+c.DType, func(t *testing.T) { c.run(t, &in) })
		}
	}
}

// Every case of the table has golden cases, of its algorithm with its options, in both types, or withoutGolden says why not.
func TestEveryCaseHasAGolden(t *testing.T) {
	type computation struct {
		algorithm string
		options   uint64
		dtype     string
	}
	golden := map[computation]bool{}
	setting := func(name string, a optim.Algorithm) rule.Setting {
		s, err := a.Setting()
		require.NoError(t, err, name)
		return s
	}
	_, files := goldens(t)
	for _, cases := range files {
		for _, c := range cases {
			s := setting(c.Name, algorithm(t, c.Optimizer, c.Hyper))
			golden[computation{s.Name, s.Options, c.DType}] = true
		}
	}
	for _, c := range optim.Cases() {
		s := setting(c.Name, c.Algorithm)
		has := golden[computation{s.Name, s.Options, "float32"}] && golden[computation{s.Name, s.Options, "float64"}]
		why, excused := withoutGolden[c.Name]
		switch {
		case !has && !excused:
			t.Errorf("case %s has no golden: testdata/numpy/README.md says how to add one; or give withoutGolden a reason", c.Name)
		case has && excused:
			t.Errorf("case %s has a golden now: withoutGolden should no longer say %q", c.Name, why)
		case excused && why == "":
			t.Errorf("case %s: withoutGolden gives no reason", c.Name)
		}
	}
	for name := range withoutGolden {
		has := slices.ContainsFunc(optim.Cases(), func(c optim.Case) bool { return c.Name == name })
		require.True(t, has, "withoutGolden has %s, and there is no such case", name)
	}
}

func torchCases(t *testing.T, name string) []torchCase {
	var file struct{ Cases []torchCase }
	torchFile(t, name, &file)
	require.NotEmpty(t, file.Cases)
	return file.Cases
}

func within(t *testing.T, what string, got, want, bound []float64) {
	t.Helper()
	require.Len(t, got, len(want))
	require.Len(t, bound, len(want))
	for i := range got {
		if !(math.Abs(got[i]-want[i]) <= bound[i]) {
			t.Errorf("step %s[%d] is %v (%x), torch has %v (%x): %.3g apart, bound %.3g", what, i, got[i], got[i], want[i], want[i],
				math.Abs(got[i]-want[i]), bound[i])
		}
	}
}

// harness is one tensor on a CPU device, seen as float64 whatever its type.
type harness struct {
	t           *testing.T
	dev         *cpu.Device
	memory      *device.Device
	value, grad *device.Buffer
	shape       []int // nil: one axis
}

func newHarness(t *testing.T, dtype device.DType, init []float64) *harness {
	h := &harness{t: t, dev: cpu.NewThreads(2)}
	h.memory = h.dev.Device()
	t.Cleanup(func() { require.NoError(t, h.dev.Close()) })
	h.value, h.grad = h.buffer(dtype, init), h.buffer(dtype, make([]float64, len(init)))
	return h
}

// onBackend is a harness without a tensor on any backend.
func onBackend(t *testing.T, b kernels.Backend) *harness { return &harness{t: t, memory: b.Device()} }

// onCPU is one on a processor of one thread, and that.
func onCPU(t *testing.T) (*cpu.Device, *harness) {
	dev := cpu.NewThreads(1)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	return dev, onBackend(t, dev)
}

func (h *harness) buffer(dtype device.DType, x []float64) *device.Buffer {
	b, err := h.memory.Alloc(dtype, len(x))
	require.NoError(h.t, err)
	h.set(b, x)
	return b
}

func (h *harness) optimizer(a optim.Algorithm) *optim.Optimizer {
	o, err := optim.New(h.dev, a, []optim.Param{{Value: h.value, Grad: h.grad, Shape: h.shape}})
	require.NoError(h.t, err)
	return o
}

// state is the tensor's state in the optimizer, or what EvalParams makes of it.
func (h *harness) state(o *optim.Optimizer, name string) *device.Buffer {
	if name == "eval_params" {
		b := h.buffer(h.value.DType(), make([]float64, h.value.Len()))
		require.NoError(h.t, o.EvalParams(nil, map[string]*device.Buffer{"0.0": b}))
		return b
	}
	b, err := o.State("0.0", name)
	require.NoError(h.t, err)
	return b
}

func (h *harness) set(b *device.Buffer, x []float64) {
	h.t.Helper()
	require.NoError(h.t, device.UploadFloats(h.memory.DefaultStream(), b, x))
}

func (h *harness) values(b *device.Buffer) []float64 {
	h.t.Helper()
	x := make([]float64, b.Len())
	require.NoError(h.t, device.DownloadFloats(h.memory.DefaultStream(), x, b))
	return x
}

func TestTorchClip(t *testing.T) {
	var file struct {
		LR    float64
		Init  map[string][][]float64
		Grads map[string][][][]float64
		Cases []struct {
			Name, DType string
			MaxNorm     float64   `json:"max_norm"`
			GradScale   float64   `json:"grad_scale"`
			TensorNorm  float64   `json:"tensor_norm"`
			TotalNorm   []float64 `json:"total_norm"`
			Param       [][]float64
		}
	}
	torchFile(t, "clip.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, c := range file.Cases {
		if c.MaxNorm == 0 {
			continue // turns clipping off here; torch makes all gradients 0
		}
		t.Run(c.Name+"/"+c.DType, func(t *testing.T) {
			dtype, err := device.ParseDType(c.DType)
			require.NoError(t, err)
			u := roundoff(dtype)
			const chain = 16 // torch's norm may err by so many roundings, see the README
			h := newHarness(t, dtype, nil)
			var params []optim.Param
			var bounds [][]float64
			for _, x := range file.Init[c.DType] {
				params = append(params, optim.Param{Value: h.buffer(dtype, x), Grad: h.buffer(dtype, make([]float64, len(x)))})
				bounds = append(bounds, make([]float64, len(x)))
			}
			o, err := optim.New(h.dev, sgd(file.LR), params)
			require.NoError(t, err)
			require.NoError(t, o.SetClipNorm(c.MaxNorm))
			require.NoError(t, o.SetClipTensorNorm(c.TensorNorm))
			for step, total := range c.TotalNorm {
				coef := math.Min(1, c.MaxNorm/(total+1e-6))
				for i, p := range params {
					g := append([]float64(nil), file.Grads[c.DType][step][i]...)
					own, errs := coef, chain+8.0
					if c.TensorNorm > 0 {
						squares := 0.0
						for _, x := range g {
							squares += x * x
						}
						own *= math.Min(1, c.TensorNorm/(math.Sqrt(squares)*c.GradScale*coef+1e-6))
						errs = 3*chain + 20 // of both, and of what the first has left in the second's norm
					}
					for k := range g {
						g[k] *= c.GradScale
						bounds[i][k] += file.LR*math.Abs(g[k])*own*errs*u + 2*u*math.Abs(h.values(p.Value)[k])
					}
					h.set(p.Grad, g)
				}
				require.NoError(t, o.Step(nil))
				norm, err := o.GradNorm(nil)
				require.NoError(t, err)
				require.InDelta(t, total, norm, chain*u*total, "norm of step %d", step)
			}
			for i, p := range params {
				within(t, "3 param", h.values(p.Value), c.Param[i], bounds[i])
			}
		})
	}
}

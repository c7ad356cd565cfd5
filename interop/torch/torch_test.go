// Package torch_test holds fusestep and torch to each other where a training moves from one to the other in mid-run. It needs no Python: files
// that the converter has written are in testdata, and what fusestep writes for it. The tests in Python continue those.
package torch_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint"
)

var write = flag.Bool("write", false, "write testdata/to-torch again")

// The goldens have 25 steps; a training moves after 12.
const moves, ends = 12, 25

// golden is a golden case of torch's, of optim/testdata/torch: what it is after steps, and how far a correct implementation may be from that.
type golden struct {
	Name, Optimizer, DType string
	Hyper                  map[string]any
	Elements               []int // of the inputs; nil: all
	Shape                  []int
	Param                  map[string][]float64
	ParamBound             map[string][]float64 `json:"param_bound"`
	State                  map[string]map[string][]float64
	StateBound             map[string]map[string][]float64 `json:"state_bound"`
}

// inputs are what all cases run on.
type inputs struct {
	Init     map[string][]float64
	Grads    map[string][][]float64
	LRFactor []float64 `json:"lr_factor"`
}

// of are those of the inputs' numbers that the case has.
func (c golden) of(numbers []float64) []float64 {
	if c.Elements == nil {
		return numbers
	}
	var out []float64
	for _, i := range c.Elements {
		out = append(out, numbers[i])
	}
	return out
}

// goldens are the cases by tensor: name and type.
func goldens(t *testing.T) (in inputs, cases map[string]golden) {
	cases = map[string]golden{}
	for _, name := range []string{"optimizers.json", "more.json", "variants.json", "factored.json"} {
		text, err := os.ReadFile(filepath.Join("../../optim/testdata/torch", name))
		require.NoError(t, err)
		var file struct{ Cases []golden }
		require.NoError(t, json.Unmarshal(text, &file))
		for _, c := range file.Cases {
			cases[c.Name+"/"+c.DType] = c
		}
		if name == "optimizers.json" {
			require.NoError(t, json.Unmarshal(text, &in))
		}
	}
	return in, cases
}

// training is an optimizer with a group for each of some golden cases.
type training struct {
	*optim.Optimizer
	stream *device.Stream
	in     inputs
	cases  map[string]golden
	params []optim.Param
}

// group is an algorithm by its name in a state dict, and the golden case that its group is.
type group struct{ algorithm, tensor string }

// start starts a training of algorithms with their defaults.
func start(t *testing.T, groups []group) *training {
	dev := cpu.NewThreads(2)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	x := &training{stream: dev.DefaultStream()}
	x.in, x.cases = goldens(t)
	for i, g := range groups {
		c := x.cases[g.tensor]
		dtype, err := device.ParseDType(c.DType)
		require.NoError(t, err)
		p, init := optim.Param{Name: g.tensor, Shape: c.Shape}, c.of(x.in.Init[c.DType])
		for _, b := range []**device.Buffer{&p.Value, &p.Grad} {
			*b, err = dev.Alloc(dtype, len(init))
			require.NoError(t, err)
		}
		require.NoError(t, device.UploadFloats(x.stream, p.Value, init))
		x.params = append(x.params, p)
		if i == 0 {
			x.Optimizer, err = optim.New(dev, algorithm(t, g.algorithm), []optim.Param{p})
		} else {
			err = x.AddGroup(algorithm(t, g.algorithm), []optim.Param{p})
		}
		require.NoError(t, err)
	}
	require.NoError(t, x.SetSchedule(optim.ScheduleFunc(func(k int) float64 { return x.in.LRFactor[k] })))
	return x
}

// algorithm is the one of a type's name, with its defaults.
func algorithm(t *testing.T, name string) optim.Algorithm {
	for _, c := range optim.Cases() {
		if reflect.TypeOf(c.Algorithm).Name() == name {
			return c.Algorithm
		}
	}
	t.Fatalf("no algorithm %s", name)
	return nil
}

// steps takes steps up to the last, with the goldens' gradients.
func (x *training) steps(t *testing.T, last int) {
	for x.Steps() < last {
		for _, p := range x.params {
			require.NoError(t, device.UploadFloats(x.stream, p.Grad, x.cases[p.Name].of(x.in.Grads[x.cases[p.Name].DType][x.Steps()])))
		}
		require.NoError(t, x.Step(nil))
	}
}

// A training of torch's that has moved here in mid-run comes where torch came, as near as one that has been here from the start.
func TestFromTorch(t *testing.T) {
	files, err := filepath.Glob("testdata/from-torch/*.safetensors")
	require.NoError(t, err)
	require.Len(t, files, 12, "optimizers that torch and fusestep have, Adam and AdamW being two")
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			d, file, err := checkpoint.Read(path)
			require.NoError(t, err)
			require.NoError(t, file.Close())
			var groups []group
			for g, tensor := range d.Tensors() {
				groups = append(groups, group{g.Algorithm, tensor.Name})
			}
			x := start(t, groups)
			require.NoError(t, checkpoint.Load(path, x.Optimizer, nil, optim.LoadOptions{}))
			require.Equal(t, moves, x.Steps())
			x.steps(t, ends)
			for _, p := range x.params {
				c, key := x.cases[p.Name], fmt.Sprint(ends)
				within(t, p.Name+" param", x.floats(t, p.Value), c.Param[key], c.ParamBound[key])
				for slot, want := range c.State[key] {
					b, err := x.State(p.Name, slot)
					require.NoError(t, err)
					within(t, p.Name+" "+slot, x.floats(t, b), want, c.StateBound[key][slot])
				}
			}
		})
	}
}

// What fusestep saves in mid-run and at the end is what testdata has, from which the tests in Python let torch go on.
func TestToTorch(t *testing.T) {
	types := map[string]string{"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adagrad": "Adagrad", "adamax": "Adamax",
		"nadam": "NAdam", "radam": "RAdam", "adadelta": "Adadelta", "rprop": "Rprop", "asgd": "ASGD", "adafactor": "Adafactor"}
	for optimizer, name := range types {
		t.Run(optimizer, func(t *testing.T) {
			_, cases := goldens(t)
			var groups []group
			names := slices.SortedFunc(maps.Keys(cases), func(a, b string) int {
				return cmp.Or(len(cases[a].Shape)-len(cases[b].Shape), strings.Compare(a, b))
			})
			for i, tensor := range names {
				// Of the two types of a case one; the cases with l1 are none that torch has.
				if c := cases[tensor]; c.Optimizer == optimizer && i%4 < 2 == (c.DType == "float32") && (c.Hyper["l1"] == nil || c.Hyper["l1"] == 0.) {
					groups = append(groups, group{name, tensor})
				}
			}
			x := start(t, groups)
			for i, g := range groups {
				for _, key := range slices.Sorted(maps.Keys(cases[g.tensor].Hyper)) {
					set(t, x, i, key, cases[g.tensor].Hyper[key])
				}
			}
			for _, step := range []int{moves, ends} {
				x.steps(t, step)
				same(t, filepath.Join("testdata/to-torch", fmt.Sprintf("%s-%d.safetensors", optimizer, step)), x.Optimizer)
			}
		})
	}
}

// set gives a group a hyperparameter as JSON has it.
func set(t *testing.T, x *training, group int, name string, value any) {
	switch v := value.(type) {
	case []any:
		for i, e := range v {
			set(t, x, group, fmt.Sprintf("%s[%d]", name, i), e)
		}
	case bool:
		require.NoError(t, x.SetHyperparameter(name, map[bool]float64{true: 1}[v], group))
	default:
		require.NoError(t, x.SetHyperparameter(name, v.(float64), group))
	}
}

// same holds an optimizer to a file, bit for bit.
func same(t *testing.T, path string, o *optim.Optimizer) {
	if *write {
		require.NoError(t, checkpoint.Save(path, o, nil))
	}
	want, file, err := checkpoint.Read(path)
	require.NoError(t, err)
	got, err := o.StateDict(nil)
	require.NoError(t, err)
	apart, err := want.Differences(got)
	require.NoError(t, err)
	require.Empty(t, apart, "%s is not what fusestep saves: make fixtures-interop-torch", path)
	require.NoError(t, file.Close())
}

func (x *training) floats(t *testing.T, b *device.Buffer) []float64 {
	out := make([]float64, b.Len())
	require.NoError(t, device.DownloadFloats(x.stream, out, b))
	return out
}

func within(t *testing.T, what string, got, want, bound []float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range got {
		if !(math.Abs(got[i]-want[i]) <= bound[i]) {
			t.Errorf("%s[%d] is %v (%x), torch has %v (%x): %.3g apart, bound %.3g", what, i, got[i], got[i], want[i], want[i], math.Abs(got[i]-want[i]), bound[i])
		}
	}
}

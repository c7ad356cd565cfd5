package optim_test

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// N2: each hyperparameter of each algorithm that float32 turns into 0 or an infinity is refused, by its name, for tensors of float32
// alone. What is out of its range is refused as such.
func TestHyperparametersThatFloat32CannotHold(t *testing.T) {
	dev := cpu.New()
	defer dev.Close()
	tensor := func(dtype device.DType) []optim.Param {
		value, err := dev.Alloc(dtype, 1)
		require.NoError(t, err)
		grad, err := dev.Alloc(dtype, 1)
		require.NoError(t, err)
		return []optim.Param{{Value: value, Grad: grad}}
	}
	single, double := tensor(device.Float32), tensor(device.Float64)
	tried := 0
	for _, c := range optim.Cases() {
		typ := reflect.TypeOf(c.Algorithm)
		for _, f := range reflect.VisibleFields(typ) {
			if !f.IsExported() || typ.Name() == "NAdam" && f.Name == "MomentumDecay" { // a power of it counts, in float64
				continue
			}
			for _, x := range []float64{1e-46, 1e39} {
				v := reflect.New(typ).Elem()
				v.Set(reflect.ValueOf(c.Algorithm))
				numbers := []reflect.Value{v.FieldByIndex(f.Index)}
				if f.Type.Kind() == reflect.Array {
					numbers = nil
					for i := range f.Type.Len() {
						numbers = append(numbers, v.FieldByIndex(f.Index).Index(i))
					}
				}
				for i, n := range numbers {
					if n.Kind() != reflect.Float64 {
						continue
					}
					before := n.Float()
					n.SetFloat(x)
					alg := v.Interface().(optim.Algorithm)
					_, outside := alg.Setting()
					_, err := optim.New(dev, alg, single)
					var e *optim.HyperparameterError
					require.ErrorAs(t, err, &e, "%+v", alg)
					want := strings.ReplaceAll(strings.ToLower(cmp.Or(f.Tag.Get("hyper"), f.Name)), "_", "")
					if len(numbers) > 1 {
						want += fmt.Sprintf("[%d]", i)
					}
					if outside == nil {
						tried++
						require.Equal(t, want, strings.ReplaceAll(e.Name, "_", ""), "%+v", alg)
						require.Equal(t, x, e.Value)
						require.Contains(t, e.Want, "float32")
						o, err := optim.New(dev, alg, double)
						require.NoError(t, err, "%+v", alg)
						require.NoError(t, o.Close())
					}
					n.SetFloat(before)
				}
			}
		}
	}
	require.Greater(t, tried, 200)
}

func TestPrecisionMessages(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	p := []optim.Param{{Value: h.value, Grad: h.grad}}
	for alg, want := range map[optim.Algorithm]string{
		with(optim.DefaultAdam(), func(c *optim.Adam) { c.Eps = 1e-46 }): "optim: adam: eps is 1e-46, must be 0, or at least 2^-149, which is the least that float32 has",
		sgd(1e39): "optim: sgd: lr is 1e+39, must be below 2^128, which float32 takes for infinity",
		optim.Regularized{Algorithm: optim.DefaultLion(), L1: 1e-46}: "optim: lion: l1 is 1e-46, must be 0, or at least 2^-149, which is the least that float32 has",
	} {
		_, err := optim.New(h.dev, alg, p)
		require.EqualError(t, err, want)
	}
	for _, wrong := range []float64{-1, math.NaN(), math.Inf(1)} { // by an algorithm of the user's own
		_, err := optim.New(h.dev, penalized{wrong}, p)
		require.EqualError(t, err, fmt.Sprintf("optim: sgd: weight_decay is %v, must be at least 0, and finite", wrong))
	}
}

// penalized sets what the program around the rule does, as an algorithm of the user's own may.
type penalized struct{ decay float64 }

func (p penalized) Setting() (rule.Setting, error) {
	s, err := optim.DefaultSGD().Setting()
	s.DecoupledDecay = p.decay
	return s, err
}

package optim_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/optim"
)

// remainderFile is what Transformer Engine computes on float32 weights in two arrays. Numbers are their bits in memory.
type remainderFile struct {
	Steps    int
	LRFactor []float64 `json:"lr_factor"`
	Grads    []reference.Plane
	Cases    []struct {
		Name, Algorithm string
		Hyper           map[string]json.RawMessage
		Held            struct { // before the first step, and after each
			Param     [][]uint16
			Remainder [][]int16
			ExpAvg    []reference.Plane `json:"exp_avg"`
			ExpAvgSq  []reference.Plane `json:"exp_avg_sq"`
		}
		Bound map[string][][]float64 // by slot, after each step from Transformer Engine's numbers of the step before
	}
}

// masters are the weights that Transformer Engine makes of its two arrays.
func masters(param []uint16, remainder []int16) reference.Plane {
	out := make(reference.Plane, len(param))
	for i, high := range param {
		if remainder[i] < 0 {
			high--
		}
		out[i] = uint64(high)<<16 | uint64(uint16(remainder[i]))
	}
	return out
}

// weights are float32 numbers: in float32, or as Transformer Engine holds them.
type weights struct {
	value, remainder *device.Buffer
}

func (w weights) set(t *testing.T, param []uint16, remainder []int16) {
	if w.remainder == nil {
		setPlane(t, w.value, masters(param, remainder))
		return
	}
	s := w.value.Device().DefaultStream()
	require.NoError(t, device.Upload(s, w.value, param))
	require.NoError(t, device.Upload(s, w.remainder, remainder))
	require.NoError(t, s.Synchronize())
}

func (w weights) get(t *testing.T) reference.Plane {
	if w.remainder == nil {
		return planeOf(t, w.value)
	}
	s, remainder := w.value.Device().DefaultStream(), make([]int16, w.remainder.Len())
	require.NoError(t, device.Download(s, remainder, w.remainder))
	require.NoError(t, s.Synchronize())
	return masters(reference.Elements[uint16](planeOf(t, w.value)), remainder)
}

// Adam and AdamW on float32 weights and bfloat16 gradients, against Transformer Engine's on a bfloat16 weight and a remainder. Where the weights
// are held as Transformer Engine holds them, its arrays are taken and given as they are.
func TestRemainderGoldens(t *testing.T) {
	text, err := os.ReadFile("testdata/numpy/remainder.json")
	require.NoError(t, err)
	var file remainderFile
	require.NoError(t, json.Unmarshal(text, &file))
	require.NotEmpty(t, file.Cases)
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, c := range file.Cases {
			for _, dtype := range []device.DType{device.Float32, device.BFloat16} {
				t.Run(c.Name+"/"+dtype.String(), func(t *testing.T) {
					h, n := onBackend(t, b), len(c.Held.Param[0])
					w := weights{value: h.buffer(dtype, make([]float64, n))}
					grad := h.buffer(device.BFloat16, make([]float64, n))
					defer w.value.Close()
					defer grad.Close()
					alg := optim.Stored{Algorithm: algorithm(t, c.Algorithm, c.Hyper), Master: optim.MasterRemainder}
					o, err := optim.New(b, alg, []optim.Param{{Name: "w", Value: w.value, Grad: grad}})
					require.NoError(t, err)
					defer o.Close()
					require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(k int) float64 { return file.LRFactor[k] })))
					if dtype == device.BFloat16 { // a float32 value is its own master
						w.remainder, err = o.State("w", "remainder")
						require.NoError(t, err)
					}
					expAvg, err := o.State("w", "exp_avg")
					require.NoError(t, err)
					expAvgSq, err := o.State("w", "exp_avg_sq")
					require.NoError(t, err)
					for step := 1; step <= file.Steps; step++ {
						setPlane(t, grad, file.Grads[step-1])
						w.set(t, c.Held.Param[step-1], c.Held.Remainder[step-1])
						setPlane(t, expAvg, c.Held.ExpAvg[step-1])
						setPlane(t, expAvgSq, c.Held.ExpAvgSq[step-1])
						require.NoError(t, o.Step(nil))
						for slot, x := range map[string][2]reference.Plane{
							"param":      {w.get(t), masters(c.Held.Param[step], c.Held.Remainder[step])},
							"exp_avg":    {planeOf(t, expAvg), c.Held.ExpAvg[step]},
							"exp_avg_sq": {planeOf(t, expAvgSq), c.Held.ExpAvgSq[step]},
						} {
							within(t, fmt.Sprint(step, " ", slot), decimals(x[0]), decimals(x[1]), c.Bound[slot][step-1])
						}
					}
				})
			}
		}
	})
}

// decimals are those of a plane of float32.
func decimals(p reference.Plane) []float64 {
	out := make([]float64, len(p))
	for i, x := range p {
		out[i] = reference.Value(device.Float32, x)
	}
	return out
}

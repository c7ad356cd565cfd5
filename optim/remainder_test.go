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

// Adam and AdamW on float32 weights and bfloat16 gradients, against Transformer Engine's on a bfloat16 weight and a remainder.
func TestRemainderGoldens(t *testing.T) {
	text, err := os.ReadFile("testdata/numpy/remainder.json")
	require.NoError(t, err)
	var file remainderFile
	require.NoError(t, json.Unmarshal(text, &file))
	require.NotEmpty(t, file.Cases)
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, c := range file.Cases {
			t.Run(c.Name, func(t *testing.T) {
				h, n := onBackend(t, b), len(c.Held.Param[0])
				value, grad := h.buffer(device.Float32, make([]float64, n)), h.buffer(device.BFloat16, make([]float64, n))
				defer value.Close()
				defer grad.Close()
				o, err := optim.New(b, algorithm(t, c.Algorithm, c.Hyper), []optim.Param{{Name: "w", Value: value, Grad: grad}})
				require.NoError(t, err)
				defer o.Close()
				require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(k int) float64 { return file.LRFactor[k] })))
				at := map[string]*device.Buffer{"param": value}
				for _, slot := range []string{"exp_avg", "exp_avg_sq"} {
					at[slot], err = o.State("w", slot)
					require.NoError(t, err)
				}
				held := func(step int) map[string]reference.Plane {
					return map[string]reference.Plane{
						"param":   masters(c.Held.Param[step], c.Held.Remainder[step]),
						"exp_avg": c.Held.ExpAvg[step], "exp_avg_sq": c.Held.ExpAvgSq[step]}
				}
				for step := 1; step <= file.Steps; step++ {
					setPlane(t, grad, file.Grads[step-1])
					for slot, plane := range held(step - 1) {
						setPlane(t, at[slot], plane)
					}
					require.NoError(t, o.Step(nil))
					for slot, plane := range held(step) {
						want := make([]float64, n)
						for i, x := range plane {
							want[i] = reference.Value(device.Float32, x)
						}
						within(t, fmt.Sprint(step, " ", slot), h.values(at[slot]), want, c.Bound[slot][step-1])
					}
				}
			})
		}
	})
}

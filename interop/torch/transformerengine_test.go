package torch_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint"
)

// What Transformer Engine's FusedAdam would have saved is exactly its masters and moments here, whichever way both keep them, and the next step
// is within the bound of its own.
func TestFromTransformerEngine(t *testing.T) {
	var file struct {
		LRFactor []float64 `json:"lr_factor"`
		Grads    [][]uint16
		Cases    []struct {
			Name string
			Held struct {
				Param     [][]uint16
				Remainder [][]int16
				ExpAvg    [][]uint32 `json:"exp_avg"`
				ExpAvgSq  [][]uint32 `json:"exp_avg_sq"`
			}
			Bound map[string][][]float64
		}
	}
	text, err := os.ReadFile("../../optim/testdata/numpy/remainder.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &file))
	c := file.Cases[1]
	require.Equal(t, "adamw/language model", c.Name)
	// masters are as its source makes them of two int16, after a step.
	masters := func(step int) []float64 {
		out := make([]float64, len(file.Grads[0]))
		for i, high := range c.Held.Param[step] {
			low := c.Held.Remainder[step][i]
			if low < 0 {
				high--
			}
			out[i] = float64(math.Float32frombits(uint32(high)<<16 | uint32(uint16(low))))
		}
		return out
	}
	moments := func(bits []uint32) []float64 {
		out := make([]float64, len(bits))
		for i, x := range bits {
			out[i] = float64(math.Float32frombits(x))
		}
		return out
	}
	for _, saved := range []string{"remainder", "master"} {
		for here, as := range map[string]struct {
			dtype  device.DType
			master optim.Master
		}{
			"remainder": {device.BFloat16, optim.MasterRemainder},
			"master":    {device.BFloat16, optim.MasterFloat32},
			"float32":   {device.Float32, optim.NoMaster},
		} {
			t.Run(fmt.Sprintf("%s to %s", saved, here), func(t *testing.T) {
				dev := cpu.NewThreads(2)
				defer dev.Close()
				x := &training{stream: dev.DefaultStream()}
				value, err := dev.Alloc(as.dtype, len(file.Grads[0]))
				require.NoError(t, err)
				grad, err := dev.Alloc(device.BFloat16, value.Len())
				require.NoError(t, err)
				alg := optim.Stored{Algorithm: optim.DefaultAdamW(), Master: as.master}
				x.Optimizer, err = optim.New(dev, alg, []optim.Param{{Name: "w", Value: value, Grad: grad}})
				require.NoError(t, err)
				defer x.Close()
				require.NoError(t, x.SetSchedule(optim.ScheduleFunc(func(k int) float64 { return file.LRFactor[k] })))
				path := filepath.Join("testdata/transformer-engine", saved+".safetensors")
				var mismatch *optim.MismatchError
				err = checkpoint.Load(path, x.Optimizer, nil, optim.LoadOptions{})
				if saved == here {
					require.NoError(t, err)
				} else {
					require.ErrorAs(t, err, &mismatch)
					require.NoError(t, checkpoint.Load(path, x.Optimizer, nil, optim.LoadOptions{Convert: true}))
				}
				state := func(slot string) *device.Buffer {
					b, err := x.State("w", slot)
					require.NoError(t, err)
					return b
				}
				weights := func() []float64 {
					switch here {
					case "float32":
						return x.floats(t, value)
					case "master":
						return x.floats(t, state("master"))
					}
					high, low, out := make([]uint16, value.Len()), make([]int16, value.Len()), make([]float64, value.Len())
					require.NoError(t, device.Download(x.stream, high, value))
					require.NoError(t, device.Download(x.stream, low, state("remainder")))
					require.NoError(t, x.stream.Synchronize())
					for i := range out { // docs/numerics.md, "Masters"
						out[i] = float64(math.Float32frombits(uint32(high[i])<<16 + uint32(low[i])))
					}
					return out
				}
				require.Equal(t, moves, x.Steps())
				require.Equal(t, masters(moves), weights())
				require.Equal(t, moments(c.Held.ExpAvg[moves]), x.floats(t, state("exp_avg")))
				require.Equal(t, moments(c.Held.ExpAvgSq[moves]), x.floats(t, state("exp_avg_sq")))

				require.NoError(t, device.Upload(x.stream, grad, file.Grads[moves]))
				require.NoError(t, x.Step(nil))
				within(t, "param", weights(), masters(moves+1), c.Bound["param"][moves])
				within(t, "exp_avg", x.floats(t, state("exp_avg")), moments(c.Held.ExpAvg[moves+1]), c.Bound["exp_avg"][moves])
				within(t, "exp_avg_sq", x.floats(t, state("exp_avg_sq")), moments(c.Held.ExpAvgSq[moves+1]), c.Bound["exp_avg_sq"][moves])
			})
		}
	}
}

package torch_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint"
)

// A loop under torch's GradScaler that has moved here goes on with torch's bits and scales. The optimizer must have a GradScaler to begin with.
func TestScalerFromTorch(t *testing.T) {
	var file struct {
		Cases []struct {
			Name          string
			Grads, Param  [][]uint32
			Scale         []float64
			GrowthTracker []int `json:"growth_tracker"`
		}
	}
	text, err := os.ReadFile("../../optim/testdata/torch/scaler.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &file))
	stops, ran := map[string]int{"other factors": 9, "overflows": 10}, 0
	for _, c := range file.Cases {
		stop, moves := stops[c.Name]
		if !moves {
			continue
		}
		ran++
		path := filepath.Join("testdata/scaler", strings.ReplaceAll(c.Name, " ", "-")+".safetensors")
		t.Run(c.Name, func(t *testing.T) {
			dev := cpu.NewThreads(2)
			defer dev.Close()
			bits := func(x []uint32) []float32 {
				out := make([]float32, len(x))
				for i := range x {
					out[i] = math.Float32frombits(x[i])
				}
				return out
			}
			value, err := dev.Alloc(device.Float32, len(c.Param[0]))
			require.NoError(t, err)
			grad, err := dev.Alloc(device.Float32, len(c.Param[0]))
			require.NoError(t, err)
			o, err := optim.New(dev, optim.DefaultSGD(), []optim.Param{{Name: "w", Value: value, Grad: grad}})
			require.NoError(t, err)
			defer o.Close()
			var mismatch *optim.MismatchError
			require.ErrorAs(t, checkpoint.Load(path, o, nil, optim.LoadOptions{}), &mismatch)
			require.Len(t, mismatch.Mismatches, 1)
			require.Equal(t, optim.MismatchAround, mismatch.Mismatches[0].What)
			require.Zero(t, o.Steps())

			g := optim.DefaultGradScaler()
			require.NoError(t, o.SetGradScaler(nil, &g))
			require.NoError(t, o.SetClipNorm(math.Inf(1)))
			require.NoError(t, checkpoint.Load(path, o, nil, optim.LoadOptions{}))
			for step := stop; step < len(c.Grads); step++ {
				require.NoError(t, device.Upload(dev.DefaultStream(), grad, bits(c.Grads[step])))
				require.NoError(t, o.Step(nil))
				state, err := o.GradScalerState(nil)
				require.NoError(t, err)
				require.Equal(t, []any{c.Scale[step+1], c.GrowthTracker[step+1]}, []any{state.Scale, state.GrowthTracker}, "after step %d", step)
				got := make([]float32, value.Len())
				require.NoError(t, device.Download(dev.DefaultStream(), got, value))
				require.NoError(t, dev.DefaultStream().Synchronize())
				require.Equal(t, bits(c.Param[step+1]), got, "after step %d", step)
			}
			_, err = o.GradNorm(nil)
			require.NoError(t, err, "what is around steps stayed")

			d, err := o.StateDict(nil)
			require.NoError(t, err)
			d.ScalerState = d.Around.ScalerState
			require.ErrorAs(t, o.LoadStateDict(nil, d, optim.LoadOptions{}), &mismatch, "it is there twice")
			d.Around, d.ScalerState.GrowthTracker = nil, -1
			require.ErrorAs(t, o.LoadStateDict(nil, d, optim.LoadOptions{}), &mismatch, "it is out of range")
		})
	}
	require.Equal(t, len(stops), ran)
}

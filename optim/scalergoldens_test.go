package optim_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/optim"
)

// scalerCase is a training loop of SGD under torch.amp.GradScaler. Parameters, momenta and gradients are their bits in memory.
type scalerCase struct {
	Name   string
	Scaler struct {
		InitScale      float64 `json:"init_scale"`
		GrowthFactor   float64 `json:"growth_factor"`
		BackoffFactor  float64 `json:"backoff_factor"`
		GrowthInterval int     `json:"growth_interval"`
	}
	SGD            map[string]json.RawMessage
	Grads          []reference.Plane // of each step, multiplied by the scale
	FoundInf       []int             `json:"found_inf"`
	Scale          []float64         // before the first step, and after each, as what follows
	GrowthTracker  []int             `json:"growth_tracker"`
	Param          []reference.Plane
	MomentumBuffer []reference.Plane `json:"momentum_buffer"`
}

// A loop that scales, checks and skips as torch's does, on the host, has torch's scales, and SGD in it torch's bits.
func TestScalerGoldens(t *testing.T) {
	var file struct{ Cases []scalerCase }
	torchFile(t, "scaler.json", &file)
	require.NotEmpty(t, file.Cases)
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, c := range file.Cases {
			t.Run(c.Name, func(t *testing.T) { c.run(t, b) })
		}
	})
}

func (c scalerCase) run(t *testing.T, b kernels.Backend) {
	h, n := onBackend(t, b), len(c.Param[0])
	value, grad := h.buffer(device.Float32, make([]float64, n)), h.buffer(device.Float32, make([]float64, n))
	defer value.Close()
	defer grad.Close()
	setPlane(t, value, c.Param[0])
	o, err := optim.New(b, algorithm(t, "sgd", c.SGD), []optim.Param{{Name: "w", Value: value, Grad: grad}})
	require.NoError(t, err)
	defer o.Close()
	scale, tracker := float32(c.Scaler.InitScale), 0
	for step, scaled := range c.Grads {
		require.Equal(t, c.Scale[step], float64(scale), "scale of step %d", step+1)
		require.Equal(t, c.GrowthTracker[step], tracker, "growth tracker before step %d", step+1)
		inverse, foundInf := float32(1/float64(scale)), 0
		unscaled := make([]float64, n)
		for i, g := range reference.Elements[float32](scaled) {
			if math.IsInf(float64(g), 0) || g != g {
				foundInf = 1
			}
			unscaled[i] = float64(g * inverse)
		}
		require.Equal(t, c.FoundInf[step], foundInf, "step %d", step+1)
		if foundInf == 0 {
			h.set(grad, unscaled)
			require.NoError(t, o.Step(nil))
		}
		scale, tracker = c.update(scale, tracker, foundInf != 0)
		require.Equal(t, c.Param[step+1], planeOf(t, value), "param after step %d", step+1)
		if c.SGD["momentum"] != nil {
			buffer, err := o.State("w", "momentum_buffer")
			require.NoError(t, err)
			require.Equal(t, c.MomentumBuffer[step+1], planeOf(t, buffer), "momentum_buffer after step %d", step+1)
		}
	}
	require.Equal(t, c.Scale[len(c.Grads)], float64(scale))
	require.Equal(t, c.GrowthTracker[len(c.Grads)], tracker)
}

// update is what torch makes of the scale after a step: a growth that float32 cannot hold is not taken, but counted from again.
func (c scalerCase) update(scale float32, tracker int, foundInf bool) (float32, int) {
	if foundInf {
		return float32(float64(scale) * c.Scaler.BackoffFactor), 0
	}
	if tracker++; tracker < c.Scaler.GrowthInterval {
		return scale, tracker
	}
	if grown := float32(float64(scale) * c.Scaler.GrowthFactor); !math.IsInf(float64(grown), 0) {
		return grown, 0
	}
	return scale, 0
}

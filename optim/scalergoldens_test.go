package optim_test

import (
	"encoding/json"
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

// A GradScaler has torch's scales, and SGD with one torch's bits: whatever the steps do that are skipped, the first ones too.
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
	h, zeros := onBackend(t, b), make([]float64, len(c.Param[0]))
	value, grad := h.buffer(device.Float32, zeros), h.buffer(device.Float32, zeros)
	defer value.Close()
	defer grad.Close()
	setPlane(t, value, c.Param[0])
	o, err := optim.New(b, algorithm(t, "sgd", c.SGD), []optim.Param{{Name: "w", Value: value, Grad: grad}})
	require.NoError(t, err)
	defer o.Close()
	require.NoError(t, o.SetGradScaler(nil, scaler(func(g *optim.GradScaler) {
		g.InitScale, g.GrowthFactor, g.BackoffFactor = c.Scaler.InitScale, c.Scaler.GrowthFactor, c.Scaler.BackoffFactor
		g.GrowthInterval = c.Scaler.GrowthInterval
	})))
	scale, err := o.LossScale()
	require.NoError(t, err)
	skipped := 0
	for step := range len(c.Grads) + 1 {
		if step > 0 {
			setPlane(t, grad, c.Grads[step-1])
			require.NoError(t, o.Step(nil))
			out, err := o.Outcome(nil)
			require.NoError(t, err)
			found := c.FoundInf[step-1] != 0
			if found {
				skipped++
			}
			require.Equal(t, []any{!found, found, skipped, step - skipped, c.Scale[step]},
				[]any{out.Applied(), out.FoundInf(), out.SkippedSteps(), out.AppliedSteps(), out.LossScale()}, "step %d", step)
		}
		require.Equal(t, []float64{c.Scale[step]}, h.values(scale), "after step %d", step)
		state, err := o.GradScalerState(nil)
		require.NoError(t, err)
		require.Equal(t, c.Scale[step], state.Scale, "after step %d", step)
		require.Equal(t, c.GrowthTracker[step], state.GrowthTracker, "growth tracker after step %d", step)
		require.Equal(t, c.Param[step], planeOf(t, value), "param after step %d", step)
		if c.SGD["momentum"] != nil {
			buffer, err := o.State("w", "momentum_buffer")
			require.NoError(t, err)
			require.Equal(t, c.MomentumBuffer[step], planeOf(t, buffer), "momentum_buffer after step %d", step)
		}
	}
}

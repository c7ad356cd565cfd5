package host

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

func TestOpen(t *testing.T) {
	_, err := Open("tpu")
	require.Equal(t, UnknownError("tpu"), err)
	require.EqualError(t, err, `-device "tpu" is not cpu, cuda, cuda:N or emu`)
	_, err = Open("cuda:9999")
	require.ErrorIs(t, err, device.ErrUnavailable)
	cpu, err := Open("cpu")
	require.NoError(t, err)
	require.NoError(t, cpu.Device().Close())
	if !gpu.Built {
		_, err = Open("emu")
		require.ErrorIs(t, err, device.ErrUnavailable)
	}
}

// copying is a CPU that Place does not know for one, so that it copies as for a GPU.
type copying struct{ kernels.Backend }

// TestPlace steps two tensors where the buffers are the host's memory and where they are not.
func TestPlace(t *testing.T) {
	backends := map[string]kernels.Backend{"wrapped": cpu.New(), "copied": copying{cpu.New()}}
	if gpu.Built {
		var err error
		backends["emulated"], err = Open("emu")
		require.NoError(t, err)
	}
	for name, b := range backends {
		t.Run(name, func(t *testing.T) {
			w := Param[float32]{"w", []float32{1, 2, 3}, make([]float32, 3)}
			bias := Param[float32]{"bias", []float32{4}, make([]float32, 1)}
			p, err := Place(b, w, bias)
			require.NoError(t, err)
			sgd := optim.DefaultSGD()
			sgd.LR = 0.5
			opt, err := optim.New(b, sgd, p.Params())
			require.NoError(t, err)
			copy(w.Grad, []float32{2, 0, -2})
			bias.Grad[0] = 1
			require.NoError(t, p.Step(opt))
			bias.Grad[0] = -3
			require.NoError(t, p.Step(opt))
			require.Equal(t, []float32{-1, 2, 5}, w.Value)
			require.Equal(t, []float32{5}, bias.Value)
			require.NoError(t, p.Evaluate(opt))
			require.Equal(t, []float32{-1, 2, 5}, w.Value, "SGD is evaluated where it is")
			p.Resume()
			require.Equal(t, []float32{-1, 2, 5}, w.Value)
			require.NoError(t, opt.Close())
			require.NoError(t, p.Close())
			require.NoError(t, b.Device().Close())
		})
	}
}

// TestEvaluate: the average of a schedule-free optimizer is elsewhere than its parameter, which training goes on from.
func TestEvaluate(t *testing.T) {
	for name, b := range map[string]kernels.Backend{"wrapped": cpu.New(), "copied": copying{cpu.New()}} {
		t.Run(name, func(t *testing.T) {
			w := Param[float64]{"w", []float64{0}, make([]float64, 1)}
			p, err := Place(b, w)
			require.NoError(t, err)
			alg := optim.DefaultScheduleFreeSGD()
			alg.Momentum = 0.5
			opt, err := optim.New(b, alg, p.Params())
			require.NoError(t, err)
			step := func(g float64) {
				w.Grad[0] = g
				require.NoError(t, p.Step(opt))
			}
			// z goes to -8 and -12, their averages are -8 and -10, and the parameter is halfway between them.
			step(8)
			require.Equal(t, -8.0, w.Value[0])
			step(4)
			require.Equal(t, -11.0, w.Value[0])
			require.NoError(t, p.Evaluate(opt))
			require.Equal(t, -10.0, w.Value[0])
			p.Resume()
			require.Equal(t, -11.0, w.Value[0])
			step(0) // to an average of -32/3
			require.InDelta(t, -34./3, w.Value[0], 1e-14)
			require.NoError(t, opt.Close())
			require.NoError(t, p.Close())
		})
	}
}

// TestPlaceFails: a device that is closed gives no memory, and what it gave before is freed.
func TestPlaceFails(t *testing.T) {
	b := copying{cpu.New()}
	require.NoError(t, b.Device().Close())
	_, err := Place(b, Param[float64]{"w", make([]float64, 1), make([]float64, 1)})
	require.ErrorIs(t, err, device.ErrClosed)
}

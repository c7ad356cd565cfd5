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
			opt, err := optim.New(b, optim.SGD{LR: 0.5}, p.Params())
			require.NoError(t, err)
			copy(w.Grad, []float32{2, 0, -2})
			bias.Grad[0] = 1
			require.NoError(t, p.Step(opt))
			bias.Grad[0] = -3
			require.NoError(t, p.Step(opt))
			require.Equal(t, []float32{-1, 2, 5}, w.Value)
			require.Equal(t, []float32{5}, bias.Value)
			require.NoError(t, opt.Close())
			require.NoError(t, p.Close())
			require.NoError(t, b.Device().Close())
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

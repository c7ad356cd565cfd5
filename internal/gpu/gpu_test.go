package gpu

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
)

func TestKnown(t *testing.T) {
	for _, name := range []string{"cuda", "cuda:0", "cuda:12", "emu"} {
		require.True(t, Known(name), name)
	}
	for _, name := range []string{"", "cpu", "cuda:", "cuda:x", "cuda:-1", "cuda:10000", "emu:1", "CUDA"} {
		require.False(t, Known(name), name)
	}
}

func TestOpen(t *testing.T) {
	_, err := Open("cuda:9999")
	require.ErrorIs(t, err, device.ErrUnavailable)
	require.NotContains(t, err.Error(), "\n")
	if !Built {
		require.ErrorContains(t, err, "built without CUDA")
		return
	}
	a, err := Open("emu")
	require.NoError(t, err)
	b, err := Open("emu") // of the same driver, so that they can tell each other apart
	require.NoError(t, err)
	require.True(t, a.Emulated)
	require.Equal(t, "Emulated GPU", a.Model)
	require.Equal(t, "cuda:0", b.Device().Name())
	require.NoError(t, a.Device().Close())
	require.NoError(t, b.Device().Close())
}

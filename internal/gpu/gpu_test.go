package gpu

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
)

func TestCheckFlag(t *testing.T) {
	for _, name := range []string{"cpu", "cuda", "cuda:0", "cuda:12", "emu"} {
		require.NoError(t, CheckFlag(name), name)
	}
	for _, name := range []string{"", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:10000", "emu:1", "CUDA"} {
		require.ErrorAs(t, CheckFlag(name), new(cli.UsageError), name)
		_, err := Open(name)
		require.ErrorAs(t, err, new(cli.UsageError), name)
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

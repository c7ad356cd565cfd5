package host

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/internal/gpu"
)

func TestOpen(t *testing.T) {
	_, err := Open("tpu")
	require.ErrorAs(t, err, new(cli.UsageError))
	require.EqualError(t, err, "-device tpu: unknown device; did you mean cpu? (known: cpu, cuda, cuda:N, emu)")
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

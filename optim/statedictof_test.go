package optim_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// A snapshot in an older one's memory is the same as a new one, of whatever optimizer the older was, and takes no memory of its own.
func TestStateDictInto(t *testing.T) {
	dev := cpu.New()
	defer dev.Close()
	s := dev.DefaultStream()
	param := func(name string, dtype device.DType, n int) optim.Param {
		value, err := dev.Alloc(dtype, n)
		require.NoError(t, err)
		grad, err := dev.Alloc(device.Float32, n)
		require.NoError(t, err)
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(i%17) - 8
		}
		require.NoError(t, device.UploadFloats(s, value, x))
		require.NoError(t, device.UploadFloats(s, grad, x))
		return optim.Param{Name: name, Value: value, Grad: grad}
	}
	same := func(o *optim.Optimizer, d *optim.StateDict) {
		t.Helper()
		want, err := o.StateDict(s)
		require.NoError(t, err)
		apart, err := want.Differences(d)
		require.NoError(t, err)
		require.Empty(t, apart)
	}
	o, err := optim.New(dev, optim.DefaultAdamW(), []optim.Param{param("none", device.Float32, 0), param("a", device.Float32, 100_000), param("b", device.BFloat16, 7)})
	require.NoError(t, err)
	defer o.Close()

	var d optim.StateDict
	require.NoError(t, o.StateDictInto(s, &d))
	same(o, &d)
	for range 3 {
		require.NoError(t, o.Step(s))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.NoError(t, o.StateDictInto(s, &d))
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(100_000), "of 1.2 MB")
		same(o, &d)
	}

	small, err := optim.New(dev, optim.DefaultSGD(), []optim.Param{param("c", device.Float16, 33)})
	require.NoError(t, err)
	require.NoError(t, small.StateDictInto(s, &d))
	same(small, &d)
	require.NoError(t, o.AddGroup(optim.Stored{Algorithm: optim.DefaultLion(), Master: optim.MasterRemainder8}, []optim.Param{param("e", device.BFloat16, 99_999)}))
	require.NoError(t, o.StateDictInto(s, &d))
	same(o, &d)

	require.NoError(t, small.Close())
	require.ErrorIs(t, small.StateDictInto(s, &d), device.ErrClosed)
	require.Equal(t, optim.StateDict{}, d)
	require.EqualError(t, o.StateDictInto(s, nil), "optim: state dict: there is no dict to make it in")
}

package checkpoint

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// Beside the optimizer, to save and to compare 80 MiB takes 8 MiB of memory at most, all that is asked for added up.
func TestMemory(t *testing.T) {
	dev := cpu.New()
	value, err := dev.Alloc(device.Float32, 10<<20)
	require.NoError(t, err)
	require.NoError(t, dev.DefaultStream().Zero(value))
	o, err := optim.New(dev, optim.DefaultLion(), []optim.Param{{Value: value}})
	require.NoError(t, err)
	defer o.Close()
	path := filepath.Join(t.TempDir(), "x.safetensors")
	for _, c := range []struct {
		name string
		f    func() error
	}{
		{"save", func() error { return Save(path, o, nil) }},
		{"verify", func() error { return Verify(path) }},
		{"load", func() error { return Load(path, o, nil, optim.LoadOptions{}) }},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.NoError(t, c.f())
		runtime.ReadMemStats(&after)
		t.Logf("%s: %d MiB", c.name, (after.TotalAlloc-before.TotalAlloc)>>20)
		require.LessOrEqual(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), c.name)
	}
}

package checkpoint

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// BenchmarkSave is a save of 512 MiB; sync is what write and fsync of as many bytes from memory take, which bounds it.
func BenchmarkSave(b *testing.B) {
	const n = 64 << 20
	dev := cpu.New()
	value, err := dev.Alloc(device.Float32, n)
	require.NoError(b, err)
	require.NoError(b, dev.DefaultStream().Zero(value))
	o, err := optim.New(dev, optim.DefaultLion(), []optim.Param{{Value: value}})
	require.NoError(b, err)
	defer o.Close()
	path := filepath.Join(b.TempDir(), "x.safetensors")
	d, err := o.StateDict(nil)
	require.NoError(b, err)
	chunk := make([]byte, chunkBytes)
	for _, c := range []struct {
		name string
		f    func() error
	}{
		{"sync", func() error {
			f, err := os.Create(path)
			for at := 0; err == nil && at < 8*n; at += len(chunk) {
				_, err = f.Write(chunk)
			}
			if err == nil {
				err = f.Sync()
			}
			f.Close()
			return err
		}},
		{"save", func() error { return Save(path, o, nil) }},
		{"save a snapshot", func() error { return SaveDict(path, d) }},
		{"verify", func() error { return Verify(path) }},
		{"load", func() error { return Load(path, o, nil, optim.LoadOptions{}) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(8 * n)
			for b.Loop() {
				require.NoError(b, c.f())
			}
		})
	}
}

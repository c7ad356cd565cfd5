package cpu

import (
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// BenchmarkPasses are the passes of a step other than the update, over 64 Mi float32 elements, in turns with the same number of bytes
// read, or read and written, by a loop that does nothing else. Ratio is the loop's time over the pass's, at the medians.
func BenchmarkPasses(b *testing.B) {
	const n = 64 << 20
	set := best().set
	if set == nil {
		b.Skip("no vector code on this machine or in this build")
	}
	d := New()
	defer d.Close()
	s := d.DefaultStream()
	x, err := d.Alloc(device.Float32, n)
	require.NoError(b, err)
	y, err := d.Alloc(device.Float32, n)
	require.NoError(b, err)
	require.NoError(b, s.Zero(x))
	require.NoError(b, s.Zero(y))
	norm, err := d.Compile(kernels.Work{Program: kernels.Norm(), Tensors: []kernels.Tensor{{Planes: []*device.Buffer{x}}}})
	require.NoError(b, err)
	total, err := d.Alloc(device.Float64, 1)
	require.NoError(b, err)
	for _, tt := range []struct {
		name  string
		bytes int64
		pass  func() error
		loop  traffics
	}{
		{"norm", 4 * n, func() error { return norm.Enqueue(s, kernels.Step{Reduced: total}) }, traffics{1, 0}},
		{"copy", 8 * n, func() error { return s.Copy(y, x) }, traffics{1, 1}},
		{"zero", 4 * n, func() error { return s.Zero(x) }, traffics{1, 0}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			b.SetBytes(tt.bytes)
			loop := &limit{d.driver, set.traffics[tt.loop], [][]byte{bytes(x.Span()), bytes(y.Span())}}
			var pass, least []float64
			for b.Loop() {
				began := time.Now()
				require.NoError(b, tt.pass())
				require.NoError(b, s.Synchronize())
				pass = append(pass, time.Since(began).Seconds())
				b.StopTimer()
				began = time.Now()
				loop.run()
				least = append(least, time.Since(began).Seconds())
				b.StartTimer()
			}
			b.ReportMetric(middle(least)/middle(pass), "ratio")
		})
	}
}

func middle(x []float64) float64 { return slices.Sorted(slices.Values(x))[len(x)/2] }

// limit is a loop over whole buffers in large chunks, on all threads.
type limit struct {
	drv   *driver
	loop  trafficLoop
	slots [][]byte
}

func (l *limit) run() {
	const size = 1 << 20
	l.drv.pool.do(len(l.slots[0])/size, func(_, i int) {
		p := [2]*byte{&l.slots[0][i*size], &l.slots[1][i*size]}
		ahead := fromMemory
		if l.drv.prefetch == 0 {
			ahead = prefetching{}
		}
		l.loop((**byte)(unsafe.Pointer(&p)), size, ahead.near, ahead.far)
	})
}

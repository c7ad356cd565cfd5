package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
)

// The norm of gradients of 16 bits is the tree's, of what they stand for, in every implementation. kerneltest tries the others.
func TestNormHalves(t *testing.T) {
	widen := map[device.DType]func(uint16) float32{device.Float16: ir.FromFloat16,
		device.BFloat16: func(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }}
	for _, i := range implementations() {
		t.Run(i.name, func(t *testing.T) {
			d := NewThreads(2)
			defer d.Close()
			d.driver.choice = choice{implementation: i}
			for dtype, widen := range widen {
				rng := rand.New(rand.NewPCG(1, uint64(dtype)))
				for _, n := range []int{1, 3, 7, 8, 127, 128, 129, 255, 1000, kernels.NormTile, kernels.NormTile + 77, 200_000} {
					for _, finite := range []bool{true, true, false} {
						x := make([]uint16, n+1)
						values := make([]float32, n)
						for k := range x {
							x[k] = uint16(rng.Uint32())
							for v := widen(x[k]); finite && v-v != 0; v = widen(x[k]) {
								x[k] = uint16(rng.Uint32())
							}
						}
						x[n] = 0x7fff // a NaN behind the end
						for k := range values {
							values[k] = widen(x[k])
						}
						want := kernels.NormBy(func(scale float64) float64 {
							var sums []float64
							for lo := 0; lo < n; lo += kernels.NormTile {
								sums = append(sums, kernels.SumSquares(values[lo:min(lo+kernels.NormTile, n)], scale))
							}
							return kernels.SumTree(sums)
						})
						total, err := d.Alloc(device.Float64, 1)
						require.NoError(t, err)
						whole, err := d.Alloc(dtype, n+1)
						require.NoError(t, err)
						require.NoError(t, device.Upload(d.DefaultStream(), whole, x))
						b, err := whole.Slice(0, n)
						require.NoError(t, err)
						norm, err := d.Compile(kernels.Work{Program: kernels.Norm(), Tensors: []kernels.Tensor{{Planes: []*device.Buffer{b}}}})
						require.NoError(t, err)
						require.NoError(t, norm.Enqueue(d.DefaultStream(), kernels.Step{Reduced: total}))
						got := make([]float64, 1)
						require.NoError(t, device.Download(d.DefaultStream(), got, total))
						require.NoError(t, d.DefaultStream().Synchronize())
						require.True(t, got[0] == want || got[0] != got[0] && want != want, "%d of %s: %v, want %v", n, dtype, got[0], want)
						require.NoError(t, norm.Close())
						require.NoError(t, whole.Close())
					}
				}
			}
		})
	}
}

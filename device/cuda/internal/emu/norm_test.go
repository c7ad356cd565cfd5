//go:build cuda && cgo && linux

package emu_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
)

// TestNormLoads, M5: the norm loads each byte once, 16 at a time where a gradient is aligned. A thread whose last four rows are not whole loads
// those an element at a time.
func TestNormLoads(t *testing.T) {
	var a accesses
	single := 0
	install(t, emu.Config{Checks: ptxvm.AllChecks, Trace: func(kernel string, addr, bytes uint64, write bool) {
		a.note(kernel, addr, bytes, write)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.inside(addr) && strings.HasSuffix(kernel, a.suffix) && bytes != 16 {
			single += int(bytes)
		}
	}})
	dev := open(t)
	s := dev.DefaultStream()
	for dtype, kernel := range map[device.DType]string{device.Float32: "norm_squares_f32", device.Float64: "norm_squares_f64",
		device.BFloat16: "norm_squares_bf16", device.Float16: "norm_squares_f16"} {
		lanes := max(16/dtype.Size(), 4) // of a thread
		for _, tt := range []struct{ offset, n, single int }{
			{0, 2 * kernels.NormTile, 0}, {16, 3 * kernels.NormTile, 0},
			{0, kernels.NormTile + 4*kernels.NormLanes, 0},
			{0, kernels.NormTile - 1, 3*lanes + lanes - 1},
			{1, 2 * kernels.NormTile, 2 * kernels.NormTile}, {3, 130, 130}, {0, 1, 1},
		} {
			whole, err := dev.Alloc(dtype, tt.offset+tt.n)
			require.NoError(t, err)
			require.NoError(t, s.Zero(whole))
			total, err := dev.Alloc(device.Float64, 1)
			require.NoError(t, err)
			b, err := whole.Slice(tt.offset, tt.offset+tt.n)
			require.NoError(t, err)
			norm, err := dev.Compile(kernels.Work{Program: kernels.Norm(), Tensors: []kernels.Tensor{{Planes: []*device.Buffer{b}}}})
			require.NoError(t, err)
			a.begin(kernel, []*device.Buffer{b})
			single = 0
			require.NoError(t, norm.Enqueue(s, kernels.Step{Reduced: total}))
			require.NoError(t, s.Synchronize())
			require.True(t, each(a.loads, b, 1), "%s: %+v", dtype, tt)
			require.Equal(t, tt.single*dtype.Size(), single, "%s: %+v: bytes not loaded 16 at a time", dtype, tt)
			require.NoError(t, norm.Close())
			require.NoError(t, total.Close())
			require.NoError(t, whole.Close())
		}
	}
	require.NoError(t, dev.Close())
}

// TestNormOfHalves holds the norm of gradients of 16 bits, alone and beside others, to the tree over what they stand for.
func TestNormOfHalves(t *testing.T) {
	install(t, emu.Config{Checks: ptxvm.AllChecks, Seed: 1})
	dev := open(t)
	s := dev.DefaultStream()
	rng := rand.New(rand.NewPCG(3, 4))
	type gradient struct {
		t      device.DType
		offset int
		n      int
	}
	bf16, f16, f64 := device.BFloat16, device.Float16, device.Float64
	var ends []gradient
	for n := range kernels.NormLanes + 20 {
		ends = append(ends, gradient{[]device.DType{bf16, f16}[n%2], n % 9, n})
	}
	for _, tt := range []struct {
		name      string
		gradients []gradient
		scale     float64   // of float64
		values    []float64 // of the first gradient's first elements
	}{
		{"one", []gradient{{bf16, 0, 1}}, 0, nil},
		{"an odd number of tiles", []gradient{{f16, 0, 3 * kernels.NormTile}}, 0, nil},
		{"16 tiles, and one more", []gradient{{bf16, 8, 16 * kernels.NormTile}, {bf16, 0, 5}}, 0, nil},
		{"no multiple of 16 bytes", []gradient{{bf16, 1, 2*kernels.NormTile + 3}, {f16, 7, 300}}, 0, nil},
		{"around a tile", []gradient{{bf16, 0, kernels.NormTile - 1}, {bf16, 0, kernels.NormTile + 1}, {f16, 0, kernels.NormTile - 9}}, 0, nil},
		{"every end of a row", ends, 0, nil},
		{"beside float64", []gradient{{bf16, 0, 5000}, {f64, 0, 5000}, {f16, 0, 70}}, 1, nil},
		{"beside huge float64", []gradient{{bf16, 0, 5000}, {f64, 0, 5000}, {f16, 0, 70}}, 1e200, nil},
		{"Inf beside huge float64", []gradient{{bf16, 0, 5000}, {f64, 0, 50}}, 1e200, []float64{math.Inf(1)}},
		{"NaN beside huge float64", []gradient{{f16, 0, 50}, {f64, 0, 50}}, 1e200, []float64{math.NaN()}},
		{"the least of both", []gradient{{f16, 0, 1}, {bf16, 0, 1}}, 0, []float64{0x1p-24}},
		{"NaN", []gradient{{bf16, 0, 50}}, 0, []float64{math.NaN()}},
		{"Inf", []gradient{{f16, 0, 50}}, 0, []float64{math.Inf(-1)}},
	} {
		var values [][]float64
		var whole []*device.Buffer
		var grads []kernels.Tensor
		for i, g := range tt.gradients {
			x, bits, wide := make([]float64, g.n), make([]uint16, g.offset+g.n+1), make([]float64, g.offset+g.n+1)
			for k := range x {
				v := math.Ldexp(rng.NormFloat64(), rng.IntN(28)-14) // whose squares no float64 adds up exactly
				if i == 0 && k < len(tt.values) {
					v = tt.values[k]
				}
				switch h := ir.ToFloat16(float32(v)); g.t {
				case f64:
					x[k] = v * tt.scale
					wide[g.offset+k] = x[k]
				case f16:
					x[k], bits[g.offset+k] = float64(ir.FromFloat16(h)), h
				default:
					b := math.Float32bits(float32(v)) >> 16
					x[k], bits[g.offset+k] = float64(math.Float32frombits(b<<16)), uint16(b)
				}
			}
			b, err := dev.Alloc(g.t, g.offset+g.n+1)
			require.NoError(t, err)
			if g.t == f64 {
				wide[g.offset+g.n] = math.NaN() // which no norm may see
				require.NoError(t, device.Upload(s, b, wide))
			} else {
				bits[g.offset+g.n] = 0x7fff
				require.NoError(t, device.Upload(s, b, bits))
			}
			part, err := b.Slice(g.offset, g.offset+g.n)
			require.NoError(t, err)
			values, whole, grads = append(values, x), append(whole, b), append(grads, kernels.Tensor{Planes: []*device.Buffer{part}})
		}
		want := kernels.NormBy(func(scale float64) float64 {
			var sums []float64
			for _, x := range values {
				for tile := range slices.Chunk(x, kernels.NormTile) {
					sums = append(sums, kernels.SumSquares(tile, scale))
				}
			}
			return kernels.SumTree(sums)
		})
		total, err := dev.Alloc(device.Float64, 1)
		require.NoError(t, err)
		norm, err := dev.Compile(kernels.Work{Program: kernels.Norm(), Tensors: grads})
		require.NoError(t, err)
		require.NoError(t, norm.Enqueue(s, kernels.Step{Reduced: total}))
		got := make([]float64, 1)
		require.NoError(t, device.Download(s, got, total))
		require.NoError(t, s.Synchronize(), tt.name)
		require.True(t, want == got[0] || want != want && got[0] != got[0], "%s: norm is %v, want %v", tt.name, got[0], want)
		require.NoError(t, norm.Close())
		for _, b := range append(whole, total) {
			require.NoError(t, b.Close())
		}
	}
	require.NoError(t, dev.Close())
}

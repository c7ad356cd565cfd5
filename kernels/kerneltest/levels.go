package kerneltest

import (
	"math/rand/v2"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Levels holds a backend to sums whose trees have a level more than those of Run: over a tensor of more tiles than a tile has elements, and over the
// columns of as many blocks of rows.
func Levels(t T, b kernels.Backend) {
	longTensor(t, b)
	p := newProgram(t, kernels.Spec{Rule: Matrices(t)[0], Compute: device.Float32}.WithMatrix(true))
	rows := kernels.ColumnRows*(kernels.NormTile+1) + 3
	w, counters, tensors := work(t, b, p, []shape{{n: rows, rows: rows, offset: func(int) int { return 0 }, tame: true}}, 1, rand.New(rand.NewPCG(31, 1)))
	x, s := tensors[0], b.Device().DefaultStream()
	x.group, w.Tensors[0].Group = 0, 0
	for k, plane := range p.Planes { // two that cancel: which others vanish beside them depends on the order, also behind rounding to float32
		if plane.Domain == rule.OfElements {
			of := x.elements(p).Planes[k]
			of[0], of[len(of)-1] = reference.Bits(plane.DType, 0x1p70), reference.Bits(plane.DType, -0x1p70)
			uploadBits(t, s, x.whole[k], x.expect[k])
		}
	}
	u := compile(t, b, w)
	in := kernels.GroupStep{Hyper: []float64{0.5, 0.75}, Scale: 1}
	require.NoError(t, u.Enqueue(s, kernels.Step{Groups: []kernels.GroupStep{in}}))
	expectStep(p, []kernels.GroupStep{in}, 0, 1, [][]float64{p.InitialCounters()}, tensors)
	compare(t, s, p, tensors, "many blocks of rows")
	require.NoError(t, u.Close())
	require.NoError(t, counters.Close())
}

// longTensor is of elements that repeat, so that the reference knows in little time what they all add up to.
func longTensor(t T, b kernels.Backend) {
	const n, period = kernels.NormTile*(kernels.NormTile+1) + 5, kernels.NormTile + 3
	p := newProgram(t, kernels.Spec{Rule: Staged(t)[1], Compute: device.Float32, Formats: "param=bf16 grad=bf16"})
	dev := b.Device()
	s := dev.DefaultStream()
	want := reference.Tensor{Len: n, Sums: p.InitialSums(n, 0, 0)}
	to := kernels.Tensor{Shape: []int{n}}
	rng := rand.New(rand.NewPCG(37, 1))
	for _, plane := range p.Planes {
		some := cancelling.numbers(rng, plane.DType, period)
		buffer, err := dev.Alloc(plane.DType, n)
		require.NoError(t, err)
		upload(t, s, buffer, repeated(reference.Elements[uint16](some), n))
		want.Planes, to.Planes = append(want.Planes, some), append(to.Planes, buffer)
	}
	counters, err := dev.Alloc(device.Float64, len(p.Counters))
	require.NoError(t, err)
	upload(t, s, counters, p.InitialCounters())
	to.Sums, err = dev.Alloc(device.Float64, len(want.Sums))
	require.NoError(t, err)
	upload(t, s, to.Sums, want.Sums)
	u := compile(t, b, kernels.Work{Program: p, Tensors: []kernels.Tensor{to}, Counters: []*device.Buffer{counters}})
	in := kernels.GroupStep{Hyper: []float64{0.5, 0.75}, Scale: 1}
	require.NoError(t, u.Enqueue(s, kernels.Step{Groups: []kernels.GroupStep{in}}))
	reference.Update(p, in, 0, 1, p.InitialCounters(), []reference.Tensor{want})
	require.Equal(t, reference.PlaneOf(want.Sums), reference.PlaneOf(download[float64](t, s, to.Sums)), "sums of a long tensor")
	for k, buffer := range to.Planes {
		require.True(t, slices.Equal(repeated(reference.Elements[uint16](want.Planes[k]), n), download[uint16](t, s, buffer)), "%s of a long tensor", p.PlaneName(k))
	}
	require.NoError(t, u.Close())
	for _, buffer := range append(to.Planes, counters, to.Sums) {
		require.NoError(t, buffer.Close())
	}
}

// repeated is x again and again, n elements.
func repeated[E any](x []E, n int) []E { return slices.Repeat(x, n/len(x)+1)[:n] }

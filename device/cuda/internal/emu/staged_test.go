//go:build cuda && cgo && linux

package emu_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A launch of a step of several passes fails, one after the other: the error names what the step has changed until then, and nothing else is changed.
func TestStagedFails(t *testing.T) {
	messages := func(r *rule.Rule, options uint64) (got []string) {
		p, err := kernels.New(kernels.Spec{Rule: r, Options: options, Compute: device.Float32})
		require.NoError(t, err)
		for n := 1; ; n++ {
			message := failStaged(t, p, n)
			if message == "" {
				return got
			}
			got = append(got, message)
		}
	}
	got := messages(kerneltest.Staged(t)[0], 1)
	const first, second = "the groups' counters, m", "the groups' counters, m, kept, sum"
	require.Equal(t, []string{"the prologue", "the groups' counters", "the groups' counters", // which have been launched
		first, first, // the sums and the largest numbers of the first pass
		first, second, second + ", v", second + ", v", // the second's stages, in the same order
		second + ", v", second + ", v"}, got)

	grid := kerneltest.Matrices(t)[0]
	got = messages(grid, grid.MatrixOption())
	const rows, columns = first + ", row_v", first + ", row_v, column_v"
	require.Equal(t, []string{"the prologue", "the groups' counters", "the groups' counters", // what columns are filled with, and the first pass
		first, first, first, first, // sums, largest numbers, rows and columns; and the pass over rows
		rows, rows, rows, rows, columns, columns, // their sums and largest numbers, what columns have of them, the columns, their sums, and what a tensor has of these
		columns + ", kept", columns + ", kept", columns + ", kept", columns + ", kept", columns + ", kept"}, got) // the second pass, and the last one
}

// stagedWork is a work of tensors of two tiles, three elements and none, whose planes hold x of each.
func stagedWork(t *testing.T, dev *cuda.Device, p *kernels.Program) (w kernels.Work, x [][]float32) {
	s := dev.DefaultStream()
	floats := func(x ...float64) *device.Buffer {
		b, err := dev.Alloc(device.Float64, len(x))
		require.NoError(t, err)
		require.NoError(t, device.Upload(s, b, x))
		require.NoError(t, s.Synchronize())
		return b
	}
	x = make([][]float32, len(p.Planes))
	for k := range x {
		for i := range kernels.NormTile + 5 {
			x[k] = append(x[k], float32(i%7+k)+0.5)
		}
	}
	w = kernels.Work{Program: p, Counters: []*device.Buffer{floats(p.InitialCounters()...)}}
	for i, n := range []int{len(x[0]), 3, 0} {
		tensor := kernels.Tensor{}
		if p.Matrix() {
			tensor.Rows = []int{3, 1, 0}[i]
		}
		tensor.Sums = floats(p.InitialSums(n, tensor.Rows, tensor.Matrices)...)
		for _, plane := range p.Planes {
			n := kernels.Numbers(plane.Domain, n, tensor.Rows, tensor.Matrices)
			b := alloc(t, dev.Device(), n)
			upload(t, s, b, x[len(tensor.Planes)][:n])
			tensor.Planes = append(tensor.Planes, b)
		}
		w.Tensors = append(w.Tensors, tensor)
	}
	return w, x
}

// An update of several passes that cannot have all the memory it needs leaves none behind.
func TestStagedAlloc(t *testing.T) {
	p, err := kernels.New(kernels.Spec{Rule: kerneltest.Staged(t)[0], Options: 1, Compute: device.Float32})
	require.NoError(t, err)
	d := install(t, emu.Config{})
	dev := open(t)
	defer dev.Close()
	w, _ := stagedWork(t, dev, p)
	before, failed := d.Live(), 0
	before.Modules++
	for {
		d.Fail(driver.CuMemAlloc, failed+1, driver.ErrorUnknown)
		u, err := dev.Compile(w)
		if err == nil {
			require.NoError(t, u.Close())
			break
		}
		failed++
		require.ErrorIs(t, err, driver.ErrorUnknown)
		require.Equal(t, before, d.Live(), "after allocation %d has failed", failed)
	}
	// three tables of chunks; in two passes what tiles make, and a level of sums and one of the largest; the other tables, scalars and inputs
	require.Equal(t, 3+2*3+4, failed)
}

// failStaged has launch n of a step fail, and returns what the error says has been changed; "" where the step has fewer launches.
func failStaged(t *testing.T, p *kernels.Program, n int) string {
	d := install(t, emu.Config{Checks: ptxvm.AllChecks})
	dev := open(t)
	defer dev.Close()
	s := dev.DefaultStream()
	w, x := stagedWork(t, dev, p)
	u, err := dev.Compile(w)
	require.NoError(t, err)
	defer u.Close()
	numbers := func(b *device.Buffer) []float64 {
		x := make([]float64, b.Len())
		require.NoError(t, device.Download(s, x, b))
		require.NoError(t, s.Synchronize())
		return x
	}
	sums := numbers(w.Tensors[0].Sums)
	d.Fail(driver.CuLaunchKernel, n, driver.ErrorUnknown)
	err = u.Enqueue(s, kernels.Step{Groups: []kernels.GroupStep{{Hyper: []float64{0.5, 0.25}, Scale: 1}}})
	var changed []string
	if !slices.Equal(p.InitialCounters(), numbers(w.Counters[0])) {
		changed = append(changed, "the groups' counters")
	}
	for k, b := range w.Tensors[0].Planes {
		if p.Of(k).Role != kernels.Scratch && !slices.Equal(x[k][:b.Len()], download(t, s, b)) {
			changed = append(changed, p.PlaneName(k))
		}
	}
	after := numbers(w.Tensors[0].Sums)
	for i, f := range p.Rule.Tensor {
		if at := p.TensorWord(i); f.State != "" && sums[at] != after[at] {
			changed = append(changed, f.State)
		}
	}
	if err == nil {
		require.Contains(t, changed, "param")
		return ""
	}
	require.ErrorIs(t, err, driver.ErrorUnknown)
	said, ok := strings.CutPrefix(strings.Split(err.Error(), ", and nothing else: ")[0], "the step has changed ")
	if !ok {
		require.Empty(t, changed)
		return "the prologue"
	}
	require.ElementsMatch(t, strings.Split(said, ", "), changed)
	return said
}

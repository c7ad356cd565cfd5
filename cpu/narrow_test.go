package cpu

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Machine code for narrow matrices makes the bits of the rule itself: of matrices of any few rows, of rows of any length up to one that is not narrow, of blocks
// that have several matrices, and of matrices that have several blocks; of small tensors and of large ones; by all kinds of fills.
func TestNarrow(t *testing.T) {
	if best().loops == nil {
		t.Skip("no machine code on this machine or in this build")
	}
	defer func(old int) { smallBytes = old }(smallBytes)
	var shapes [][3]int // matrices, rows of each and columns
	for columns := 1; columns <= narrowColumns+1; columns++ {
		shapes = append(shapes, [3]int{1100/columns/columns + 1, columns, columns}, [3]int{1 + columns%2, 1100/columns + 1, columns})
	}
	shapes = append(shapes, [3]int{70, 17, 1}, [3]int{500, 1, 3}, [3]int{6, 64, 3}, [3]int{9, 65, 2}, [3]int{2100, 3, 3}) // the last one is several chunks
	adafactor := rules.AdafactorRule().With(rules.AdafactorHyper{LR: 1e-2, Beta2Decay: -0.8, Eps1: 1e-30, Eps2: 1e-3, D: 1}, rules.AdafactorOptions{})
	came := rule.Setting{Rule: rules.CAMERule().Rule, Hyper: []float64{1e-3, 0.9, 0.999, 0.9999, 1e-30, 1e-16, 1}}
	for i, of := range []struct {
		rule.Setting
		compute device.DType
		formats string
	}{{adafactor, device.Float32, ""}, {came, device.Float32, "param=bf16/sr grad=bf16"}, {rule.Setting{Rule: kerneltest.Matrices(t)[0], Hyper: []float64{0.1, 0.9}}, device.Float64, ""},
		{rule.Setting{Rule: kerneltest.Matrices(t)[2], Hyper: []float64{0.1, 0.9}}, device.Float32, ""}} {
		p := newProgram(t, kernels.Spec{Rule: of.Rule, Options: of.Rule.MatrixOption(), Compute: of.compute, Formats: of.formats})
		want := narrowSteps(t, implementation{}, p, of.Setting, shapes, nil)
		for _, implementation := range implementations() {
			for _, smallBytes = range []int{256 << 10, 0} {
				if implementation.loops == nil {
					continue
				}
				for k, got := range narrowSteps(t, implementation, p, of.Setting, shapes, nil) {
					require.Equal(t, want[k], got, "program %d, small up to %d bytes, %s: plane %d of %v", i, smallBytes, implementation.name, k%len(p.Planes), shapes[k/len(p.Planes)])
				}
			}
		}
	}
}

// narrowSteps are the planes of tensors of these shapes behind two steps. Alloc is nil, or gives memory.
func narrowSteps(t *testing.T, of implementation, p *kernels.Program, setting rule.Setting, shapes [][3]int, alloc func(device.DType, int) []byte) (planes [][]byte) {
	d := NewThreads(3)
	defer d.Close()
	d.processor.choice = choice{implementation: of}
	rng := rand.New(rand.NewPCG(1, 2))
	w := kernels.Work{Program: p}
	for _, shape := range shapes {
		rows, n := shape[0]*shape[1], shape[0]*shape[1]*shape[2]
		x := kernels.Tensor{Rows: rows, Matrices: shape[0], Sums: newSums(t, d, p, n, rows)}
		for _, plane := range p.Planes {
			b, err := d.Alloc(plane.DType, kernels.Numbers(plane.Domain, n, rows, shape[0]))
			if alloc != nil && b.Len() > 0 {
				b, err = d.WrapAt(plane.DType, b.Len(), unsafe.Pointer(unsafe.SliceData(alloc(plane.DType, b.Len()))))
			}
			require.NoError(t, err)
			x.Planes, planes = append(x.Planes, b), append(planes, bytes(b.Span()))
			for i := range b.Len() { // positive numbers of every type that the planes have
				switch size := plane.DType.Size(); size {
				case 2:
					view[uint16](b)[i] = 0x3c00 + uint16(rng.IntN(1<<9))
				case 4:
					view[float32](b)[i] = rng.Float32()
				default:
					view[float64](b)[i] = rng.Float64()
				}
			}
		}
		w.Tensors = append(w.Tensors, x)
	}
	counters, err := d.Alloc(device.Float64, len(p.Counters))
	require.NoError(t, err)
	w.Counters = []*device.Buffer{counters}
	u, err := d.Compile(w)
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, u.Enqueue(d.DefaultStream(), kernels.Step{Groups: []kernels.GroupStep{kernels.GroupStepOf(setting, setting.Hyper)}}))
	}
	require.NoError(t, d.DefaultStream().Synchronize())
	for i := range planes {
		planes[i] = slices.Clone(planes[i])
	}
	return planes
}

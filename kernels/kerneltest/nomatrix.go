package kerneltest

import (
	"fmt"
	"math/rand/v2"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// runNoMatrix gives a program of matrices a tensor that is none.
func runNoMatrix(t T, b kernels.Backend) {
	defer b.Device().Close()
	p := newProgram(t, kernels.Spec{Rule: Matrices(t)[0], Compute: device.Float32}.WithMatrix(true))
	w, _, _ := work(t, b, p, straight(0, 130)[3:], 1, rand.New(rand.NewPCG(1, 2)))
	for _, view := range [][2]int{{0, 0}, {-1, 0}, {4, 0}, {10, 3}, {10, -1}} {
		w.Tensors[1].Rows, w.Tensors[1].Matrices = view[0], view[1]
		_, err := b.Compile(w)
		_, traffic := b.CompileTraffic(w)
		for _, err := range []error{err, traffic} {
			var of *kernels.RowsError
			require.ErrorAs(t, err, &of)
			require.Equal(t, kernels.RowsError{Program: p, Tensor: 1, Rows: view[0], Matrices: view[1], Elements: 130}, *of)
			want := fmt.Sprintf("tensor 1 is no matrix: it has 130 elements in %d rows", view[0])
			if view[1] != 0 {
				want = fmt.Sprintf("tensor 1 is no matrices: it has 130 elements in %d rows of %d matrices", view[0], view[1])
			}
			require.ErrorContains(t, err, want)
		}
	}
}

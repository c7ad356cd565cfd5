package cpu

import "github.com/fusestep/fusestep/kernels"

// RaceEnabled says whether the tests run under the race detector.
const RaceEnabled = raceEnabled

// SmallBytes is smallBytes.
var SmallBytes = &smallBytes

// TensorOf is a tensor without planes, for up to n elements, and how many it has: where the program asks for matrices it is one, or three, of about so many
// columns.
func TensorOf(p *kernels.Program, n, columns int) (t kernels.Tensor, elements int) {
	if !p.Matrix() {
		return t, n
	}
	t.Rows = max(n/columns, 1)
	if t.Rows%3 == 0 {
		t.Matrices = 3
	}
	return t, n / t.Rows * t.Rows
}

package cpu

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Machine code for narrow matrices touches nothing behind a plane's end, which is a page's end here: a fault would end the test.
func TestNarrowEnds(t *testing.T) {
	if best().loops == nil {
		t.Skip("no machine code on this machine or in this build")
	}
	alloc := func(x device.DType, n int) []byte {
		page := os.Getpagesize()
		size := (n*x.Size() + page - 1) / page * page
		m, err := syscall.Mmap(-1, 0, size+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, syscall.Munmap(m)) })
		require.NoError(t, syscall.Mprotect(m[size:], syscall.PROT_NONE))
		return m[size-n*x.Size() : size]
	}
	setting := rules.AdafactorRule().With(rules.AdafactorHyper{LR: 1e-2, Beta2Decay: -0.8, Eps1: 1e-30, Eps2: 1e-3, D: 1}, rules.AdafactorOptions{})
	p := newProgram(t, kernels.Spec{Rule: setting.Rule, Options: setting.Rule.MatrixOption(), Compute: device.Float32})
	defer func(old int) { smallBytes = old }(smallBytes)
	for _, smallBytes = range []int{256 << 10, 0} {
		narrowSteps(t, best(), p, setting, [][3]int{{40, 3, 3}, {9, 1, 1}, {1, 100, 5}, {3, 70, 7}, {30, 1, 7}, {5, 16, 16}, {300, 2, 2}, {1, 1, 3}, {2, 130, 1}, {1, 3, 1}}, alloc)
	}
}

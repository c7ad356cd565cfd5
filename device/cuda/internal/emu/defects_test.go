//go:build cuda && cgo && linux

package emu_test

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
)

// TestDefects runs kernels with one defect each over two blocks of 32 threads, through everything between device and driver, and
// the same kernel without it. x holds 64 words, y is fresh and as long.
func TestDefects(t *testing.T) {
	tests := []struct {
		name      string
		bad, good string // the last line of bad is at fault
		kind      ptxvm.Kind
		code      driver.Result
		message   string
	}{
		{"load behind the end", "ld.global.u32 %a, [%own+4];", "ld.global.u32 %a, [%own];",
			ptxvm.IllegalAddress, driver.ErrorIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS (700)"},
		{"store before the start", "st.global.u32 [%own+-4], %i;", "st.global.u32 [%own], %i;",
			ptxvm.IllegalAddress, driver.ErrorIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS (700)"},
		{"use after free", "ld.global.u32 %a, [%y];", "st.global.u32 [%own], %i;",
			ptxvm.UseAfterFree, driver.ErrorIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS (700)"},
		{"misaligned", "ld.global.u32 %a, [%own+2];", "ld.global.u32 %a, [%own+0];",
			ptxvm.Misaligned, driver.ErrorMisalignedAddress, "CUDA_ERROR_MISALIGNED_ADDRESS (716)"},
		{"uninitialized memory", "mad.wide.u32 %at, %i, 4, %y;\nld.global.u32 %a, [%at];",
			"mad.wide.u32 %at, %i, 4, %y;\nst.global.u32 [%at], 1;\nld.global.u32 %a, [%at];",
			ptxvm.Uninitialized, driver.ErrorLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED (719)"},
		{"uninitialized register", "setp.lt.u32 %p, %i, 5;\n@%p mov.u32 %a, 1;\nst.global.u32 [%own], %a;",
			"setp.lt.u32 %p, %i, 5;\n@%p mov.u32 %a, 1;\n@%p st.global.u32 [%own], %a;",
			ptxvm.Register, driver.ErrorLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED (719)"},
		{"race", "st.global.u32 [%x], %i;", "setp.ne.u32 %p, %i, 0;\n@%p ret;\nst.global.u32 [%x], %i;",
			ptxvm.Race, driver.ErrorLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED (719)"},
		{"divergent barrier", "setp.lt.u32 %p, %i, 5;\n@%p bar.sync 0;", "bar.sync 0;",
			ptxvm.Barrier, driver.ErrorLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED (719)"},
		{"missing lane", "setp.lt.u32 %p, %i, 5;\n@%p ret;\nshfl.sync.idx.b32 %a, %i, 0, 31, 0xffffffff;",
			"shfl.sync.idx.b32 %a, %i, 0, 31, 0xffffffff;",
			ptxvm.Shuffle, driver.ErrorLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED (719)"},
		{"written through the read-only cache", "ld.global.nc.u32 %a, [%own];\nst.global.u32 [%own], %a;",
			"ld.global.u32 %a, [%own];\nst.global.u32 [%own], %a;",
			ptxvm.ReadOnly, driver.ErrorLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED (719)"},
		{"trap", "trap;", "ret;", ptxvm.Trapped, driver.ErrorLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED (719)"},
		{"endless loop", "L: bra L;", "bra L;\nL: ret;", ptxvm.Budget, driver.ErrorLaunchTimeout, "CUDA_ERROR_LAUNCH_TIMEOUT (702)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := install(t, emu.Config{Checks: ptxvm.AllChecks, Budget: 1 << 16})
			for _, body := range []string{tt.good, tt.bad} {
				dev := open(t)
				inContext(t, func() {
					x, err := cu.MemAlloc(256)
					require.NoError(t, err)
					y, err := cu.MemAlloc(256)
					require.NoError(t, err)
					require.NoError(t, cu.MemsetD32(x, 7, 64))
					if tt.kind == ptxvm.UseAfterFree {
						require.NoError(t, cu.MemFree(y))
					}
					stream, err := cu.MakeStream(cu.NonBlocking)
					require.NoError(t, err)
					s := *(*driver.Stream)(unsafe.Pointer(&stream))
					wrapped := cuda.WrapStream(dev, uintptr(s))
					require.NoError(t, cu.Synchronize())
					require.NoError(t, launch(kernel(t, body), 2, 32, s, uint64(x), uint64(y), 64))
					err = wrapped.Synchronize()
					if body == tt.good {
						require.NoError(t, err)
						require.Empty(t, d.Faults())
						return
					}
					require.ErrorIs(t, err, tt.code)
					require.Len(t, d.Faults(), 1)
					var f *ptxvm.Fault
					require.ErrorAs(t, d.Faults()[0], &f)
					require.EqualError(t, err, "device: synchronize: cuda: cuStreamSynchronize: "+tt.message+": "+f.Error())
					require.Equal(t, tt.kind, f.Kind, "%v", f)
					lines := strings.Split(tt.bad, "\n")
					require.Equal(t, lines[len(lines)-1], f.Source)

					_, err = driver.MemHostAlloc(4, 0) // and so does every call from now on
					require.ErrorIs(t, err, tt.code)
				})
				err := dev.Close()
				if body == tt.bad {
					require.ErrorIs(t, err, tt.code)
				} else {
					require.NoError(t, err)
				}
			}
			require.NoError(t, open(t).Close(), "the next context is a good one")
		})
	}
}

//go:build cuda && cgo && linux

package driver_test

import (
	"testing"
	"unsafe"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"gorgonia.org/cu"
)

func pass(driver.Entry, []uint64) (driver.Result, bool)   { return 0, false }
func answer(driver.Entry, []uint64) (driver.Result, bool) { return driver.Success, true }

// BenchmarkHook is one call of cu with one argument. Without a hook it ends at the library or at the lack of one.
func BenchmarkHook(b *testing.B) {
	driver.LoadError()
	for _, c := range []struct {
		name  string
		hooks []driver.Hook
	}{
		{"none", nil},
		{"answers", []driver.Hook{answer}},
		{"passes", []driver.Hook{pass}},
		{"passes,passes,answers", []driver.Hook{answer, pass, pass}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for _, h := range c.hooks {
				defer driver.SetHook(h)()
			}
			for b.Loop() {
				cu.SetCurrentContext(cu.CUContext{})
			}
		})
	}
}

// BenchmarkLaunch compares our launch with cu's, four parameters, answered by a hook.
func BenchmarkLaunch(b *testing.B) {
	defer driver.SetHook(answer)()
	words := make([]uint64, 4)
	b.Run("driver", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			driver.Function(0).Launch([3]uint32{1, 1, 1}, [3]uint32{1, 1, 1}, 0, 0, words)
		}
	})
	b.Run("cu", func(b *testing.B) {
		b.ReportAllocs()
		pointers := make([]unsafe.Pointer, len(words))
		for i := range words {
			pointers[i] = unsafe.Pointer(&words[i])
		}
		for b.Loop() {
			cu.Function{}.Launch(1, 1, 1, 1, 1, 1, 0, cu.Stream{}, pointers)
		}
	})
}

func BenchmarkThreadLocal(b *testing.B) {
	for b.Loop() {
		driver.ThreadLocal(0)
	}
}

//go:build cuda && cgo && linux

package driver_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"
)

// The library is opened once in a process, so each kind of library gets a process of its own: this test's binary,
// started again with that library in front of any real one.
const childVariable = "FUSESTEP_DRIVER_TEST_CHILD"

// child is true in the process that is to run the test's body. Elsewhere it starts that process and waits for it.
func child(t *testing.T, library func(dir string)) bool {
	if os.Getenv(childVariable) == t.Name() {
		return true
	}
	dir := t.TempDir()
	library(filepath.Join(dir, "libcuda.so.1"))
	c := exec.Command(os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	c.Env = append(os.Environ(), childVariable+"="+t.Name(), "LD_LIBRARY_PATH="+dir)
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

// fake compiles testdata/fakecuda.c.
func fake(t *testing.T, flags ...string) func(string) {
	return func(path string) {
		args := append([]string{"-shared", "-fPIC", "-w", "-o", path, "testdata/fakecuda.c"}, flags...)
		out, err := exec.Command("cc", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

// That the process got here shows that cu's package init did not exit.
func TestLibraryMissing(t *testing.T) {
	if !child(t, func(path string) { require.NoError(t, os.WriteFile(path, nil, 0o644)) }) {
		return
	}
	_, err := driver.MemAllocAsync(64, 0)
	var e *driver.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, driver.CuMemAllocAsync, e.Entry)
	require.ErrorIs(t, err, driver.ErrorSharedObjectInitFailed)
	require.Regexp(t, `^cuda: cuMemAllocAsync: CUDA_ERROR_SHARED_OBJECT_INIT_FAILED \(303\): driver library: \S*libcuda\.so\.1: `, err.Error())

	require.ErrorContains(t, driver.LoadError(), "libcuda.so.1")
	_, err = cu.NumDevices()
	require.Equal(t, cu.SharedObjectInitFailed, err)
	_, err = cu.MemAlloc(64)
	require.Equal(t, cu.SharedObjectInitFailed, err)
	require.Equal(t, -1, cu.Version())
}

func TestLibraryInitFails(t *testing.T) {
	if !child(t, fake(t, "-DFAIL_INIT")) {
		return
	}
	_, err := cu.NumDevices()
	require.Equal(t, cu.NoDevice, err)
	err = driver.MemFreeHost(nil)
	require.ErrorIs(t, err, driver.ErrorNoDevice)
	require.ErrorContains(t, err, "cuInit failed with code 100")
	require.EqualError(t, driver.LoadError(), "driver library: cuInit failed with code 100")
}

func TestLibraryIncomplete(t *testing.T) {
	if !child(t, fake(t, "-DcuInit=other")) {
		return
	}
	_, err := cu.NumDevices()
	require.Equal(t, cu.SharedObjectInitFailed, err)
	require.ErrorContains(t, driver.LoadError(), "no cuInit")
}

func TestLibraryCalls(t *testing.T) {
	if !child(t, fake(t)) {
		return
	}
	require.NoError(t, driver.LoadError())

	p, err := cu.MemAlloc(0x40) // cuMemAlloc_v2: the other returns 999
	require.NoError(t, err)
	require.Equal(t, cu.DevicePtr(0x700000000040), p)
	require.NoError(t, cu.MemFree(p))
	require.Equal(t, cu.InvalidValue, cu.MemFree(p+1))

	_, err = driver.MemHostAlloc(64, 0)
	require.ErrorIs(t, err, driver.ErrorNotSupported, "the library lacks this entry")
	require.EqualError(t, err, "cuda: cuMemHostAlloc: CUDA_ERROR_NOT_SUPPORTED (801)")

	s, err := driver.ErrorOutOfMemory.Describe()
	require.NoError(t, err)
	require.Equal(t, "out of memory", s)

	t.Run("the library's calls to itself stay inside", func(t *testing.T) {
		var seen []driver.Entry
		defer driver.SetHook(func(e driver.Entry, _ []uint64) (driver.Result, bool) {
			seen = append(seen, e)
			return 0, false
		})()
		require.Equal(t, 12007, cu.Version())
		require.Equal(t, []driver.Entry{driver.CuDriverGetVersion}, seen)
	})
	t.Run("faults in front of the library", func(t *testing.T) {
		defer driver.SetHook(failAt(driver.CuMemAlloc, 2, driver.ErrorOutOfMemory))()
		_, err := cu.MemAlloc(1)
		require.NoError(t, err)
		_, err = cu.MemAlloc(1)
		require.Equal(t, cu.OutOfMemory, err)
		_, err = cu.MemAlloc(1)
		require.NoError(t, err)
	})
}

func TestLibraryOpensOnce(t *testing.T) {
	if !child(t, fake(t)) {
		return
	}
	errs := make([]error, 64)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			if i%2 == 0 {
				errs[i] = driver.LoadError()
				return
			}
			_, errs[i] = cu.NumDevices()
		})
	}
	group.Wait()
	require.NoError(t, errors.Join(errs...))
	times, err := cu.Device(0).Attribute(1)
	require.NoError(t, err)
	require.Equal(t, 1, times, "calls of cuInit")
}

package cpu_test

import (
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
)

// I6: a CPU and a GPU have the methods of a device, with the same signatures, but for those that are for backends and for package optim.
func TestDeviceMethods(t *testing.T) {
	base := reflect.TypeFor[*device.Device]()
	for _, d := range []reflect.Type{reflect.TypeFor[*cpu.Device](), reflect.TypeFor[*cuda.Device]()} {
		for m := range base.Methods() {
			if slices.Contains([]string{"Processor", "Wrap", "WrapStream", "Closings"}, m.Name) {
				continue
			}
			got, ok := d.MethodByName(m.Name)
			require.True(t, ok, "%v lacks %s", d, m.Name)
			for i := 1; i < m.Type.NumIn(); i++ {
				require.Equal(t, m.Type.In(i), got.Type.In(i), "%v.%s", d, m.Name)
			}
			for i := range m.Type.NumOut() {
				require.Equal(t, m.Type.Out(i), got.Type.Out(i), "%v.%s", d, m.Name)
			}
		}
	}
}

// I6: go doc finds what a program uses of a device, and says something about it.
func TestGoDoc(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	for _, symbol := range strings.Fields("cpu.New cpu.NewThreads cpu.Wrap cpu.Device.Alloc cpu.Device.DefaultStream cpu.Device.NewStream cpu.Device.NewEvent cpu.Device.MemInfo cpu.Device.Close " +
		"device/cuda.Open device/cuda.Wrap device/cuda.WrapStream device/cuda.Device.Alloc device/cuda.Device.Model device/cuda.Device.Close device/cuda/emulated.Open " +
		"device.Upload device.Download device.Stream.Synchronize device.Buffer.Slice") {
		out, err := exec.Command("go", "doc", "github.com/fusestep/fusestep/"+symbol).CombinedOutput()
		require.NoError(t, err, "%s: %s", symbol, out)
		name := symbol[strings.LastIndex(symbol, ".")+1:]
		require.Contains(t, string(out), "func ", symbol)
		require.Contains(t, string(out), "\n    "+name+" ", "%s has no sentence of its own", symbol)
	}
}

package cpu

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// racy are programs that use a stream, and whether they wait for it as they must.
var racy = []struct {
	name, body string
	race       bool
}{
	{"download 3", `b := alloc(3); x := make([]float32, 3); check(device.Download(s, x, b)); sum += x[0]`, true},
	{"download 4M", `b := alloc(1 << 22); x := make([]float32, 1<<22); check(device.Download(s, x, b)); sum += x[1<<22-1]`, true},
	{"download, then another operation", `b := alloc(3); x := make([]float32, 3); check(device.Download(s, x, b)); check(s.Zero(b)); check(s.Record(e)); sum += x[0]`, true},
	{"upload 3", `b := alloc(3); x := make([]float32, 3); check(device.Upload(s, b, x)); x[0] = 1`, true},
	{"upload 4M", `b := alloc(1 << 22); x := make([]float32, 1<<22); check(device.Upload(s, b, x)); x[0] = 1`, true},
	{"another stream's wait", `b := alloc(3); x := make([]float32, 3); check(device.Download(s, x, b)); check(dev.DefaultStream().Synchronize()); sum += x[0]`, true},
	{"an event recorded before", `b := alloc(3); x := make([]float32, 3); check(s.Record(e)); check(device.Download(s, x, b)); check(e.Synchronize()); sum += x[0]`, true},
	{"step on a wrapped slice", `x := step(3); sum += x[0]`, true},
	{"step on a large wrapped slice", `x := step(1 << 20); sum += x[1000]`, true},

	{"synchronised", `b := alloc(3); x := make([]float32, 3); check(device.Download(s, x, b)); check(s.Synchronize()); sum += x[0]; check(device.Upload(s, b, x)); check(s.Synchronize()); x[0] = 1`, false},
	{"synchronised 4M", `b := alloc(1 << 22); x := make([]float32, 1<<22); check(device.Download(s, x, b)); check(s.Synchronize()); sum += x[9]; x[9] = 1`, false},
	{"synchronised by an event", `b := alloc(3); x := make([]float32, 3); check(device.Download(s, x, b)); check(s.Record(e)); check(e.Synchronize()); sum += x[0]`, false},
	{"synchronised through another stream", `b := alloc(3); x := make([]float32, 3); check(device.Download(s, x, b)); check(s.Record(e)); d := dev.DefaultStream(); check(d.Wait(e)); check(d.Synchronize()); sum += x[0]`, false},
	{"the same slice twice", `b := alloc(3); x := make([]float32, 3); check(device.Download(s, x, b)); check(device.Upload(s, b, x)); check(device.Download(s, x, b)); check(s.Synchronize()); sum += x[0]`, false},
	{"closed", `b := alloc(3); x := make([]float32, 3); check(device.Download(s, x, b)); check(b.Close()); sum += x[0]`, false},
	{"steps on a wrapped slice, synchronised", `x := step(1 << 20); check(s.Synchronize()); sum += x[0]; x[1] = 2`, false},
}

const program = `package main

import (
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

var (
	dev  = cpu.NewThreads(2)
	s, _ = dev.NewStream()
	e, _ = dev.NewEvent()
	sum  float32
)

func alloc(n int) *device.Buffer {
	b, err := dev.Alloc(device.Float32, n)
	check(err)
	check(s.Zero(b))
	check(s.Synchronize())
	return b
}

// step takes two steps on a wrapped slice.
func step(n int) []float32 {
	x := make([]float32, n)
	v, err := cpu.Wrap(dev, x)
	check(err)
	opt, err := optim.New(dev, optim.DefaultAdamW(), []optim.Param{{Name: "x", Value: v, Grad: alloc(n)}})
	check(err)
	check(opt.Step(s))
	check(opt.Step(s))
	return x
}

func main() {
	switch os.Args[1] {
CASES
	}
	check(dev.Close())
	fmt.Println(sum)
}
`

// I7: the race detector reports a program that does not wait for what it enqueued, however small, and no program that does.
func TestRaceDetector(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program under the race detector")
	}
	var cases strings.Builder
	for _, c := range racy {
		cases.WriteString("\tcase \"" + c.name + "\":\n\t\t" + c.body + "\n")
	}
	text := strings.Replace(strings.Replace(program, "CASES", cases.String(), 1), `"fmt"`, "\"fmt\"\n\t\"os\"", 1)
	// The program is in the module for the compiler alone, since others read the module's files meanwhile.
	const dir = "_race"
	here, err := os.Getwd()
	require.NoError(t, err)
	file, overlay, bin := filepath.Join(t.TempDir(), "main.go"), filepath.Join(t.TempDir(), "overlay.json"), filepath.Join(t.TempDir(), "racy")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o666))
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, dir, "main.go"): file}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, replace, 0o666))
	out, err := exec.Command("go", "build", "-race", "-overlay", overlay, "-o", bin, "./"+dir).CombinedOutput()
	if err != nil && (strings.Contains(string(out), "-race requires cgo") || strings.Contains(string(out), "-race is not supported") || strings.Contains(string(out), "C compiler")) {
		t.Skipf("no race detector here: %s", out)
	}
	require.NoError(t, err, "%s", out)
	for _, c := range racy {
		t.Run(c.name, func(t *testing.T) {
			out, err := exec.Command(bin, c.name).CombinedOutput()
			if found := strings.Contains(string(out), "WARNING: DATA RACE"); found != c.race {
				t.Errorf("race found: %v, want %v; %v\n%s", found, c.race, err, out)
			}
		})
	}
}

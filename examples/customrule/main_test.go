package main

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/examples/internal/compare/comparetest"
	"github.com/fusestep/fusestep/examples/internal/host"
	"github.com/fusestep/fusestep/internal/gpu"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"customrule": main}) }

// TestSessions runs the program as a user does: testdata holds shell sessions.
func TestSessions(t *testing.T) { comparetest.Sessions(t) }

func TestRun(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(&out, cpu.New()))
	for _, want := range []string{
		`rule Concord: slots ["param" "grad" "momentum"]`,
		"Concord[Decay] float32: 20 bytes an element and step", "Concord[Decay] float64: 40 bytes an element and step",
		"1003 elements, 50 steps: 0 differ in any bit", "mean square error 0.5981 before",
		"LayerStep[] float32: 20 bytes an element and step", "12293 elements, 50 steps: 0 differ in any bit",
	} {
		require.Contains(t, out.String(), want)
	}
}

// TestEmulated runs the program on the emulated GPU, in the builds that have one.
func TestEmulated(t *testing.T) {
	if !gpu.Built {
		t.Skip("this build has no CUDA: see make test-cuda")
	}
	emulated, err := host.Open("emu")
	require.NoError(t, err)
	require.NoError(t, run(io.Discard, emulated))
}

func TestCheck(t *testing.T) {
	base := Settings{LR: 0.05, Beta: 0.9, Limit: 0.5, Doubt: 0.25}
	with := func(change func(*Settings)) Settings {
		c := base
		change(&c)
		return c
	}
	tests := []struct {
		name string
		c    Settings
		n    int
	}{
		{"no decay", base, 257},
		{"decay", with(func(c *Settings) { c.WeightDecay = 0.1 }), 257},
		{"no limit", with(func(c *Settings) { c.Limit = 1e30 }), 0},
		{"no doubt", with(func(c *Settings) { c.Doubt = 1 }), 33},
		{"no memory", with(func(c *Settings) { c.Beta = 0 }), 33},
		{"no elements", base, 0},
		{"many elements", base, 20_003},
	}
	dev := cpu.New()
	for _, tt := range tests {
		run := func(name string, got checked, err error) {
			t.Run(fmt.Sprintf("%s %s", tt.name, name), func(t *testing.T) {
				require.NoError(t, err)
				require.Zero(t, got.different)
				require.LessOrEqual(t, got.worst, got.bound)
			})
		}
		got, err := check[float32](dev, tt.c, tt.n)
		run("float32", got, err)
		got, err = check[float64](dev, tt.c, tt.n)
		run("float64", got, err)
	}
}

// BenchmarkConcord is a step of the rule on 64 Mi elements.
func BenchmarkConcord(b *testing.B) {
	const n = 64 << 20
	c := Settings{LR: 1e-3, Beta: 0.9, Limit: 0.5, Doubt: 0.25}
	tr, err := newTrainer(cpu.New(), c, make([]float32, n))
	require.NoError(b, err)
	defer func() { require.NoError(b, tr.close()) }()
	b.SetBytes(20 * n)
	for b.Loop() {
		require.NoError(b, tr.opt.Step(nil))
		require.NoError(b, tr.placed.Stream().Synchronize())
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []Settings{{LR: -1, Limit: 1}, {Beta: 1, Limit: 1}, {Beta: -0.1, Limit: 1}, {}} {
		_, err := c.Setting()
		require.ErrorContains(t, err, "concord: ", "%+v", c)
	}
}

func TestLayer(t *testing.T) {
	dev := cpu.New()
	for _, n := range []int{0, 1, 129, 20_003} {
		for _, lr := range []float64{0.5, 0.001} {
			run := func(name string, got checkedLayer, err error) {
				t.Run(fmt.Sprintf("%d elements, %v, %s", n, lr, name), func(t *testing.T) {
					require.NoError(t, err)
					require.Zero(t, got.different)
					require.LessOrEqual(t, got.worst, got.bound)
				})
			}
			got, err := checkLayer[float32](dev, Layer{LR: lr}, n)
			run("float32", got, err)
			got, err = checkLayer[float64](dev, Layer{LR: lr}, n)
			run("float64", got, err)
		}
	}
	_, err := Layer{LR: -1}.Setting()
	require.ErrorContains(t, err, "layer: LR is -1")
}

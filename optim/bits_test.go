package optim_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// schedulesOf are schedules of many parameters, by name.
func schedulesOf(r *rand.Rand) map[string][]optim.Schedule {
	all := map[string][]optim.Schedule{}
	add := func(name string, s optim.Schedule) { all[name] = append(all[name], s) }
	count := func(n uint64) int { return int(r.Uint64()%n) + 1 }
	for range 12 {
		for name, s := range decays(count(2000), r.Float64()/10) {
			add(name, s)
		}
		add("polynomial", optim.Polynomial{Steps: count(1000), Power: 4 * r.Float64(), Min: r.Float64() / 10})
		add("warm-up", optim.Warmup{Start: r.Float64(), Steps: count(500), Then: optim.InverseSqrt{Timescale: count(500)}})
		add("wsd", optim.WSD{Start: r.Float64(), Warmup: count(100), Stable: count(300), Decay: optim.OneMinusSqrt{Steps: count(500), Min: r.Float64()}})
		add("step", optim.StepDecay{Every: count(5), Gamma: r.Float64()})
		add("multi-step", optim.MultiStep{Milestones: []int{count(400), count(400), count(400)}, Gamma: r.Float64()})
		add("exponential", optim.Exponential{Gamma: 1 - r.Float64()/100})
		add("exponential", optim.Exponential{Gamma: 1 + r.Float64()/100})
		add("restarts", optim.CosineWarmRestarts{T0: count(100), TMult: count(3), Min: r.Float64() / 10})
		for _, c := range []optim.OneCycle{{}, {ThreePhase: true}, {Linear: true}, {ThreePhase: true, Linear: true}} {
			c.Steps, c.PctStart, c.DivFactor, c.FinalDivFactor = count(1000), r.Float64()/2, 1+100*r.Float64(), 1+1000*r.Float64()
			add("one-cycle", c)
		}
		plateau := optim.ReduceOnPlateau{Gamma: r.Float64(), Threshold: r.Float64() / 100, Maximize: r.Uint64()%2 == 0}
		for range 40 {
			plateau.Observe(r.Float64())
			add("plateau", &optim.ReduceOnPlateau{Gamma: plateau.Gamma, State: plateau.State})
		}
	}
	return all
}

// bits are lines "what digest": of the factors of all schedules, and of parameters and state of all cases after some steps, in the
// course of which hosts compute hyperparameters, factors and prologues.
func bits(t *testing.T) string {
	var out strings.Builder
	line := func(name string, numbers []float64) {
		h := sha256.New()
		for _, x := range numbers {
			require.False(t, math.IsNaN(x), name)
			require.NoError(t, binary.Write(h, binary.LittleEndian, math.Float64bits(x)))
		}
		fmt.Fprintf(&out, "%s %x\n", name, h.Sum(nil)[:8])
	}
	all := schedulesOf(rand.New(rand.NewPCG(7, 7)))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var factors []float64
		for _, s := range all[name] {
			for k := range 1001 {
				factors = append(factors, s.Factor(k))
			}
		}
		line("schedule "+name, factors)
	}
	for _, c := range optim.Cases() {
		for _, dtype := range []device.DType{device.Float32, device.Float64} {
			line(fmt.Sprintf("case %s %v", c.Name, dtype), steps(t, c.Algorithm, dtype))
		}
	}
	// What a case leaves off, and makes of its hyperparameters.
	for _, decay := range []float64{0, 0.004, 0.3, 17} {
		a := optim.DefaultNAdam()
		a.MomentumDecay = decay
		line(fmt.Sprintf("nadam, momentum decay %v", decay), steps(t, a, device.Float64))
	}
	for _, betas := range [][3]float64{{0.9, 0.999, 0.9999}, {0.3, 0.9, 0.99}, {0.95, 0.95, 0.999}} {
		a := optim.DefaultAdEMAMix()
		a.Betas, a.AlphaWarmup, a.Beta3Warmup = betas, 30, 20
		line(fmt.Sprintf("ademamix, warm-up to %v", betas), steps(t, a, device.Float64))
	}
	return out.String()
}

// steps is what parameters and state are after each of 40 steps of ordinary numbers.
func steps(t *testing.T, a optim.Algorithm, dtype device.DType) (out []float64) {
	const n = 37
	r := rand.New(rand.NewPCG(3, 5))
	ordinary := func() []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = 2*r.Float64() - 1
		}
		return x
	}
	h := newHarness(t, dtype, ordinary())
	o := h.optimizer(a)
	require.NoError(t, o.SetSchedule(optim.Warmup{Steps: 5, Then: optim.Cosine{Steps: 60, Min: 0.1}}))
	s, err := a.Setting()
	require.NoError(t, err)
	p, err := (optim.Case{Algorithm: a}).Program(dtype)
	require.NoError(t, err)
	if s.Name == "sophia" {
		h.set(h.state(o, "hessian"), ordinary())
	}
	for range 40 {
		h.set(h.grad, ordinary())
		require.NoError(t, o.Step(nil))
		out = append(out, h.values(h.value)...)
		for _, name := range p.State() {
			out = append(out, h.values(h.state(o, name))...)
		}
	}
	return out
}

// N7: the bits are those of testdata/bits.txt, whatever the machine.
func TestBits(t *testing.T) {
	const file = "testdata/bits.txt"
	got := bits(t)
	if *write {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	sameLines(t, got, string(want), "where a rule or a schedule was meant to change, make generate writes "+file)
}

// N7: they are the same without this machine's instructions, and with more of them: with a compiler that has no 64-bit registers,
// and one that may fuse products with sums. S2: the tests of this package compile there.
func TestBitsElsewhere(t *testing.T) {
	if testing.Short() || runtime.GOARCH != "amd64" {
		t.Skip("builds the tests twice more, on amd64")
	}
	for _, env := range []string{"GOARCH=386", "GOAMD64=v3"} {
		t.Run(env, func(t *testing.T) {
			t.Parallel()
			c := exec.Command("go", "test", "-short", "-run", "^TestBits$", ".")
			c.Env = append(os.Environ(), env, "CGO_ENABLED=0")
			out, err := c.CombinedOutput()
			if strings.Contains(string(out), "microarchitecture support") {
				t.Skipf("%s: %s", env, out)
			}
			require.NoError(t, err, "%s: %s", env, out)
			require.NotContains(t, string(out), "no tests to run")
		})
	}
}

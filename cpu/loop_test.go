package cpu

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
	"github.com/fusestep/fusestep/optim"
)

// withLoops calls f for each implementation that makes machine code.
func withLoops(t *testing.T, f func(t *testing.T, open func(threads int) *Device)) {
	ran := false
	for _, i := range implementations() {
		if i.loops == nil {
			continue
		}
		ran = true
		t.Run(i.name, func(t *testing.T) {
			f(t, func(threads int) *Device {
				d := NewThreads(threads)
				d.processor.choice = choice{implementation: i}
				return d
			})
		})
	}
	if !ran {
		t.Skipf("NOTE: no machine code was run: %v", MachineCode())
	}
}

func newProgram(t testing.TB, s kernels.Spec) *kernels.Program {
	p, err := kernels.New(s)
	require.NoError(t, err)
	return p
}

// programs calls f for all programs of the rules that optimizers have.
func programs(t *testing.T, f func(p *kernels.Program)) {
	for _, r := range optim.Rules() {
		for set := range uint64(1) << len(r.Options) {
			for penalties := range rule.Penalties + 1 {
				if penalties&kernels.Refused(r) != 0 {
					continue
				}
				for _, dtype := range []device.DType{device.Float32, device.Float64} {
					f(newProgram(t, kernels.Spec{Rule: r, Options: set, Around: penalties, Compute: dtype}))
				}
			}
		}
	}
}

// Code is made once for updates that compute the same, and its memory given back when none of them is left. All programs together take
// little.
func TestCodeMemory(t *testing.T) {
	withLoops(t, func(t *testing.T, open func(int) *Device) {
		d := open(1)
		defer d.Close()
		before := exec.Held()
		var all []*loop
		bytes := 0
		began := time.Now()
		programs(t, func(p *kernels.Program) {
			l, err := d.processor.machineCode(&p.Passes[0], inCache)
			require.NoError(t, err)
			again, err := d.processor.machineCode(&p.Passes[0], inCache)
			require.NoError(t, err)
			require.Same(t, l, again)
			all = append(all, l)
			c, err := emitLoop(d.processor.choice.loops, &p.Passes[0], fromMemory)
			require.NoError(t, err)
			bytes += len(c.Text)
		})
		t.Logf("%d programs: %d bytes each on average, %v to make one twice with its graph", len(all), bytes/len(all), time.Since(began)/time.Duration(len(all)))
		require.Greater(t, len(all), 50)
		require.LessOrEqual(t, exec.Held()-before, int64(8<<20)*int64(len(all))/100, "100 programs take 8 MB")
		runtime.KeepAlive(all)
		clear(all)
		require.Eventually(t, func() bool {
			runtime.GC()
			return exec.Held() <= before
		}, 10*time.Second, time.Millisecond)
	})
}

// A listing names what the rule names.
func TestListing(t *testing.T) {
	withLoops(t, func(t *testing.T, open func(int) *Device) {
		d := open(1)
		defer d.Close()
		text, err := d.Listing(newProgram(t, kernels.Spec{Rule: rules.LionRule().Rule, Compute: device.Float32}))
		require.NoError(t, err)
		for _, want := range []string{"\t; e.P\n", "\t; e.P =\n", "\t; s.LR\n", "vmulps", "ret\n"} {
			require.Contains(t, text, want)
		}
	})
	scalar := NewThreads(1)
	defer scalar.Close()
	scalar.processor.choice = choice{implementation: implementations()[0]}
	_, err := scalar.Listing(newProgram(t, kernels.Spec{Rule: rules.LionRule().Rule, Compute: device.Float32}))
	require.ErrorIs(t, err, device.ErrUnsupported)
}

// BenchmarkMachineCode is what a program's first step takes more than the next: AdamW's graph, its machine code, and the memory for it.
func BenchmarkMachineCode(b *testing.B) {
	if best().loops == nil {
		b.Skip("no machine code on this machine or in this build")
	}
	for b.Loop() {
		p, err := kernels.New(kernels.Spec{Rule: rules.AdamRule().Rule, Compute: device.Float32})
		require.NoError(b, err)
		code, err := emitLoop(best().loops, &p.Passes[0], fromMemory)
		require.NoError(b, err)
		_, err = exec.New(code.Text)
		require.NoError(b, err)
	}
}

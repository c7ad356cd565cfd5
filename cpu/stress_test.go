package cpu

import (
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rules"
	"github.com/fusestep/fusestep/optim"
)

var stress = flag.Duration("stress", 300*time.Millisecond, "how long TestStress runs")

// TestStress runs machine code beside all that Go's runtime does to a goroutine in it: garbage collection after each allocation, stacks
// that grow, profile and preemption signals, the tracer; while code is made and freed, and faults in it are recovered from. All
// results are checked.
func TestStress(t *testing.T) {
	if best().loops == nil {
		t.Skip("NOTE: no machine code was run")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	if err := pprof.StartCPUProfile(io.Discard); err == nil {
		defer pprof.StopCPUProfile()
	}
	if err := trace.Start(io.Discard); err == nil {
		defer trace.Stop()
	}
	before := exec.Held()
	until := time.Now().Add(*stress)
	var workers sync.WaitGroup
	var steps, faults atomic.Int64
	for i := range 8 {
		workers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for time.Now().Before(until) && !t.Failed() {
				steps.Add(stressOne(t, rng))
				faults.Add(fault(t))
			}
		})
	}
	workers.Go(func() {
		for time.Now().Before(until) {
			runtime.GC()
		}
	})
	workers.Wait()
	require.Positive(t, steps.Load())
	t.Logf("%d steps, %d faults", steps.Load(), faults.Load())
	require.Eventually(t, func() bool {
		runtime.GC()
		return exec.Held() <= before
	}, 30*time.Second, 10*time.Millisecond, "machine code that nobody has any more stays")
}

// stressOne takes some steps of some program on a device of its own, deep in the stack, and holds them to the rule itself.
func stressOne(t *testing.T, rng *rand.Rand) (steps int64) {
	rules := optim.Rules()
	r := rules[rng.IntN(len(rules))]
	p := newProgram(t, kernels.Spec{Rule: r, Options: rng.Uint64N(1 << len(r.Options)), Compute: device.Float32})
	n := 1 + rng.IntN(2000)
	if rng.IntN(16) == 0 {
		n += inlineLen // several threads
	}
	all := implementations()
	choose := []implementation{all[0]}
	for _, i := range all {
		if i.loops != nil {
			choose = append(choose, i)
		}
	}
	seed := rng.Uint64()
	var results [][][]float32
	for _, i := range choose {
		d := NewThreads(1 + rng.IntN(3))
		d.processor.choice = choice{implementation: i}
		var planes [][]float32
		deep(rng.IntN(200), func() { planes = stressSteps(t, d, p, n, seed) })
		results = append(results, planes)
		if rng.IntN(2) == 0 {
			_ = d.Close()
		}
	}
	for i, got := range results[1:] {
		for k := range got {
			if !slices.EqualFunc(results[0][k], got[k], func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) || x != x && y != y }) {
				t.Errorf("%s: %s: %s differs from the rule's", choose[i+1].name, p, p.Of(k).Name)
			}
		}
	}
	return int64(3 * len(choose))
}

// deep calls f with a deeper stack.
func deep(depth int, f func()) byte {
	var room [256]byte
	if depth == 0 {
		f()
		return room[0]
	}
	return deep(depth-1, f) + room[depth%256]
}

// stressSteps returns the planes after three steps.
func stressSteps(t *testing.T, d *Device, p *kernels.Program, n int, seed uint64) [][]float32 {
	rng := rand.New(rand.NewPCG(seed, 2))
	var planes [][]float32
	tensor, n := TensorOf(p, n, int(1+seed%16))
	for _, plane := range p.Planes {
		x := make([]float32, kernels.Numbers(plane.Domain, n, tensor.Rows, tensor.Matrices))
		for i := range x {
			x[i] = rng.Float32()
		}
		b, err := Wrap(d, x)
		require.NoError(t, err)
		planes, tensor.Planes = append(planes, x), append(tensor.Planes, b)
	}
	if p.SumWords() > 0 {
		var err error
		tensor.Sums, err = Wrap(d, p.InitialSums(n, tensor.Rows, tensor.Matrices))
		require.NoError(t, err)
	}
	counters, err := Wrap(d, p.Rule.InitialCounters())
	require.NoError(t, err)
	u, err := d.Compile(kernels.Work{Program: p, Tensors: []kernels.Tensor{tensor}, Counters: []*device.Buffer{counters}})
	require.NoError(t, err)
	g := kernels.GroupStep{Scale: 1}
	for range p.Rule.Hyper {
		g.Hyper = append(g.Hyper, rng.Float64())
	}
	in := kernels.Step{Groups: []kernels.GroupStep{g}}
	for range 3 {
		require.NoError(t, u.Enqueue(d.DefaultStream(), in))
	}
	require.NoError(t, d.DefaultStream().Synchronize())
	return planes
}

// fault runs a loop on no memory.
func fault(t *testing.T) (faults int64) {
	d := NewThreads(1)
	defer d.Close()
	p := newProgram(t, kernels.Spec{Rule: rules.AdamRule().Rule, Compute: device.Float32})
	l, err := d.processor.machineCode(&p.Passes[0], inCache)
	require.NoError(t, err)
	defer func() {
		if r := recover(); r != nil && fmt.Sprint(r) == "runtime error: invalid memory address or nil pointer dereference" {
			faults = 1
		} else {
			t.Errorf("a loop on no memory: %v", r)
		}
	}()
	block := make([]float32, 100)
	l.run(make([]*byte, len(p.Planes)), (*byte)(unsafe.Pointer(&block[0])), newFrame(l.frame), 0, 100)
	return 0
}

package cpu

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Short tensors, wherever they lie, have the rule's bits, and only those that follow each other are prefetched beyond their ends.
func TestScattered(t *testing.T) {
	withLoops(t, func(t *testing.T, open func(int) *Device) {
		d := open(3)
		defer d.Close()
		old := prefetches
		prefetches = func() bool { return true }
		defer func() { prefetches = old }()
		scalar := NewThreads(3)
		defer scalar.Close()
		scalar.processor.choice = choice{implementation: implementations()[0]}
		adam := rules.AdamRule().With(rules.AdamHyper{LR: 0.1, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8}, rules.AdamOptions{})
		staged := rule.Setting{Rule: kerneltest.Staged(t)[0], Hyper: []float64{0.1, 0.9}}
		for i, of := range []struct {
			rule.Setting
			formats string
		}{{adam, "param=bf16 grad=f16"}, {staged, ""}, {adam, ""}, {staged, "param=bf16 grad=f16"}} {
			if i > 1 && testing.Short() {
				continue
			}
			p := newProgram(t, kernels.Spec{Rule: of.Rule, Compute: device.Float32, Formats: of.formats})
			for _, shuffle := range []bool{false, true} {
				u, got := shorts(t, d, p, shuffle)
				v := u.(*update[float32])
				for _, pass := range v.vectors {
					require.Equal(t, shuffle && !v.staged, pass.short != nil)
					require.Equal(t, v.staged, pass.inCache != nil)
				}
				require.Equal(t, shuffle, v.scattered)
				other, want := shorts(t, scalar, p, shuffle)
				g := kernels.GroupStepOf(of.Setting, of.Hyper)
				for range 2 {
					require.NoError(t, u.Enqueue(d.DefaultStream(), kernels.Step{Groups: []kernels.GroupStep{g}}))
					require.NoError(t, other.Enqueue(scalar.DefaultStream(), kernels.Step{Groups: []kernels.GroupStep{g}}))
				}
				require.NoError(t, d.DefaultStream().Synchronize())
				require.NoError(t, scalar.DefaultStream().Synchronize())
				for k := range want {
					require.Equal(t, contents(want[k]), contents(got[k]), "%s, shuffled %v", p.Of(k).Name, shuffle)
				}
			}
		}
	})
}

// shorts is an update of tensors of many short lengths, which follow each other in each plane's buffer, in that order or in any.
func shorts(t *testing.T, d *Device, p *kernels.Program, shuffle bool) (u kernels.Update, planes []*device.Buffer) {
	rng := rand.New(rand.NewPCG(4, 5))
	var lengths []int
	total := 0
	for range 400 {
		lengths = append(lengths, 1+rng.IntN(3000))
		total += lengths[len(lengths)-1]
	}
	w := kernels.Work{Program: p, Tensors: make([]kernels.Tensor, len(lengths))}
	for _, plane := range p.Planes {
		b, err := d.Alloc(plane.DType, total)
		require.NoError(t, err)
		planes = append(planes, b)
		x := contents(b)
		for i := range x {
			x[i] = byte(rng.Uint32()) & 0x3f // no NaN, whose payload may differ
		}
		at := 0
		for i, n := range lengths {
			part, err := b.Slice(at, at+n)
			require.NoError(t, err)
			w.Tensors[i].Planes = append(w.Tensors[i].Planes, part)
			at += n
		}
	}
	for i, n := range lengths {
		w.Tensors[i].Sums = newSums(t, d, p, n, 0)
	}
	if shuffle {
		rng.Shuffle(len(w.Tensors), func(i, j int) { w.Tensors[i], w.Tensors[j] = w.Tensors[j], w.Tensors[i] })
	}
	counters, err := d.Alloc(device.Float64, len(p.Counters))
	require.NoError(t, err)
	require.NoError(t, device.Upload(d.DefaultStream(), counters, p.InitialCounters()))
	require.NoError(t, d.DefaultStream().Synchronize())
	w.Counters = []*device.Buffer{counters}
	u, err = d.Compile(w)
	require.NoError(t, err)
	return u, planes
}

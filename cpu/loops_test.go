package cpu

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// A loop that the caller brings is run for the program whose fingerprint it has, before the built-in ones, and for no other.
func TestCallersLoops(t *testing.T) {
	if len(implementations()) == 1 {
		t.Skip("NOTE: this machine and build run the rule itself alone")
	}
	p := kernels.Program{Rule: kernels.AdamRule().Rule, DType: device.Float32}
	f, err := p.Graph()
	require.NoError(t, err)
	var ran []int
	mine := map[string]Loop{f.Fingerprint(): func(_ **byte, _ *byte, n, _ int) { ran = append(ran, n) }}
	d := NewThreads(1, Loops{}, Loops{AVX2: mine, AVX512: mine})
	defer d.Close()
	update := func(p kernels.Program, n int) {
		w := kernels.Work{Program: p, Tensors: []kernels.Tensor{{Slots: make([]*device.Buffer, len(p.Rule.Slots))}}}
		for k := range p.Rule.Slots {
			w.Tensors[0].Slots[k], err = d.Alloc(p.DType, n)
			require.NoError(t, err)
		}
		state, err := d.Alloc(device.Float64, len(p.Rule.State))
		require.NoError(t, err)
		w.State = []*device.Buffer{state}
		u, err := d.Compile(w)
		require.NoError(t, err)
		step := kernels.Step{Groups: []kernels.GroupStep{{Hyper: make([]float64, len(p.Rule.Hyper)), Scale: 1}}}
		require.NoError(t, u.Enqueue(d.DefaultStream(), step))
		require.NoError(t, d.DefaultStream().Synchronize())
	}
	update(p, 33)
	require.Equal(t, []int{128, 64}, ran, "the bytes of two whole rounds, and the last one's own")
	p.Options = 1
	update(p, 33)
	p.Options, p.DType = 0, device.Float64
	update(p, 33)
	require.Len(t, ran, 2)
}

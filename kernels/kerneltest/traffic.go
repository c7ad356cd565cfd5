package kerneltest

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// runTraffic checks that the traffic of an update leaves every byte as it is, for each rule without options, and with all and everything
// around it. That it loads and stores what the update does, a backend's own tests see, or nobody.
func runTraffic(t *testing.T, rules []*rule.Rule, b kernels.Backend) {
	defer b.Device().Close()
	for _, r := range rules {
		for _, dtype := range []device.DType{device.Float32, device.Float64} {
			traffic(t, b, newProgram(t, kernels.Spec{Rule: r, Compute: dtype}))
			traffic(t, b, newProgram(t, kernels.Spec{Rule: r, Options: 1<<len(r.Options) - 1, Around: everything &^ kernels.Refused(r), Compute: dtype}))
		}
	}
}

func traffic(t T, b kernels.Backend, p *kernels.Program) {
	shapes := slices.Concat(straight(0, 1, 31, 127, 4097), apart(len(p.Planes)))
	if p.Rule.Name == rules.AdamRule().Rule.Name && !testing.Short() {
		shapes = append(shapes, straight(long)...)
	}
	w, counters, tensors := work(t, b, p, shapes, 1, rand.New(rand.NewPCG(9, 10)))
	all, err := b.CompileTraffic(w)
	require.NoError(t, err)
	require.NotEmpty(t, all)
	s := b.Device().DefaultStream()
	for _, u := range all {
		require.NoError(t, u.Enqueue(s, kernels.Step{}))
	}
	var m memory
	for i, x := range tensors {
		for k, want := range x.expect {
			dtype := p.Planes[k].DType
			differences(t, s, x.whole[k], &m, want, func(j int, got uint64) { // NaNs too
				t.Fatalf("traffic of %s: tensor %d of %s: %s[%d] is %s, was %s", p, i, x.shape,
					p.Of(k).Name, j-x.first(k), reference.Text(dtype, got), reference.Text(dtype, want[j]))
			})
			require.NoError(t, x.whole[k].Close())
		}
	}
	require.Equal(t, p.InitialCounters(), download[float64](t, s, counters))
	for _, u := range all {
		require.NoError(t, u.Close())
	}
}

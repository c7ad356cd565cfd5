package optim_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// N4: decoupled decay is lost, as in PyTorch, where 1 - lr·weight_decay rounds to 1: at and below a quarter of the type's epsilon.
// docs/numerics.md has the table.
func TestDecayLostToRounding(t *testing.T) {
	for dtype, most := range map[device.DType]float64{device.Float32: 0x1p-25, device.Float64: 0x1p-54} {
		for _, p := range []float64{1, 1 + 0x1p-23, 1.5, 2 - 0x1p-23, -3} {
			after := func(lr, decay float64) float64 {
				a := optim.DefaultAdamW()
				a.LR, a.WeightDecay = lr, decay
				h := newHarness(t, dtype, []float64{p})
				o := h.optimizer(a)
				for range 100 {
					require.NoError(t, o.Step(nil))
				}
				return h.values(h.value)[0]
			}
			require.Equal(t, p, after(1, most), "%v, p = %v: all is lost", dtype, p)
			require.Less(t, math.Abs(after(1, 2*most)), math.Abs(p), "%v, p = %v: twice as much is not", dtype, p)
			if dtype == device.Float32 {
				require.Equal(t, p, after(1e-4, 1e-4), "p = %v", p)
			}
		}
	}
}

package optim_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/optim"
)

// After a restart all is as in a cosine of that length.
func TestRestarts(t *testing.T) {
	for _, mult := range []int{1, 2, 3, min(1<<40, math.MaxInt)} {
		s := optim.CosineWarmRestarts{T0: 10, TMult: mult, Min: 0.01}
		start, length := 0, 10
		for range 30 {
			require.Equal(t, 1.0, s.Factor(start), "%d: restart at %d", mult, start)
			for _, j := range []int{1, length / 2, length - 1} {
				require.Equal(t, optim.Cosine{Steps: length, Min: 0.01}.Factor(j), s.Factor(start+j), "%d: %d after %d", mult, j, start)
			}
			if length > min(1<<52, math.MaxInt/4)/mult {
				break
			}
			start, length = start+length, length*mult
		}
	}
}

// Phases join: no step is further from the one before than the steepest phase goes in a step.
func TestOneCycleIsContinuous(t *testing.T) {
	for _, linear := range []bool{false, true} {
		for _, three := range []bool{false, true} {
			for pct := 0.0; pct <= 0.5; pct += 0.01 {
				c := optim.OneCycle{Steps: 1000, PctStart: pct, DivFactor: 25, FinalDivFactor: 1e4, ThreePhase: three, Linear: linear}
				steepest := math.Pi / 2 / math.Max(1000*pct-1, 1) // of half a cosine
				highest := c.Factor(0)
				for k := 1; k <= 1100; k++ {
					highest = max(highest, c.Factor(k))
					require.LessOrEqual(t, math.Abs(c.Factor(k)-c.Factor(k-1)), math.Max(steepest, math.Pi/2/499), "%+v: step %d", c, k)
				}
				require.LessOrEqual(t, highest, 1.0)
				require.Equal(t, 1/25./1e4, c.Factor(999))
				require.Equal(t, 1/25./1e4, c.Factor(math.MaxInt))
				if peak := 1000*pct - 1; peak == math.Trunc(peak) && peak >= 0 && !(three && peak == 0) {
					require.Equal(t, 1.0, c.Factor(int(peak)), "%+v", c)
				}
			}
		}
	}
}

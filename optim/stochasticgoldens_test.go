package optim_test

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// moments are those of the copies of each element: mean, variance, and the fourth central one.
type moments struct{ Mean, Variance, Fourth []float64 }

// Copies of a bfloat16 weight, rounded stochastically, are where torchao's are: the means, and the variances, are within 6 standard errors of
// their difference. Torchao calculates in another order, too: that moves a weight by some 10 roundings of float32 a step at most, and a
// variance by as much times a unit of bfloat16.
func TestStochasticGoldens(t *testing.T) {
	var file struct {
		Copies int
		Hyper  map[string]json.RawMessage
		Init   []float64
		Grads  [][]float64
		After  map[string]moments
	}
	torchFile(t, "../libraries/stochastic.json", &file)
	require.NotEmpty(t, file.After)
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		copies := func(x []float64) (out []float64) {
			for _, x := range x {
				out = append(out, slices.Repeat([]float64{x}, file.Copies)...)
			}
			return out
		}
		value := h.buffer(device.BFloat16, copies(file.Init))
		grad := h.buffer(device.BFloat16, copies(file.Init))
		defer value.Close()
		defer grad.Close()
		alg := optim.Stored{Algorithm: algorithm(t, "adamw", file.Hyper), Stochastic: true, Seed: 1}
		o, err := optim.New(b, alg, []optim.Param{{Value: value, Grad: grad}})
		require.NoError(t, err)
		defer o.Close()
		for step, g := range file.Grads {
			h.set(grad, copies(g))
			require.NoError(t, o.Step(nil))
			want, ok := file.After[strconv.Itoa(step+1)]
			if !ok {
				continue
			}
			for i, x := range slices.Collect(slices.Chunk(h.values(value), file.Copies)) {
				n := float64(len(x))
				mean, variance, fourth := central(x)
				size := max(math.Abs(mean), math.Abs(file.Init[i]))
				roundings := 10 * float64(step+1) * 0x1p-24 * size
				ofMean := math.Sqrt((variance + want.Variance[i]) / n)
				ofVariance := math.Sqrt((fourth - variance*variance + want.Fourth[i] - want.Variance[i]*want.Variance[i]) / n)
				require.InDelta(t, want.Mean[i], mean, 6*ofMean+roundings, "step %d: mean of element %d", step+1, i)
				require.InDelta(t, want.Variance[i], variance, 6*ofVariance+roundings*size*0x1p-7, "step %d: variance of element %d", step+1, i)
			}
		}
	})
}

// central is the mean, and the second and fourth moments about it.
func central(x []float64) (mean, second, fourth float64) {
	n := float64(len(x))
	for _, x := range x {
		mean += x / n
	}
	for _, x := range x {
		d := (x - mean) * (x - mean)
		second += d / n
		fourth += d * d / n
	}
	return mean, second, fourth
}

package main

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/examples/internal/batches"
)

// objective is the one of the documentation.
func objective(s *standard, b []float64, l1, l2 float64) float64 {
	sum := 0.0
	for i, row := range s.x {
		r := s.y[i] - b[0]
		for j, x := range row {
			r -= x * b[j+1]
		}
		sum += r * r / float64(2*len(s.y))
	}
	for _, x := range b[1:] {
		sum += l2/2*x*x + l1*math.Abs(x)
	}
	return sum
}

// TestGradient holds the gradient against differences of the objective, over all rows, and over batches as their mean.
func TestGradient(t *testing.T) {
	s := loadStandard(t, "longley")
	d := newDesign[float64](s)
	b := []float64{0.5, 1, -2, 0.25, 3, -0.125, 0.75}
	g, part := make([]float64, len(b)), make([]float64, len(b))
	all := batches.New(16, 16, 0).Take()
	d.gradient(g, b, all)
	for j := range b {
		const h = 1e-4
		up, down := slices.Clone(b), slices.Clone(b)
		up[j] += h
		down[j] -= h
		require.InDelta(t, (objective(s, up, 0, 0)-objective(s, down, 0, 0))/(2*h), g[j], 1e-9, "coefficient %d", j)
	}
	mean := make([]float64, len(b))
	quarters := batches.New(16, 4, 1)
	for range 4 {
		d.gradient(part, b, quarters.Take())
		for j := range mean {
			mean[j] += part[j] / 4
		}
	}
	require.InDeltaSlice(t, g, mean, 1e-14)
}

// TestFirstStep checks one step by hand, with both penalties: on the slopes, not on the intercept.
func TestFirstStep(t *testing.T) {
	s := loadStandard(t, "norris")
	p := &plan{method: "gd", dtype: device.Float64, l1: 0.25, l2: 0.5, rows: 36, training: training{lr: 0.5, decay: 1, steps: 1, batch: 36}}
	got, err := train[float64](cpu.New(), s, p)
	require.NoError(t, err)
	g := make([]float64, 2)
	newDesign[float64](s).gradient(g, []float64{start, start}, batches.New(36, 36, 0).Take())
	require.Equal(t, []float64{start - 0.5*g[0], start - 0.5*(g[1]+0.5*start+0.25)}, got)
}

// TestThreads runs the same training with one thread and with four: the bits do not depend on them, nor does the order of upload,
// step and download.
func TestThreads(t *testing.T) {
	s := loadStandard(t, "longley")
	p := &plan{method: "adam", dtype: device.Float32, l1: 0.01, rows: 16, training: training{lr: 0.1, decay: 0.1, steps: 1000, batch: 16}}
	want, err := train[float32](cpu.NewThreads(1), s, p)
	require.NoError(t, err)
	got, err := train[float32](cpu.NewThreads(4), s, p)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// TestOscillation shows what the documentation says of L1: with a learning rate that stays, a coefficient whose place is 0 goes
// back and forth over it by no more than 2·lr·l1, and never rests there.
func TestOscillation(t *testing.T) {
	s := loadStandard(t, "norris")
	const lr, l1 = 0.01, 1.5 // the least l1 that makes the slope 0 is its correlation, below 1
	for steps := 1000; steps < 1010; steps++ {
		p := &plan{method: "gd", dtype: device.Float64, l1: l1, rows: 36, training: training{lr: lr, decay: 1, steps: steps, batch: 36}}
		b, err := train[float64](cpu.New(), s, p)
		require.NoError(t, err)
		require.NotZero(t, b[1])
		require.LessOrEqual(t, math.Abs(b[1]), 2*lr*l1)
	}
}

// TestRoundingBounds compares runs in float32 with the reference: rounding does less than its bound, and the bound still says
// something.
func TestRoundingBounds(t *testing.T) {
	tests := []struct {
		data, method string
		l2, lr       float64
		steps        int
		most         float64 // of all bounds
	}{
		{"norris", "gd", 0, 0.5, 200, 2e-3}, {"norris", "adam", 0, 0.1, 5_000, 2e-3}, {"norris", "gd", 0.1, 0.5, 200, 2e-5},
		{"longley", "gd", 0, 0.4, 100_000, 0.5}, {"longley", "adam", 0, 0.1, 50_000, 0.5},
		{"longley", "gd", 0.1, 0.4, 2_000, 2e-3}, {"longley", "gd", 10, 0.1, 2_000, 1e-2},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %s l2=%g", tt.data, tt.method, tt.l2), func(t *testing.T) {
			p := &plan{data: tt.data, method: tt.method, dtype: device.Float32, l2: tt.l2, training: training{lr: tt.lr, steps: tt.steps}}
			s, err := p.complete()
			require.NoError(t, err)
			ref, err := solve(s, p)
			require.NoError(t, err)
			got, err := train[float32](cpu.New(), s, p)
			require.NoError(t, err)
			fitted, bounds := s.original(got), roundingErrors(s, p, ref.standard)
			for j, want := range s.original(ref.standard) {
				require.LessOrEqual(t, math.Abs(fitted[j]-want), bounds[j], "coefficient %d: %v, want %v", j, fitted[j], want)
				require.LessOrEqual(t, bounds[j], tt.most*math.Abs(want), "coefficient %d", j)
			}
		})
	}
}

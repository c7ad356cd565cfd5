package main

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
)

// TestVerdict gives report coefficients that are right, wrong or beyond what the arithmetic can tell.
func TestVerdict(t *testing.T) {
	nudge := func(j int, by float64) func([]float64) { return func(b []float64) { b[j] += by } }
	tests := []struct {
		name   string
		p      plan
		change func(b []float64)
		want   string // the last line
	}{
		{"exact", plan{method: "gd", dtype: device.Float64}, nudge(1, 0), "converged: every error is within its bound"},
		{"zero within", plan{method: "gd", dtype: device.Float64, l1: 0.1}, nudge(1, -9e-3), "converged: every error is within its bound"},
		{"zero missed", plan{method: "gd", dtype: device.Float64, l1: 0.1}, nudge(1, 2e-2), "not converged: intercept, gnp_deflator"},
		{"one missed", plan{method: "gd", dtype: device.Float64}, nudge(4, 1e-8), "not converged: armed_forces"},
		{"diverged", plan{method: "gd", dtype: device.Float64}, nudge(3, math.NaN()), "not converged: intercept, unemployed"},
		{"too few digits", plan{method: "sgd", dtype: device.Float32}, nudge(1, 0), "not converged: float32 by sgd promises no digit of gnp_deflator, population; -dtype f64 or a larger -l2 does"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.p
			p.data = "longley"
			s, err := p.complete()
			require.NoError(t, err)
			ref, err := solve(s, &p)
			require.NoError(t, err)
			b := slices.Clone(ref.standard)
			tt.change(b)
			var out strings.Builder
			err = report(&out, s, &p, b, ref)
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			require.Equal(t, tt.want, lines[len(lines)-1], out.String())
			require.Equal(t, strings.HasPrefix(tt.want, "converged"), err == nil)
		})
	}
}

package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// folded is an algorithm whose rule sums over tensors and keeps numbers of them.
type folded struct{ LR, Beta float64 }

func (f folded) Setting() (rule.Setting, error) {
	return rule.Setting{Name: "fold", Rule: kerneltest.Staged(new(testing.T))[0], Options: 1, Hyper: []float64{f.LR, f.Beta}}, nil
}

// Steps of a rule that sums over tensors are verified, also where these are longer than a pattern. No sum hides what elements become.
func TestVerifySums(t *testing.T) {
	for _, flags := range [][]string{{}, {"-clip-tensor", "1"}, {"-dtype", "bf16"}, {"-grad", "bf16", "-clip", "0.5"}, {"-dtype", "bf16", "-master", "f32"}} {
		cfg, err := parseFlags(append([]string{"-shape", "300x700,40,5000", "-optimizer", "sgd", "-verify"}, flags...), nil)
		require.NoError(t, err)
		dev := cpu.NewThreads(2)
		w, err := newWork(cfg, dev, optimizer{optim.Case{Name: "fold", Algorithm: folded{0.1, 0.9}}})
		require.NoError(t, err)
		v, err := w.verify(cfg, &cli.Progress{}, "fold")
		require.NoError(t, err)
		require.Zero(t, v.maxULP, "%v: %s", flags, v.first)
		require.EqualValues(t, 300*700+40+5000, v.params)
		if len(flags) == 0 {
			x := make([]float32, 300*700)
			require.NoError(t, device.Download(w.stream, x, w.tensors[0].planes[0]))
			require.NoError(t, w.stream.Synchronize())
			for _, x := range x {
				require.True(t, math.Abs(float64(x)) <= 1e10, "%v", x)
			}
		}
		require.NoError(t, w.Close())
		require.NoError(t, dev.Close())
	}
}

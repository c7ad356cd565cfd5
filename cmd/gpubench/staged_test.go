package main

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// folded is an algorithm whose rule sums over tensors and keeps numbers of them.
type folded struct{ LR, Beta float64 }

func (f folded) Setting() (rule.Setting, error) {
	return rule.Setting{Name: "fold", Rule: kerneltest.Staged(new(testing.T))[0], Options: 1, Hyper: []float64{f.LR, f.Beta}}, nil
}

// What cannot be verified is refused by the optimizer's name.
func TestVerifyNoisySums(t *testing.T) {
	cfg, err := parseFlags([]string{"-shape", "300x700", "-optimizer", "lamb", "-dtype", "bf16", "-rounding", "stochastic", "-verify"}, nil)
	require.NoError(t, err)
	dev := cpu.NewThreads(1)
	defer dev.Close()
	w, err := newWork(cfg, dev, optimizer{optim.Case{Name: "lamb", Algorithm: optim.DefaultLAMB()}})
	require.NoError(t, err)
	_, err = w.verify(cfg, &cli.Progress{}, "lamb on 300x700")
	require.ErrorIs(t, err, device.ErrUnsupported)
	require.ErrorContains(t, err, "lamb on 300x700: verification of a rule with sums of tensors longer than 65537 elements, or 67 rows of 257, that are rounded stochastically")
	require.NoError(t, w.Close())
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

// Steps of rules with rows and columns are verified on matrices and vectors, also where these are more than rows and columns that repeat. A wrong
// number of a row or a column is found.
func TestVerifyRows(t *testing.T) {
	for _, args := range [][]string{
		{"-optimizer", "adafactor,adafactor-momentum,came,adammini"},
		{"-optimizer", "adafactor,came", "-clip-tensor", "1", "-dtype", "bf16", "-master", "f32"},
		{"-optimizer", "adammini", "-clip", "1", "-dtype", "f64"},
		{"-optimizer", "adafactor", "-scale", "1024", "-dtype", "bf16", "-state", "bf16"},
	} {
		cfg, err := parseFlags(append([]string{"-shape", "40,300x270,2x3x5,1x5000,70000,150x1", "-verify"}, args...), nil)
		require.NoError(t, err)
		dev := cpu.NewThreads(2)
		for _, o := range cfg.optimizers {
			w, err := newWork(cfg, dev, o)
			require.NoError(t, err)
			v, err := w.verify(cfg, &cli.Progress{}, o.Name)
			require.NoError(t, err)
			require.Zero(t, v.maxULP, "%v: %s: %s", args, o.Name, v.first)
			require.Equal(t, cfg.model.Params(), v.params)
			require.NoError(t, w.Close())
		}
		require.NoError(t, dev.Close())
	}
	for plane, want := range map[string]string{"row_var": `step 2: tensor "tensor.0": row_var[69] is `, "col_var": `step 2: tensor "tensor.0": col_var[69] is `} {
		cfg, err := parseFlags([]string{"-shape", "70x100", "-optimizer", "adafactor", "-verify"}, nil)
		require.NoError(t, err)
		program, err := cfg.optimizers[0].plan(cfg.dtype)
		require.NoError(t, err)
		k := slices.IndexFunc(program.matrix.Planes, func(p kernels.Plane) bool { return program.matrix.Slots[p.Slot].Name == plane })
		dev := cpu.NewThreads(1)
		w, err := newWork(cfg, &broken{dev, k, 0, 69, 2, next}, cfg.optimizers[0])
		require.NoError(t, err)
		v, err := w.verify(cfg, &cli.Progress{}, "")
		require.NoError(t, err)
		require.Contains(t, v.first, want)
		require.NoError(t, w.Close())
		require.NoError(t, dev.Close())
	}
}

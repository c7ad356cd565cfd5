package main

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"

	"github.com/fusestep/fusestep/internal/cli"
)

// broken is a CPU whose updates go wrong in one element, from one step on.
type broken struct {
	kernels.Backend
	plane, tensor, element, step int
	change                       func(float32) float32
}

type brokenUpdate struct {
	kernels.Update
	b     *broken
	w     kernels.Work
	steps int
}

func (b *broken) Compile(w kernels.Work) (kernels.Update, error) {
	u, err := b.Backend.Compile(w)
	return &brokenUpdate{Update: u, b: b, w: w}, err
}

func (u *brokenUpdate) Enqueue(s *device.Stream, in kernels.Step) error {
	if err := u.Update.Enqueue(s, in); err != nil {
		return err
	}
	u.steps++
	b := u.b
	if u.steps < b.step {
		return nil
	}
	part, err := u.w.Tensors[b.tensor].Planes[b.plane].Slice(b.element, b.element+1)
	if err != nil {
		return err
	}
	x := make([]float32, 1)
	if err := device.Download(s, x, part); err != nil {
		return err
	}
	if err := s.Synchronize(); err != nil {
		return err
	}
	x[0] = b.change(x[0])
	if err := device.Upload(s, part, x); err != nil {
		return err
	}
	return s.Synchronize()
}

// next is the float32 one above.
func next(x float32) float32 {
	if x != x {
		return 0
	}
	return math.Nextafter32(x, float32(math.Inf(1)))
}

// notNaN is NaN of a number, and a number of NaN.
func notNaN(x float32) float32 {
	if x != x {
		return 0
	}
	return float32(math.NaN())
}

// AdamW's planes are param, grad, exp_avg, exp_avg_sq.
func TestVerifyFails(t *testing.T) {
	const shapes = "2x3,5000,40"
	for _, test := range []struct {
		name                         string
		plane, tensor, element, step int
		change                       func(float32) float32
		where                        string
		atLeast                      uint64
	}{
		{"a parameter's last bit", 0, 0, 5, 1, next, `step 1: tensor "tensor.0": param[5] is `, 1},
		{"a gradient", 1, 1, 4999, 1, next, `step 1: tensor "tensor.1": grad[4999] is `, 1},
		{"a first moment", 2, 1, 2500, 2, next, `step 2: tensor "tensor.1": exp_avg[2500] is `, 1},
		{"a second moment in the last step", 3, 2, 39, 3, next, `step 3: tensor "tensor.2": exp_avg_sq[39] is `, 1},
		{"a NaN, or none", 0, 2, 1, 1, notNaN, `step 1: tensor "tensor.2": param[1] is `, math.MaxUint32},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			c := command{open: func(string, int) (*target, error) {
				b := &broken{cpu.NewThreads(1), test.plane, test.tensor, test.element, test.step, test.change}
				return &target{backend: b, threads: 1}, nil
			}}
			got := cli.Run("gpubench", []string{"-shape", shapes, "-optimizer", "adamw", "-verify", "-time", "1ms", "-format", "json"}, &stdout, &stderr, c.main)
			assert.Equal(t, 1, got, "exit status")
			assert.Contains(t, stderr.String(), "gpubench: adamw on 2x3,5000,40: verification failed: "+test.where)
			assert.Equal(t, 1, countLines(stderr.String()), stderr.String())
			var out struct{ Results []result }
			require.NoError(t, json.Unmarshal(stdout.Bytes(), &out), stdout.String())
			require.Len(t, out.Results, 1)
			assert.False(t, *out.Results[0].Verified)
			assert.GreaterOrEqual(t, *out.Results[0].MaxULP, test.atLeast)
		})
	}
}

// The text report says so too, and the optimizers after the wrong one are still measured.
func TestVerifyFailsInText(t *testing.T) {
	var stdout, stderr bytes.Buffer
	c := command{open: func(string, int) (*target, error) {
		return &target{backend: &broken{cpu.NewThreads(1), 0, 0, 7, 2, next}, threads: 1}, nil
	}}
	assert.Equal(t, 1, cli.Run("gpubench", []string{"-n", "100", "-optimizer", "sgd,adam", "-verify", "-time", "1ms"}, &stdout, &stderr, c.main))
	assert.Regexp(t, `(?m)^ +sgd .* NO +[1-9]`, stdout.String())
	assert.Regexp(t, `(?m)^ +adam .* NO +[1-9]`, stdout.String())
	assert.Equal(t, 1, countLines(stderr.String()), stderr.String())
	assert.Contains(t, stderr.String(), "adam on 100: verification failed: ")
}

// Most of what is compared must be ordinary numbers: NaN equals NaN, so a model of NaNs would verify anything.
func TestVerifiedNumbersAreOrdinary(t *testing.T) {
	cfg, err := parseFlags([]string{"-n", "20000", "-optimizer", "all", "-verify"}, nil)
	require.NoError(t, err)
	dev := cpu.NewThreads(1)
	defer dev.Close()
	for _, o := range cfg.optimizers {
		w, err := newWork(cfg, dev, o)
		require.NoError(t, err)
		v, err := w.verify(cfg, &cli.Progress{}, o.Name)
		require.NoError(t, err)
		assert.Zero(t, v.maxULP, "%s: %s", o.Name, v.first)
		assert.EqualValues(t, 20000, v.params)
		for k, b := range w.tensors[0].planes {
			x := make([]float32, 20000)
			require.NoError(t, device.Download(w.stream, x, b))
			require.NoError(t, w.stream.Synchronize())
			ordinary := 0
			for _, x := range x {
				if x != 0 && !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0) {
					ordinary++
				}
			}
			assert.Greater(t, ordinary, 12000, "%s: %s", o.Name, w.program.Of(k).Name)
		}
		require.NoError(t, w.Close())
	}
}

// misled is a CPU on which a word of kernels.Step.Control, or of the first kernels.Tensor.Sums, becomes another one once gradients are measured.
type misled struct {
	kernels.Backend
	word   int
	change func(float64) float64
}

func (b misled) Compile(w kernels.Work) (kernels.Update, error) {
	u, err := b.Backend.Compile(w)
	if w.Program.Reduces() {
		u = misledNorm{u, b, w.Tensors[0].Sums}
	}
	return u, err
}

type misledNorm struct {
	kernels.Update
	by   misled
	sums *device.Buffer
}

func (u misledNorm) Enqueue(s *device.Stream, in kernels.Step) error {
	if err := u.Update.Enqueue(s, in); err != nil || in.Commit {
		return err
	}
	words := in.Control
	if u.sums != nil {
		words = u.sums
	}
	word, err := words.Slice(u.by.word, u.by.word+1)
	if err != nil {
		return err
	}
	x := make([]float64, 1)
	if err := device.DownloadFloats(s, x, word); err != nil {
		return err
	}
	return device.UploadFloats(s, word, []float64{u.by.change(x[0])})
}

func twice(x float64) float64 { return 2 * x }

// verifyOn is the error of a verification on a backend.
func verifyOn(t *testing.T, b kernels.Backend, args ...string) string {
	var stdout, stderr bytes.Buffer
	c := command{open: func(string, int) (*target, error) { return &target{backend: b, threads: 1}, nil }}
	assert.Equal(t, 1, cli.Run("gpubench", append(args, "-verify", "-time", "1ms"), &stdout, &stderr, c.main))
	return stderr.String()
}

// With -clip the norm is verified too: a wrong one shows in the state.
func TestVerifyFailsByNorm(t *testing.T) {
	b := misled{cpu.NewThreads(1), kernels.ControlNorm, twice}
	assert.Contains(t, verifyOn(t, b, "-n", "5000", "-optimizer", "adamw", "-clip", "1"), `verification failed: step 1: tensor "flat": `)
	b = misled{cpu.NewThreads(1), 0, twice}
	assert.Contains(t, verifyOn(t, b, "-n", "5000", "-optimizer", "adamw", "-clip-tensor", "0.1"), `verification failed: step 1: tensor "flat": `)
}

// With -scale it is verified by what gradients are divided, which steps are skipped, that these change nothing, and what becomes of the scale.
func TestVerifyFailsByScale(t *testing.T) {
	for _, test := range []struct {
		name   string
		word   int
		change func(float64) float64
		where  string
	}{
		{"not divided by the scale", kernels.ControlUnscale, func(float64) float64 { return 1 }, `step 1: tensor "flat": `},
		{"all skipped", kernels.ControlSkip, func(float64) float64 { return 1 }, "step 1: step is 0 "},
		{"none skipped", kernels.ControlSkip, func(float64) float64 { return 0 }, "step 2: step is 2 "},
		{"another scale", kernels.ControlNext, twice, "step 1: loss scale is 2048 "},
		{"not counted", kernels.ControlNext + 1, func(float64) float64 { return 0 }, "step 1: growth tracker is 0 "},
	} {
		for _, size := range []string{"1", "5000"} {
			for _, clip := range []string{"0", "1"} {
				b := misled{cpu.NewThreads(1), test.word, test.change}
				assert.Contains(t, verifyOn(t, b, "-n", size, "-optimizer", "adamw", "-scale", "1024", "-clip", clip), test.where, test.name)
			}
		}
	}
}

// Steps that are measured are applied, and with the scale that was asked for, however small or large it is.
func TestMeasuredStepsAreApplied(t *testing.T) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	for _, dtype := range []string{"f32", "f64", "bf16", "f16"} {
		cfg, err := parseFlags([]string{"-n", "500", "-optimizer", "adamw", "-dtype", dtype}, nil)
		require.NoError(t, err)
		lo, hi := scales(cfg.dtype.grad)
		for _, scale := range []float64{lo, 3, hi} {
			cfg.scale = scale
			w, err := newWork(cfg, dev, cfg.optimizers[0])
			require.NoError(t, err)
			_, err = w.verify(cfg, &cli.Progress{}, "")
			require.NoError(t, err)
			require.NoError(t, w.start())
			require.NoError(t, w.opt.SetSteps(0))
			for range 9 {
				require.NoError(t, w.opt.Step(nil))
			}
			out, err := w.opt.Outcome(nil)
			require.NoError(t, err)
			got := []any{out.AppliedSteps(), out.SkippedSteps(), out.LossScale()}
			require.Equal(t, []any{9, 0, float64(float32(scale))}, got, "%s, scale %g", dtype, scale)
			require.InEpsilon(t, 1.5*tameGradient*math.Sqrt(500), out.GradNorm(), 0.1, "%s, scale %g", dtype, scale)
			require.NoError(t, w.Close())
		}
	}
}

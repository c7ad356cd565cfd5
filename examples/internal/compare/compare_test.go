package compare

import (
	"bytes"
	"flag"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/examples/internal/host"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/optim"
)

// bowl is a model whose loss is half the square of its one parameter, in each of two rows.
type bowl struct{ value, grad []float32 }

func newBowl(seed uint64) Model[float32] { return &bowl{[]float32{float32(seed)}, []float32{0}} }

func (b *bowl) Params() []host.Param[float32] {
	return []host.Param[float32]{{Name: "x", Value: b.value, Grad: b.grad}}
}
func (b *bowl) Gradient([]int)     { b.grad[0] = b.value[0] }
func (b *bowl) Loss([]int) float64 { return float64(b.value[0]) * float64(b.value[0]) / 2 }
func (b *bowl) Quality() float64   { return float64(b.value[0]) }
func (b *bowl) Show(w io.Writer)   { io.WriteString(w, "it is a bowl\n") }
func bowlProblem() *Problem {
	return &Problem{
		Title: "a bowl", New: newBowl, Rows: 2, Batch: 1, Epochs: 2, Loss: "half a square", Unit: "m²", Quality: "m",
		Rates: map[string]float64{"sgd": 0.5},
		// Two steps an epoch halve the parameter twice.
		Expected: &Reference{Seed: 8, Optimizers: map[string]Curve{"sgd": {
			Library: "paper", LR: 0.5,
			Loss: []float64{32, 2, 0.125}, LossSpread: []float64{0, 0, 0},
			Quality: []float64{8, 2, 0.5}, QualitySpread: []float64{0, 0, 0},
		}}},
		Beside: []Baseline{{"the bottom", 0, 0}},
	}
}

func run(t *testing.T, p *Problem, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	c := Command{Name: "bowl", Flags: func(*flag.FlagSet) {}, Problem: func() (*Problem, error) { return p, nil }}
	err := c.run(args, &out)
	return out.String(), err
}

func TestRun(t *testing.T) {
	out, err := run(t, bowlProblem(), "-optimizer", "sgd", "-seed", "8")
	require.NoError(t, err)
	require.Equal(t, `a bowl
2 epochs, batches of 1 of 2, seed 8, on cpu
loss: half a square, m²; quality: m, held out

epoch         loss      quality
    0       32.000       8.0000
    1       2.0000       2.0000
    2      0.12500      0.50000

                             lr         loss      quality           loss      quality  by
sgd                         0.5      0.12500      0.50000        0.12500      0.50000  paper
the bottom                            0.0000       0.0000

it is a bowl

at every epoch within what rounding can do of the other library: 1 of 1
`, out)
}

// TestExpected: a run is compared if it is the reference's, or its beginning, and otherwise not.
func TestExpected(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"fewer epochs":           {[]string{"-seed", "8", "-optimizer", "sgd", "-epochs", "1"}, "rounding can do of the other library: 1 of 1"},
		"more epochs":            {[]string{"-seed", "8", "-optimizer", "sgd", "-epochs", "3"}, "with nothing to compare with: sgd"},
		"another seed":           {[]string{"-optimizer", "sgd"}, "with nothing to compare with: sgd"},
		"another learning rate":  {[]string{"-seed", "8", "-optimizer", "sgd", "-lr", "0.25"}, "with nothing to compare with: sgd"},
		"an unknown optimizer":   {[]string{"-seed", "8", "-optimizer", "adam"}, "with nothing to compare with: adam"},
		"one of two":             {[]string{"-seed", "8", "-optimizer", "sgd,adam"}, "the other library: 1 of 2"},
		"the default's own rate": {[]string{"-optimizer", "lion"}, "lion                     0.0001 "},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, bowlProblem(), tt.args...)
			require.NoError(t, err)
			require.Contains(t, out, tt.want)
		})
	}
}

// TestMismatch: a figure beyond its spread is named, and the run fails.
func TestMismatch(t *testing.T) {
	for want, change := range map[string]func(*Curve){
		"differs: sgd: epoch 1: loss 2, paper's 2.25 ± 0.12\n":       func(c *Curve) { c.Loss[1], c.LossSpread[1] = 2.25, 0.06 },
		"differs: sgd: epoch 2: quality 0.5, paper's 0.375 ± 0.06\n": func(c *Curve) { c.Quality[2], c.QualitySpread[2] = 0.375, 0.03 },
		"differs: sgd: epoch 0: loss 32, paper's NaN ± 0\n":          func(c *Curve) { c.Loss[0] = math.NaN() },
	} {
		p := bowlProblem()
		c := p.Expected.Optimizers["sgd"]
		change(&c)
		out, err := run(t, p, "-seed", "8", "-optimizer", "sgd")
		require.ErrorIs(t, err, cli.ErrReported)
		require.Contains(t, out, want)
		require.Contains(t, out, "paper !")
	}
}

// TestAll runs every case there is, of which the problem knows only one, on a parameter that is not at its minimum.
func TestAll(t *testing.T) {
	out, err := run(t, bowlProblem(), "-optimizer", "all")
	require.NoError(t, err)
	for _, c := range optim.Cases() {
		require.Contains(t, out, "\n"+c.Name+" ")
	}
	require.NotContains(t, out, "NaN")
}

func TestTune(t *testing.T) {
	out, err := run(t, bowlProblem(), "-tune", "-optimizer", "sgd,rprop", "-epochs", "1")
	require.NoError(t, err)
	// With 1 the first step is at the minimum; Rprop's steps are no larger than 0.01, so that larger ones are no better.
	require.Equal(t, "sgd,1,0\nrprop,0.01,0.4802\n", out)
}

// TestTuneDiverges: a learning rate with which the loss is no number is never the best, even if it is the first.
func TestTuneDiverges(t *testing.T) {
	defer func(old []float64) { grid = old }(grid)
	grid = []float64{math.MaxFloat32, 0.1}
	out, err := run(t, bowlProblem(), "-tune", "-optimizer", "sgd", "-epochs", "1")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(out, "sgd,0.1,"), out)
}

func TestUsage(t *testing.T) {
	for want, args := range map[string][]string{
		`unexpected argument "a b"; bowl -h prints the manual`:  {"a", "b"},
		"-epochs -1 is negative":                                {"-epochs", "-1"},
		"-lr NaN is not at least 0 and finite":                  {"-lr", "NaN"},
		"-tune takes neither -lr nor -plot":                     {"-tune", "-lr", "1"},
		"-optimizer adem: unknown optimizer; did you mean adam": {"-optimizer", "adam,adem"},
		"-device tpu: unknown device":                           {"-device", "tpu"},
		`invalid value "x" for flag -seed`:                      {"-seed", "x"},
	} {
		_, err := run(t, bowlProblem(), args...)
		require.ErrorAs(t, err, new(cli.UsageError), want)
		require.ErrorContains(t, err, want)
	}
	out, err := run(t, bowlProblem(), "-h")
	require.ErrorIs(t, err, flag.ErrHelp)
	require.True(t, strings.HasPrefix(out, "usage: bowl [flags]\n"), out)
}

// TestPlot draws all cases, one that runs away among them.
func TestPlot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "losses.png")
	p := bowlProblem()
	p.Rates["sgd-momentum"] = 1e30
	_, err := run(t, p, "-optimizer", "all", "-plot", file, "-seed", "8", "-epochs", "3")
	require.NoError(t, err)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	picture, err := png.Decode(bytes.NewReader(text))
	require.NoError(t, err)
	require.Equal(t, 1430, picture.Bounds().Dx())
	require.Equal(t, 845, picture.Bounds().Dy())
	colours := map[[3]uint32]bool{}
	for x := range picture.Bounds().Dx() {
		for y := range picture.Bounds().Dy() {
			r, g, b, _ := picture.At(x, y).RGBA()
			colours[[3]uint32{r, g, b}] = true
		}
	}
	require.Greater(t, len(colours), len(optim.Rules()), "a colour for each rule, and white")

	_, err = run(t, bowlProblem(), "-plot", filepath.Join(t.TempDir(), "no", "such.png"))
	require.ErrorIs(t, err, os.ErrNotExist)

	// Seed 0 begins at the minimum, which nothing is above.
	_, err = run(t, bowlProblem(), "-plot", file, "-seed", "0")
	require.EqualError(t, err, "no picture: the loss begins at 0, where nothing is above the least, 0")
}

// TestPlotEnds: whatever the losses are, a picture is drawn, or there is an error. C1.
func TestPlotEnds(t *testing.T) {
	tiny := math.Nextafter(6.4263, 7)
	for name, losses := range map[string][][]float64{
		"flat":            {{2, 2, 2}},
		"flat to a bit":   {{tiny, 6.4263, 6.4263}},
		"one point":       {{2}},
		"one that lasts":  {{2, math.NaN(), 1}},
		"to the infinite": {{2, math.Inf(1)}, {2, 1}},
		"a huge range":    {{3e38, 1, 1e-300}},
		"all tiny":        {{1e-300, 2e-300, 1e-320}},
		"subnormal":       {{5e-324, 1e-323}},
		"subnormal, flat": {{5e-324}},
		"huge, flat":      {{3e38, 3e38}},
	} {
		t.Run(name, func(t *testing.T) {
			var runs []*Run
			for _, l := range losses {
				runs = append(runs, &Run{Loss: l})
			}
			var b bytes.Buffer
			require.NoError(t, (&Problem{}).draw(&b, runs))
			_, err := png.Decode(&b)
			require.NoError(t, err)
		})
	}
	require.ErrorContains(t, (&Problem{}).draw(io.Discard, []*Run{{Loss: []float64{math.NaN()}}}), "no picture: the loss begins at NaN")
}

// TestPlotLater: the old picture stays when a run fails, an input is no output, and what cannot be drawn is refused before training. D2.
func TestPlotLater(t *testing.T) {
	dir := t.TempDir()
	old, text := filepath.Join(dir, "old.png"), filepath.Join(dir, "text.png")
	for _, f := range []string{old, text} {
		require.NoError(t, os.WriteFile(f, []byte(f), 0o666))
	}
	p := bowlProblem()
	p.Inputs = []string{text}
	for want, args := range map[string][]string{
		"-plot losses.jpg: must end in .png":   {"-plot", "losses.jpg"},
		"-plot losses: must end in .png":       {"-plot", "losses"},
		"-plot " + text + ": that is an input": {"-plot", text},
		"no picture: the loss begins at 0":     {"-plot", old, "-seed", "0"},
	} {
		out, err := run(t, p, args...)
		require.ErrorContains(t, err, want)
		if !strings.Contains(want, "no picture") {
			require.Empty(t, out, "before training")
		}
	}
	for _, f := range []string{old, text} {
		content, err := os.ReadFile(f)
		require.NoError(t, err)
		require.Equal(t, f, string(content))
	}
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 2)
}

func TestDrawn(t *testing.T) {
	p := &Problem{Best: 1}
	for _, tt := range []struct{ loss, want []float64 }{
		{[]float64{3, 2, 1.5}, []float64{2, 1, 0.5}},
		{[]float64{3, math.NaN(), 2}, []float64{2}},
		{[]float64{3, math.Inf(1)}, []float64{2}},
		{[]float64{3, 2, 1, 2}, []float64{2, 1}},
	} {
		require.Equal(t, tt.want, p.drawn(&Run{Loss: tt.loss}))
	}
	lo, hi := p.span([]*Run{{Loss: []float64{3, 9, 2}}, {Loss: []float64{3, 1.5}}})
	require.Equal(t, []float64{0.5, 2}, []float64{lo, hi})
}

func TestTicks(t *testing.T) {
	for _, tt := range []struct {
		ticks  plot.TickerFunc
		lo, hi float64
		want   string
	}{
		{logTicks, math.Log10(0.04), math.Log10(2.1), "0.05 0.1 0.2 0.5 1 2"},
		{linearTicks, 0.25, 0.449, "0.26 0.28 0.3 0.32 0.34 0.36 0.38 0.4 0.42 0.44"},
		{linearTicks, 0, 3, "0 0.5 1 1.5 2 2.5 3"},
		{linearTicks, 11, 16.5, "11 12 13 14 15 16"},
		{linearTicks, 1, 1, ""},
		{linearTicks, -0.5, 0.5, "-0.4 -0.2 0 0.2 0.4"},
		{linearTicks, 3, 3.000003, "3 3.0000005 3.000001 3.0000015 3.000002 3.0000025 3.000003"},
		{linearTicks, 1e20, 4e20, "1e+20 1.5e+20 2e+20 2.5e+20 3e+20 3.5e+20 4e+20"},
		{linearTicks, 5e-324, 1e-323, ""},
		{linearTicks, math.NaN(), 1, ""},
		{linearTicks, 0, math.Inf(1), ""},
		{linearTicks, -math.MaxFloat64, math.MaxFloat64, ""},
		{logTicks, -300, 308, "1e-255 1e-204 1e-153 1e-102 1e-51 1 1e+51 1e+102 1e+153 1e+204 1e+255 1e+306"},
		{logTicks, -6, 2, "1e-06 1e-05 0.0001 0.001 0.01 0.1 1 10 100"},
		{logTicks, math.Inf(-1), 1, ""},
		{logTicks, 0, math.NaN(), ""},
	} {
		var labels []string
		for _, tick := range tt.ticks(tt.lo, tt.hi) {
			if tick.Label != "" {
				labels = append(labels, tick.Label)
			}
		}
		require.Equal(t, tt.want, strings.Join(labels, " "))
	}
}

// TestLineStyles: runs of a rule have its colour, and no two of all cases look the same.
func TestLineStyles(t *testing.T) {
	s := lineStyles([]*Run{{Rule: "Adam"}, {Rule: "SGD"}, {Rule: "Adam"}})
	require.Equal(t, s[0].Color, s[2].Color)
	require.NotEqual(t, s[0].Color, s[1].Color)

	var runs []*Run
	for _, c := range optim.Cases() {
		setting, err := c.Algorithm.Setting()
		require.NoError(t, err)
		runs = append(runs, &Run{Optimizer: c.Name, Rule: setting.Rule.Name})
	}
	seen := map[string]string{}
	for i, s := range lineStyles(runs) {
		look := fmt.Sprint(s.Color, s.Dashes)
		require.Empty(t, seen[look], "%s looks like it", runs[i].Optimizer)
		seen[look] = runs[i].Optimizer
	}
}

func TestLoad(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	good := fstest.MapFS{
		"reference/a.json": file(`{"seed": 3, "optimizers": {"sgd": {"lr": 0.5, "loss": [2, 1]}}, "baselines": [{"name": "none", "loss": 4}]}`),
		"reference/a.csv":  file("sgd,0.5,1\nadam,0.01,2\n"),
	}
	rates, ref, err := Load(good, "a")
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"sgd": 0.5, "adam": 0.01}, rates)
	require.Equal(t, &Reference{Seed: 3, Optimizers: map[string]Curve{"sgd": {LR: 0.5, Loss: []float64{2, 1}}}, Baselines: []Baseline{{"none", 4, 0}}}, ref)
	_, _, err = Load(good, "b")
	require.ErrorIs(t, err, os.ErrNotExist)
	for want, change := range map[string]string{"a.json: ": "reference/a.json", "a.csv: line 1: ": "reference/a.csv"} {
		bad := fstest.MapFS{"reference/a.json": good["reference/a.json"], "reference/a.csv": good["reference/a.csv"]}
		bad[change] = file("x,y,z\n")
		_, _, err = Load(bad, "a")
		require.ErrorContains(t, err, want)
	}
}

// TestLogSumExp: the sum neither overflows nor vanishes.
func TestLogSumExp(t *testing.T) {
	require.Equal(t, math.Log(2), LogSumExp([]float64{0, 0}))
	require.Equal(t, 1000+math.Log(2), LogSumExp([]float64{1000, 1000}))
	require.Equal(t, -1000+math.Log(3), LogSumExp([]float32{-1000, -1000, -1000}))
	require.Equal(t, 5.0, LogSumExp([]float64{5, math.Inf(-1)}))
}

// TestTrain: the losses of a run are of all rows, at the end of each epoch, and the model's state is on the device's side.
func TestTrain(t *testing.T) {
	var epochs []int
	r, err := bowlProblem().Train(cpu.New(), optim.Cases()[0], Precision{}, 0.25, 16, 3, func(r *Run) { epochs = append(epochs, len(r.Loss)-1) })
	require.NoError(t, err)
	require.Equal(t, []int{0, 1, 2, 3}, epochs)
	require.Equal(t, []float64{16, 9, 81. / 16, 729. / 256}, r.Quality)
	require.Equal(t, "SGD", r.Rule)
	require.Equal(t, 0.25, r.LR)
}

// TestTwiceTheSpread is allowed, and no more.
func TestTwiceTheSpread(t *testing.T) {
	c := &Curve{Library: "paper", Loss: []float64{4}, LossSpread: []float64{0.5}, Quality: []float64{1}, QualitySpread: []float64{0}}
	require.NoError(t, c.Check(&Run{Loss: []float64{5}, Quality: []float64{1}}))
	require.Error(t, c.Check(&Run{Loss: []float64{5.001}, Quality: []float64{1}}))
	require.Error(t, c.Check(&Run{Loss: []float64{math.NaN()}, Quality: []float64{1}}))
}

package optim_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

type plateauCase struct {
	Name    string
	Options struct {
		Mode          string
		Factor        float64
		Patience      int
		Threshold     float64
		ThresholdMode string `json:"threshold_mode"`
		Cooldown      int
		MinLR         float64 `json:"min_lr"`
		Eps           float64
	}
	BaseLR  float64    `json:"base_lr"`
	Metrics []*float64 // nil for NaN
	LR      []float64  // before the first metric and after each
}

func (c *plateauCase) schedule() *optim.ReduceOnPlateau {
	o := c.Options
	return &optim.ReduceOnPlateau{Gamma: o.Factor, Patience: o.Patience, Threshold: o.Threshold, Absolute: o.ThresholdMode == "abs",
		Maximize: o.Mode == "max", Cooldown: o.Cooldown, Min: o.MinLR / c.BaseLR, Eps: o.Eps / c.BaseLR}
}

func (c *plateauCase) metric(i int) float64 {
	if c.Metrics[i] == nil {
		return math.NaN()
	}
	return *c.Metrics[i]
}

// Torch reduces at the same metrics. It multiplies its rate, rounding each time, where ours is a power.
func TestPlateauGoldens(t *testing.T) {
	for _, c := range scheduleFile[plateauCase](t, "plateau.json") {
		p := c.schedule()
		require.NoError(t, harnessOptimizer(t).SetSchedule(p), c.Name)
		for i, want := range c.LR {
			got := c.BaseLR * p.Factor(i)
			if bound := float64(p.State.Reductions+3) * unit * want; !(math.Abs(got-want) <= bound) {
				t.Errorf("%s: after %d metrics the rate is %v, torch has %v: %.3g apart, bound %.3g",
					c.Name, i, got, want, math.Abs(got-want), bound)
			}
			if i < len(c.Metrics) {
				p.Observe(c.metric(i))
			}
		}
	}
}

// A schedule that is put together again from its state, as JSON, between any two metrics, goes on as if nothing had been.
func TestPlateauResumes(t *testing.T) {
	for _, c := range scheduleFile[plateauCase](t, "plateau.json") {
		whole, parts := c.schedule(), c.schedule()
		for i := range c.Metrics {
			text, err := json.Marshal(parts.State)
			require.NoError(t, err, c.Name)
			parts = c.schedule()
			require.NoError(t, json.Unmarshal(text, &parts.State))
			whole.Observe(c.metric(i))
			parts.Observe(c.metric(i))
			require.Equal(t, whole, parts, "%s: after %d metrics", c.Name, i+1)
		}
	}
}

// A metric that is no number is a bad one, and never the best.
func TestPlateauMetricsThatAreNotFinite(t *testing.T) {
	for _, maximize := range []bool{false, true} {
		for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			p := optim.ReduceOnPlateau{Gamma: 0.5, Patience: 1, Maximize: maximize}
			p.Observe(x)
			require.Equal(t, optim.PlateauState{Bad: 1}, p.State)
			p.Observe(3)
			require.Equal(t, optim.PlateauState{Observed: true, Best: 3}, p.State)
			p.Observe(x)
			p.Observe(x)
			require.Equal(t, optim.PlateauState{Observed: true, Best: 3, Reductions: 1}, p.State)
			require.Equal(t, 0.5, p.Factor(0))
		}
	}
}

// The factor is Min where Gamma would take it below, and the counts go on where nothing is reduced.
func TestPlateauStops(t *testing.T) {
	p := optim.ReduceOnPlateau{Gamma: 0.25, Min: 0.125, Cooldown: 1}
	p.Observe(1)
	var factors []float64
	for range 8 {
		p.Observe(1)
		factors = append(factors, p.Factor(0))
	}
	require.Equal(t, []float64{0.25, 0.25, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125}, factors)
	require.Equal(t, optim.PlateauState{Observed: true, Best: 1, Reductions: 2}, p.State)
}

// What is observed counts from the optimizer's next step on, also through the schedule that it stands in.
func TestPlateauInWarmup(t *testing.T) {
	p := optim.ReduceOnPlateau{Gamma: 0.5}
	h := newHarness(t, device.Float64, []float64{0})
	h.set(h.grad, []float64{1})
	o := h.optimizer(sgd(1))
	require.NoError(t, o.SetSchedule(optim.Warmup{Steps: 2, Then: &p}))
	var rates []float64
	for _, metric := range []float64{3, 2, 2, 1, 1, 0.5} {
		h.set(h.value, []float64{0})
		require.NoError(t, o.Step(nil))
		rates = append(rates, -h.values(h.value)[0])
		p.Observe(metric)
	}
	require.Equal(t, []float64{0, 0.5, 1, 0.5, 0.5, 0.25}, rates)
}

func TestPlateauErrors(t *testing.T) {
	for _, c := range []struct {
		change func(*optim.ReduceOnPlateau)
		want   string
	}{
		{func(p *optim.ReduceOnPlateau) { p.Gamma = 1 }, "gamma is 1, must be at least 0 and below 1"},
		{func(p *optim.ReduceOnPlateau) { p.Patience = -1 }, "patience is -1, must be at least 0"},
		{func(p *optim.ReduceOnPlateau) { p.Threshold = math.NaN() }, "threshold is NaN, must be at least 0, and finite"},
		{func(p *optim.ReduceOnPlateau) { p.Cooldown = -1 }, "cooldown is -1, must be at least 0"},
		{func(p *optim.ReduceOnPlateau) { p.Min = 1.5 }, "min is 1.5, must be at least 0 and at most 1"},
		{func(p *optim.ReduceOnPlateau) { p.Eps = -1 }, "eps is -1, must be at least 0, and finite"},
		{func(p *optim.ReduceOnPlateau) { p.State.Reductions = -1 }, "state.reductions is -1, must be at least 0"},
		{func(p *optim.ReduceOnPlateau) { p.State.Best = math.NaN() }, "state.best is NaN, must be finite"},
		{func(p *optim.ReduceOnPlateau) { p.State.Bad = -1 }, "state.num_bad_epochs is -1, must be at least 0"},
		{func(p *optim.ReduceOnPlateau) { p.State.Cooldown = -1 }, "state.cooldown_counter is -1, must be at least 0"},
	} {
		p := optim.DefaultReduceOnPlateau()
		c.change(&p)
		refuses(t, &p, "reduce on plateau: "+c.want)
	}
}

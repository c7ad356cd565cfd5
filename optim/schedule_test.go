package optim_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// unit is u, how far a number may be from the one that it was rounded from, relatively.
const unit = 0x1p-53

// scheduleFile reads one of testdata/schedules, whose README tells what the files hold and derives the tolerances.
func scheduleFile[C any](t *testing.T, name string) []C {
	text, err := os.ReadFile("testdata/schedules/" + name)
	require.NoError(t, err)
	var file struct{ Cases []C }
	require.NoError(t, json.Unmarshal(text, &file))
	require.NotEmpty(t, file.Cases)
	return file.Cases
}

// ours are the schedules of testdata/schedules/schedules.json, as fusestep has them.
func ours() map[string]optim.Schedule {
	linear := func(steps int, least float64) optim.Schedule { return optim.Linear{Steps: steps, Min: least} }
	cosine := func(steps int, least float64) optim.Schedule { return optim.Cosine{Steps: steps, Min: least} }
	cycle := func(steps int, change func(*optim.OneCycle)) optim.Schedule {
		c := optim.DefaultOneCycle(steps)
		change(&c)
		return c
	}
	return map[string]optim.Schedule{
		"constant":          optim.Constant{},
		"step/7 0.5":        optim.StepDecay{Every: 7, Gamma: 0.5},
		"step/1 0.97":       optim.StepDecay{Every: 1, Gamma: 0.97},
		"step/30 0.1":       optim.StepDecay{Every: 30, Gamma: 0.1},
		"multi-step":        optim.MultiStep{Milestones: []int{5, 20, 21, 50}, Gamma: 0.3},
		"multi-step/twice":  optim.MultiStep{Milestones: []int{30, 10, 30}, Gamma: 0.1},
		"exponential/0.9":   optim.Exponential{Gamma: 0.9},
		"exponential/0.999": optim.Exponential{Gamma: 0.999},
		"exponential/1.1":   optim.Exponential{Gamma: 1.1},
		"warm-up/5":         optim.Warmup{Start: 1. / 3, Steps: 5},
		"warm-up/20":        optim.Warmup{Start: 1e-3, Steps: 20},
		"linear/50":         linear(50, 0),
		"linear/40 end":     linear(40, 0.1),
		"polynomial/1":      optim.Polynomial{Steps: 50, Power: 1},
		"polynomial/2":      optim.Polynomial{Steps: 40, Power: 2},
		"polynomial/0.9":    optim.Polynomial{Steps: 50, Power: 0.9},
		"polynomial/0.5":    optim.Polynomial{Steps: 60, Power: 0.5},
		"cosine/60":         cosine(60, 0),
		"cosine/40 eta_min": cosine(40, 1e-3/0.1),

		"restarts/15":          optim.CosineWarmRestarts{T0: 15, TMult: 1},
		"restarts/5 2 eta_min": optim.CosineWarmRestarts{T0: 5, TMult: 2, Min: 1e-3 / 0.05},
		"restarts/1 3":         optim.CosineWarmRestarts{T0: 1, TMult: 3},
		"one-cycle":            optim.DefaultOneCycle(60),
		"one-cycle/linear": cycle(60, func(c *optim.OneCycle) {
			c.PctStart, c.DivFactor, c.FinalDivFactor, c.Linear = 0.25, 10, 100, true
		}),
		"one-cycle/three phases":        cycle(60, func(c *optim.OneCycle) { c.PctStart, c.ThreePhase = 0.4, true }),
		"one-cycle/three phases linear": cycle(50, func(c *optim.OneCycle) { c.PctStart, c.ThreePhase, c.Linear = 0.33, true, true }),
		"one-cycle/peak between steps":  cycle(23, func(c *optim.OneCycle) { c.PctStart = 0.21 }),
		"one-cycle/no rise":             cycle(30, func(c *optim.OneCycle) { c.PctStart = 0 }),
		"warm-up+cosine":                optim.Warmup{Start: 0.01, Steps: 10, Then: cosine(50, 1e-5/1e-3)},
		"sequence": optim.Sequence{
			{Steps: 12, Schedule: optim.Exponential{Gamma: 0.8}}, {Steps: 28, Schedule: optim.StepDecay{Every: 4, Gamma: 0.5}}, {}},

		"transformers/constant":         optim.Warmup{Steps: 10},
		"transformers/linear":           optim.Warmup{Steps: 10, Then: linear(45, 0)},
		"transformers/cosine":           optim.Warmup{Steps: 7, Then: cosine(53, 0)},
		"transformers/cosine min_lr":    optim.Warmup{Steps: 7, Then: cosine(53, 1e-4/1e-3)},
		"transformers/restarts":         optim.Warmup{Steps: 8, Then: optim.CosineWarmRestarts{T0: 16, TMult: 1}},
		"transformers/polynomial":       optim.Warmup{Steps: 5, Then: optim.Polynomial{Steps: 45, Power: 1, Min: 1e-7 / 1e-3}},
		"transformers/polynomial 3":     optim.Polynomial{Steps: 50, Power: 3, Min: 1e-4 / 1e-3},
		"transformers/polynomial 1.5":   optim.Warmup{Steps: 10, Then: optim.Polynomial{Steps: 40, Power: 1.5, Min: 1e-5 / 1e-3}},
		"transformers/inverse sqrt":     optim.Warmup{Steps: 10, Then: optim.InverseSqrt{Timescale: 10}},
		"transformers/inverse sqrt 100": optim.Warmup{Steps: 5, Then: optim.InverseSqrt{Timescale: 100}},
		"transformers/wsd linear":       optim.WSD{Start: 0.1, Warmup: 10, Stable: 25, Decay: linear(20, 0.1)},
		"transformers/wsd cosine":       optim.WSD{Warmup: 5, Stable: 35, Decay: cosine(15, 0)},
		"transformers/wsd 1-sqrt":       optim.WSD{Start: 0.01, Warmup: 10, Stable: 20, Decay: optim.OneMinusSqrt{Steps: 20, Min: 0.01}},

		"optax/polynomial":     optim.Polynomial{Steps: 45, Power: 2, Min: 0.01 / 0.1},
		"optax/cosine":         cosine(50, 0.05),
		"optax/exponential":    optim.StepDecay{Every: 10, Gamma: 0.7},
		"optax/multi-step":     optim.MultiStep{Milestones: []int{10, 45}, Gamma: 0.5},
		"optax/warm-up+cosine": optim.Warmup{Start: 1e-4 / 1e-3, Steps: 10, Then: cosine(40, 1e-5/1e-3)},
		"optax/join":           optim.Sequence{{Steps: 10, Schedule: optim.Warmup{Steps: 10}}, {Steps: 20}, {Schedule: cosine(20, 0)}},
	}
}

type scheduleCase struct {
	Name, Call string
	BaseLR     float64 `json:"base_lr"`
	LR, Exact  []float64
}

// The schedules are where the libraries' rates are, by way of the exact ones: a library's may be as far from them as its
// formulas and recurrences explain, ours by 12 u, however small the rate.
func TestScheduleGoldens(t *testing.T) {
	ours := ours()
	cases := scheduleFile[scheduleCase](t, "schedules.json")
	require.Len(t, ours, len(cases))
	var worst, worstTheirs, apart float64
	for _, c := range cases {
		s := ours[c.Name]
		require.NotNil(t, s, c.Name)
		require.NoError(t, harnessOptimizer(t).SetSchedule(s), c.Name)
		require.Len(t, c.Exact, len(c.LR))
		highest := slices.Max(c.Exact)
		for k, exact := range c.Exact {
			got := c.BaseLR * s.Factor(k)
			off, theirs := math.Abs(got-exact), math.Abs(c.LR[k]-exact)
			if !(off <= 12*unit*exact) {
				t.Errorf("%s: step %d: the rate is %v, exactly %v: %.3g u of it apart, bound 12",
					c.Name, k, got, exact, off/(unit*exact))
			}
			if bound := float64(16 + 8*k); !(theirs <= bound*unit*highest) {
				t.Errorf("%s: step %d: the library's rate is %v, exactly %v: %.3g u of the highest apart, bound %g",
					c.Name, k, c.LR[k], exact, theirs/(unit*highest), bound)
			}
			worstTheirs = max(worstTheirs, theirs/(unit*highest))
			if exact > 0 {
				worst, apart = max(worst, off/(unit*exact)), max(apart, theirs/(unit*exact))
			}
		}
	}
	t.Logf("from the exact rates: ours within %.2f u, the libraries' within %.2f u of the highest rate, %.0f u of the rate itself",
		worst, worstTheirs, apart)
}

// The table of docs/schedules.md is the golden cases.
func TestScheduleTable(t *testing.T) {
	var b strings.Builder
	b.WriteString("| The library's call | Its learning rate | fusestep |\n|---|---|---|\n")
	ours := ours()
	for _, c := range scheduleFile[scheduleCase](t, "schedules.json") {
		fmt.Fprintf(&b, "| `%s` | %v | `%s` |\n", c.Call, c.BaseLR, scheduleLiteral(reflect.ValueOf(ours[c.Name])))
	}
	generated(t, "../docs/schedules.md", "the cases of schedules.json", b.String())
}

// scheduleLiteral is a schedule as Go writes it, without the fields that are 0.
func scheduleLiteral(v reflect.Value) string {
	var elements []string
	switch v.Kind() {
	case reflect.Interface:
		return scheduleLiteral(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() {
				elements = append(elements, v.Type().Field(i).Name+": "+scheduleLiteral(f))
			}
		}
		if v.Type() == reflect.TypeFor[optim.Stage]() {
			return "{" + strings.Join(elements, ", ") + "}"
		}
	case reflect.Slice:
		for i := range v.Len() {
			elements = append(elements, scheduleLiteral(v.Index(i)))
		}
	default:
		return fmt.Sprint(v)
	}
	return fmt.Sprintf("%s{%s}", v.Type(), strings.Join(elements, ", "))
}

func harnessOptimizer(t *testing.T) *optim.Optimizer {
	return newHarness(t, device.Float64, []float64{0}).optimizer(sgd(1))
}

// What follows counts from 0 again, at the step after the last.
func TestScheduleBoundaries(t *testing.T) {
	count := optim.ScheduleFunc(func(k int) float64 { return float64(100 + k) })
	for _, c := range []struct {
		name string
		s    optim.Schedule
		want []float64
	}{
		{"constant", optim.Constant{}, []float64{1, 1}},
		{"warm-up", optim.Warmup{Steps: 2}, []float64{0, 0.5, 1, 1}},
		{"warm-up, then", optim.Warmup{Start: 0.5, Steps: 2, Then: count}, []float64{0.5, 0.75, 100, 101}},
		{"warm-up of no steps", optim.Warmup{Start: 0.5, Then: count}, []float64{100, 101}},
		{"warm-up in a warm-up", optim.Warmup{Steps: 1, Then: optim.Warmup{Start: 0.5, Steps: 1, Then: count}}, []float64{0, 0.5, 100, 101}},
		{"down to the rate", optim.Warmup{Start: 3, Steps: 2}, []float64{3, 2, 1}},
		{"wsd", optim.WSD{Start: 0.5, Warmup: 2, Stable: 3, Decay: count}, []float64{0.5, 0.75, 1, 1, 1, 100, 101}},
		{"wsd, without warm-up", optim.WSD{Stable: 1, Decay: count}, []float64{1, 100, 101}},
		{"wsd, without stable", optim.WSD{Warmup: 2, Decay: count}, []float64{0, 0.5, 100, 101}},
		{"wsd, without decay", optim.WSD{Warmup: 1, Stable: 2}, []float64{0, 1, 1, 1, 1}},
		{"sequence", optim.Sequence{{2, count}, {0, optim.Linear{}}, {2, nil}, {1, count}}, []float64{100, 101, 1, 1, 100, 101, 102}},
		{"sequence of nothing", optim.Sequence{}, []float64{1, 1}},
		{"sequence in a sequence", optim.Sequence{{1, nil}, {2, optim.Sequence{{1, count}, {}}}, {1, count}},
			[]float64{1, 100, 1, 100, 101}},
		{"step", optim.StepDecay{Every: 2, Gamma: 0.5}, []float64{1, 1, 0.5, 0.5, 0.25}},
		{"exponential", optim.Exponential{Gamma: 0.5}, []float64{1, 0.5, 0.25, 0.125}},
		{"step to 0", optim.StepDecay{Every: 2}, []float64{1, 1, 0, 0, 0}},
		{"multi-step", optim.MultiStep{Milestones: []int{3, 0, 3, 1}, Gamma: 0.5}, []float64{0.5, 0.25, 0.25, 0.0625}},
		{"multi-step without any", optim.MultiStep{Gamma: 0.5}, []float64{1, 1}},
		{"inverse sqrt", optim.InverseSqrt{Timescale: 1}, []float64{1, math.Sqrt(0.5), math.Sqrt(1. / 3), 0.5}},
		{"one-cycle of no steps", optim.OneCycle{PctStart: 0.3, DivFactor: 2, FinalDivFactor: 4}, []float64{0.125, 0.125}},
		{"one-cycle of one step", optim.OneCycle{Steps: 1, PctStart: 0.3, DivFactor: 2, FinalDivFactor: 4}, []float64{0.125, 0.125}},
		{"one-cycle that starts at the peak", optim.OneCycle{Steps: 4, PctStart: 0.25, DivFactor: 2, FinalDivFactor: 2, Linear: true},
			[]float64{1, 0.75, 0.5, 0.25, 0.25}},
		{"one-cycle, three phases from the peak",
			optim.OneCycle{Steps: 4, PctStart: 0.25, DivFactor: 2, FinalDivFactor: 8, ThreePhase: true, Linear: true},
			[]float64{0.5, 0.35416666666666663, 0.20833333333333331, 0.0625, 0.0625}},
	} {
		var got []float64
		for k := range c.want {
			got = append(got, c.s.Factor(k))
		}
		require.Equal(t, c.want, got, c.name)
	}
}

// Where SetSchedule has not looked, in a function of the user's own, fields that were forgotten end in a factor that the step refuses.
func TestFieldsForgottenWithin(t *testing.T) {
	for _, bad := range []optim.Schedule{
		optim.StepDecay{Gamma: 0.1}, optim.CosineWarmRestarts{}, optim.CosineWarmRestarts{TMult: 2},
		optim.OneCycle{Steps: 10}, optim.Linear{Steps: 10, Min: math.NaN()}, optim.Exponential{Gamma: -0.5},
	} {
		o := harnessOptimizer(t)
		require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(k int) float64 { return bad.Factor(k + 1) })))
		var typed *optim.HyperparameterError
		require.ErrorAs(t, o.Step(nil), &typed, "%#v", bad)
		require.Equal(t, "lr", typed.Name)
		require.Zero(t, o.Steps())
	}
}

// No schedule makes a factor that a step would refuse, whatever the step, nor an allocation.
func TestScheduleFactors(t *testing.T) {
	all := map[string]optim.Schedule{
		"step": optim.StepDecay{Every: 3, Gamma: 0.9}, "multi-step": optim.MultiStep{Milestones: []int{1, 5}, Gamma: 0.1},
		"exponential": optim.Exponential{Gamma: 0.999}, "inverse sqrt": optim.InverseSqrt{Timescale: 10},
		"restarts": optim.CosineWarmRestarts{T0: 3, TMult: 2}, "restarts 1": optim.CosineWarmRestarts{T0: 3, TMult: 1},
		"one-cycle": optim.DefaultOneCycle(10),
		"wsd":       optim.WSD{Warmup: 5, Stable: 5, Decay: optim.OneMinusSqrt{Steps: 5}},
		"sequence":  optim.Sequence{{5, optim.Warmup{Steps: 5}}, {5, optim.Cosine{Steps: 5}}, {0, optim.InverseSqrt{Timescale: 1}}},
	}
	for name, s := range decays(7, 0.1) {
		all[name] = s
	}
	for name, s := range all {
		require.NoError(t, harnessOptimizer(t).SetSchedule(s), name)
		for _, k := range []int{0, 1, 2, 3, 9, 10, 11, 1 << 20, min(1<<31, math.MaxInt), min(1<<53, math.MaxInt), math.MaxInt - 1, math.MaxInt} {
			if f := s.Factor(k); !(f >= 0 && f <= 1) {
				t.Errorf("%s: step %d: %v", name, k, f)
			}
			require.Zero(t, testing.AllocsPerRun(10, func() { s.Factor(k) }), "%s: step %d", name, k)
		}
	}
}

// Fields that are out of range are found, however deep.
func TestScheduleErrors(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	cycle := func(change func(*optim.OneCycle)) optim.Schedule {
		c := optim.DefaultOneCycle(10)
		change(&c)
		return c
	}
	bad := optim.Cosine{Steps: -1}
	for _, c := range []struct {
		s    optim.Schedule
		want string
	}{
		{optim.Warmup{Start: -0.1}, "warmup: start is -0.1, must be at least 0, and finite"},
		{optim.Warmup{Start: nan}, "warmup: start is NaN, must be at least 0, and finite"},
		{optim.Warmup{Steps: -3}, "warmup: steps is -3, must be at least 0"},
		{optim.Warmup{Then: bad}, "cosine: steps is -1, must be at least 0"},
		{&optim.Warmup{Then: &bad}, "cosine: steps is -1, must be at least 0"},
		{optim.WSD{Start: inf}, "wsd: start is +Inf, must be at least 0, and finite"},
		{optim.WSD{Warmup: -1}, "wsd: warmup is -1, must be at least 0"},
		{optim.WSD{Stable: -1}, "wsd: stable is -1, must be at least 0"},
		{optim.WSD{Decay: bad}, "cosine: steps is -1, must be at least 0"},
		{optim.Sequence{{1, nil}, {-1, nil}}, "sequence: steps of stage 1 is -1, must be at least 0"},
		{optim.Sequence{{1, optim.Warmup{Then: bad}}, {-1, nil}}, "cosine: steps is -1, must be at least 0"},
		{optim.Sequence{{1, nil}, {1, bad}}, "cosine: steps is -1, must be at least 0"},
		{optim.StepDecay{Gamma: 0.1}, "step decay: every is 0, must be at least 1"},
		{optim.StepDecay{Every: 1, Gamma: nan}, "step decay: gamma is NaN, must be at least 0, and finite"},
		{optim.MultiStep{Milestones: []int{1, -1}}, "multi-step: milestones[1] is -1, must be at least 0"},
		{optim.MultiStep{Gamma: -1}, "multi-step: gamma is -1, must be at least 0, and finite"},
		{optim.Exponential{Gamma: inf}, "exponential: gamma is +Inf, must be at least 0, and finite"},
		{optim.Linear{Steps: -1}, "linear: steps is -1, must be at least 0"},
		{optim.Linear{Min: nan}, "linear: min is NaN, must be at least 0, and finite"},
		{optim.Polynomial{Power: 1, Min: -1}, "polynomial: min is -1, must be at least 0, and finite"},
		{optim.Polynomial{Steps: 5}, "polynomial: power is 0, must be above 0, and finite"},
		{optim.Cosine{Min: -1e-9}, "cosine: min is -1e-09, must be at least 0, and finite"},
		{optim.OneMinusSqrt{Steps: -1}, "1-sqrt: steps is -1, must be at least 0"},
		{optim.InverseSqrt{}, "inverse sqrt: timescale is 0, must be at least 1"},
		{optim.CosineWarmRestarts{TMult: 1}, "cosine with warm restarts: t_0 is 0, must be at least 1"},
		{optim.CosineWarmRestarts{T0: 1}, "cosine with warm restarts: t_mult is 0, must be at least 1"},
		{optim.CosineWarmRestarts{T0: 1, TMult: 1, Min: nan}, "cosine with warm restarts: min is NaN, must be at least 0, and finite"},
		{cycle(func(c *optim.OneCycle) { c.Steps = -1 }), "one-cycle: steps is -1, must be at least 0"},
		{cycle(func(c *optim.OneCycle) { c.PctStart = 1 }), "one-cycle: pct_start is 1, must be at least 0 and below 1"},
		{cycle(func(c *optim.OneCycle) { c.PctStart, c.ThreePhase = 0.6, true }),
			"one-cycle: pct_start is 0.6, must be at least 0 and, with three phases, at most 0.5"},
		{cycle(func(c *optim.OneCycle) { c.DivFactor = 0 }), "one-cycle: div_factor is 0, must be above 0, and finite"},
		{cycle(func(c *optim.OneCycle) { c.FinalDivFactor = 0 }), "one-cycle: final_div_factor is 0, must be above 0, and finite"},
	} {
		refuses(t, c.s, c.want)
	}
}

// refuses sees that SetSchedule names the field and keeps the schedule that was there.
func refuses(t *testing.T, s optim.Schedule, want string) {
	t.Run(fmt.Sprintf("%T/%s", s, want), func(t *testing.T) {
		h := newHarness(t, device.Float64, []float64{1})
		h.set(h.grad, []float64{1})
		o := h.optimizer(sgd(1))
		require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(int) float64 { return 0.25 })))
		err := o.SetSchedule(s)
		require.EqualError(t, err, "optim: "+want)
		var typed *optim.HyperparameterError
		require.ErrorAs(t, err, &typed)
		require.NoError(t, o.Step(nil))
		require.Equal(t, []float64{0.75}, h.values(h.value))
		require.NoError(t, o.SetSchedule(nil))
		require.NoError(t, o.Step(nil))
		require.Equal(t, []float64{-0.25}, h.values(h.value), "nil is the rate as it is")
	})
}

// C4, I9: a nil function or pointer is no schedule, wherever it stands. A nil interface leaves rates as they are.
func TestNilSchedules(t *testing.T) {
	var plateau *optim.ReduceOnPlateau
	var warmup *optim.Warmup
	for _, c := range []struct {
		s    optim.Schedule
		want string
	}{
		{optim.ScheduleFunc(nil), "schedule optim.ScheduleFunc is nil"},
		{plateau, "schedule *optim.ReduceOnPlateau is nil"},
		{warmup, "schedule *optim.Warmup is nil"},
		{optim.Warmup{Then: plateau}, "warmup: then: schedule *optim.ReduceOnPlateau is nil"},
		{optim.WSD{Decay: optim.ScheduleFunc(nil)}, "wsd: decay: schedule optim.ScheduleFunc is nil"},
		{optim.Sequence{{1, nil}, {1, plateau}}, "sequence: schedule of stage 1: schedule *optim.ReduceOnPlateau is nil"},
		{optim.Warmup{Then: &optim.Sequence{{Schedule: optim.WSD{Decay: warmup}}}}, "wsd: decay: schedule *optim.Warmup is nil"},
	} {
		o := harnessOptimizer(t)
		require.EqualError(t, o.SetSchedule(c.s), "optim: "+c.want)
		require.NoError(t, o.Step(nil), "the schedule that was there stays")
	}
	for _, s := range []optim.Schedule{nil, optim.Warmup{}, optim.WSD{}, optim.Sequence(nil), optim.Sequence{{}}} {
		o := harnessOptimizer(t)
		require.NoError(t, o.SetSchedule(s))
		require.NoError(t, o.Step(nil))
	}
}

// Training that goes on in another optimizer follows the schedule from where it was.
func TestScheduleResumes(t *testing.T) {
	schedule := optim.Warmup{Steps: 3, Then: optim.Cosine{Steps: 5}}
	rates := func(o *optim.Optimizer, h *harness, n int) (out []float64) {
		require.NoError(t, o.SetSchedule(schedule))
		h.set(h.grad, []float64{1})
		for range n {
			h.set(h.value, []float64{0})
			require.NoError(t, o.Step(nil))
			out = append(out, -h.values(h.value)[0])
		}
		return out
	}
	h := newHarness(t, device.Float64, []float64{0})
	whole := rates(h.optimizer(sgd(1)), h, 10)
	first := h.optimizer(sgd(1))
	got := rates(first, h, 4)
	second := h.optimizer(sgd(1))
	require.NoError(t, second.SetSteps(first.Steps()))
	require.NoError(t, second.SetGroupCounters(nil, 0, map[string]float64{"step": 4}))
	got = append(got, rates(second, h, 6)...)
	require.Equal(t, whole, got)
	require.Equal(t, 10, second.Steps())
	require.ErrorIs(t, second.SetSteps(-1), device.ErrRange)
	require.Equal(t, 10, second.Steps())
}

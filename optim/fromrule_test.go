package optim_test

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// readAgain is a built-in rule, read from its source.
func readAgain(t *testing.T, r *rule.Rule) *rule.Rule {
	t.Helper()
	source := "package p\n\nimport \"github.com/fusestep/fusestep/kernels/rule\"\n\n" + r.Source()
	name := func(f *ir.Func, err error) string {
		require.NoError(t, err)
		return f.Name
	}
	var functions []string
	for stage := range r.Stages {
		for _, d := range []rule.Domain{rule.OfRows, rule.OfColumns, rule.OfTensor, rule.OfElements} {
			if r.Has(d, stage) {
				functions = append(functions, name(r.Function(d, stage, 64, r.MatrixOption())))
			}
		}
	}
	read, err := rule.Read(strings.ToLower(r.Name)+".go", source, name(r.Prologue(0)), functions...)
	require.NoError(t, err)
	return read
}

// ofRead is an algorithm with another rule.
type ofRead struct {
	optim.Algorithm
	Rule *rule.Rule
}

func (a ofRead) Setting() (rule.Setting, error) {
	s, err := a.Algorithm.Setting()
	s.Rule = a.Rule
	return s, err
}

// endOf is what some steps make of parameters, and the state.
func endOf(t *testing.T, b kernels.Backend, a optim.Algorithm, steps int) [][]float32 {
	t.Helper()
	dev := b.Device()
	s := dev.DefaultStream()
	const n = 301
	var params []optim.Param
	host := make([]float32, n)
	for i := range host {
		host[i] = float32(math.Sin(float64(i))) / 4
	}
	for _, name := range []string{"a", "b"} {
		value, err := dev.Alloc(device.Float32, n)
		require.NoError(t, err)
		grad, err := dev.Alloc(device.Float32, n)
		require.NoError(t, err)
		require.NoError(t, device.Upload(s, value, host))
		params = append(params, optim.Param{Name: name, Value: value, Grad: grad})
	}
	require.NoError(t, s.Synchronize())
	setting, err := a.Setting()
	require.NoError(t, err)
	o, err := optim.New(b, a, params)
	require.NoError(t, err)
	defer o.Close()
	g := make([]float32, n)
	for step := range steps {
		for k, p := range params {
			for i := range g {
				g[i] = float32(math.Cos(float64(i*(step+k+1)))) * 2
			}
			require.NoError(t, device.Upload(s, p.Grad, g))
			require.NoError(t, s.Synchronize())
		}
		require.NoError(t, o.Step(nil))
	}
	var out [][]float32
	get := func(b *device.Buffer) {
		x := make([]float32, b.Len())
		require.NoError(t, device.Download(s, x, b))
		require.NoError(t, s.Synchronize())
		out = append(out, x)
	}
	for _, p := range params {
		get(p.Value)
		for _, slot := range append(slices.Clone(setting.Rule.Slots), rule.Average) {
			if b, err := o.State(p.Name, slot); err == nil {
				get(b)
			}
		}
	}
	return out
}

// Every built-in rule that is read from its source has the bits of the one that is compiled, on everything that runs steps.
func TestReadRules(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, c := range optim.Cases() {
			if s, err := c.Algorithm.Setting(); err != nil || s.Name != c.Name {
				continue // another case of the struct
			}
			t.Run(c.Name, func(t *testing.T) {
				s, err := c.Algorithm.Setting()
				require.NoError(t, err)
				a := optim.Averaged{Algorithm: c.Algorithm, Decay: 0.9}
				if s.Eval != nil {
					require.Equal(t, endOf(t, b, c.Algorithm, 5), endOf(t, b, ofRead{c.Algorithm, readAgain(t, s.Rule)}, 5))
					return
				}
				require.Equal(t, endOf(t, b, a, 5), endOf(t, b, ofRead{a, readAgain(t, s.Rule)}, 5))
			})
		}
	})
}

// An algorithm of a rule alone has the bits of the struct's: Lion and SGD, whose options follow from hyperparameters or are given.
func TestFromRule(t *testing.T) {
	sgd := optim.DefaultSGD()
	sgd.LR, sgd.Momentum, sgd.Nesterov, sgd.Maximize = 0.1, 0.9, true, true
	plain := optim.DefaultSGD()
	plain.LR = 0.1
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, tt := range []struct {
			name   string
			a      optim.Algorithm
			values map[string]float64
		}{
			{"lion", optim.DefaultLion(), map[string]float64{"lr": optim.DefaultLion().LR, "beta1": optim.DefaultLion().Betas[0], "beta2": optim.DefaultLion().Betas[1]}},
			{"sgd", plain, map[string]float64{"lr": 0.1, "momentum": 0, "dampening": 0, "lr_in_momentum": 0}},
			{"nesterov", sgd, map[string]float64{"lr": 0.1, "momentum": 0.9, "dampening": 0, "lr_in_momentum": 0, "nesterov": 1, "maximize": 1}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				s, err := tt.a.Setting()
				require.NoError(t, err)
				a, err := optim.FromRule(readAgain(t, s.Rule), tt.values)
				require.NoError(t, err)
				require.Equal(t, endOf(t, b, tt.a, 5), endOf(t, b, a, 5))
			})
		}
	})
}

// Hyperparameters of a rule alone are those of groups.
func TestFromRuleHyperparameters(t *testing.T) {
	s, err := optim.DefaultSGD().Setting()
	require.NoError(t, err)
	r := readAgain(t, s.Rule)
	all := map[string]float64{"lr": 0.5, "momentum": 0.5, "dampening": 0.25, "lr_in_momentum": 0}
	a, err := optim.FromRule(r, all)
	require.NoError(t, err)
	var names []string
	for _, h := range optim.HyperparametersOf(a) {
		names = append(names, h.Name)
		require.Equal(t, h.Name == "nesterov" || h.Name == "maximize", h.Kind == reflect.Bool, h.Name)
	}
	require.Equal(t, []string{"lr", "momentum", "dampening", "lr_in_momentum", "nesterov", "maximize"}, names)
	other, err := optim.WithHyperparameters(a, optim.Hyperparameter{Name: "dampening", Value: 2})
	require.NoError(t, err)
	require.Equal(t, 0.25, optim.HyperparametersOf(a)[2].Value, "a copy is changed")
	require.Equal(t, 2.0, optim.HyperparametersOf(other)[2].Value)

	for _, tt := range []struct {
		name  string
		value float64
		want  string
	}{
		{"momentum", math.NaN(), "sgd: momentum is NaN, must be a number"},
		{"lr", -1, "sgd: lr is -1, must be at least 0, and finite"},
		{"nesterov", 2, "sgd: nesterov is 2, must be 0 or 1"},
	} {
		a, err := optim.WithHyperparameters(a, optim.Hyperparameter{Name: tt.name, Value: tt.value})
		if err == nil {
			_, err = a.Setting()
		}
		require.ErrorContains(t, err, tt.want)
		require.ErrorAs(t, err, new(*optim.HyperparameterError))
	}
	_, err = optim.FromRule(r, map[string]float64{"lr": 0.5})
	require.EqualError(t, err, `optim: sgd: hyperparameter "momentum" is missing, of ["lr" "momentum" "dampening" "lr_in_momentum"]`)
	all["beta"] = 1
	_, err = optim.FromRule(r, all)
	require.ErrorContains(t, err, `sgd has no hyperparameter "beta", only ["lr" "momentum"`)
}

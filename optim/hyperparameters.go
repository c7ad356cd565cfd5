package optim

import (
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Algorithm is a copy of a group's algorithm as it is now, before schedules, for a type switch.
func (o *Optimizer) Algorithm(group int) (Algorithm, error) {
	g, err := o.group("algorithm", group)
	if err != nil {
		return nil, err
	}
	return copied(g.algorithm), nil
}

// SetAlgorithm gives a group other hyperparameters from the next step on. The algorithm is copied. Its rule must be the group's:
// Adam and AdamW have one, another needs a new group. See SetHyperparameter for what it costs.
func (o *Optimizer) SetAlgorithm(index int, alg Algorithm) error {
	g, err := o.group("set algorithm", index)
	if err != nil {
		return err
	}
	if _, err := settingOf(alg, fmt.Sprintf("group %d", index)); err != nil {
		return err
	}
	alg = copied(alg)
	for _, x := range g.schedules {
		if _, ok := get(alg, x.name); !ok {
			return fmt.Errorf("optim: set algorithm: group %d: %T has no hyperparameter %q, which has a schedule", index, alg, x.name)
		}
	}
	return o.change([]*group{g}, func(*group) (Algorithm, error) { return alg, nil },
		func(g *group, s rule.Setting) float64 { return s.Hyper[g.lrAt] })
}

// Hyperparameter is a hyperparameter of an algorithm's struct.
type Hyperparameter struct {
	Name  string       // PyTorch's: "lr", "betas[0]"
	Kind  reflect.Kind // of the field, or of an array's elements: a float, a whole number or reflect.Bool
	Value float64      // a truth value is 0 or 1
}

// HyperparametersOf are an algorithm's hyperparameters, as Optimizer.Hyperparameters has them, in the order of its fields.
func HyperparametersOf(a Algorithm) (out []Hyperparameter) {
	if isNil(a) {
		return nil
	}
	inner, _ := clone(reflect.ValueOf(a))
	eachHyper(inner, func(name string, x reflect.Value) bool {
		if !slices.ContainsFunc(out, func(h Hyperparameter) bool { return h.Name == name }) {
			out = append(out, Hyperparameter{name, x.Kind(), number(x)})
		}
		return false
	})
	return out
}

// WithHyperparameters is a copy of an algorithm that has other values. A name that it does not have is an error, and a value that a field cannot hold
// a HyperparameterError. Algorithm.Setting checks the ranges.
func WithHyperparameters(a Algorithm, values ...Hyperparameter) (Algorithm, error) {
	s, err := settingOf(a, "hyperparameters")
	if err != nil {
		return nil, err
	}
	for _, h := range values {
		if a, err = with(a, s.Name, h.Name, h.Value); err != nil {
			return nil, err
		}
	}
	return copied(a), nil
}

// Hyperparameters are a group's, by PyTorch's names, as they are now, before schedules: "lr", "betas[0]", "weight_decay". They
// are the exported fields of the algorithm's struct, a user's own too, that are numbers or truth values: a field's name in lower
// case with underscores, or its tag `hyper:"name"`. A truth value is 0 or 1.
func (o *Optimizer) Hyperparameters(group int) (map[string]float64, error) {
	g, err := o.group("hyperparameters", group)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for _, name := range hyperNames(g.algorithm) {
		out[name], _ = get(g.algorithm, name)
	}
	out[lrName] = g.lr
	return out, nil
}

// Hyperparameter is one of a group's Hyperparameters.
func (o *Optimizer) Hyperparameter(group int, name string) (float64, error) {
	g, err := o.group("hyperparameter", group)
	if err != nil {
		return 0, err
	}
	if name == lrName {
		return g.lr, nil
	}
	x, ok := get(g.algorithm, name)
	if !ok {
		return 0, g.lacks(name)
	}
	return x, nil
}

// SetHyperparameter changes a hyperparameter of the groups, of all if none is named, from the next step on. The algorithm checks
// its range: a HyperparameterError names it. On an error no group has changed.
//
// What only scales costs nothing. A number that turns a term on or off, such as a weight_decay that was 0, is compiled in with
// the next step. A term that needs state, such as a momentum that was 0, gets it: the state starts as a new tensor's does, and the
// rule counts on from its step. (So SGD damps the first gradient of a momentum that comes late, which PyTorch does not.) State that
// is no longer used stays, and is found again.
func (o *Optimizer) SetHyperparameter(name string, x float64, groups ...int) error {
	named, err := o.named("set "+name, groups)
	if err != nil {
		return err
	}
	return o.change(named, func(g *group) (Algorithm, error) { return g.with(g.algorithm, name, x) },
		func(g *group, _ rule.Setting) float64 {
			if name == lrName {
				return x
			}
			return g.lr
		})
}

// LR is a group's learning rate, before its schedule.
func (o *Optimizer) LR(group int) (float64, error) { return o.Hyperparameter(group, lrName) }

// SetLR is SetHyperparameter of "lr". Rprop's tensors look at it in their first step alone.
func (o *Optimizer) SetLR(lr float64, groups ...int) error {
	return o.SetHyperparameter(lrName, lr, groups...)
}

// LastLR is the learning rate that a group had in the last step, after its schedule: torch's get_last_lr. It is 0 before the
// group's first.
func (o *Optimizer) LastLR(group int) (float64, error) {
	g, err := o.group("last lr", group)
	if err != nil {
		return 0, err
	}
	return g.lastLR, nil
}

// change gives groups other algorithms and learning rates, or changes nothing.
func (o *Optimizer) change(groups []*group, edit func(*group) (Algorithm, error), lr func(*group, rule.Setting) float64) error {
	algorithms, settings, rates := make([]Algorithm, len(groups)), make([]rule.Setting, len(groups)), make([]float64, len(groups))
	for i, g := range groups {
		var err error
		if algorithms[i], err = edit(g); err != nil {
			return err
		}
		if settings[i], err = settingOf(algorithms[i], fmt.Sprintf("group %d", g.index)); err != nil {
			return err
		}
		if err := g.accepts(settings[i]); err != nil {
			return err
		}
		rates[i] = lr(g, settings[i])
		if err := g.checkLR(rates[i], ""); err != nil {
			return err
		}
		settings[i].Hyper = slices.Clone(settings[i].Hyper)
		settings[i].Hyper[g.lrAt] = rates[i]
		if err := g.checkPrecision(settings[i]); err != nil {
			return err
		}
	}
	for i, g := range groups {
		if err := o.supply(g, settings[i]); err != nil {
			return err
		}
	}
	for i, g := range groups {
		g.algorithm, g.setting, g.lr = algorithms[i], settings[i], rates[i]
		if err := o.reprogram(g, g.setting); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) checkLR(lr float64, when string) error {
	if !(lr >= 0 && lr <= math.MaxFloat64) {
		return &HyperparameterError{Algorithm: g.setting.Name, Name: lrName, Value: lr, Want: "at least 0, and finite" + when}
	}
	return nil
}

// checkPrecision says whether the tensors' types can hold what a setting has.
func (g *group) checkPrecision(s rule.Setting) error {
	for _, q := range g.parts {
		if err := checkPrecision(s, q.program.Spec); err != nil {
			return err
		}
	}
	return nil
}

// accepts says whether the group can go on with another setting.
func (g *group) accepts(s rule.Setting) error {
	if err := s.Check(); err != nil {
		return fmt.Errorf("optim: group %d: algorithm %s: %w", g.index, s.Name, err)
	}
	if s.Rule != g.setting.Rule {
		if s.Rule.Name == g.setting.Rule.Name {
			return fmt.Errorf("optim: group %d: algorithm %s has another rule %s than the group: a new rule needs a new group", g.index, s.Name, s.Rule.Name)
		}
		return fmt.Errorf("optim: group %d: algorithm %s has rule %s, the group has rule %s: a new rule needs a new group",
			g.index, s.Name, s.Rule.Name, g.setting.Rule.Name)
	}
	if s.EMA != g.setting.EMA {
		return fmt.Errorf("optim: group %d: algorithm %s: an average is kept from a group's beginning, or never: this needs a new group", g.index, s.Name)
	}
	if s.Formats != g.setting.Formats {
		return fmt.Errorf("optim: group %d: algorithm %s stores state as %q, the group as %q: other types need a new group",
			g.index, s.Name, s.Formats, g.setting.Formats)
	}
	if s.Stochastic != g.setting.Stochastic {
		return fmt.Errorf("optim: group %d: algorithm %s: stochastic is %t, the group's %t: another rounding needs a new group",
			g.index, s.Name, s.Stochastic, g.setting.Stochastic)
	}
	if s.Master != g.setting.Master {
		return fmt.Errorf("optim: group %d: algorithm %s has the master %q, the group %q: another needs a new group", g.index, s.Name, s.Master, g.setting.Master)
	}
	return nil
}

// supply gives a group the state that a setting needs.
func (o *Optimizer) supply(g *group, s rule.Setting) error {
	for _, q := range g.parts {
		if !q.runs(s) {
			p, err := kernels.New(q.spec(s))
			if err == nil {
				err = q.allocate(o.backend.Device(), p, s)
			}
			if err != nil {
				return fmt.Errorf("optim: group %d: %w", g.index, err)
			}
			o.memory.unmade = true
		}
	}
	return nil
}

// reprogram lets a group do what a setting says.
func (o *Optimizer) reprogram(g *group, s rule.Setting) error {
	if !slices.ContainsFunc(g.parts, func(q *part) bool { return !q.runs(s) }) {
		return nil
	}
	if err := o.supply(g, s); err != nil {
		return err
	}
	for _, q := range g.parts {
		if !q.runs(s) {
			p, err := kernels.New(q.spec(s))
			if err != nil {
				return fmt.Errorf("optim: group %d: %w", g.index, err)
			}
			q.program, q.changed, o.stale = p, true, true
		}
	}
	return nil
}

package optim

import (
	"errors"
	"fmt"
	"slices"
)

// scheduled is a hyperparameter other than the learning rate that follows a schedule.
type scheduled struct {
	name     string
	schedule Schedule
}

// SetSchedule makes the learning rate of the groups follow s from the next step on, which is step Steps() of it. If no group is
// named, that is all groups, those that are added later too. Nil leaves rates as they are. A field that is out of range is a
// HyperparameterError, and the schedules stay those from before. A rate that is too small for the elements' type is 0.
func (o *Optimizer) SetSchedule(s Schedule, groups ...int) error {
	named, err := o.named("set schedule", groups)
	if err != nil {
		return err
	}
	if err := checkSchedule(s); err != nil {
		return err
	}
	if len(groups) == 0 {
		o.schedule = s
	}
	for _, g := range named {
		g.rate = s
	}
	return nil
}

// SetHyperparameterSchedule makes a hyperparameter of the groups, of all there are if none is named, follow s from the next step
// on: in step k it is s.Factor(k) times what Hyperparameter says. Nil leaves it as it is. A value that the algorithm refuses is
// an error of Step, and nothing is updated.
//
// OneCycle cycles a momentum of 0.85 from 0.95 to 0.85 and back, as torch's cycle_momentum does, with
//
//	err := opt.SetHyperparameterSchedule("momentum", optim.OneCycle{Steps: steps, PctStart: 0.3, DivFactor: 0.85 / 0.95, FinalDivFactor: 1})
//
// Where a beta changes, bias corrections are those of the betas that the steps had: products, where PyTorch takes the beta of the
// step to the power of the number of steps.
func (o *Optimizer) SetHyperparameterSchedule(name string, s Schedule, groups ...int) error {
	if name == lrName {
		return o.SetSchedule(s, groups...)
	}
	named, err := o.named("set schedule of "+name, groups)
	if err != nil {
		return err
	}
	if err := checkSchedule(s); err != nil {
		return err
	}
	for _, g := range named {
		if _, ok := get(g.algorithm, name); !ok {
			return g.lacks(name)
		}
	}
	for _, g := range named {
		g.schedules = slices.DeleteFunc(g.schedules, func(x scheduled) bool { return x.name == name })
		if s != nil {
			g.schedules = append(g.schedules, scheduled{name, s})
		}
	}
	return nil
}

// Schedule is what a group's learning rate follows, nil for none: what SetSchedule was given, or LoadStateDict has made.
func (o *Optimizer) Schedule(group int) (Schedule, error) {
	return o.HyperparameterSchedule(lrName, group)
}

// HyperparameterSchedule is what a hyperparameter of a group follows, nil for none.
func (o *Optimizer) HyperparameterSchedule(name string, group int) (Schedule, error) {
	g, err := o.group("schedule of "+name, group)
	if err != nil {
		return nil, err
	}
	if name == lrName {
		return g.rate, nil
	}
	if _, ok := get(g.algorithm, name); !ok {
		return nil, g.lacks(name)
	}
	return g.scheduleOf(name), nil
}

// scheduleOf is what a hyperparameter other than the learning rate follows.
func (g *group) scheduleOf(name string) Schedule {
	for _, x := range g.schedules {
		if x.name == name {
			return x.schedule
		}
	}
	return nil
}

// follow makes the setting of a step.
func (g *group) follow(step int) error {
	setting := g.setting
	if len(g.schedules) > 0 {
		alg := g.algorithm
		for _, x := range g.schedules {
			base, _ := get(g.algorithm, x.name)
			var err error
			if alg, err = g.with(alg, x.name, base*x.schedule.Factor(step)); err != nil {
				return g.afterSchedule(err)
			}
		}
		var err error
		if setting, err = settingOf(alg, fmt.Sprintf("group %d", g.index)); err != nil {
			return g.afterSchedule(err)
		}
		if err := g.accepts(setting); err != nil {
			return err
		}
		held := setting // penalties may become 0, as the rate may
		held.L1, held.WeightDecay, held.DecoupledDecay = 0, 0, 0
		if err := g.checkPrecision(held); err != nil {
			return g.afterSchedule(err)
		}
	}
	lr := g.lr * factorOf(g.rate, step)
	if err := g.checkLR(lr, ", after its schedule"); err != nil {
		return err
	}
	copy(g.hyper, setting.Hyper)
	g.hyper[g.lrAt] = lr
	g.now = setting
	g.now.Hyper = g.hyper
	return nil
}

// afterSchedule says of a hyperparameter out of range that it has a schedule.
func (g *group) afterSchedule(err error) error {
	var e *HyperparameterError
	if errors.As(err, &e) {
		said := *e
		said.Want += ", after its schedule"
		return &said
	}
	return err
}

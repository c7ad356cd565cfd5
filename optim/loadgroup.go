package optim

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/fusestep/fusestep/kernels/rule"
)

// group finds what a group is to be.
func (l *loading) group(g *group) *groupLoad {
	as := *g
	x := &groupLoad{g: g, as: &as, fits: true}
	if l.how.Regroup {
		l.keepSchedules(g)
		return x
	}
	at := slices.IndexFunc(l.d.Groups, func(d GroupState) bool { return d.Index == g.index })
	if at < 0 {
		l.add(Mismatch{Group: g.index, What: Missing, Here: fmt.Sprintf("a group of %d tensors", len(g.params))})
		l.keepSchedules(g)
		return x
	}
	x.saved = &l.d.Groups[at]
	n := len(l.mismatches)
	if l.fits(x.saved, g) {
		l.hyperparameters(x)
	}
	x.fits = len(l.mismatches) == n
	l.restoreSchedules(x)
	return x
}

// fits says whether a group that was saved has the structure of one that is here, but for types where Convert lets them be others.
func (l *loading) fits(saved *GroupState, g *group) bool {
	n := len(l.mismatches)
	if here := algorithmName(g.algorithm); saved.Algorithm != here {
		l.add(Mismatch{Group: g.index, What: MismatchAlgorithm, Saved: saved.Algorithm, Here: here})
	}
	if d := saved.Setting; d != nil {
		here := settingState(g.setting)
		l.option(g, "rule", d.Rule, here.Rule)
		l.option(g, "ema", d.EMA, here.EMA)
		if !l.how.Convert {
			l.option(g, "formats", d.Formats, here.Formats)
			l.option(g, "master", d.Master, here.Master)
			l.option(g, "stochastic", d.Stochastic, here.Stochastic)
		}
	}
	return len(l.mismatches) == n
}

// option notes a difference of settings.
func (l *loading) option(g *group, name string, saved, here any) {
	if a, b := spelled(saved), spelled(here); a != b {
		l.add(Mismatch{Group: g.index, What: MismatchOption, Saved: name + " " + a, Here: b})
	}
}

// spelled is a value of a setting in an error.
func spelled(x any) string {
	switch x.(type) {
	case string, []string:
		return fmt.Sprintf("%q", x)
	}
	return fmt.Sprint(x)
}

// hyperparameters makes the algorithm of those that were saved.
func (l *loading) hyperparameters(x *groupLoad) {
	g, d, n := x.g, x.saved, len(l.mismatches)
	hyper := func(saved string, err error) {
		l.add(Mismatch{Group: g.index, What: MismatchHyper, Saved: saved, Here: err.Error()})
	}
	alg, lr := g.algorithm, g.lr
	for _, name := range sortedNames(d.Hyperparameters) {
		next, err := g.with(alg, name, d.Hyperparameters[name])
		if err != nil {
			hyper(fmt.Sprintf("%s %v", name, d.Hyperparameters[name]), err)
			continue
		}
		if alg = next; name == lrName {
			lr = d.Hyperparameters[name]
		}
	}
	if d.Setting != nil && d.Hyperparameters != nil {
		for _, name := range append(hyperNames(alg), lrName) {
			if _, ok := d.Hyperparameters[name]; !ok {
				l.add(Mismatch{Group: g.index, What: MismatchHyper, Saved: "no " + name, Here: name})
			}
		}
	}
	if d.Setting != nil && d.Setting.Stochastic {
		alg = seeded(alg, d.Setting.Seed)
	}
	s, err := settingOf(alg, fmt.Sprintf("group %d", g.index))
	if err == nil {
		err = g.accepts(s)
	}
	if err == nil {
		err = g.checkLR(lr, "")
	}
	if err == nil {
		s.Hyper = slices.Clone(s.Hyper)
		s.Hyper[g.lrAt] = lr
		err = g.checkPrecision(s)
	}
	if err != nil {
		hyper("", err)
	}
	if len(l.mismatches) > n {
		return
	}
	x.as.algorithm, x.as.setting, x.as.lr = alg, s, lr
	l.comesTo(x, s)
	if d.LastHyper == nil {
		return
	}
	for _, name := range s.Rule.Hyper {
		last, ok := d.LastHyper[name]
		if !ok {
			l.add(Mismatch{Group: g.index, What: MismatchHyper, Saved: "no " + name + " of the last step", Here: name})
		}
		x.last = append(x.last, last)
	}
	if len(d.LastHyper) > len(s.Rule.Hyper) {
		l.add(Mismatch{Group: g.index, What: MismatchHyper, Saved: fmt.Sprintf("%q of the last step", sortedNames(d.LastHyper)),
			Here: fmt.Sprintf("%q", s.Rule.Hyper)})
	}
}

// comesTo holds what hyperparameters have come to against what they had come to: what no name reaches is the program's to set.
func (l *loading) comesTo(x *groupLoad, s rule.Setting) {
	d := x.saved.Setting
	if d == nil {
		return
	}
	here := settingState(s)
	l.option(x.g, "options", d.Options, here.Options)
	l.option(x.g, "maximize", d.Maximize, here.Maximize)
	for _, p := range []struct {
		name        string
		saved, here Named
	}{{"hyper", d.Hyper, here.Hyper},
		{"penalties", Named{"l1": d.L1, "weight_decay": d.WeightDecay, "decoupled_decay": d.DecoupledDecay, "ema_decay": d.EMADecay},
			Named{"l1": here.L1, "weight_decay": here.WeightDecay, "decoupled_decay": here.DecoupledDecay, "ema_decay": here.EMADecay}}} {
		for _, name := range union(p.saved, p.here) {
			a, saved := p.saved[name]
			b, ok := p.here[name]
			if saved != ok || !sameFloat(a, b) {
				l.add(Mismatch{Group: x.g.index, What: MismatchOption, Saved: p.name + " " + name + " " + value(a, saved), Here: value(b, ok)})
			}
		}
	}
	if s.Stochastic && d.Stochastic {
		l.option(x.g, "seed", d.Seed, here.Seed)
	}
}

func value(x float64, ok bool) string {
	if !ok {
		return "none"
	}
	return fmt.Sprint(x)
}

// union are the names of two maps in order.
func union[V any](a, b map[string]V) []string {
	names := append(sortedNames(a), sortedNames(b)...)
	slices.Sort(names)
	return slices.Compact(names)
}

// seeded is an algorithm whose Stored that rounds stochastically, if it has one, has another seed.
func seeded(a Algorithm, seed uint64) Algorithm {
	inner, whole := clone(reflect.ValueOf(a))
	seedWithin(inner, seed)
	return whole.Interface().(Algorithm)
}

func seedWithin(v reflect.Value, seed uint64) {
	if v.Type() == reflect.TypeFor[Stored]() && v.FieldByName("Stochastic").Bool() {
		v.FieldByName("Seed").SetUint(seed)
	}
	for _, x := range within(v) {
		if !leads(x) {
			seedWithin(x, seed)
		} else if x.CanSet() && !isNil(x.Interface()) {
			inner, whole := clone(x)
			seedWithin(inner, seed)
			x.Set(whole)
		}
	}
}

// restoreSchedules reads the group's.
func (l *loading) restoreSchedules(x *groupLoad) {
	g, d := x.g, x.saved
	read := func(name string, text json.RawMessage, here Schedule) (s Schedule) {
		s, err := l.schedules.read(text, here)
		if err != nil {
			l.add(Mismatch{Group: g.index, What: MismatchSchedule, Saved: fmt.Sprintf("of %s %.200s", name, text), Here: err.Error()})
		}
		return s
	}
	if absent(d.Schedule) {
		l.schedules.kept(g.rate)
	} else {
		x.as.rate = read(lrName, d.Schedule, g.rate)
	}
	if d.Schedules == nil {
		for _, h := range g.schedules {
			l.schedules.kept(h.schedule)
		}
		return
	}
	x.as.schedules = nil
	for _, name := range sortedNames(d.Schedules) {
		if _, ok := get(g.algorithm, name); !ok {
			l.add(Mismatch{Group: g.index, What: MismatchSchedule, Saved: "of " + name, Here: g.lacks(name).Error()})
		}
		if s := read(name, d.Schedules[name], g.scheduleOf(name)); s != nil {
			x.as.schedules = append(x.as.schedules, scheduled{name, s})
		}
	}
}

// absent says whether there is no text.
func absent(text json.RawMessage) bool { return len(text) == 0 || string(text) == "null" }

// keepSchedules says that the group's stay.
func (l *loading) keepSchedules(g *group) {
	l.schedules.kept(g.rate)
	for _, h := range g.schedules {
		l.schedules.kept(h.schedule)
	}
}

// followed notes schedules that have a ReduceOnPlateau which would be followed no more, though the program has it.
func (l *loading) followed() {
	check := func(group int, name string, s Schedule) {
		if l.schedules.forgotten(s) {
			l.add(Mismatch{Group: group, What: MismatchSchedule, Saved: "of " + name + " another", Here: "a ReduceOnPlateau that would be followed no more"})
		}
	}
	check(-1, "groups to come", l.o.schedule)
	for _, g := range l.o.all() {
		check(g.index, lrName, g.rate)
		for _, h := range g.schedules {
			check(g.index, h.name, h.schedule)
		}
	}
}

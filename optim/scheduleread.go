package optim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// scheduleReader reads an optimizer's schedules, each in the place of one there is, and changes nothing before commit: a ReduceOnPlateau that the
// program has, and gives metrics to, stays the one that is followed.
type scheduleReader struct {
	plateaus map[int]*ReduceOnPlateau // by the ids of the schedules that are read
	ids      map[*ReduceOnPlateau]int
	set      []func()
}

func newScheduleReader() *scheduleReader {
	return &scheduleReader{map[int]*ReduceOnPlateau{}, map[*ReduceOnPlateau]int{}, nil}
}

// commit makes what was read what is followed.
func (r *scheduleReader) commit() {
	for _, set := range r.set {
		set()
	}
}

// read is the schedule of a text in the place of one that is there.
func (r *scheduleReader) read(text json.RawMessage, here Schedule) (Schedule, error) {
	s, err := r.schedule(text, here)
	if err == nil {
		err = checkSchedule(s)
	}
	return s, err
}

func (r *scheduleReader) schedule(text json.RawMessage, here Schedule) (Schedule, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("%.100s is no schedule", text)
	}
	var name string
	if err := take(fields, typeKey, &name); err != nil {
		return nil, err
	}
	switch name {
	case noSchedule:
		return nil, none(name, fields)
	case ownSchedule:
		var own string
		if err := errors.Join(take(fields, ownKey, &own), none(name, fields)); err != nil {
			return nil, err
		}
		if got := hereName(here); got != own {
			return nil, fmt.Errorf("schedule %s is the program's own, in whose place is %s", own, got)
		}
		return here, nil
	}
	t := scheduleTypes[name]
	if t == nil {
		return nil, fmt.Errorf("there is no schedule %q", name)
	}
	id, hasID := -1-len(r.ids), false
	if _, hasID = fields[idKey]; hasID && t == plateauType {
		if err := take(fields, idKey, &id); err != nil {
			return nil, err
		}
	}
	made := reflect.New(t)
	inPlace := reflect.Indirect(reflect.ValueOf(here))
	if here == nil || inPlace.Type() != t {
		inPlace = reflect.Zero(t)
	}
	if err := r.fill(made.Elem(), inPlace, fields); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := none(name, fields); err != nil {
		return nil, err
	}
	if t == plateauType {
		old, _ := here.(*ReduceOnPlateau)
		return r.plateau(id, made.Interface().(*ReduceOnPlateau), old)
	}
	if v := reflect.ValueOf(here); here != nil && v.Kind() == reflect.Pointer && v.Type().Elem() == t {
		r.set = append(r.set, func() { v.Elem().Set(made.Elem()) })
	}
	return made.Elem().Interface().(Schedule), nil
}

var plateauType = reflect.TypeFor[ReduceOnPlateau]()

// fill reads a schedule's fields, in the place of another of the type.
func (r *scheduleReader) fill(v, here reflect.Value, fields map[string]json.RawMessage) error {
	if v.Kind() == reflect.Slice {
		var stages []map[string]json.RawMessage
		if err := take(fields, stagesKey, &stages); err != nil {
			return err
		}
		v.Set(reflect.MakeSlice(v.Type(), len(stages), len(stages)))
		for i, stage := range stages {
			old := reflect.Zero(v.Type().Elem())
			if i < here.Len() {
				old = here.Index(i)
			}
			if err := r.fill(v.Index(i), old, stage); err != nil {
				return fmt.Errorf("stage %d: %w", i, err)
			}
			if err := none("stage", stage); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range v.NumField() {
		name := snake(v.Type().Field(i).Name)
		if v.Field(i).Type() != scheduleInterface {
			if err := take(fields, name, v.Field(i).Addr().Interface()); err != nil {
				return err
			}
			continue
		}
		var text json.RawMessage
		if err := take(fields, name, &text); err != nil {
			return err
		}
		old, _ := here.Field(i).Interface().(Schedule)
		s, err := r.schedule(text, old)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if s != nil {
			v.Field(i).Set(reflect.ValueOf(s))
		}
	}
	return nil
}

// plateau is the ReduceOnPlateau that was saved with an id, or the one here in its place.
func (r *scheduleReader) plateau(id int, saved, here *ReduceOnPlateau) (Schedule, error) {
	p := r.plateaus[id]
	if p == nil {
		if p = here; p == nil {
			p = saved
		}
		if other, ok := r.ids[p]; ok && other != id {
			return nil, errors.New("two ReduceOnPlateau were saved, in whose place is one")
		}
		r.plateaus[id], r.ids[p] = p, id
		r.set = append(r.set, func() { *p = *saved })
	}
	if here != nil && here != p {
		return nil, errors.New("one ReduceOnPlateau was saved, in whose place are two")
	}
	return p, nil
}

// kept says of a schedule that stays that its ReduceOnPlateau are followed.
func (r *scheduleReader) kept(s Schedule) {
	for _, p := range plateausOf(s) {
		if _, ok := r.ids[p]; !ok {
			r.ids[p] = -1 - len(r.ids)
		}
	}
}

// forgotten says whether a schedule that was there has a ReduceOnPlateau that would be followed no more.
func (r *scheduleReader) forgotten(s Schedule) bool {
	return slices.ContainsFunc(plateausOf(s), func(p *ReduceOnPlateau) bool { _, ok := r.ids[p]; return !ok })
}

// plateausOf are those within a schedule.
func plateausOf(s Schedule) (out []*ReduceOnPlateau) {
	if p, ok := s.(*ReduceOnPlateau); ok {
		return []*ReduceOnPlateau{p}
	}
	if s == nil || scheduleTypes[snake(reflect.Indirect(reflect.ValueOf(s)).Type().Name())] != reflect.Indirect(reflect.ValueOf(s)).Type() {
		return nil
	}
	within := func(v reflect.Value) {
		for i := range v.NumField() {
			if v.Field(i).Type() == scheduleInterface {
				inner, _ := v.Field(i).Interface().(Schedule)
				out = append(out, plateausOf(inner)...)
			}
		}
	}
	v := reflect.Indirect(reflect.ValueOf(s))
	if v.Kind() != reflect.Slice {
		within(v)
		return out
	}
	for i := range v.Len() {
		within(v.Index(i))
	}
	return out
}

// hereName is what a schedule is called where it is no text.
func hereName(s Schedule) string {
	if s == nil {
		return noSchedule
	}
	return typeName(reflect.TypeOf(s))
}

// take reads a field, which is then no longer among those that are left.
func take(fields map[string]json.RawMessage, name string, to any) error {
	text, ok := fields[name]
	if !ok {
		return fmt.Errorf("there is no %q", name)
	}
	delete(fields, name)
	if err := strict(text, to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// none says which fields are left.
func none(name string, fields map[string]json.RawMessage) error {
	if len(fields) == 0 {
		return nil
	}
	return fmt.Errorf("%s has no %q", name, slices.Sorted(maps.Keys(fields)))
}

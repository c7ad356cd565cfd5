package optim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// A schedule as JSON has its type by the name below and all its fields, spelled as hyperparameters are. A ReduceOnPlateau has an id, as it has state
// and several groups may follow one. A type of the user's own is "own", with its name in Go. No schedule is "none".

// scheduleTypes are this package's by what JSON calls them.
var scheduleTypes = func() map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for _, s := range []Schedule{Constant{}, Warmup{}, WSD{}, Sequence{}, CosineWarmRestarts{}, OneCycle{}, &ReduceOnPlateau{}, StepDecay{}, MultiStep{},
		Exponential{}, Linear{}, Polynomial{}, Cosine{}, OneMinusSqrt{}, InverseSqrt{}} {
		t := reflect.Indirect(reflect.ValueOf(s)).Type()
		out[snake(t.Name())] = t
	}
	return out
}()

var scheduleInterface = reflect.TypeFor[Schedule]()

// The names in JSON that are no fields of schedules.
const (
	typeKey     = "type"
	noSchedule  = "none"
	ownSchedule = "own"
	ownKey      = "go"
	idKey       = "id"
	stagesKey   = "stages"
)

// scheduleWriter writes schedules. It has the ids of those that several may share.
type scheduleWriter struct{ shared []*ReduceOnPlateau }

func (w *scheduleWriter) write(s Schedule) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := w.schedule(&b, s); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (w *scheduleWriter) schedule(b *bytes.Buffer, s Schedule) error {
	if s == nil {
		fmt.Fprintf(b, `{%q:%q}`, typeKey, noSchedule)
		return nil
	}
	v := reflect.Indirect(reflect.ValueOf(s))
	name := snake(v.Type().Name())
	if scheduleTypes[name] != v.Type() {
		fmt.Fprintf(b, `{%q:%q,%q:%q}`, typeKey, ownSchedule, ownKey, typeName(reflect.TypeOf(s)))
		return nil
	}
	fmt.Fprintf(b, `{%q:%q`, typeKey, name)
	if p, ok := s.(*ReduceOnPlateau); ok {
		at := slices.Index(w.shared, p)
		if at < 0 {
			at = len(w.shared)
			w.shared = append(w.shared, p)
		}
		fmt.Fprintf(b, `,%q:%d`, idKey, at)
	}
	if v.Kind() == reflect.Slice {
		fmt.Fprintf(b, `,%q:[`, stagesKey)
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('{')
			if err := w.fields(b, v.Index(i)); err != nil {
				return err
			}
			b.WriteByte('}')
		}
		b.WriteString("]}")
		return nil
	}
	if v.NumField() > 0 {
		b.WriteByte(',')
	}
	if err := w.fields(b, v); err != nil {
		return err
	}
	b.WriteByte('}')
	return nil
}

// fields writes a struct's.
func (w *scheduleWriter) fields(b *bytes.Buffer, v reflect.Value) error {
	for i := range v.NumField() {
		if i > 0 {
			b.WriteByte(',')
		}
		name := snake(v.Type().Field(i).Name)
		fmt.Fprintf(b, `%q:`, name)
		if v.Field(i).Type() == scheduleInterface {
			s, _ := v.Field(i).Interface().(Schedule)
			if err := w.schedule(b, s); err != nil {
				return err
			}
			continue
		}
		text, err := json.Marshal(v.Field(i).Interface())
		if err != nil {
			return fmt.Errorf("schedule %s: %s: %w", v.Type().Name(), name, err)
		}
		b.Write(text)
	}
	return nil
}

package optim

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// Hyperparameters are the exported fields of an algorithm's struct, a user's own too, that are numbers or truth values, by
// PyTorch's names: a field's name in lower case with underscores, or its hyper tag. An array is as many of them: betas[0],
// betas[1]. Those of an embedded struct, and of an algorithm in a field, belong to it, where it has none of the same name. A
// truth value is 0 or 1.

// copied is a copy of an algorithm, and of those within it, which nobody else can change.
func copied(a Algorithm) Algorithm {
	if isNil(a) {
		return a
	}
	_, whole := clone(reflect.ValueOf(a))
	return whole.Interface().(Algorithm)
}

// clone copies a value, or what a pointer or an interface leads to. It returns what can be changed, and what holds that as v did.
func clone(v reflect.Value) (inner, whole reflect.Value) {
	if v.Kind() == reflect.Interface {
		return clone(v.Elem())
	}
	p := reflect.New(v.Type())
	whole = p.Elem()
	if v.Kind() == reflect.Pointer {
		p = reflect.New(v.Type().Elem())
		whole, v = p, v.Elem()
	}
	p.Elem().Set(v)
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if f := p.Elem().Field(i); f.Kind() == reflect.Map && f.CanSet() && !f.IsNil() {
				own := reflect.MakeMapWithSize(f.Type(), f.Len())
				for entry := f.MapRange(); entry.Next(); {
					own.SetMapIndex(entry.Key(), entry.Value())
				}
				f.Set(own)
			}
		}
	}
	for _, x := range within(p.Elem()) {
		if leads(x) && x.CanSet() && !isNil(x.Interface()) {
			_, copy := clone(x)
			x.Set(copy)
		}
	}
	return p.Elem(), whole
}

var algorithmType = reflect.TypeFor[Algorithm]()

// within are the fields of a struct whose hyperparameters are the struct's too.
func within(v reflect.Value) (out []reflect.Value) {
	if v.Kind() != reflect.Struct {
		return nil
	}
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Tag.Get("hyper") != "-" && (f.Anonymous || f.IsExported() && (f.Type.Implements(algorithmType) || f.Type == fieldsType)) {
			out = append(out, v.Field(i))
		}
	}
	return out
}

// leads says whether a value is elsewhere.
func leads(v reflect.Value) bool { return v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer }

// eachHyper calls f with each hyperparameter of a struct, and says whether f has said that it is done.
func eachHyper(v reflect.Value, f func(name string, x reflect.Value) bool) bool {
	if v.Kind() != reflect.Struct {
		return false
	}
	for i := range v.NumField() {
		field, x := v.Type().Field(i), v.Field(i)
		name, ok := field.Tag.Lookup("hyper")
		if !ok {
			name = snake(field.Name)
		}
		if field.IsExported() && !field.Anonymous && name != "-" && eachNumber(name, x, f) {
			return true
		}
	}
	for _, x := range within(v) {
		if !leads(x) {
			if eachHyper(x, f) {
				return true
			}
			continue
		}
		if !x.CanSet() || isNil(x.Interface()) {
			continue
		}
		inner, whole := clone(x)
		if eachHyper(inner, f) {
			x.Set(whole)
			return true
		}
	}
	return false
}

func eachNumber(name string, x reflect.Value, f func(string, reflect.Value) bool) bool {
	switch {
	case x.Kind() == reflect.Array:
		for i := range x.Len() {
			if eachNumber(fmt.Sprintf("%s[%d]", name, i), x.Index(i), f) {
				return true
			}
		}
		return false
	case x.CanFloat() || x.CanInt() || x.Kind() == reflect.Bool:
		return f(name, x)
	}
	return false
}

// snake spells a field's name as PyTorch would: WeightDecay is weight_decay, LRDecay lr_decay, T0 t0, AMSGrad amsgrad.
func snake(name string) string {
	r := []rune(strings.ReplaceAll(name, "AMSGrad", "Amsgrad"))
	var out strings.Builder
	for i, c := range r {
		if i > 0 && unicode.IsUpper(c) && (!unicode.IsUpper(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToLower(c))
	}
	return out.String()
}

func number(x reflect.Value) float64 {
	switch {
	case x.CanFloat():
		return x.Float()
	case x.CanInt():
		return float64(x.Int())
	case x.Bool():
		return 1
	}
	return 0
}

// hyperNames lists an algorithm's hyperparameters.
func hyperNames(a Algorithm) (out []string) {
	for _, h := range HyperparametersOf(a) {
		out = append(out, h.Name)
	}
	return out
}

// get is an algorithm's hyperparameter.
func get(a Algorithm, name string) (x float64, ok bool) {
	inner, _ := clone(reflect.ValueOf(a))
	ok = eachHyper(inner, func(n string, v reflect.Value) bool {
		if n == name {
			x = number(v)
		}
		return n == name
	})
	return x, ok
}

// with is a copy of the group's algorithm with another hyperparameter.
func (g *group) with(a Algorithm, name string, x float64) (Algorithm, error) {
	if name == lrName {
		if _, ok := get(a, name); !ok {
			return copied(a), nil // the group's
		}
	} else if _, ok := get(a, name); !ok {
		return nil, g.lacks(name)
	}
	return with(a, g.setting.Name, name, x)
}

// with is a copy of an algorithm, which errors call so, with another hyperparameter.
func with(a Algorithm, algorithm, name string, x float64) (Algorithm, error) {
	inner, whole := clone(reflect.ValueOf(a))
	want := ""
	found := eachHyper(inner, func(n string, v reflect.Value) bool {
		if n != name {
			return false
		}
		switch {
		case v.CanFloat():
			v.SetFloat(x)
		case v.Kind() == reflect.Bool && (x == 0 || x == 1):
			v.SetBool(x == 1)
		case v.Kind() == reflect.Bool:
			want = "0 or 1"
		case x == math.Trunc(x) && math.Abs(x) <= math.MaxInt32:
			v.SetInt(int64(x))
		default:
			want = "a whole number"
		}
		return true
	})
	switch {
	case want != "":
		return nil, &HyperparameterError{Algorithm: algorithm, Name: name, Value: x, Want: want}
	case !found:
		return nil, fmt.Errorf("optim: %s has no hyperparameter %q, only %q", algorithm, name, hyperNames(a))
	}
	return whole.Interface().(Algorithm), nil
}

// lrName is the learning rate, which every group has, whatever fields its algorithm has.
const lrName = "lr"

func (g *group) lacks(name string) error {
	names := hyperNames(g.algorithm)
	if !slices.Contains(names, lrName) {
		names = append([]string{lrName}, names...)
	}
	return fmt.Errorf("optim: group %d: %s has no hyperparameter %q, only %q", g.index, g.setting.Name, name, names)
}

package optim

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/kernels/rule"
)

// fromRule is the algorithm of a rule alone.
type fromRule struct {
	rule   *rule.Rule
	Fields fields
}

// fields is a struct that was made for a rule: a float64 for each hyperparameter, a bool for each option that has a name of its own, and maximize.
type fields any

var fieldsType = reflect.TypeFor[fields]()

// maximizeName is the flag that every algorithm can have.
const maximizeName = "maximize"

// FromRule is an algorithm of a rule that has no struct of hyperparameters in the program, as one that rule.Read has made. Values are its
// hyperparameters, all of them, and its options, 1 for those that are on. Their names are PyTorch's: those of the file's fields in lower case with
// underscores. An option with a hyperparameter's name is on where that is not 0. Beside them every rule has "maximize", 1 to step up the gradient. All
// are hyperparameters of the groups, as those of a struct are, but for the option Matrix, which each tensor sets. None may be NaN, and lr must be finite
// and at least 0; a file says nothing of other ranges.
func FromRule(r *rule.Rule, values map[string]float64) (Algorithm, error) {
	algorithm := strings.ToLower(r.Name)
	var names []string
	var of []reflect.StructField
	for i, field := range slices.Concat(r.Hyper, r.Options, []string{maximizeName}) {
		if field == rule.Matrix && i >= len(r.Hyper) {
			continue // tensors set it
		}
		name, t := snake(field), reflect.TypeFor[float64]()
		if i >= len(r.Hyper) {
			t = reflect.TypeFor[bool]()
		}
		if at := slices.Index(names, name); at >= 0 {
			if i < len(r.Hyper)+len(r.Options) && i >= len(r.Hyper) && at < len(r.Hyper) {
				continue
			}
			return nil, fmt.Errorf("optim: %s has two hyperparameters or options %q", algorithm, name)
		}
		names = append(names, name)
		of = append(of, reflect.StructField{Name: fmt.Sprintf("X%d", i), Type: t, Tag: reflect.StructTag(fmt.Sprintf("hyper:%q", name))})
	}
	for _, name := range names[:len(r.Hyper)] {
		if _, ok := values[name]; !ok {
			return nil, fmt.Errorf("optim: %s: hyperparameter %q is missing, of %q", algorithm, name, names[:len(r.Hyper)])
		}
	}
	var a Algorithm = fromRule{r, reflect.New(reflect.StructOf(of)).Elem().Interface()}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if r.MatrixOption() != 0 && name == snake(rule.Matrix) && !slices.Contains(names, name) {
			return nil, fmt.Errorf("optim: %s: %q is no hyperparameter: a tensor's shape says whether it is a matrix", algorithm, name)
		}
		var err error
		if a, err = with(a, algorithm, name, values[name]); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Setting implements Algorithm.
func (c fromRule) Setting() (rule.Setting, error) {
	s := rule.Setting{Name: strings.ToLower(c.rule.Name), Rule: c.rule}
	r := ranges{algorithm: s.Name}
	for _, field := range c.rule.Hyper {
		name := snake(field)
		x, _ := get(c, name)
		s.Hyper = append(s.Hyper, x)
		if name == lrName {
			r.atLeast0(name, x)
		} else if math.IsNaN(x) {
			r.require(name, x, false, "a number")
		}
	}
	for i, field := range c.rule.Options {
		if field == rule.Matrix {
			continue
		}
		if x, _ := get(c, snake(field)); x != 0 {
			s.Options |= 1 << i
		}
	}
	up, _ := get(c, maximizeName)
	s.Maximize = up != 0
	return s, r.err
}

// RuleHyperparameters are the names of the hyperparameters that FromRule needs.
func RuleHyperparameters(r *rule.Rule) (out []string) {
	for _, field := range r.Hyper {
		out = append(out, snake(field))
	}
	return out
}

package optim_test

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/optim"
)

// libraries are those of which docs/coming-from.md has a table, and the golden cases that back it.
var libraries = []struct{ name, file string }{
	{"Keras", "../libraries/modes_keras.json"},
	{"optax", "../libraries/modes_optax.json"},
	{"transformers", "../libraries/modes_transformers.json"},
	{"scikit-learn", "../libraries/modes_sklearn.json"},
	{"apex", "../libraries/modes_apex.json"},
	{"ONNX", "../libraries/modes_onnx.json"},
}

// The rows of docs/coming-from.md are golden cases: a library's call, what fusestep has for it, and how far apart they are.
func TestComingFrom(t *testing.T) {
	var in torchInputs
	torchFile(t, "optimizers.json", &in)
	_, files := goldens(t)
	for path, cases := range files {
		isListed := slices.ContainsFunc(cases, func(c torchCase) bool { return c.Listed })
		has := slices.ContainsFunc(libraries, func(l struct{ name, file string }) bool { return filepath.Join("testdata/torch", l.file) == path })
		require.Equal(t, isListed, has, "%s: whether it has listed cases, and whether docs/coming-from.md has a table of it", path)
	}
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			var b strings.Builder
			fmt.Fprintf(&b, "| %s | fusestep | float32 | float64 |\n|---|---|---|---|\n", l.name)
			var apart string // of the row so far: each case is there in float32, then in float64
			for _, c := range torchCases(t, l.file) {
				if !c.Listed {
					continue
				}
				apart += " | " + distance(c.run(t, &in))
				if c.DType == "float64" {
					_, call, _ := strings.Cut(c.Name, "/")
					fmt.Fprintf(&b, "| `%s` | %s%s |\n", call, expression(algorithm(t, c.Optimizer, c.Hyper)), apart)
					apart = ""
				}
			}
			generated(t, "../docs/coming-from.md", "the cases of "+l.name, b.String())
		})
	}
}

func distance(apart, bound float64) string {
	if bound == 0 {
		return "same bits"
	}
	return figure(apart) + " of " + figure(bound)
}

// figure has two digits that count.
func figure(x float64) string {
	y, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 2, 64), 64)
	return strconv.FormatFloat(y, 'f', -1, 64)
}

// expression is the algorithm's default and the fields that are otherwise.
func expression(a optim.Algorithm) string {
	v := reflect.ValueOf(a)
	for _, c := range optim.Cases() {
		d := reflect.ValueOf(c.Algorithm)
		if s, err := c.Algorithm.Setting(); err != nil || d.Type() != v.Type() || c.Name != s.Name {
			continue // not the case of the defaults
		}
		out := "`optim.Default" + v.Type().Name() + "()`"
		var fields []string
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !v.Field(i).Equal(d.Field(i)) {
				fields = append(fields, f.Name+" = "+literal(v.Field(i)))
			}
		}
		if len(fields) > 0 {
			out += " with `" + strings.Join(fields, ", ") + "`"
		}
		return out
	}
	panic("no case of " + v.Type().Name())
}

func literal(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Array:
		var elems []string
		for i := range v.Len() {
			elems = append(elems, literal(v.Index(i)))
		}
		return fmt.Sprintf("%s{%s}", v.Type(), strings.Join(elems, ", "))
	case reflect.Float64:
		long, short := strconv.FormatFloat(v.Float(), 'g', -1, 64), strconv.FormatFloat(v.Float(), 'g', -1, 32)
		if v.Float() == float64(float32(v.Float())) && long != short {
			return "float64(float32(" + short + "))"
		}
		return long
	}
	return fmt.Sprint(v)
}

package optim_test

import (
	"math"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/optim"
)

// with is an algorithm's value with changes.
func with[A any](a A, change func(*A)) A {
	change(&a)
	return a
}

func sgd(lr float64) optim.SGD { return with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR = lr }) }

// I1: of every algorithm a value that does not start from its defaults is refused, whatever it sets, so that no field can be
// forgotten. A field that is set to 0 is 0. C4, I9: a nil pointer is an error, also within another
// algorithm.
func TestValuesStartFromDefaults(t *testing.T) {
	dev := cpu.New()
	defer dev.Close()
	seen := map[reflect.Type]bool{}
	for _, c := range optim.Cases() {
		typ := reflect.TypeOf(c.Algorithm)
		if seen[typ] {
			continue
		}
		seen[typ] = true
		t.Run(typ.Name(), func(t *testing.T) {
			try := func(v reflect.Value) error {
				_, err := v.Interface().(optim.Algorithm).Setting()
				_, same := optim.New(dev, v.Interface().(optim.Algorithm), nil)
				require.Equal(t, err, same)
				return err
			}
			accepted := reflect.New(typ).Elem()
			accepted.Set(reflect.ValueOf(c.Algorithm))
			require.NoError(t, try(accepted))
			accepted.FieldByName("LR").SetFloat(0)
			require.NoError(t, try(accepted), "a learning rate that is set to 0")

			lr, all := reflect.New(typ).Elem(), reflect.New(typ).Elem()
			lr.FieldByName("LR").SetFloat(0.1)
			for i := range typ.NumField() {
				if typ.Field(i).IsExported() {
					all.Field(i).Set(accepted.Field(i))
				}
			}
			for name, v := range map[string]reflect.Value{"zero": reflect.Zero(typ), "lr alone": lr, "each field": all} {
				var e *optim.DefaultError
				require.ErrorAs(t, try(v), &e, name)
				require.Equal(t, "Default"+typ.Name(), e.Default)
				require.EqualError(t, e, "optim: "+e.Algorithm+": the value does not start from Default"+typ.Name()+"(): fields that it leaves out would be 0")
			}
			null := reflect.Zero(reflect.PointerTo(typ)).Interface().(optim.Algorithm)
			_, err := optim.New(dev, null, nil)
			require.EqualError(t, err, "optim: group 0: the algorithm is nil")
			_, err = optim.Regularized{Algorithm: null}.Setting()
			require.EqualError(t, err, "optim: regularized: the algorithm is nil")
			_, err = optim.New(dev, optim.Regularized{Algorithm: null}, nil)
			require.EqualError(t, err, "optim: regularized: the algorithm is nil")
		})
	}
	require.GreaterOrEqual(t, len(seen), 25, "algorithms in the table of cases")
	var none *optim.Regularized
	_, err := optim.New(dev, none, nil)
	require.EqualError(t, err, "optim: group 0: the algorithm is nil")

	// What one is made into another of, is as whole as it was.
	_, err = optim.AdamW(optim.DefaultAdam()).Setting()
	require.NoError(t, err)
	_, err = optim.AdamW(optim.Adam{LR: 1}).Setting()
	require.EqualError(t, err, "optim: adamw: the value does not start from DefaultAdamW(): fields that it leaves out would be 0")
}

// Of every algorithm each number is checked: one that is NaN is refused.
func TestEveryHyperparameterIsChecked(t *testing.T) {
	for _, c := range optim.Cases() {
		v := reflect.New(reflect.TypeOf(c.Algorithm)).Elem()
		v.Set(reflect.ValueOf(c.Algorithm))
		check := func(name string, x reflect.Value) {
			was := x.Float()
			x.SetFloat(math.NaN())
			_, err := v.Interface().(optim.Algorithm).Setting()
			var e *optim.HyperparameterError
			require.ErrorAs(t, err, &e, "%s: %s is NaN", c.Name, name)
			x.SetFloat(was)
		}
		for i := range v.NumField() {
			switch f, name := v.Field(i), v.Type().Field(i).Name; f.Kind() {
			case reflect.Float64:
				check(name, f)
			case reflect.Array:
				for k := range f.Len() {
					check(name, f.Index(k))
				}
			}
		}
	}
}

package rule_test

import (
	_ "embed"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed rule_test.go
var source string

// The rules below go through every way that control can flow. That New accepts them is the test: it runs each of them,
// compiled and as a graph, on the same numbers for all sets of options.

type elem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	A F `slot:"a"`
	B F `slot:"b"`
}
type scalars[F rule.Float] struct{ X, Y F }
type options struct{ C, D bool }
type hyper struct{ LR, H float64 }
type counters struct {
	Step float64 `counter:"step"`
	Pow  float64 `counter:"pow" init:"0.5"`
}

func prologue(h *hyper, t *counters, s *scalars[float64], o options) {
	if t.Step == 0 && !o.C {
		t.Pow = h.H
	}
	t.Step += 1
	t.Pow *= h.H
	s.X = h.LR / (1 - float64(t.Pow))
	s.Y = rule.Sqrt(h.H)
}

func earlyReturns[F rule.Float](e *elem[F], s *scalars[F], o options) {
	e.A = e.G
	if e.G > e.P {
		if e.A < 1 {
			e.P = 1
			return
		}
		e.B = 2
	} else if e.G == e.P {
		return
	}
	e.A += e.B
	if o.C {
		if e.A > s.X {
			return
		}
	}
	e.P = F(e.A*s.X) + e.P
}

func switches[F rule.Float](e *elem[F], s *scalars[F], o options) {
	x := e.P
	switch {
	case x > 1, e.G < -1:
		x = e.G
	default:
		x = -x
	case x < 0:
		if o.D {
			e.P = x + 1
			return
		}
		x = 3
	case o.C:
		x = 4
	}
	switch {
	}
	e.P = x / s.Y
}

func scopes[F rule.Float](e *elem[F], s *scalars[F], o options) {
	x, y := e.P, e.G
	x, y = y, x
	{
		x := x + 1
		e.A = x
		if x > 0 {
			x := e.B
			y += x
		}
	}
	var z, w F
	var b bool
	const half = 0.5
	const two = 4 * half
	b = x != y && !(y <= 0 || o.D)
	if b {
		z = half
	}
	w -= two
	e.P = F(x*y) + F(z/w)
	_ = y
}

func pair[F rule.Float](x, y F) (F, F) {
	if x > y {
		return y, x
	}
	return x, y
}

func between[F rule.Float](x, lo, hi F) bool { return lo < x && x < hi }

func calls[F rule.Float](e *elem[F], s *scalars[F], o options) {
	lo, hi := pair(e.A, e.B)
	if !between(e.G, lo, hi) && o.C {
		lo = rule.Min(lo, rule.Abs(e.G))
	}
	e.A, e.B = rule.Max[F](lo, hi), rule.Sign(hi)
	e.P = rule.Flush(e.P) + rule.Sqrt(e.A)*e.B/s.X + F(+e.G)
}

func nan[F rule.Float](e *elem[F], s *scalars[F], o options) {
	same := e.P == e.G
	if o.D {
		same = e.P != e.G
	}
	if !same || e.A != e.A {
		e.P = -e.P
	} else if e.P >= e.G || !(e.P > e.A) {
		e.P = e.G
	}
	e.B = 1e-45 // rounds to a subnormal, or not
}

func TestControlFlow(t *testing.T) {
	check := func(name string, err error) {
		t.Run(name, func(t *testing.T) { require.NoError(t, err) })
	}
	_, err := rule.New(earlyReturns[float32], earlyReturns[float64], prologue, source)
	check("early returns", err)
	_, err = rule.New(switches[float32], switches[float64], prologue, source)
	check("switches", err)
	_, err = rule.New(scopes[float32], scopes[float64], prologue, source)
	check("scopes", err)
	_, err = rule.New(nan[float32], nan[float64], prologue, source)
	check("nan", err)
	_, err = rule.New(calls[float32], calls[float64], prologue, source)
	check("calls", err)
}

func plain[F rule.Float](e *elem[F], s *scalars[F], o options) { e.P -= F(s.X * e.G) }

func storesGrad[F rule.Float](e *elem[F], s *scalars[F], o options) { e.P, e.G = e.G, 0 }

func storesNothing[F rule.Float](e *elem[F], s *scalars[F], o options) { e.A = e.P }

func fused[F rule.Float](e *elem[F], s *scalars[F], o options) { e.P = e.P + s.X*e.G }

func notGeneric(e *elem[float32], s *scalars[float32], o options) { e.P = e.G }

func only64(e *elem[float64], s *scalars[float64], o options) { e.P = e.G }

func lazyPrologue(h *hyper, t *counters, s *scalars[float64], o options) { s.Y = h.LR }

type noSlot[F rule.Float] struct {
	P F `slot:"param"`
	G F
}

func untagged[F rule.Float](e *noSlot[F], s *scalars[F], o options) { e.P = e.G }

type badStart[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"m" init:"NoSuch"`
}

func starts[F rule.Float](e *badStart[F], s *scalars[F], o options) { e.P = e.G }

type noRate struct{ H float64 }

func prologueNoRate(h *noRate, t *counters, s *scalars[float64], o options) { s.X = h.H }

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name string
		make func() error
		want string
	}{
		{"another source", func() error {
			_, err := rule.New(plain[float32], plain[float64], prologue, strings.Replace(source, "e.P -= F(s.X * e.G)", "e.P -= F(s.X / e.G)", 1))
			return err
		}, "the source is not that of the compiled function plain, at 32 bits: e.P becomes"},
		{"another prologue", func() error {
			_, err := rule.New(plain[float32], plain[float64], prologue, strings.Replace(source, "t.Step += 1", "t.Step += 2", 1))
			return err
		}, "the source is not that of the compiled function prologue, at 64 bits: t.Step becomes"},
		{"another struct", func() error {
			_, err := rule.New(plain[float32], plain[float64], prologue, strings.Replace(source, "A F `slot:\"a\"`", "A F `slot:\"c\"`", 1))
			return err
		}, "field A of rule_test.elem[float32] is not the source's field A"},
		{"another option", func() error {
			_, err := rule.New(plain[float32], plain[float64], prologue, strings.Replace(source, "struct{ C, D bool }", "struct{ C, E bool }", 1))
			return err
		}, "is not the source's option E"},
		{"gradient stored", func() error {
			_, err := rule.New(storesGrad[float32], storesGrad[float64], prologue, source)
			return err
		},
			`slot "grad" is stored: a rule reads the gradient only`},
		{"parameter not stored", func() error {
			_, err := rule.New(storesNothing[float32], storesNothing[float64], prologue, source)
			return err
		}, `slot "param" is not stored: the rule changes nothing`},
		{"unwrapped product", func() error { _, err := rule.New(fused[float32], fused[float64], prologue, source); return err },
			"a product is added without a conversion around it"},
		{"not generic", func() error {
			_, err := rule.New(notGeneric, func(*elem[float64], *scalars[float64], options) {}, prologue, source)
			return err
		}, "float32 cannot be used in a rule"},
		{"float64 alone", func() error {
			_, err := rule.New(only64, only64, prologue, source)
			return err
		}, "rule only64: rule_test.go:167:1: the element function must be generic"},
		{"scalar not computed", func() error { _, err := rule.New(plain[float32], plain[float64], lazyPrologue, source); return err },
			"s.X is read, but lazyPrologue does not compute it"},
		{"no slot tag", func() error { _, err := rule.New(untagged[float32], untagged[float64], prologue, source); return err },
			"element field G has no slot tag, such as `slot:\"exp_avg\"`"},
		{"starts as nothing", func() error { _, err := rule.New(starts[float32], starts[float64], prologue, source); return err },
			`element field M has the init tag "NoSuch", which is no hyperparameter: there are ["LR" "H"]`},
		{"no learning rate", func() error { _, err := rule.New(plain[float32], plain[float64], prologueNoRate, source); return err },
			"the hyperparameters have no field LR"},
		{"no function", func() error {
			_, err := rule.New(plain[float32], (func(*elem[float64], *scalars[float64], options))(nil), prologue, source)
			return err
		}, "a rule's function is nil"},
		{"no source", func() error { _, err := rule.New(plain[float32], plain[float64], prologue, "package p"); return err },
			"there is no function plain in this source"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.ErrorContains(t, tt.make(), tt.want) })
	}
}

func TestErrorHasAPosition(t *testing.T) {
	_, err := rule.New(fused[float32], fused[float64], prologue, source)
	var e *rule.Error
	require.True(t, errors.As(err, &e), "%v", err)
	require.Equal(t, "rule_test.go", e.Pos.Filename)
	line := strings.Split(source, "\n")[e.Pos.Line-1]
	require.True(t, strings.HasPrefix(line[e.Pos.Column-1:], "e.P + s.X*e.G"), line)
}

func TestSetting(t *testing.T) {
	d, err := rule.New(plain[float32], plain[float64], prologue, source)
	require.NoError(t, err)
	s := d.With(hyper{LR: 1, H: 2}, options{D: true})
	require.Equal(t, []float64{1, 2}, s.Hyper)
	require.Equal(t, []string{"D"}, d.OptionNames(s.Options))
	require.Equal(t, []float64{0, 0.5}, d.InitialCounters())
	require.Equal(t, []string{"param", "grad", "a", "b"}, d.Slots)
	require.Equal(t, []rule.Counter{{Name: "step"}, {Name: "pow", Init: 0.5}}, d.Counters)
	for _, want := range []string{"type elem[", "type counters struct {\n\tStep float64 `counter", "func plain[", "func prologue("} {
		require.Contains(t, d.Source(), want)
	}
	require.NotContains(t, d.Source(), "func switches[")
}

func TestLanguage(t *testing.T) {
	nan, inf, zero := math.NaN(), math.Inf(1), math.Copysign(0, -1)
	tests := []struct {
		name      string
		got, want float64
	}{
		{"max", rule.Max(1.0, 2), 2}, {"max nan first", rule.Max(nan, 1), nan}, {"max nan second", rule.Max(1, nan), nan},
		{"max of equals is the second", rule.Max(0, zero), zero}, {"min", rule.Min(1.0, 2), 1},
		{"min nan first", rule.Min(nan, 1), nan}, {"min nan second", rule.Min(1, nan), nan},
		{"sign", rule.Sign(-inf), -1}, {"sign of -0", rule.Sign(zero), 0}, {"sign nan", rule.Sign(nan), nan},
		{"flush 64", rule.Flush(0x1p-1023), 0}, {"flush keeps", rule.Flush(-0x1p-1022), -0x1p-1022}, {"flush nan", rule.Flush(nan), nan},
		{"flush 32", float64(rule.Flush(float32(0x1p-127))), 0}, {"keeps 32", float64(rule.Flush(float32(0x1p-126))), 0x1p-126},
		{"abs", rule.Abs(zero), 0}, {"sqrt", rule.Sqrt(2.0), math.Sqrt2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			same := math.Float64bits(tt.got) == math.Float64bits(tt.want) || tt.got != tt.got && tt.want != tt.want
			require.True(t, same, "got %v (%#x), want %v", tt.got, math.Float64bits(tt.got), tt.want)
		})
	}
}

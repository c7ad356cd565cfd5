package rule_test

import (
	_ "embed"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed rounding_test.go
var roundingSource string

// W4: what the Go compiler does to the rules below, at GOAMD64=v1 and v3 and on arm64, is what their graphs say. Run this test with
// GOAMD64=v3, too.

func quotients[F rule.Float](e *elem[F], s *scalars[F], o options) {
	two, four := F(2), F(4)
	two += 0
	d := four
	if e.B > 0 {
		d = s.X
	}
	e.A = F(e.P/2) + e.G
	e.B = e.P/s.X + e.G // by what is no constant
	e.P = F(e.P/(two*two)) - F(e.G/d) + F(-e.A/0.25) + F(rule.Abs(e.G/8))
	e.A += F(e.A / rule.Sqrt(four))
	e.A -= F(e.B * 2)
}

const (
	nearHalfway         = 1 + 0x1p-24 + 0x1p-60 // as a float32, 1 + 0x1p-23; as a float64 and then a float32, 1
	typed       float64 = nearHalfway
)

func isSmall[F rule.Float](x F) bool { return x < 0x1p-100 }

func constants[F rule.Float](e *elem[F], s *scalars[F], o options) {
	const third = 1. / 3
	var implicit F = nearHalfway
	e.A = F(nearHalfway)                // converted alone, a constant becomes a float64 first
	e.B = F(e.A*nearHalfway) + F(typed) // a float64 stays one
	e.P = implicit + rule.Max(nearHalfway, e.G)
	e.A += F(third) + third + 1/3 + 7/2 + F(7/2) + F(7/2.) + 'a' + F(1<<30+1)
	if isSmall[F](0x1p-149+third*0) || 0.1+0.2 == 0.3 {
		e.A += F(e.P*(0.1+0.2)) + F(1e-45)
	}
	if isSmall(e.G) && typed > 1 {
		e.A = -F(nearHalfway)
	}
}

func roundingPrologue(h *hyper, t *counters, s *scalars[float64], o options) {
	const typed float64 = 0.1
	three := typed * 3 // a constant, rounded as it is made
	t.Pow = float64(t.Pow/2) + h.H
	t.Step = three + 0.1*3
	s.X, s.Y = float64(three*h.LR)+1, h.H/h.LR-1
}

func TestRounding(t *testing.T) {
	// A product that is not converted is refused, though the lines above try the compiler on it.
	_, err := rule.New(quotients[float32], quotients[float64], roundingPrologue, withElem(roundingSource))
	require.NoError(t, err)
	d, err := rule.New(constants[float32], constants[float64], roundingPrologue, withElem(roundingSource))
	require.NoError(t, err)

	f, err := d.Element(0, 32, 0)
	require.NoError(t, err)
	vars := make([]float32, len(f.Vars))
	e := elem[float32]{}
	constants(&e, &scalars[float32]{}, options{})
	ir.Eval(f, vars)
	require.Equal(t, []float32{e.P, e.G, e.A, e.B}, vars[:4])
	require.Equal(t, float32(2+0x1p-23), e.B, "the operand 1 + 0x1p-23, the float64 1")

	// Halves of odd subnormals are where fusing shows.
	q, err := rule.New(quotients[float32], quotients[float64], roundingPrologue, withElem(roundingSource))
	require.NoError(t, err)
	f, err = q.Element(0, 32, 0)
	require.NoError(t, err)
	for p := range uint32(64) {
		for g := range uint32(64) {
			e := elem[float32]{P: math.Float32frombits(p), G: math.Float32frombits(g)}
			vars := []float32{e.P, e.G, 0, 0, 2, 1}
			quotients(&e, &scalars[float32]{X: 2, Y: 1}, options{})
			ir.Eval(f, vars)
			require.Equal(t, []float32{e.P, e.G, e.A, e.B}, vars[:4], "%d, %d", p, g)
		}
	}
}

// withElem brings the structs of the other file into this one.
func withElem(src string) string {
	from := strings.Index(source, "type elem[")
	to := strings.Index(source, "func prologue(")
	return src + "\n" + source[from:to]
}

func rareNaN[F rule.Float](e *elem[F], s *scalars[F], o options) {
	if e.A != e.A && e.P > 0.25 {
		e.P = 1
	}
}

func rareInf[F rule.Float](e *elem[F], s *scalars[F], o options) {
	if e.A < -1e30 && s.X > 0.25 && e.P < 0.5 {
		e.P = 2
	}
}

func rareEqual[F rule.Float](e *elem[F], s *scalars[F], o options) {
	if e.A == e.B {
		e.P = 3
	}
}

func rareConstant[F rule.Float](e *elem[F], s *scalars[F], o options) {
	if e.G <= 0.7 {
		e.P = 5
	}
}

// I21: a NaN meets ordinary numbers, and numbers meet those that the source has.
func TestTrialsMixKindsOfNumbers(t *testing.T) {
	for _, tt := range []struct {
		name     string
		f32      func(*elem[float32], *scalars[float32], options)
		f64      func(*elem[float64], *scalars[float64], options)
		from, to string
	}{
		{"a NaN beside an ordinary number", rareNaN[float32], rareNaN[float64], "e.A != e.A && e.P > 0.25", "e.A != e.A && e.P > 2"},
		{"an infinity beside ordinary numbers", rareInf[float32], rareInf[float64], "s.X > 0.25 && e.P < 0.5", "s.X > 2 && e.P < 0.5"},
		{"two that are equal", rareEqual[float32], rareEqual[float64], "e.A == e.B", "e.A > e.B && e.A < e.B"},
		{"a constant itself", rareConstant[float32], rareConstant[float64], "e.G <= 0.7", "e.G < 0.7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := rule.New(tt.f32, tt.f64, prologue, withPrologue(roundingSource))
			require.NoError(t, err)
			changed := strings.Replace(roundingSource, tt.from, tt.to, 1)
			require.NotEqual(t, roundingSource, changed)
			_, err = rule.New(tt.f32, tt.f64, prologue, withPrologue(changed))
			require.ErrorContains(t, err, "the source is not that of the compiled function")
		})
	}
}

func withPrologue(src string) string {
	from := strings.Index(source, "func prologue(")
	to := strings.Index(source, "func earlyReturns")
	return withElem(src) + "\n" + source[from:to]
}

package rule_test

import (
	_ "embed"
	"errors"
	"go/format"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/rule"
)

const small = `package p

import "github.com/fusestep/fusestep/kernels/rule"

type Elem[F rule.Float] struct {
	P F ` + "`slot:\"param\"`" + `
	G F ` + "`slot:\"grad\"`" + `
	M F ` + "`slot:\"m\" init:\"H\"`" + `
}
type Scalars[F rule.Float] struct{ LR, X F }
type Options struct{ A, B bool }
type Hyper struct{ LR, H float64 }
type Counters struct {
	Step float64 ` + "`counter:\"step\"`" + `
	T    float64 ` + "`counter:\"t\" init:\"1\"`" + `
}

func Rule[F rule.Float](e *Elem[F], s *Scalars[F], o Options) {
	e.M = e.G
	e.P -= F(s.LR * e.M)
}

func Prologue(h *Hyper, t *Counters, s *Scalars[float64], o Options) {
	s.LR = h.H
}
`

// I15: every error of a rule's shape says where, and what is missing.
func TestShapeErrorsHaveAPosition(t *testing.T) {
	_, err := rule.Read("r.go", small, "Prologue", "Rule")
	require.NoError(t, err)
	tests := []struct{ name, from, to, want string }{
		{"no slot tag", "M F `slot:\"m\" init:\"H\"`", "M F", "r.go:8:2: element field M has no slot tag, such as `slot:\"exp_avg\"`"},
		{"empty slot tag", `slot:"m"`, `slot:""`, "r.go:8:2: element field M has no slot tag"},
		{"slot twice", `slot:"m"`, `slot:"grad"`, `r.go:8:2: element field M has the slot tag "grad", which field G has`},
		{"no param", `slot:"param"`, `slot:"params"`, "r.go:5:6: the element struct has no field with the tag `slot:\"param\"`"},
		{"no grad", `slot:"grad"`, `slot:"gradient"`, "r.go:5:6: the element struct has no field with the tag `slot:\"grad\"`"},
		{"no LR", "struct{ LR, H float64 }", "struct{ Lr, H float64 }", "r.go:12:6: the hyperparameters have no field LR, the learning rate"},
		{"init is nothing", `init:"H"`, `init:"Q"`, `r.go:8:2: element field M has the init tag "Q", which is no hyperparameter: there are ["LR" "H"]`},
		{"init of grad", `slot:"grad"`, `slot:"grad" init:"H"`, `r.go:7:2: element field G has an init tag, but slot "grad" is given and not state`},
		{"no counter tag", "T    float64 `counter:\"t\" init:\"1\"`", "T float64", "r.go:15:2: counter T has no counter tag, such as `counter:\"step\"`"},
		{"counter twice", `counter:"t"`, `counter:"step"`, `r.go:15:2: counter T has the counter tag "step", which field Step has`},
		{"init of counter", `init:"1"`, `init:"one"`, `r.go:15:2: counter T has the init tag "one", which is not a number`},
		{"not generic", "func Rule[F rule.Float](e *Elem[F], s *Scalars[F], o Options)", "type F = float64\nfunc Rule(e *Elem[F], s *Scalars[F], o Options)", "r.go:19:1: the element function must be generic: func Rule[F rule.Float](…)"},
		{"generic prologue", "Prologue(h *Hyper, t *Counters, s *Scalars[float64], o Options)", "Prologue[F rule.Float](h *Hyper, t *Counters, s *Scalars[float64], o Options)", "r.go:23:1: the prologue Prologue must be a float64 function"},
		{"param not stored", "e.P -= F(s.LR * e.M)", "", `r.go:18:1: slot "param" is not stored: the rule changes nothing`},
		{"param not stored with an option", "e.P -= F(s.LR * e.M)", "if !o.B { e.P = e.M }", `r.go:18:1: slot "param" is not stored: the rule changes nothing (with B)`},
		{"grad stored", "e.P -= F(s.LR * e.M)", "e.P, e.G = e.G, e.P", `r.go:18:1: slot "grad" is stored: a rule reads the gradient only`},
		{"scalar not computed", "s.LR = h.H", "s.X = h.H", "r.go:10:36: s.LR is read, but Prologue does not compute it"},
		{"other scalars", "s *Scalars[float64], o Options) {\n\ts.LR = h.H", "s *Hyper, o Options) {\n\ts.LR = h.H", `r.go:12:6: the prologue Prologue computes the scalars ["LR" "H"], but Rule has ["LR" "X"]`},
		{"other options", "t *Counters, s *Scalars[float64], o Options", "t *Counters, s *Scalars[float64], o struct{ A bool }", `r.go:23:1: the prologue Prologue has the options ["A"], but Rule has ["A" "B"]`},
		{"64 options", "Options struct{ A, B bool }", "Options struct{ A" + strings.Repeat(", A", 63) + " bool }", "r.go:11:"},
		{"9 options", "Options struct{ A, B bool }", "Options struct{ A, B, C, D, E, F, G, H, I bool }", "r.go:11:46: option I is one too many: a rule has at most 8 options, not 9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := strings.ReplaceAll(small, tt.from, tt.to)
			require.NotEqual(t, small, src)
			_, err := rule.Read("r.go", src, "Prologue", "Rule")
			var e *rule.Error
			require.True(t, errors.As(err, &e), "%T: %v", err, err)
			require.ErrorContains(t, err, tt.want)
			require.True(t, e.Pos.IsValid())
		})
	}
}

//go:embed read_test.go
var readSource string

// The rules that the package's documentation shows are rules.
func TestDocumentedRule(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	var code strings.Builder
	for line := range strings.Lines(string(doc)) {
		if text, ok := strings.CutPrefix(line, "//\t"); ok {
			code.WriteString(text)
		} else {
			code.WriteString("\n")
		}
	}
	r, err := rule.Read("doc.go", code.String(), "Prologue", "Step")
	require.NoError(t, err, code.String())
	require.Equal(t, []string{"param", "grad", "momentum"}, r.Slots)
	r, err = rule.ReadStaged("doc.go", code.String(), "Prologue", "Fill", "tensors Rate", "Move")
	require.NoError(t, err, code.String())
	require.Equal(t, []rule.TensorField{{Name: "M", Fill: rule.FillSquares}, {Name: "Rate"}}, r.Tensor)
	_, err = format.Source([]byte(strings.TrimSpace(code.String())))
	require.NoError(t, err)
}

// W2, C2: a setting is checked as a whole.
func TestSettingCheck(t *testing.T) {
	d, err := rule.New(plain[float32], plain[float64], prologue, source)
	require.NoError(t, err)
	average, err := rule.New(evaluates[float32], evaluates[float64], noStep, readSource)
	require.NoError(t, err)
	stepping, err := rule.New(evaluates[float32], evaluates[float64], evalSteps, readSource)
	require.NoError(t, err)
	storing, err := rule.New(evalStores[float32], evalStores[float64], noStep, readSource)
	require.NoError(t, err)
	reading, err := rule.New(evalReads[float32], evalReads[float64], noStep, readSource)
	require.NoError(t, err)
	uses, err := rule.New(earlyReturns[float32], earlyReturns[float64], prologue, source)
	require.NoError(t, err)
	optional, err := rule.New(plain[float32], plain[float64], prologue, source)
	require.NoError(t, err)
	read, err := rule.Read("r.go", small, "Prologue", "Rule")
	require.NoError(t, err)
	nan, inf := math.NaN(), math.Inf(1)
	good := d.With(hyper{LR: 1, H: inf}, options{D: true})
	require.NoError(t, good.Check())
	tests := []struct {
		name   string
		change func(s *rule.Setting)
		want   string
	}{
		{"too long", func(s *rule.Setting) { s.Hyper = append(s.Hyper, 1) }, `rule plain: there are 3 hyperparameters, must be 2: ["LR" "H"]`},
		{"too short", func(s *rule.Setting) { s.Hyper = s.Hyper[:1] }, "there are 1 hyperparameters, must be 2"},
		{"none", func(s *rule.Setting) { s.Hyper = nil }, "there are 0 hyperparameters, must be 2"},
		{"NaN", func(s *rule.Setting) { s.Hyper[1] = nan }, "rule plain: hyperparameter H is NaN, must be a number"},
		{"an infinite rate", func(s *rule.Setting) { s.Hyper[0] = -inf }, "rule plain: hyperparameter LR is -Inf"},
		{"unknown option", func(s *rule.Setting) { s.Options = 4 }, `rule plain: the options are 0b100, must be of 2 bits: ["C" "D"]`},
		{"no rule", func(s *rule.Setting) { s.Rule = nil }, `setting "plain" has no rule`},
		{"zero", func(s *rule.Setting) { *s = rule.Setting{} }, `setting "" has no rule`},
		{"read", func(s *rule.Setting) { s.Rule, s.Options = read, 0 }, ""},
		{"made by hand", func(s *rule.Setting) { s.Rule = &rule.Rule{Name: "X", Hyper: s.Rule.Hyper} }, "rule X has no functions: it was not made by New, NewStaged or Read"},
		{"W6: average", func(s *rule.Setting) { s.Eval = average.Rule }, ""},
		{"W6: average counts a step", func(s *rule.Setting) { s.Eval = stepping.Rule }, `rule evaluates for evaluation changes the counter "step": evaluating is no step`},
		{"W6: average stores state", func(s *rule.Setting) { s.Rule, s.Eval = uses.Rule, storing.Rule }, `rule evalStores for evaluation stores slot "a", may store "param" alone`},
		{"average of what is not used", func(s *rule.Setting) { s.Eval = reading.Rule }, `rule evalReads for evaluation has the slot "a", but rule plain has ["param" "grad"] with these options`},
		{"average with options", func(s *rule.Setting) { s.Eval = optional.Rule }, `rule plain for evaluation has the options ["C" "D"], must have none`},
		{"average made by hand", func(s *rule.Setting) { s.Eval = &rule.Rule{Name: "X"} }, "rule X has no functions"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := good
			s.Hyper = append([]float64(nil), good.Hyper...)
			tt.change(&s)
			if tt.want == "" {
				require.NoError(t, s.Check())
			} else {
				require.ErrorContains(t, s.Check(), tt.want)
			}
		})
	}
}

// The rules for evaluation.

type evalElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
}
type evalHyper struct{ LR, H float64 }
type evalCount struct {
	Step float64 `counter:"step"`
	Pow  float64 `counter:"pow" init:"0.5"`
}
type evalScalars[F rule.Float] struct{ Beta F }

func evaluates[F rule.Float](e *evalElem[F], s *evalScalars[F], _ struct{}) { e.P = F(e.G * s.Beta) }

type evalState[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	A F `slot:"a"`
}

func evalStores[F rule.Float](e *evalState[F], s *evalScalars[F], _ struct{}) { e.P, e.A = e.G, e.G }

func evalReads[F rule.Float](e *evalState[F], s *evalScalars[F], _ struct{}) { e.P = F(e.A * s.Beta) }

func noStep(h *evalHyper, t *evalCount, s *evalScalars[float64], _ struct{}) { s.Beta = h.H }

func evalSteps(h *evalHyper, t *evalCount, s *evalScalars[float64], _ struct{}) {
	t.Step += 1
	s.Beta = h.H
}

package rule_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/rule"
)

const smallStaged = `package p

import "github.com/fusestep/fusestep/kernels/rule"

type Elem[F rule.Float] struct {
	P F ` + "`slot:\"param\"`" + `
	G F ` + "`slot:\"grad\"`" + `
	M F ` + "`slot:\"m\"`" + `
}
type Tensor[F rule.Float] struct {
	A     F ` + "`fill:\"sum\"`" + `
	B     F ` + "`fill:\"max\"`" + `
	V     F ` + "`state:\"v\"`" + `
	N     F ` + "`count:\"elements\"`" + `
	Ratio F
	Other F
}
type Scalars[F rule.Float] struct{ LR, X F }
type Options struct{ O bool }
type Hyper struct{ LR float64 }

func Prologue(h *Hyper, _ *struct{}, s *Scalars[float64], o Options) {
	s.LR = h.LR
}

func First[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], o Options) {
	t.A, t.B = e.P, e.G
}

func Middle(t *Tensor[float64], s *Scalars[float64], o Options) {
	t.Ratio = t.A / t.B
	t.V = t.N
}

func Last[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], o Options) {
	e.P -= F(s.LR * t.Ratio)
}
`

// Every error of a rule with stages says where, and what is wrong.
func TestStagedErrorsHaveAPosition(t *testing.T) {
	usual := []string{"First", "tensors Middle", "Last"}
	_, err := rule.ReadStaged("r.go", smallStaged, "Prologue", usual...)
	require.NoError(t, err)
	const first, middle, last = "t.A, t.B = e.P, e.G", "t.V = t.N", "e.P -= F(s.LR * t.Ratio)"
	tests := []struct{ name, from, to, want string }{
		// The tensor's fields.
		{"unknown fill", `fill:"max"`, `fill:"min"`, `r.go:12:2: tensor field B has the fill tag "min", must be one of ["sum" "squares" "mean" "max"]`},
		{"no fill", `fill:"max"`, `fill:""`, `r.go:12:2: tensor field B has the fill tag "", must be one of`},
		{"unknown tag", `fill:"max"`, `slot:"max"`, "r.go:12:2: tensor field B has the tag \"slot:\\\"max\\\"\", must have none or one of `fill:\"sum\"`, `all:\"sum\"`, `state:\"name\"` and `count:\"elements\"`"},
		{"filled and kept", `fill:"max"`, `fill:"max" state:"b"`, `r.go:12:2: tensor field B has the tag`},
		{"kept and counted", `count:"elements"`, `state:"n" count:"elements"`, `r.go:14:2: tensor field N has the tag`},
		{"an initial value", `state:"v"`, `state:"v" init:"LR"`, `r.go:13:2: tensor field V has the tag`},
		{"nameless state", `state:"v"`, `state:""`, `r.go:13:2: tensor field V has the tag`},
		{"another count", `count:"elements"`, `count:"rows"`, `r.go:14:2: tensor field N has the tag`},
		{"no tag", `count:"elements"`, `elements`, `r.go:14:2: tensor field N has the tag "elements"`},
		{"state named as a slot", `state:"v"`, `state:"m"`, `r.go:13:2: tensor field V has the state tag "m", which is an element's slot`},
		{"state named as the parameter", `state:"v"`, `state:"param"`, `r.go:13:2: tensor field V has the state tag "param", which is an element's slot`},
		{"state named as the count of steps", `state:"v"`, `state:"step"`, `r.go:13:2: tensor field V has the state tag "step", which is a counter's`},
		{"state twice", "Other F", "Other F `state:\"v\"`", `r.go:16:2: tensor field Other has the state tag "v", which field V has`},
		{"a fill that nothing fills", first, "t.A = e.P", "r.go:12:2: t.B is read by Middle, but no element function before it fills it"},
		{"a fill that nothing fills or reads", "Other F", "Other F `fill:\"mean\"`", "r.go:16:2: no element function fills tensor field Other"},
		{"state that nothing stores", middle, "", "r.go:13:2: no tensor function stores tensor field V"},

		// What element functions do with them.
		{"a fill is read", first, "t.A, t.B = e.P, e.G\ne.M = t.A", "r.go:28:7: t.A is a term of the element: what all terms make is read by tensor functions"},
		{"a fill is added to", first, "t.A += e.P\nt.B = e.G", "r.go:27:2: t.A is a term of the element"},
		{"a fill is read in a later stage", last, "e.P = t.A", "r.go:36:8: t.A is a term of the element"},
		{"a term on one path", first, "t.A = e.P\nif e.G > 0 { t.B = e.G }", "r.go:28:14: t.B is not stored on every path: every element has a term, or none has"},
		{"a term behind a return", first, "t.A = e.P\nif e.G > 0 { return }\nt.B = e.G", "r.go:29:1: t.B is not stored on every path"},
		{"a term in cases", first, "t.A = e.P\nswitch {\ncase e.G > 0: t.B = 1\ncase e.G < 0: t.B = 2\n}", "r.go:30:15: t.B is not stored on every path"},
		{"a term on one path with an option", first, "t.A, t.B = e.P, e.G\nif o.O && e.G > 0 { t.Other = 1 }", "r.go:28:21: t.Other is no term of the element, as it has no fill tag: tensor functions compute it"},
		{"a computed number is stored", first, "t.A, t.B, t.Ratio = e.P, e.G, 1", "r.go:27:12: t.Ratio is no term of the element, as it has no fill tag: tensor functions compute it"},
		{"state is stored", last, "e.P, t.V = 0, 1", "r.go:36:7: t.V is state of the tensor: tensor functions store it"},
		{"the count is stored", last, "e.P, t.N = 0, 1", "r.go:36:7: t.N is the number of elements: nothing is stored to it"},
		{"a scalar is stored", last, "e.P, s.X = 0, 1", "r.go:36:7: s.X is an input: only the fields of e and t are stored to"},
		{"filled in the last stage", last, "e.P = t.Ratio\nt.A = 1", "r.go:35:1: t.A is filled by Last, the last element function, behind which nothing reads it"},
		{"a computed number is read before", first, "t.A, t.B = t.Ratio, e.G", "r.go:15:2: t.Ratio is read by First, but no tensor function has computed it on every path"},
		{"what no one computes is read", last, "e.P = t.Other", "r.go:16:2: t.Other is read by Last, but no tensor function has computed it on every path"},
		{"not computed with an option", middle, "if !o.O { t.Other = 1 }\nt.V = t.Other", "r.go:16:2: t.Other is read by Middle, but no tensor function has computed it on every path (with O)"},
		{"not filled with an option", first, "t.A = e.P\nif !o.O { t.B = e.G }", "r.go:12:2: t.B is read by Middle, but no element function before it fills it (with O)"},
		{"parameter in the first stage", first, "t.A, t.B, e.P = e.P, e.G, 1", `r.go:26:1: slot "param" is stored by First: only the last element function stores it`},
		{"gradient in the first stage", first, "t.A, t.B, e.G = e.P, e.G, 1", `r.go:26:1: slot "grad" is stored: a rule reads the gradient only`},
		{"gradient in the last stage", last, "e.P, e.G = t.Ratio, 1", `r.go:35:1: slot "grad" is stored`},
		{"parameter is not stored", last, "e.M = t.Ratio", `r.go:35:1: slot "param" is not stored: the rule changes nothing`},
		{"a stage without effect", first, "t.A, t.B = e.P, e.G\n}\nfunc Idle[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], o Options) {", "r.go:29:1: the element function Idle stores nothing"},

		// What tensor functions do.
		{"a tensor function fills", middle, "t.V, t.A = 1, 2", "r.go:32:7: t.A is filled by elements: a tensor function only reads it"},
		{"a tensor function counts", middle, "t.V, t.N = 1, 2", "r.go:32:7: t.N is the number of elements: nothing is stored to it"},
		{"a tensor function stores a scalar", middle, "t.V, s.X = 1, 2", "r.go:32:7: s.X is an input: only the fields of t are stored to"},
		{"a number that is not computed", middle, "t.V += t.Other", "r.go:16:2: t.Other is read by Middle, but no tensor function has computed it on every path"},
		{"a number that is sometimes computed", middle, "t.V = t.N\nif t.A > 0 { t.Other = 1 }", "r.go:16:2: t.Other is read by Middle, but no tensor function has computed it on every path"},
		{"a scalar that is not computed", middle, "t.V = s.X", "r.go:18:40: s.X is read, but Prologue does not compute it"},
		{"a product is added", middle, "t.V = s.LR*t.N + t.V", "r.go:32:8: a product is added without a conversion around it"},

		// The functions together.
		{"a generic tensor function", "func Middle(t *Tensor[float64], s *Scalars[float64], o Options)", "func Middle[F rule.Float](t *Tensor[F], s *Scalars[F], o Options)", "r.go:30:1: the tensor function Middle must be a float64 function, not a generic one"},
		{"an element function of float64", "func First[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], o Options)", "func First(e *Elem[float64], s *Scalars[float64], t *Tensor[float64], o Options)", "r.go:26:1: the element function must be generic: func First[F rule.Float](…)"},
		{"no tensor struct", "func First[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], o Options) {\n\t" + first, "func First[F rule.Float](e *Elem[F], s *Scalars[F], o Options) {", "r.go:26:1: this function takes 3 structs of numbers, not 2"},
		{"another element struct", "func First[F rule.Float](e *Elem[F]", "type E2[F rule.Float] Elem[F]\nfunc First[F rule.Float](e *E2[F]", "r.go:26:6: parameter e of First is another struct than parameter e of Last"},
		{"another tensor struct", "func Middle(t *Tensor[float64]", "type T2 Tensor[float64]\nfunc Middle(t *T2", "r.go:30:6: parameter t of Middle is another struct than parameter t of Last"},
		{"other options", "func Middle(t *Tensor[float64], s *Scalars[float64], o Options)", "func Middle(t *Tensor[float64], s *Scalars[float64], o struct{ P bool })", `r.go:30:1: Middle has the options ["P"], but Last has ["O"]`},
		{"without options", "func First[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], o Options)", "func First[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F])", `r.go:26:1: First has the options [], but Last has ["O"]`},
		{"the tensor as a whole", last, "x := t\ne.P = x.Ratio", "r.go:36:7: this is a *p.Tensor[F]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			functions := usual
			if strings.Contains(tt.to, "func Idle") {
				functions = []string{"First", "tensors Middle", "Idle", "tensors Middle", "Last"}
			}
			src := strings.Replace(smallStaged, tt.from, tt.to, 1)
			require.NotEqual(t, smallStaged, src)
			refused(t, src, tt.want, functions...)
		})
	}
}

// refused fails unless the source is refused with an error that has a position.
func refused(t *testing.T, src, want string, functions ...string) {
	_, err := rule.ReadStaged("r.go", src, "Prologue", functions...)
	var e *rule.Error
	require.True(t, errors.As(err, &e), "%T: %v", err, err)
	require.ErrorContains(t, err, want)
	require.True(t, e.Pos.IsValid())
}

// Element and tensor functions take turns, and a fill is of one function.
func TestStagesTakeTurns(t *testing.T) {
	src := smallStaged + `
func Again[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], o Options) { t.A = t.Ratio }
`
	for _, tt := range []struct {
		functions, want string
	}{
		{"tensors Middle,Last", "r.go:30:1: the tensor function Middle does not stand between two element functions"},
		{"First,tensors Middle", "r.go:30:1: the tensor function Middle does not stand between two element functions"},
		{"First,tensors Middle,tensors Middle,Last", "r.go:30:1: the tensor function Middle does not stand between two element functions"},
		{"First,Last", "r.go:35:1: no function of the tensor, of rows or of columns stands between the element functions First and Last"},
		{"First,tensors Middle,Again,Last", "r.go:35:1: no function of the tensor, of rows or of columns stands between the element functions Again and Last"},
		{"First,tensors Middle,Again,tensors Middle,Last", "r.go:39:1: t.A is filled by First and by Again"},
		{"First,tensors Middle,First,tensors Middle,Last", "r.go:26:1: t.A is filled by First and by First"},
		{"First,tensors Nothing,Last", "there is no function Nothing in this source"},
	} {
		t.Run(tt.functions, func(t *testing.T) { refused(t, src, tt.want, strings.Split(tt.functions, ",")...) })
	}
}

// A rule of one stage may read what a tensor is.
func TestOneStageWithATensor(t *testing.T) {
	src := strings.NewReplacer("t.Ratio", "t.N", " `fill:\"sum\"`", "", " `fill:\"max\"`", "", " `state:\"v\"`", "").Replace(smallStaged)
	r, err := rule.ReadStaged("r.go", src, "Prologue", "Last")
	require.NoError(t, err)
	require.Equal(t, 1, r.Stages)
	require.Len(t, r.Tensor, 6)
}

// What tensors have together is said by tags, and errors about it have a position.
func TestEverythingErrorsHaveAPosition(t *testing.T) {
	together := strings.NewReplacer("fill:", "all:", "\tN     F `count:\"elements\"`\n", "", "t.V = t.N", "t.V = t.A").Replace(smallStaged)
	r, err := rule.ReadStaged("r.go", together, "Prologue", "First", "tensors Middle", "Last")
	require.NoError(t, err)
	require.True(t, r.Everything)
	require.Equal(t, []rule.TensorField{{Name: "A", Fill: rule.FillSum}, {Name: "B", Fill: rule.FillMax}, {Name: "V", State: "v"}, {Name: "Ratio"}, {Name: "Other"}}, r.Tensor)
	for _, tt := range []struct{ name, from, to, want string }{
		{"of a tensor beside", "all:\"sum\"", "fill:\"sum\"", `r.go:11:2: tensor field A has the tag "fill:\"sum\"" beside fields with all tags`},
		{"a mean", "all:\"max\"", "all:\"mean\"", `r.go:12:2: tensor field B has the tag "all:\"mean\"", but all tensors together have no count of elements`},
		{"a count", "Ratio F", "Ratio F `count:\"elements\"`", `r.go:14:2: tensor field Ratio has the tag "count:\"elements\"", but all tensors together have no count`},
		{"unknown", "all:\"max\"", "all:\"min\"", `r.go:12:2: tensor field B has the fill tag "min"`},
		{"filled and kept", "all:\"max\"", "all:\"max\" state:\"b\"", `r.go:12:2: tensor field B has the tag`},
		{"on one path", "t.A, t.B = e.P, e.G", "t.A = e.P\nif e.G > 0 { t.B = e.G }", "r.go:27:14: t.B is not stored on every path"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := strings.Replace(together, tt.from, tt.to, 1)
			require.NotEqual(t, together, src)
			refused(t, src, tt.want, "First", "tensors Middle", "Last")
		})
	}
	matrix := strings.NewReplacer("A     F `fill:", "A     F `all:", "B     F `fill:", "B     F `all:", "\tN     F `count:\"elements\"`\n", "").Replace(smallMatrix)
	refused(t, matrix, "is of rows or columns: a rule whose tensors have numbers together has none", usualMatrix...)
}

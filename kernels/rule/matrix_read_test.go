package rule_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/rule"
)

const smallMatrix = `package p

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
	Ratio F
}
type Row[F rule.Float] struct {
	G     F ` + "`fill:\"mean\"`" + `
	V     F ` + "`slot:\"row_v\"`" + `
	Scale F
	Other F
}
type Column[F rule.Float] struct {
	G F ` + "`fill:\"squares\"`" + `
	V F ` + "`slot:\"column_v\"`" + `
}
type Scalars[F rule.Float] struct{ LR, X F }
type Options struct{ O, Matrix bool }
type Hyper struct{ LR float64 }

func Prologue(h *Hyper, _ *struct{}, s *Scalars[float64], o Options) {
	s.LR = h.LR
}

func First[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], r *Row[F], c *Column[F], o Options) {
	t.A = e.P
	if o.Matrix {
		r.G, c.G = F(e.G*e.G), e.G
	}
}

func OfRows[F rule.Float](r *Row[F], s *Scalars[F], t *Tensor[F], o Options) {
	r.V, r.Scale = r.G, s.LR
	t.B = r.V
}

func OfColumns[F rule.Float](c *Column[F], s *Scalars[F], t *Tensor[F], o Options) {
	c.V = c.G
}

func Middle(t *Tensor[float64], s *Scalars[float64], o Options) {
	t.Ratio = t.A
	if o.Matrix {
		t.V = t.B
	}
}

func Last[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], r *Row[F], c *Column[F], o Options) {
	e.P -= F(s.LR * t.Ratio)
	if o.Matrix {
		e.M = F(r.Scale * c.V)
	}
}
`

var usualMatrix = []string{"matrix First", "rows OfRows", "columns OfColumns", "tensors Middle", "matrix Last"}

// Every error of a rule with rows and columns says where, and what is wrong.
func TestMatrixErrorsHaveAPosition(t *testing.T) {
	_, err := rule.ReadStaged("r.go", smallMatrix, "Prologue", usualMatrix...)
	require.NoError(t, err)
	const first, last = "r.G, c.G = F(e.G*e.G), e.G", "e.M = F(r.Scale * c.V)"
	const rows, columns, middle = "r.V, r.Scale = r.G, s.LR", "c.V = c.G", "t.Ratio = t.A"
	tests := []struct{ name, from, to, want string }{
		// The fields.
		{"unknown fill", `fill:"mean"`, `fill:"min"`, `r.go:17:2: row field G has the fill tag "min", must be one of ["sum" "squares" "mean" "max"]`},
		{"unknown tag", `slot:"column_v"`, `state:"column_v"`, "r.go:24:2: column field V has the tag \"state:\\\"column_v\\\"\", must have none or one of `fill:\"sum\"` and `slot:\"name\"`"},
		{"filled and kept", `fill:"mean"`, `fill:"mean" slot:"g"`, `r.go:17:2: row field G has the tag`},
		{"an initial value", `slot:"row_v"`, `slot:"row_v" init:"LR"`, `r.go:18:2: row field V has the tag`},
		{"nameless state", `slot:"row_v"`, `slot:""`, `r.go:18:2: row field V has the tag`},
		{"named as an element's", `slot:"row_v"`, `slot:"m"`, `r.go:18:2: row field V has the slot tag "m", which is an element's slot`},
		{"named as a tensor's", `slot:"column_v"`, `slot:"v"`, `r.go:24:2: column field V has the slot tag "v", which is a tensor's state`},
		{"named as a row's", `slot:"column_v"`, `slot:"row_v"`, `r.go:24:2: column field V has the slot tag "row_v", which is a row's slot`},
		{"twice", "Other F", "Other F `slot:\"row_v\"`", `r.go:20:2: row field Other has the slot tag "row_v", which field V has`},
		{"a fill that nothing fills", first, "c.G = e.G", "r.go:17:2: r.G is read by OfRows, but no element function before it fills it (with Matrix)"},
		{"a fill that nothing fills or reads", "Other F", "Other F `fill:\"sum\"`", "r.go:20:2: no element function fills row field Other"},
		{"state that nothing stores", columns, "t.B = c.G", "r.go:46:1: t.B is filled by OfRows and by OfColumns (with Matrix)"},
		{"state of a row that nothing stores", rows, "r.Scale = r.G", "r.go:18:2: no row function stores row field V"},

		// What functions do with them.
		{"a fill is read", first, first + "\ne.M = r.G", "r.go:38:7: r.G is a term of the element: what all terms of a row make is read by row functions"},
		{"a column's fill is read", last, "e.M = c.G", "r.go:60:9: c.G is a term of the element: what all terms of a column make is read by column functions"},
		{"a term on one path", first, "if e.G > 0 { r.G = 1 }\nc.G = 1", "r.go:37:16: r.G is not stored on every path: every element has a term, or none has"},
		{"state is stored", last, "r.V = e.M", "r.go:60:3: r.V is state of the row: row functions store it"},
		{"a computed number is stored", last, "r.Scale = e.M", "r.go:60:3: r.Scale is no term of the element, as it has no fill tag: row functions compute it"},
		{"a row function fills a row", rows, "r.V, r.G, r.Scale = 1, 2, 3", "r.go:42:7: r.G is filled by elements: a row function only reads it"},
		{"a row function reads a tensor's fill", rows, "r.V, r.Scale = t.A, 1", "r.go:42:17: t.A is a term of the row: what all terms make is read by tensor functions"},
		{"a row function stores a tensor's number", rows, "r.V, r.Scale, t.Ratio = 1, 2, 3", "r.go:42:16: t.Ratio is no term of the row, as it has no fill tag: tensor functions compute it"},
		{"a row function reads what is computed behind it", rows, "r.V, r.Scale = r.G, t.Ratio", "r.go:14:2: t.Ratio is read by OfRows, but no tensor function has computed it on every path (with Matrix)"},
		{"what no one computes", last, "e.M = r.Other", "r.go:20:2: r.Other is read by Last, but no row function has computed it on every path (with Matrix)"},
		{"what is computed behind", first, first + "\ne.M = r.Scale", "r.go:19:2: r.Scale is read by First, but no row function has computed it on every path (with Matrix)"},
		{"filled in the last stage", last, last + "\nc.G = 1", "r.go:57:1: c.G is filled by Last, the last element function, behind which nothing reads it (with Matrix)"},
		{"filled without rows", "if o.Matrix {\n\t\tr.G, c.G = F(e.G*e.G), e.G\n\t}", first, "r.go:34:1: r.G is filled by First without the option Matrix"},
		{"read without rows", "if o.Matrix {\n\t\t" + last + "\n\t}", last, "r.go:19:2: r.Scale is read by Last without the option Matrix"},
		{"a tensor's fill that only rows fill", middle, "t.Ratio = t.B", "r.go:12:2: t.B is read by Middle, but no element function before it fills it"},
		{"a row function without effect", "\tr.V, r.Scale = r.G, s.LR\n\tt.B = r.V\n", "", "r.go:41:1: the row function OfRows stores nothing (with Matrix)"},
		{"a scalar that is not computed", rows, "r.V, r.Scale = s.X, r.G", "r.go:26:40: s.X is read, but Prologue does not compute it (with Matrix)"},
		{"a scalar is stored", columns, "c.V, s.X = 1, 2", "r.go:47:7: s.X is an input: only the fields of c and t are stored to"},

		// The functions together.
		{"a row function of float64", "func OfRows[F rule.Float](r *Row[F], s *Scalars[F], t *Tensor[F], o Options)", "func OfRows(r *Row[float64], s *Scalars[float64], t *Tensor[float64], o Options)",
			"r.go:41:1: the row function must be generic: func OfRows[F rule.Float](…)"},
		{"no tensor struct", "func OfColumns[F rule.Float](c *Column[F], s *Scalars[F], t *Tensor[F], o Options)", "func OfColumns[F rule.Float](c *Column[F], s *Scalars[F], o Options)", "r.go:46:1: this function takes 3 structs of numbers, not 2"},
		{"another row struct", "func OfRows[F rule.Float](r *Row[F]", "type R2[F rule.Float] Row[F]\nfunc OfRows[F rule.Float](r *R2[F]", "r.go:41:6: parameter r of OfRows is another struct than parameter r of Last"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := strings.Replace(smallMatrix, tt.from, tt.to, 1)
			require.NotEqual(t, smallMatrix, src)
			refused(t, src, tt.want, usualMatrix...)
		})
	}
}

// What a column has of its matrix's rows is read by column functions, when the rows have it.
func TestRowsTag(t *testing.T) {
	const tagged = "V F `slot:\"column_v\"`\n\tR F `rows:\"mean V\"`"
	small := strings.NewReplacer("V F `slot:\"column_v\"`", tagged, "c.V = c.G\n", "c.V = c.G + c.R\n").Replace(smallMatrix)
	r, err := rule.Read("r.go", small, "Prologue", "First", "OfRows", "OfColumns", "Middle", "Last")
	require.NoError(t, err)
	require.Equal(t, rule.DomainField{Name: "R", Rows: rule.FillMean, Row: 1}, r.Column[2])
	for _, tt := range []struct{ name, from, to, want string }{
		{"an unknown kind", `rows:"mean V"`, `rows:"min V"`, `r.go:25:2: column field R has the rows tag "min", must be one of ["sum" "squares" "mean" "max"]`},
		{"no field", `rows:"mean V"`, `rows:"mean"`, `r.go:25:2: column field R has the rows tag "mean", but the row struct has no field ""`},
		{"another field", `rows:"mean V"`, `rows:"mean W"`, `r.go:25:2: column field R has the rows tag "mean W", but the row struct has no field "W"`},
		{"a row's", "Other F", "Other F `rows:\"mean V\"`", "r.go:20:2: row field Other has the tag \"rows:\\\"mean V\\\"\", must have none or one of"},
		{"an unknown tag", `rows:"mean V"`, `row:"mean V"`, "and `rows:\"mean Field\"`"},
		{"stored by a column function", "c.V = c.G + c.R", "c.V, c.R = c.G, 1", "r.go:48:7: c.R is made of field V of the rows: nothing is stored to it"},
		{"stored by an element", "e.M = F(r.Scale * c.V)", "c.R = e.P", "r.go:61:3: c.R is made of field V of the rows: nothing is stored to it"},
		{"read by an element", "e.M = F(r.Scale * c.V)", "e.M = c.R", "r.go:25:2: c.R is read by Last: only column functions read what is made of rows' numbers (with Matrix)"},
		{"read without rows", "if o.Matrix {\n\t\te.M = F(r.Scale * c.V)\n\t}", "e.M = c.R", "r.go:25:2: c.R is read by Last without the option Matrix"},
		{"what no row function computes", `rows:"mean V"`, `rows:"max Other"`,
			"r.go:25:2: c.R, which is made of Other of the rows, is read by OfColumns, but no row function has computed it on every path (with Matrix)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := strings.Replace(small, tt.from, tt.to, 1)
			require.NotEqual(t, small, src)
			refused(t, src, tt.want, usualMatrix...)
		})
	}
	src := strings.NewReplacer("mean V", "sum G", "r.G, c.G = F(e.G*e.G), e.G", "c.G = e.G", "r.V, r.Scale = r.G, s.LR", "r.V, r.Scale = 1, s.LR").Replace(small)
	refused(t, src, "r.go:25:2: c.R, which is made of G of the rows, is read by OfColumns, but no element function before it fills it (with Matrix)", usualMatrix...)
}

// A rule with rows says what it does without.
func TestMatrixOption(t *testing.T) {
	src := strings.NewReplacer("Options struct{ O, Matrix bool }", "Options struct{ O, Vector bool }", "o.Matrix", "o.Vector").Replace(smallMatrix)
	refused(t, src, "r.go:16:6: the options have no field Matrix: a rule that has numbers of each row says with it what a tensor without rows does without them", usualMatrix...)
}

// Between two element functions stand at most a row, a column and a tensor function, in this order.
func TestMatrixOrder(t *testing.T) {
	for _, tt := range []struct{ functions, want string }{
		{"rows OfRows,matrix Last", "r.go:41:1: the row function OfRows does not stand between two element functions"},
		{"matrix First,columns OfColumns", "r.go:46:1: the column function OfColumns does not stand between two element functions"},
		{"matrix First,columns OfColumns,rows OfRows,matrix Last", "r.go:41:1: the row function OfRows stands behind the column function OfColumns: between two element functions stand at most " +
			"one of rows, one of columns and one of tensors, in this order"},
		{"matrix First,rows OfRows,rows OfRows,matrix Last", "r.go:41:1: the row function OfRows stands behind the row function OfRows"},
		{"matrix First,tensors Middle,rows OfRows,matrix Last", "r.go:41:1: the row function OfRows stands behind the tensor function Middle"},
		{"matrix First,matrix Last", "r.go:57:1: no function of the tensor, of rows or of columns stands between the element functions First and Last"},
		{"matrix First,rows OfRows,matrix First,rows OfRows,columns OfColumns,tensors Middle,matrix Last", "r.go:34:1: t.A is filled by First and by First"},
	} {
		t.Run(tt.functions, func(t *testing.T) { refused(t, smallMatrix, tt.want, strings.Split(tt.functions, ",")...) })
	}
}

// Read finds out what the functions are, and Keeps what is kept.
func TestReadMatrix(t *testing.T) {
	r, err := rule.Read("r.go", smallMatrix, "Prologue", "First", "OfRows", "OfColumns", "Middle", "Last")
	require.NoError(t, err)
	require.Equal(t, 2, r.Stages)
	require.Equal(t, []rule.DomainField{{Name: "G", Fill: rule.FillMean}, {Name: "V", Slot: "row_v"}, {Name: "Scale"}, {Name: "Other"}}, r.Row)
	require.Equal(t, []rule.DomainField{{Name: "G", Fill: rule.FillSquares}, {Name: "V", Slot: "column_v"}}, r.Column)
	require.Equal(t, r.Column, r.Fields(rule.OfColumns))
	require.EqualValues(t, 2, r.MatrixOption())
	for _, name := range []string{"param", "m", "v", "row_v", "column_v"} {
		require.True(t, r.Keeps(name), name)
	}
	require.False(t, r.Keeps("ema"))
	for _, tt := range []struct {
		d     rule.Domain
		stage int
		want  bool
	}{{rule.OfElements, 0, true}, {rule.OfRows, 0, false}, {rule.OfRows, 1, true}, {rule.OfColumns, 1, true}, {rule.OfTensor, 1, true}, {rule.OfElements, 1, true}, {rule.OfElements, 2, false}} {
		require.Equal(t, tt.want, r.Has(tt.d, tt.stage), tt)
	}

	// Without a tensor struct, or without columns, an empty one stands in its place.
	src := strings.NewReplacer("r *Row[F], c *Column[F], o", "r *Row[F], _ *struct{}, o", ", c.G = F(e.G*e.G), e.G", " = e.G", "r.Scale * c.V", "r.Scale * r.V").Replace(smallMatrix)
	r, err = rule.Read("r.go", src, "Prologue", "First", "OfRows", "Middle", "Last")
	require.NoError(t, err)
	require.Empty(t, r.Column)

	_, err = rule.Read("r.go", strings.ReplaceAll(src, "r *Row[F], _ *struct{}, o", "r *Row[F], o"), "Prologue", "First", "OfRows", "Middle", "Last")
	require.EqualError(t, err, "rule Last: r.go:16:6: the element function First takes a row struct and no column struct: it takes both, *struct{} where a rule has none")
}

// What kind of function one is follows from its structs, and where they are too few or too many, so does what is missing.
func TestReadNumberOfStructs(t *testing.T) {
	of := func(structs string) string {
		return strings.NewReplacer("e *Elem[F], s *Scalars[F], o Options", structs, "F(s.LR * e.M)", "e.M").Replace(small)
	}
	for _, tt := range []struct {
		src, want string
		functions []string
	}{
		{of("e *Elem[F], o Options"), "rule Rule: r.go:18:1: this function takes 2 structs of numbers, not 1", []string{"Rule"}},
		{of("e *Elem[F], s *Scalars[F], t, r, c, d *struct{}, o Options"), "rule Rule: r.go:18:61: parameter d is one too many: this function takes 5 structs of numbers",
			[]string{"Rule"}},
		{small, "rule Rule: r.go:10:6: the function Rule takes structs of the element and of scalars, as one that is alone may: beside others it takes the tensor's, too, " +
			"*struct{} where a rule has none", []string{"Rule", "Rule"}},
		{strings.Replace(smallMatrix, "OfColumns[F rule.Float](c *Column[F], s *Scalars[F], t *Tensor[F]", "OfColumns[F rule.Float](c *Column[F], s *Scalars[F]", 1),
			"rule Last: r.go:46:1: this function takes 3 structs of numbers, not 2", []string{"First", "OfRows", "OfColumns", "Middle", "Last"}},
	} {
		_, err := rule.Read("r.go", tt.src, "Prologue", tt.functions...)
		require.EqualError(t, err, tt.want)
	}
}

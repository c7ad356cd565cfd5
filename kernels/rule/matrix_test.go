package rule_test

import (
	_ "embed"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed matrix_test.go
var matrixSource string

type faceElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	V F `slot:"v"`
}

type faceTensor[F rule.Float] struct {
	Rows  F `fill:"mean"`
	Most  F `fill:"max"`
	Ratio F
}

type faceRow[F rule.Float] struct {
	V     F `slot:"row_v"`
	G     F `fill:"squares"`
	Scale F
}

type faceColumn[F rule.Float] struct {
	Scale F
	G     F `fill:"sum"`
	V     F `slot:"column_v"`
}

type faceScalars[F rule.Float] struct{ LR, Beta F }

type faceOptions struct{ Matrix bool }

type faceHyper struct{ LR, Beta float64 }

func facePrologue(h *faceHyper, _ *struct{}, s *faceScalars[float64], o faceOptions) {
	s.LR, s.Beta = h.LR, h.Beta
}

func faceFirst[F rule.Float](e *faceElem[F], s *faceScalars[F], t *faceTensor[F], r *faceRow[F], c *faceColumn[F], o faceOptions) {
	if o.Matrix {
		r.G, c.G = F(e.G*r.V), e.G
		t.Most = c.V
		return
	}
	e.V = F(s.Beta*e.V) + F(e.G*e.G)
	t.Rows, t.Most = e.G, e.V
}

func faceRows[F rule.Float](r *faceRow[F], s *faceScalars[F], t *faceTensor[F], o faceOptions) {
	r.V = F(s.Beta*r.V) + r.G
	r.Scale = r.V + s.LR
	t.Rows = -r.Scale
}

func faceColumns[F rule.Float](c *faceColumn[F], s *faceScalars[F], t *faceTensor[F], o faceOptions) {
	c.Scale = F(c.G * c.V)
	c.V = F(s.Beta*c.V) + c.G
}

func faceTensors(t *faceTensor[float64], s *faceScalars[float64], o faceOptions) {
	t.Ratio = t.Rows / t.Most
}

func face[F rule.Float](e *faceElem[F], s *faceScalars[F], t *faceTensor[F], r *faceRow[F], c *faceColumn[F], o faceOptions) {
	if o.Matrix {
		e.P -= F(F(r.Scale*c.Scale) * t.Ratio)
	} else {
		e.P -= F(e.V * t.Ratio)
	}
}

func faceRule(source string) (rule.Definition[faceHyper, faceOptions], error) {
	return rule.NewStaged(facePrologue, source, rule.MatrixElements(faceFirst[float32], faceFirst[float64]), rule.Rows(faceRows[float32], faceRows[float64]),
		rule.Columns(faceColumns[float32], faceColumns[float64]), rule.Tensors(faceTensors), rule.MatrixElements(face[float32], face[float64]))
}

// Each function has a graph with banks of its own, and the source has all that they reach.
func TestMatrix(t *testing.T) {
	d, err := faceRule(matrixSource)
	require.NoError(t, err)
	require.Equal(t, []rule.DomainField{{Name: "V", Slot: "row_v"}, {Name: "G", Fill: rule.FillSquares}, {Name: "Scale"}}, d.Row)
	require.Equal(t, []rule.DomainField{{Name: "Scale"}, {Name: "G", Fill: rule.FillSum}, {Name: "V", Slot: "column_v"}}, d.Column)
	for _, tt := range []struct {
		d             rule.Domain
		stage         int
		loads, stores string
	}{
		{rule.OfElements, 0, "e.G r.V c.V", "t.Most r.G c.G"}, {rule.OfRows, 1, "r.V r.G s.LR s.Beta", "r.V r.Scale t.Rows"},
		{rule.OfColumns, 1, "c.G c.V s.Beta", "c.Scale c.V"}, {rule.OfTensor, 1, "t.Rows t.Most", "t.Ratio"}, {rule.OfElements, 1, "e.P t.Ratio r.Scale c.Scale", "e.P"},
	} {
		f, err := d.Function(tt.d, tt.stage, 64, 1)
		require.NoError(t, err)
		banks := map[string]int{"e": rule.ElemBank, "s": rule.ScalarsBank, "t": rule.TensorBank, "r": rule.RowBank, "c": rule.ColumnBank}
		var loads, stores []string
		name := func(v int) string {
			of := f.Vars[v]
			require.Equal(t, banks[of.Name[:1]], of.Bank)
			return of.Name
		}
		for _, v := range f.Loads() {
			loads = append(loads, name(v))
		}
		for _, s := range f.Stores {
			stores = append(stores, name(s.Var))
		}
		require.Equal(t, tt.loads, strings.Join(loads, " "))
		require.Equal(t, tt.stores, strings.Join(stores, " "))
	}
	for _, want := range []string{"func faceRows[", "func faceColumns[", "func faceTensors(", "type faceRow[", "type faceColumn["} {
		require.Contains(t, d.Source(), want)
	}
}

// Each function is compared with its source, in every field that it must leave alone, too.
func TestMatrixComparison(t *testing.T) {
	for _, tt := range []struct{ name, from, to, want string }{
		{"a row's term", "r.G, c.G = F(e.G*r.V), e.G", "r.G, c.G = e.G, e.G", "compiled function faceFirst, at 32 bits: r.G becomes"},
		{"a column's term", "r.G, c.G = F(e.G*r.V), e.G", "r.G, c.G = F(e.G*r.V), -e.G", "compiled function faceFirst, at 32 bits: c.G becomes"},
		{"what a column has", "t.Most = c.V\n\t\treturn", "t.Most = r.V\n\t\treturn", "compiled function faceFirst, at 32 bits: t.Most becomes"},
		{"state of rows", "r.V = F(s.Beta*r.V) + r.G", "r.V = F(s.Beta*r.V) - r.G", "compiled function faceRows, at 32 bits: r.V becomes"},
		{"a tensor's term", "t.Rows = -r.Scale", "t.Rows = r.Scale", "compiled function faceRows, at 32 bits: t.Rows becomes"},
		{"a column's number", "c.Scale = F(c.G * c.V)", "c.Scale = F(c.G + c.V)", "compiled function faceColumns, at 32 bits: c.Scale becomes"},
		{"what is left alone", "c.V = F(s.Beta*c.V) + c.G", "c.V = F(s.Beta*c.V) + c.G\n\tt.Most = 1", "t.Most is filled by faceFirst and by faceColumns"},
		{"the last stage", "F(r.Scale*c.Scale)", "F(c.Scale*c.Scale)", "compiled function face, at 32 bits: e.P becomes"},
		{"another tag", "G     F `fill:\"squares\"`", "G     F `fill:\"sum\"`", "field G of rule_test.faceRow[float32] is not the source's field G"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := strings.Replace(matrixSource, tt.from, tt.to, 1)
			require.NotEqual(t, matrixSource, src)
			_, err := faceRule(src)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// What was read alone computes what the compiled functions do, on more elements than are taken at once; and that is what they say.
func TestReadMatrixComputes(t *testing.T) {
	d, err := faceRule(matrixSource)
	require.NoError(t, err)
	read, err := rule.Read("matrix.go", matrixSource, "facePrologue", "faceFirst", "faceRows", "faceColumns", "faceTensors", "face")
	require.NoError(t, err)
	for set := range uint64(2) {
		want := lines[float32](t, d.Rule, set)
		require.Equal(t, want, lines[float32](t, read, set))
		require.Equal(t, lines[float64](t, d.Rule, set), lines[float64](t, read, set))
		if set == 1 {
			require.Equal(t, float32(0.5*want[0][7]), want[2][7], "a row's term: the gradient times row_v")
			require.Equal(t, want[0][7], want[3][7], "a column's term: the gradient")
		}
	}
}

// lines runs all functions but the tensor's: elements of one row, and of as many rows and columns. It is the gradients, and then what becomes of all.
func lines[F rule.Float](t *testing.T, r *rule.Rule, set uint64) (out [][]F) {
	const n = 300
	width := 64
	if F(1)+F(0x1p-30) == 1 {
		width = 32
	}
	some := func(phase int) (x []F) {
		for i := range n {
			x = append(x, F(math.Sin(float64(i*(phase+1)))*2))
		}
		return x
	}
	shared := rule.Shared[F]{GradScale: 1, Decay: 0.75}
	out = append(out, some(1))
	for _, of := range []struct {
		d     rule.Domain
		stage int
	}{{rule.OfElements, 0}, {rule.OfRows, 1}, {rule.OfColumns, 1}, {rule.OfElements, 1}} {
		if of.d != rule.OfElements && set == 0 {
			continue
		}
		f, err := r.Function(of.d, of.stage, width, set)
		require.NoError(t, err)
		own := map[rule.Domain]int{rule.OfElements: rule.ElemBank, rule.OfRows: rule.RowBank, rule.OfColumns: rule.ColumnBank}[of.d]
		p := rule.Pass[F]{Domain: of.d, Stage: of.stage, Slots: [][]F{some(0), some(1), some(2)}, Scalars: []F{0.5, 0.25}, Tensor: []F{1, 2, 3}, Options: set,
			Shared: &shared, Terms: make([][]F, 3)}
		if of.d == rule.OfElements {
			p.Row, p.Columns = []F{0.5, -1, 0.125}, [][]F{some(3), nil, some(4)}
			p.RowTerms, p.ColumnTerms = make([][]F, 3), make([][]F, 3)
		}
		for _, v := range f.Loads() {
			if f.Vars[v].Bank == own {
				p.Loads = append(p.Loads, f.Vars[v].Index)
			}
		}
		for _, s := range f.Stores {
			v := f.Vars[s.Var]
			if v.Bank == own {
				p.Stores = append(p.Stores, v.Index)
				out = append(out, p.Slots[v.Index])
				continue
			}
			terms := make([]F, n)
			out = append(out, terms)
			map[int][][]F{rule.TensorBank: p.Terms, rule.RowBank: p.RowTerms, rule.ColumnBank: p.ColumnTerms}[v.Bank][v.Index] = terms
		}
		rule.Apply(r, &p)
	}
	return out
}

// A function that is nil is said to be.
func TestMatrixFunctionsMissing(t *testing.T) {
	all := []rule.StageFunc[faceScalars[float64], faceOptions]{rule.MatrixElements(faceFirst[float32], faceFirst[float64]), rule.Tensors(faceTensors),
		rule.MatrixElements(face[float32], face[float64])}
	none := (func(*faceRow[float64], *faceScalars[float64], *faceTensor[float64], faceOptions))(nil)
	all[1] = rule.Rows(faceRows[float32], none)
	_, err := rule.NewStaged(facePrologue, matrixSource, all...)
	require.ErrorContains(t, err, "a rule's function is nil")
}

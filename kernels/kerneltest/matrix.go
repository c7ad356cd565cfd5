package kerneltest

import (
	_ "embed"
	"errors"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed matrix.go
var matrixSource string

// Matrices are rules with numbers of rows and columns that do what such a rule can do: fill sums of each kind of rows, of columns and, by elements, rows
// and columns, of the tensor; make numbers of columns of rows'; keep state of each; fill by terms that a row shares; and leave rows, columns or the tensor alone.
func Matrices(t T) []*rule.Rule {
	all, err := matrices()
	require.NoError(t, err)
	return all
}

var matrices = sync.OnceValues(func() ([]*rule.Rule, error) {
	grid, err := rule.NewStaged(gridPrologue, matrixSource, rule.MatrixElements(gridFirst[float32], gridFirst[float64]),
		rule.Rows(gridRows[float32], gridRows[float64]), rule.Columns(gridColumns[float32], gridColumns[float64]), rule.Tensors(gridKept),
		rule.MatrixElements(gridMoments[float32], gridMoments[float64]), rule.Rows(gridTrust[float32], gridTrust[float64]),
		rule.MatrixElements(Grid[float32], Grid[float64]))
	rows, err2 := rule.NewStaged(gridPrologue, matrixSource, rule.MatrixElements(rowsFirst[float32], rowsFirst[float64]),
		rule.Rows(rowsKept[float32], rowsKept[float64]), rule.MatrixElements(ByRows[float32], ByRows[float64]))
	columns, err3 := rule.NewStaged(gridPrologue, matrixSource, rule.Elements(columnsSums[float32], columnsSums[float64]), rule.Tensors(columnsRoot),
		rule.MatrixElements(columnsFirst[float32], columnsFirst[float64]), rule.Columns(columnsKept[float32], columnsKept[float64]),
		rule.Tensors(columnsTrust), rule.MatrixElements(ByColumns[float32], ByColumns[float64]))
	return []*rule.Rule{grid.Rule, rows.Rule, columns.Rule}, errors.Join(err, err2, err3)
})

type gridElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"m"`
	V F `slot:"v"` // without rows
}

type gridTensor[F rule.Float] struct {
	N           F `count:"elements"`
	Sum         F `fill:"sum"`
	Squares     F `fill:"squares"`
	Later       F `fill:"mean"`
	Lowest      F `fill:"max"`
	RowMean     F `fill:"mean"`
	RowSquares  F `fill:"squares"`
	RowMost     F `fill:"max"`
	ColumnMean  F `fill:"mean"`
	ColumnSum   F `fill:"sum"`
	Kept        F `state:"kept"`
	Ratio, Root F
}

type gridRow[F rule.Float] struct {
	Sum     F `fill:"sum"`
	Squares F `fill:"squares"`
	V       F `slot:"row_v"`
	Mean    F `fill:"mean"`
	Most    F `fill:"max"`
	Later   F `fill:"mean"`
	Scale   F
	Trust   F
}

type gridColumn[F rule.Float] struct {
	Scale       F
	Most        F `fill:"max"`
	RowsMean    F `rows:"mean V"`
	Mean        F `fill:"mean"`
	Squares     F `fill:"squares"`
	RowsMost    F `rows:"max Most"`
	Sum         F `fill:"sum"`
	V           F `slot:"column_v"`
	RowsSum     F `rows:"sum Sum"`
	RowsSquares F `rows:"squares Scale"`
}

type gridScalars[F rule.Float] struct{ LR, Beta, Rest F }

type gridOptions struct{ Kept, Matrix bool }

type gridHyper struct{ LR, Beta float64 }

type gridCounters struct {
	Step float64 `counter:"step"`
}

func gridPrologue(h *gridHyper, c *gridCounters, s *gridScalars[float64], o gridOptions) {
	c.Step += 1
	s.LR, s.Beta, s.Rest = h.LR/rule.Sqrt(c.Step), h.Beta, 1-h.Beta
}

// inverse is what divides by about the root of x.
func inverse[F rule.Float](x F) F { return 1 / (rule.Sqrt(rule.Abs(x)) + 1e-3) }

// gridFirst reads what rows and columns have kept.
func gridFirst[F rule.Float](e *gridElem[F], s *gridScalars[F], t *gridTensor[F], r *gridRow[F], c *gridColumn[F], o gridOptions) {
	t.Sum, t.Squares, t.Lowest = e.P, e.G, -e.P
	e.M = rule.Flush(F(s.Beta*e.M) + F(s.Rest*e.G))
	if !o.Matrix {
		e.V = rule.Flush(F(s.Beta*e.V) + F(s.Rest*F(e.G*e.G)))
		return
	}
	r.Sum, r.Squares, r.Mean, r.Most = e.G, e.G, F(e.G*e.G), e.M
	c.Sum, c.Squares, c.Mean, c.Most = e.P, e.M, F(e.G*e.G), -e.G
	if o.Kept {
		r.Sum = F(e.G * c.V)
		c.Sum = F(e.P * r.V)
	}
}

func gridRows[F rule.Float](r *gridRow[F], s *gridScalars[F], t *gridTensor[F], o gridOptions) {
	r.V = rule.Flush(F(s.Beta*r.V) + F(s.Rest*r.Mean))
	r.Scale = inverse(r.V)
	t.RowMean, t.RowSquares, t.RowMost = r.V, r.Sum, r.Most
	if o.Kept {
		r.Scale = F(r.Scale*t.Kept) + F(inverse(r.Squares))
	}
}

func gridColumns[F rule.Float](c *gridColumn[F], s *gridScalars[F], t *gridTensor[F], o gridOptions) {
	c.V = rule.Flush(F(s.Beta*c.V) + F(s.Rest*c.Mean))
	c.Scale = F(inverse(c.V)) + F(c.Most*0x1p-10) + inverse(c.RowsSum)
	t.ColumnMean, t.ColumnSum = c.Squares, c.Sum
	if o.Kept {
		c.Scale = inverse(c.RowsMean) + inverse(c.RowsSquares)
		t.ColumnMean, t.ColumnSum = c.RowsMost, F(c.Sum*t.N)
	}
}

func gridKept(t *gridTensor[float64], s *gridScalars[float64], o gridOptions) {
	t.Root = rule.Sqrt(t.Squares/t.N) + 1e-3
	t.Ratio = t.Sum / t.N
	if o.Matrix {
		t.Kept = float64(s.Beta*t.Kept) + float64(s.Rest*(t.RowMean+t.ColumnMean))
		t.Ratio += float64((t.RowMost+t.ColumnSum)*0x1p-20) + rule.Sqrt(t.RowSquares)
	} else {
		t.Kept = t.Lowest
	}
}

// gridMoments has terms that are the same for a row's elements, and reads what a row has by itself.
func gridMoments[F rule.Float](e *gridElem[F], s *gridScalars[F], t *gridTensor[F], r *gridRow[F], c *gridColumn[F], o gridOptions) {
	u := e.G / t.Root
	if o.Matrix {
		u = F(F(e.G*r.Scale)*c.Scale) + F(t.Kept*0x1p-8)
		r.Later = u
		if o.Kept {
			r.Later = F(r.V * s.LR)
		}
	}
	t.Later = u
	e.M = rule.Flush(e.M + F(u*0.125))
}

// gridTrust has no tensor function behind it.
func gridTrust[F rule.Float](r *gridRow[F], s *gridScalars[F], t *gridTensor[F], o gridOptions) {
	r.Trust = F(r.Later*0.25) + r.Scale
	r.V = F(r.V * 0.875)
}

// Grid stores by what a row and a column have alone, too.
func Grid[F rule.Float](e *gridElem[F], s *gridScalars[F], t *gridTensor[F], r *gridRow[F], c *gridColumn[F], o gridOptions) {
	if !o.Matrix {
		e.P -= F(s.LR*e.M) + F(t.Ratio*inverse(e.V))
		return
	}
	e.P -= F(F(r.Trust*s.LR)*e.M) + F(t.Ratio*0x1p-6)
	e.V = r.V
	if o.Kept {
		e.V = c.Scale
	}
}

type rowsElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	V F `slot:"v"`
}

type rowsRow[F rule.Float] struct {
	G F `fill:"mean"`
	V F `slot:"row_v"`
}

// rowsFirst stores no slot of rows with elements.
func rowsFirst[F rule.Float](e *rowsElem[F], s *gridScalars[F], _ *struct{}, r *rowsRow[F], _ *struct{}, o gridOptions) {
	if o.Matrix {
		r.G = F(e.G * e.G)
	} else {
		e.V = rule.Flush(F(s.Beta*e.V) + F(s.Rest*F(e.G*e.G)))
	}
}

func rowsKept[F rule.Float](r *rowsRow[F], s *gridScalars[F], _ *struct{}, o gridOptions) {
	r.V = rule.Flush(F(s.Beta*r.V) + F(s.Rest*r.G))
}

// ByRows has nothing of a tensor.
func ByRows[F rule.Float](e *rowsElem[F], s *gridScalars[F], _ *struct{}, r *rowsRow[F], _ *struct{}, o gridOptions) {
	v := e.V
	if o.Matrix {
		v = r.V
	}
	e.P -= F(F(s.LR*e.G) * inverse(v))
}

type columnsTensor[F rule.Float] struct {
	G     F `fill:"squares"`
	Most  F `fill:"max"`
	Mean  F `fill:"mean"`
	Root  F
	Trust F
}

type columnsColumn[F rule.Float] struct {
	V F `slot:"column_v"`
	U F `fill:"squares"`
}

// columnsSums has nothing of rows or columns, in a program that has them.
func columnsSums[F rule.Float](e *rowsElem[F], s *gridScalars[F], t *columnsTensor[F], o gridOptions) {
	t.G = e.G
}

func columnsRoot(t *columnsTensor[float64], s *gridScalars[float64], o gridOptions) {
	t.Root = 1 / (rule.Sqrt(t.G) + 1e-3)
}

func columnsFirst[F rule.Float](e *rowsElem[F], s *gridScalars[F], t *columnsTensor[F], _ *struct{}, c *columnsColumn[F], o gridOptions) {
	u := F(e.G * t.Root)
	if o.Matrix {
		c.U = u
		return
	}
	e.V = rule.Flush(F(s.Beta*e.V) + F(u*u))
	t.Most, t.Mean = e.V, u
}

func columnsKept[F rule.Float](c *columnsColumn[F], s *gridScalars[F], t *columnsTensor[F], o gridOptions) {
	c.V = rule.Flush(F(s.Beta*c.V) + c.U)
	t.Most, t.Mean = c.V, c.U
}

func columnsTrust(t *columnsTensor[float64], s *gridScalars[float64], o gridOptions) {
	t.Trust = s.LR / (rule.Abs(t.Most) + rule.Abs(t.Mean) + 1e-3)
}

// ByColumns reads the gradient a third time.
func ByColumns[F rule.Float](e *rowsElem[F], s *gridScalars[F], t *columnsTensor[F], _ *struct{}, c *columnsColumn[F], o gridOptions) {
	if o.Matrix {
		e.P -= F(F(t.Trust*e.G) * inverse(c.V))
	} else {
		e.P -= F(F(t.Trust*e.G) * inverse(e.V))
	}
}

// matrix are shapes of matrices: rows of less than a vector, beyond a tile and of an odd length, and numbers of rows around blocks of them, of one matrix
// and of several; in full, of many blocks, short ones of any rows, and such of which one plane lies otherwise than the rest. The first has pairs of
// special numbers.
func matrix(p *kernels.Program, full bool) (all []shape) {
	all = append(pairs(p)[:1], straight(0)[0], shape{n: 132 * 8, rows: 132, offset: func(int) int { return 0 }, cancels: true}) // vectors in several blocks
	shapes := [][2]int{{1, 1}, {1, 2}, {2, 1}, {1, 37}, {37, 1}, {3, 5}, {5, 3}, {16, 16}, {63, 7}, {64, 33}, {65, 1}, {65, 130}, {127, 3}, {129, 17}, {128, 20}, {130, 65},
		{1, 4095}, {2, 4097}, {3, 2*kernels.NormTile + 129}, {200, 1}}
	batches := [][3]int{{2, 1, 1}, {3, 5, 7}, {130, 3, 3}, {2, 65, 33}, {4, 64, 16}, {3, 1, 37}, {2, 129, 130}, {3, 2, 4097}, {2, 200, 1}, {2, 128, 20}, {40, 6, 1}}
	if full {
		batches = append(batches, [3]int{2, kernels.NormTile + 3, 1}, [3]int{2, kernels.ColumnRows * 130, 1})
		shapes = append(shapes, [2]int{4099, 2}, [2]int{kernels.ColumnRows * 130, 1})
		for i, s := range short() {
			if i%5 == 0 {
				all = append(all, s)
			}
		}
		for k := range p.Planes {
			all = append(all, shape{n: 84, rows: 7, offset: func(plane int) int {
				if plane == k {
					return 1
				}
				return 0
			}})
		}
	}
	offset := func(i int) func(int) int { return func(plane int) int { return (i + plane*(i/4%2)) % 4 } }
	for i, of := range shapes {
		all = append(all, shape{n: of[0] * of[1], rows: of[0], offset: offset(i), cancels: i%2 == 1})
	}
	for i, of := range batches {
		all = append(all, shape{n: of[0] * of[1] * of[2], rows: of[0] * of[1], batch: of[0], offset: offset(i), cancels: i%2 == 0, tame: i%2 == 1})
	}
	return all
}

// someRows is how many rows a tensor of n elements has where its shape does not say: one of the numbers that divide n.
func someRows(n, tensor int) int {
	var of []int
	for rows := 1; rows <= n; rows++ {
		if n%rows == 0 {
			of = append(of, rows)
		}
	}
	if n == 0 {
		return 0
	}
	return of[tensor*7%len(of)]
}

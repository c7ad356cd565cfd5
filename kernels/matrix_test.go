package kernels_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A program with rows has passes over elements, rows and columns, with planes of each, and says what each of them does.
func TestMatrixPasses(t *testing.T) {
	grid := kerneltest.Matrices(t)[0]
	p := newProgram(t, kernels.Spec{Rule: grid, Options: 3, Around: rule.EMA | rule.ZeroGrad | rule.ClipTensorNorm, Compute: device.Float32, Formats: "param=bf16+f32 grad=bf16 m=f16"})
	require.True(t, p.Matrix())
	var slots []string
	for _, s := range p.Slots {
		slots = append(slots, s.Name+" "+s.Domain.String()+" "+s.Role.String())
	}
	require.Equal(t, []string{"param element parameter", "grad element gradient", "m element state", "v element state", "ema element state",
		"row.Sum row scratch", "row.Squares row scratch", "row_v row state", "row.Mean row scratch", "row.Most row scratch", "row.Later row scratch", "row.Scale row scratch", "row.Trust row scratch",
		"column.Scale column scratch", "column.Most column scratch", "column.RowsMean column scratch", "column.Mean column scratch", "column.Squares column scratch",
		"column.RowsMost column scratch", "column.Sum column scratch", "column_v column state", "column.RowsSquares column scratch"}, slots)
	require.Equal(t, []string{"m", "v", "ema", "row_v", "column_v"}, p.State())

	names := func(planes []int) (out []string) {
		for _, k := range planes {
			out = append(out, p.PlaneName(k))
		}
		return out
	}
	bytes := 0
	for i, want := range []struct {
		domain               rule.Domain
		stage                int
		around               rule.Around
		loads, stores, fills []string
		tensor               []string
	}{
		{rule.OfElements, 0, rule.ClipTensorNorm, []string{"master", "grad", "m", "row_v", "column_v"}, []string{"m"},
			[]string{"row.Sum sum", "row.Squares squares", "row.Mean mean", "row.Most max", "column.Most max", "column.Mean mean", "column.Squares squares", "column.Sum sum",
				"Sum sum", "Squares squares", "Lowest max"}, []string{"out.N", "out.Kept", "out.GradScale"}},
		{rule.OfRows, 1, 0, []string{"row.Sum", "row.Squares", "row_v", "row.Mean", "row.Most"}, []string{"row_v", "row.Scale"}, []string{"RowMean mean", "RowSquares squares", "RowMost max"}, nil},
		{rule.OfColumns, 1, 0, []string{"column.RowsMean", "column.Mean", "column.RowsMost", "column.Sum", "column_v", "column.RowsSquares"}, []string{"column.Scale", "column_v"}, []string{"ColumnMean mean", "ColumnSum sum"}, nil},
		{rule.OfElements, 1, rule.ClipTensorNorm | rule.ZeroGrad, []string{"grad", "m", "row_v", "row.Scale", "column.Scale"}, []string{"grad", "m"}, []string{"row.Later mean", "Later mean"},
			[]string{"tensor.Kept", "tensor.Ratio", "tensor.Root", "out.Kept", "out.Ratio"}},
		{rule.OfRows, 2, 0, []string{"row_v", "row.Later", "row.Scale"}, []string{"row_v", "row.Trust"}, nil, nil},
		{rule.OfElements, 2, rule.ClipTensorNorm | rule.EMA, []string{"master", "m", "ema", "row.Trust", "column.Scale"}, []string{"param", "master", "v", "ema"}, nil, nil},
	} {
		q := &p.Passes[i]
		require.Equal(t, want.domain, q.Domain)
		require.Equal(t, want.stage, q.Stage)
		require.Equal(t, want.around, q.Around)
		require.Equal(t, want.loads, names(q.Loads))
		require.Equal(t, want.stores, names(q.Stores))
		var fills, tensor []string
		for _, f := range q.Fills {
			name := p.PlaneName(f.Plane)
			if f.Domain == rule.OfTensor {
				name = grid.Tensor[f.Field].Name
				require.Equal(t, p.TensorWord(f.Field), f.Word)
			} else {
				require.Equal(t, f.Plane, f.Var)
				require.Equal(t, f.Domain, p.Planes[f.Plane].Domain)
				require.Equal(t, p.Of(f.Plane).Index, f.Field)
				require.True(t, p.Planes[f.Plane].Store)
			}
			fills = append(fills, name+" "+f.Kind.String())
		}
		require.Equal(t, want.fills, fills)
		var folds []string
		for _, f := range q.Folds {
			require.True(t, p.Planes[f.From].Load && p.Planes[f.To].Store)
			folds = append(folds, p.PlaneName(f.To)+" "+f.Kind.String()+" "+p.PlaneName(f.From))
		}
		if want.domain == rule.OfColumns {
			require.Equal(t, []string{"column.RowsMean mean row_v", "column.RowsMost max row.Most", "column.RowsSquares squares row.Scale"}, folds)
		} else {
			require.Empty(t, folds)
		}
		if q.Tensor != nil {
			for _, s := range q.Tensor.Stores {
				tensor = append(tensor, q.Tensor.Vars[s.Var].Name)
			}
		}
		require.Equal(t, want.tensor, tensor)
		for k, plane := range p.Planes {
			v := q.Graph.Vars[k]
			require.Equal(t, k, v.Index)
			bank := map[rule.Domain]int{rule.OfElements: rule.ElemBank, rule.OfRows: rule.RowBank, rule.OfColumns: rule.ColumnBank}[plane.Domain]
			if plane.Domain == q.Domain {
				bank = rule.ElemBank
			}
			require.Equal(t, bank, v.Bank)
		}
		for _, k := range slices.Concat(q.Loads, q.Stores) {
			if p.Planes[k].Domain == rule.OfElements {
				bytes += p.Planes[k].DType.Size()
			}
		}
		uniforms(t, q)
	}
	require.Equal(t, bytes, p.Bytes)

	words := p.InitialSums(15, 3, 0)
	require.Len(t, words, p.SumWords())
	require.Equal(t, slices.Concat([]float64{0, 0, 15}, make([]float64, len(grid.Tensor)), []float64{3, 5}), words)
	require.Equal(t, make([]float64, p.SumWords()), p.InitialSums(0, 0, 0))
	require.Equal(t, []float64{6, 10}, p.InitialSums(30, 6, 2)[len(words)-2:])

	var stages []string
	for _, s := range p.Stages {
		name := s.Kind.String()
		switch s.Kind {
		case kernels.Map:
			name += " " + s.Domain.String()
		case kernels.Reduce:
			name += " " + map[kernels.Scope]string{kernels.OneRow: "row", kernels.OneColumn: "column", kernels.OneMatrix: "matrix", kernels.OneTensor: "tensor"}[s.Over]
		}
		if len(stages) == 0 || stages[len(stages)-1] != name {
			stages = append(stages, name)
		}
	}
	require.Equal(t, []string{"scalars", "map element", "reduce row", "reduce column", "reduce tensor", "map row", "reduce tensor", "reduce matrix", "map column", "reduce tensor", "scalars", "map element",
		"reduce row", "reduce tensor", "map row", "map element"}, stages)
}

// uniforms: what the elements share is known before, or is a number of their row itself.
func uniforms(t *testing.T, q *kernels.Pass) {
	f := q.Graph
	for v, n := range f.Nodes {
		ofRow := n.Op == ir.Var && f.Vars[n.Index].Bank == rule.RowBank
		varies := n.Op == ir.Element || n.Op == ir.Var && (f.Vars[n.Index].Bank == rule.ElemBank || f.Vars[n.Index].Bank == rule.ColumnBank)
		for _, a := range n.Args() {
			varies = varies || q.Varying[a] || f.Nodes[a].Op == ir.Var && f.Vars[f.Nodes[a].Index].Bank == rule.RowBank
		}
		require.Equal(t, varies, q.Varying[v], "%s", f.Name)
		if ofRow {
			require.Contains(t, q.Uniforms, ir.Value(v))
		}
	}
}

// Without a matrix view a rule's rows and columns are nowhere.
func TestNoMatrix(t *testing.T) {
	for _, r := range kerneltest.Matrices(t) {
		p := newProgram(t, kernels.Spec{Rule: r, Compute: device.Float32})
		require.False(t, p.Matrix())
		for k, plane := range p.Planes {
			require.Equal(t, rule.OfElements, plane.Domain, p.PlaneName(k))
		}
		for _, q := range p.Passes {
			require.Equal(t, rule.OfElements, q.Domain)
		}
	}
	_, err := kernels.New(kernels.Spec{Rule: kerneltest.Matrices(t)[0], Options: 2, Compute: device.Float32, Formats: "row_v=bf16"})
	require.ErrorContains(t, err, `format bf16 is for slot "row_v", which is none of`)
}

// A block of a column begins with what there is of no terms, and takes one after the other.
func TestFillColumns(t *testing.T) {
	rows := [][]float32{{1, -0x1p60, float32(math.Copysign(0, -1))}, {-2, 3, float32(math.Copysign(0, -1))}, {float32(math.NaN()), 0x1p60, 0}}
	for kind, want := range map[rule.Fill][3]float64{rule.FillSum: {math.NaN(), 0, 0}, rule.FillMean: {math.NaN(), 0, 0}, rule.FillSquares: {math.NaN(), 0x1p121, 0}, rule.FillMax: {math.NaN(), 0x1p60, math.Copysign(0, -1)}} {
		block := slices.Repeat([]float64{kernels.EmptyFill(kind)}, 3)
		for _, row := range rows {
			kernels.FillColumns(kind, block, row)
		}
		for i, x := range block {
			require.True(t, math.Float64bits(x) == math.Float64bits(want[i]) || x != x && want[i] != want[i], "%s: column %d is %v, want %v", kind, i, x, want[i])
		}
	}
}

package optim_test

import (
	"fmt"
	"iter"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// A shape that is none of the value's, and rows that do not divide it, are errors that name the tensor.
func TestShapes(t *testing.T) {
	b, h := onCPU(t)
	for _, tt := range []struct {
		shape []int
		rows  int
		want  string
	}{
		{[]int{2, 4}, 0, `optim: group 0, tensor "w": shape [2 4] is not that of 6 elements`},
		{[]int{-2, -3}, 0, `optim: group 0, tensor "w": shape [-2 -3] is not that of 6 elements`},
		{[]int{}, 0, `optim: group 0, tensor "w": shape [] is not that of 6 elements`},
		{nil, 4, `optim: group 0, tensor "w": 4 rows do not divide 6 elements`},
		{[]int{2, 3}, -1, `optim: group 0, tensor "w": -1 rows do not divide 6 elements`},
		{[]int{2, 3}, 0, ""},
		{[]int{6}, 0, ""},
		{[]int{1, 2, 3}, 3, ""},
	} {
		p := h.trainable("w", device.Float32, 1, 2, 3, 4, 5, 6)
		p.Shape, p.Rows = tt.shape, tt.rows
		o, err := optim.New(b, optim.DefaultSGD(), []optim.Param{p})
		if tt.want == "" {
			require.NoError(t, err)
			if tt.shape != nil {
				require.Equal(t, tt.shape, dictOf(t, o).Groups[0].Tensors[0].Shape)
			}
			continue
		}
		require.EqualError(t, err, tt.want)
		var e *optim.ShapeError
		require.ErrorAs(t, err, &e)
	}
}

// Matrices are what Param says, or the shape; what does not divide the rows is an error.
func TestMatricesOf(t *testing.T) {
	b, h := onCPU(t)
	for _, tt := range []struct {
		shape                 []int
		rows, matrices        int
		wantRows, wantColumns int
		want                  string
	}{
		{[]int{2, 2, 3}, 0, 0, 4, 6, ""},
		{[]int{2, 2, 3}, 0, 1, 4, 3, ""},
		{[]int{4, 3}, 0, 2, 4, 6, ""},
		{nil, 6, 3, 6, 6, ""},
		{[]int{2, 2, 3}, 2, 0, 2, 6, ""},
		{[]int{2, 1, 2, 3}, 0, 0, 4, 6, ""},
		{[]int{4, 3}, 0, 3, 0, 0, `optim: group 0, tensor "w": 3 matrices do not divide 4 rows of 12 elements`},
		{[]int{4, 3}, 0, -1, 0, 0, `optim: group 0, tensor "w": -1 matrices do not divide 4 rows of 12 elements`},
	} {
		p := h.trainable("w", device.Float32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
		p.Shape, p.Rows, p.Matrices = tt.shape, tt.rows, tt.matrices
		o, err := optim.New(b, optim.DefaultAdafactor(), []optim.Param{p})
		if tt.want != "" {
			require.EqualError(t, err, tt.want)
			var e *optim.ShapeError
			require.ErrorAs(t, err, &e)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, tt.wantRows, len(h.bitsIn(o, "w", "row_var")), "%v", tt)
		require.Equal(t, tt.wantColumns, len(h.bitsIn(o, "w", "col_var")), "%v", tt)
		again := p
		again.Shape, again.Rows, again.Matrices = nil, 0, 5
		require.ErrorContains(t, o.Rebind([]optim.Param{again}), "and 5")
	}
	p := h.trainable("w", device.Float32, 1, 2, 3, 4, 5, 6, 7, 8)
	p.Shape = []int{2, 2, 2} // no numbers of columns: one matrix of rows
	o, err := optim.New(b, optim.DefaultAdamMini(), []optim.Param{p})
	require.NoError(t, err)
	require.Equal(t, 4, len(h.bitsIn(o, "w", "vmean")))
}

// matrices are tensors of many shapes, under one algorithm.
func (h *harness) matrices(shapes [][]int) (params []optim.Param) {
	for i, shape := range shapes {
		n := 1
		for _, k := range shape {
			n *= k
		}
		x := make([]float64, n)
		for k := range x {
			x[k] = float64((k*k+i)%17)/4 - 2
		}
		p := h.trainable(fmt.Sprint(i), device.Float32, x...)
		p.Shape = shape
		params = append(params, p)
	}
	return params
}

var manyShapes = [][]int{{3, 4}, {12}, {2, 3, 5}, {1, 7}, {7, 1}, {}, {0, 5}, {300, 70}, {4, 2, 3, 3}, {0, 2, 3}, {3, 100, 70}}

// A group of matrices and vectors has the state of each, and what each computes by itself, with the reference's bits.
func TestMatricesAndVectors(t *testing.T) {
	onExecutors(t, matricesAndVectors)
}

func matricesAndVectors(t *testing.T, b kernels.Backend) {
	h := onBackend(t, b)
	alg := optim.DefaultAdafactor()
	alg.Beta1 = 0.5
	params := h.matrices(manyShapes)
	o := optimizerOf(t, b, alg, params)
	stepping(t, o, 3)
	for i, shape := range manyShapes {
		name := fmt.Sprint(i)
		lengths := map[string]int{}
		for slot, b := range must2(o.States(name)) {
			lengths[slot] = b.Len()
		}
		n := params[i].Value.Len()
		want := map[string]int{"exp_avg": n, "variance": n}
		if len(shape) > 1 {
			want = map[string]int{"exp_avg": n, "row_var": 0, "col_var": 0}
			if n > 0 {
				want["col_var"] = shape[len(shape)-1]
				want["row_var"] = n / want["col_var"]
				for _, k := range shape[:len(shape)-2] {
					want["col_var"] *= k
				}
			}
		}
		require.Equal(t, want, lengths, "%v", shape)
		alone := h.matrices(manyShapes)[i]
		one := optimizerOf(t, byReference{b}, alg, []optim.Param{alone})
		stepping(t, one, 3)
		for slot := range want {
			require.Equal(t, h.bitsIn(one, name, slot), h.bitsIn(o, name, slot), "%v %s", shape, slot)
		}
		require.Equal(t, h.bitsIn(one, name, optim.ParamSlot), h.bitsIn(o, name, optim.ParamSlot), "%v", shape)
		require.NoError(t, one.Close())
	}
	_, err := o.State("0", "row.G")
	require.EqualError(t, err, `optim: group 0, tensor "0": has no state "row.G", only ["exp_avg" "row_var" "col_var"]`)
}

// A training with state of rows and columns goes on from a dict with the same bits; what does not fit is said.
func TestRowsAreLoaded(t *testing.T) {
	b, h := onCPU(t)
	made := func(shapes [][]int) *optim.Optimizer {
		return optimizerOf(t, b, optim.DefaultAdafactor(), h.matrices(shapes))
	}
	one, other := made(manyShapes), made(manyShapes)
	stepping(t, one, 3)
	stepping(t, other, 1)
	d := dictOf(t, one)
	x, ok := d.Groups[0].Tensors[0].Slot("row_var")
	require.True(t, ok)
	require.Equal(t, 3, x.Len)
	require.NoError(t, other.LoadStateDict(nil, d, optim.LoadOptions{}))
	stepping(t, one, 2)
	stepping(t, other, 2)
	alike(t, one, other)

	for _, tt := range []struct {
		from, to []int
		want     string
	}{
		{[]int{3, 4}, []int{4, 3}, "row_var: shape: saved 3 elements, here 4 numbers"},
		{[]int{12}, []int{4, 3}, "row_var"},
		{[]int{4, 3}, []int{12}, "row_var"},
	} {
		var mismatch *optim.MismatchError
		err := made([][]int{tt.to}).LoadStateDict(nil, dictOf(t, made([][]int{tt.from})), optim.LoadOptions{})
		require.ErrorAs(t, err, &mismatch)
		require.ErrorContains(t, err, tt.want)
	}
	whole := made([][]int{{4, 3}})
	half := made([][]int{{2, 3}})
	err := half.LoadStateDict(nil, dictOf(t, whole), optim.LoadOptions{Pieces: map[string][]optim.Piece{"0": {{Tensor: "0", From: 0, To: 6}}}})
	var mismatch *optim.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Equal(t, []optim.Mismatch{{Tensor: "0", Slot: "col_var", What: optim.MismatchPiece, Saved: `of all of "0"`, Here: "of pieces"}}, mismatch.Mismatches)
}

// What pieces of whole rows had is theirs: a training of four shards, one of them without rows, goes on in two, and as one, with the same bits.
func TestRowsOfPieces(t *testing.T) {
	b, h := onCPU(t)
	alg := optim.DefaultAdamMini()
	const columns = 5
	made := func(ends ...int) *optim.Optimizer { // rows from one end to the next
		all := h.matrices([][]int{{ends[len(ends)-1], columns}})[0]
		values, grads := h.values(all.Value), h.values(all.Grad)
		var params []optim.Param
		for i := range ends[1:] {
			lo, hi := ends[i]*columns, ends[i+1]*columns
			params = append(params, optim.Param{Name: fmt.Sprint(i), Shape: []int{ends[i+1] - ends[i], columns},
				Value: h.buffer(device.Float32, values[lo:hi]), Grad: h.buffer(device.Float32, grads[lo:hi])})
		}
		return optimizerOf(t, b, alg, params)
	}
	all := func(o *optim.Optimizer, slot string) (out []uint64) {
		for _, p := range o.Params() {
			if p.Value.Len() > 0 {
				out = append(out, h.bitsIn(o, p.Name, slot)...)
			}
		}
		return out
	}
	piece := func(name string, from, to int) optim.Piece { return optim.Piece{Tensor: name, From: from, To: to} }
	four, two, one := made(0, 3, 3, 4, 9), made(0, 5, 9), made(0, 9)
	for _, o := range []*optim.Optimizer{four, two, one} {
		stepping(t, o, 3)
	}
	want := map[string][]uint64{}
	for _, slot := range []string{optim.ParamSlot, "exp_avg", "vmean"} {
		want[slot] = all(one, slot)
		require.Equal(t, want[slot], all(four, slot), slot)
	}
	d := dictOf(t, four)
	stepping(t, one, 2)
	for _, tt := range []struct {
		o      *optim.Optimizer
		pieces map[string][]optim.Piece
	}{
		{two, map[string][]optim.Piece{
			"0": {piece("0", 0, 3*columns), piece("1", 0, 0), piece("2", 0, columns), piece("3", 0, columns)}, "1": {piece("3", columns, 5*columns)}}},
		{made(0, 9), map[string][]optim.Piece{"0": {piece("0", 0, 3*columns), piece("2", 0, columns), piece("3", 0, 5*columns), piece("1", 0, 0)}}},
	} {
		require.NoError(t, tt.o.LoadStateDict(nil, d, optim.LoadOptions{Pieces: tt.pieces}))
		for slot := range want {
			require.Equal(t, want[slot], all(tt.o, slot), slot)
		}
		stepping(t, tt.o, 2)
		for slot := range want {
			require.Equal(t, all(one, slot), all(tt.o, slot), slot)
		}
	}
	for _, tt := range []struct {
		o      *optim.Optimizer
		pieces []optim.Piece
		want   []optim.Mismatch
	}{
		{made(0, 2), []optim.Piece{piece("0", 1, 2*columns+1)},
			[]optim.Mismatch{{Tensor: "0", Slot: "vmean", What: optim.MismatchPiece, Saved: `"0" from 1 to 11`, Here: "whole rows of 5"}}},
		{made(0, 2), []optim.Piece{piece("0", 0, 2*columns-1), piece("3", 0, 1)}, []optim.Mismatch{
			{Tensor: "0", Slot: "vmean", What: optim.MismatchPiece, Saved: `"0" from 0 to 9`, Here: "whole rows of 5"},
			{Tensor: "0", Slot: "vmean", What: optim.MismatchPiece, Saved: `"3" from 0 to 1`, Here: "whole rows of 5"}}},
	} {
		var mismatch *optim.MismatchError
		pieces := map[string][]optim.Piece{"0": tt.pieces}
		require.ErrorAs(t, tt.o.LoadStateDict(nil, d, optim.LoadOptions{Pieces: pieces}), &mismatch)
		for _, m := range tt.want {
			require.Contains(t, mismatch.Mismatches, m)
		}
	}
	other := optimizerOf(t, b, alg, h.matrices([][]int{{3, 10}}))
	var mismatch *optim.MismatchError
	require.ErrorAs(t, other.LoadStateDict(nil, d, optim.LoadOptions{Pieces: map[string][]optim.Piece{"0": {piece("0", 0, 10), piece("3", 0, 20)}}}), &mismatch)
	require.Contains(t, mismatch.Mismatches, optim.Mismatch{Tensor: "0", Slot: "vmean", What: optim.MismatchShape, Saved: "3 rows of 15 elements", Here: "rows of 10"})
}

// Other buffers have the shape of those before, and state of rows and columns stays with them.
func TestRowsAreRebound(t *testing.T) {
	b, h := onCPU(t)
	stay, move := h.matrices([][]int{{2, 3}})[0], h.matrices([][]int{{2, 3}})[0]
	one := optimizerOf(t, b, optim.DefaultAdafactor(), []optim.Param{stay})
	other := optimizerOf(t, b, optim.DefaultAdafactor(), []optim.Param{move})
	stepping(t, one, 2)
	stepping(t, other, 2)
	again := optim.Param{Name: "0", Value: h.buffer(device.Float32, h.values(move.Value)), Grad: move.Grad}
	for _, tt := range []struct {
		shape []int
		rows  int
		want  string
	}{
		{[]int{3, 2}, 0, `optim: group 0, tensor "0": has the shape [2 3] and 2 rows of 1 matrices, and keeps them: it is given [3 2], 0 and 0`},
		{nil, 3, `optim: group 0, tensor "0": has the shape [2 3] and 2 rows of 1 matrices, and keeps them: it is given [], 3 and 0`},
		{nil, 0, ""},
		{[]int{2, 3}, 2, ""},
	} {
		again.Shape, again.Rows = tt.shape, tt.rows
		if err := other.Rebind([]optim.Param{again}); tt.want != "" {
			var e *optim.TensorError
			require.ErrorAs(t, err, &e)
			require.EqualError(t, err, tt.want)
			continue
		} else {
			require.NoError(t, err)
		}
		stepping(t, one, 1)
		stepping(t, other, 1)
		for _, slot := range []string{optim.ParamSlot, "row_var", "col_var"} {
			require.Equal(t, h.bitsIn(one, "0", slot), h.bitsIn(other, "0", slot), slot)
		}
	}
	empty := optim.Param{Name: "empty", Value: h.buffer(device.Float32, nil), Grad: h.buffer(device.Float32, nil), Rows: 7}
	require.NoError(t, other.AddGroup(optim.DefaultAdafactor(), []optim.Param{empty}))
	require.NoError(t, other.Rebind([]optim.Param{empty}))
	empty.Rows = 6
	require.EqualError(t, other.Rebind([]optim.Param{empty}), `optim: group 1, tensor "empty": has the shape [0] and 0 rows of 0 matrices, and keeps them: it is given [], 6 and 0`)
}

// State of rows and columns may be the caller's.
func TestGivenRows(t *testing.T) {
	b, h := onCPU(t)
	p := h.matrices([][]int{{2, 3}})[0]
	rows, columns := h.buffer(device.Float32, []float64{0, 0}), h.buffer(device.Float32, []float64{0, 0, 0})
	p.State = map[string]*device.Buffer{"row_var": columns}
	_, err := optim.New(byReference{b}, optim.DefaultAdafactor(), []optim.Param{p})
	var length *device.LengthError
	require.ErrorAs(t, err, &length)
	require.Equal(t, device.LengthError{What: "state row_var", Got: 3, Ref: "rows", Want: 2}, *length)
	p.State = map[string]*device.Buffer{"row.G": rows}
	_, err = optim.New(byReference{b}, optim.DefaultAdafactor(), []optim.Param{p})
	require.EqualError(t, err, `optim: group 0, tensor "0": has no state "row.G", only ["row_var" "col_var"]`)
	p.State = map[string]*device.Buffer{"row_var": rows, "col_var": columns}
	o := optimizerOf(t, b, optim.DefaultAdafactor(), []optim.Param{p})
	stepping(t, o, 1)
	require.NotContains(t, h.values(rows), 0.0)
	got, err := o.State("0", "col_var")
	require.NoError(t, err)
	require.Same(t, columns, got)
}

// What is planned of shapes is what New allocates, to the byte.
func TestPlanOfShapesIsAllocated(t *testing.T) {
	for _, shapes := range [][][]int{nil, {{3, 4}}, {{12}}, manyShapes, {{4096, 1 << 10}, {1 << 19, 2}, {7}}} {
		for _, alg := range []optim.Algorithm{optim.DefaultAdafactor(), optim.DefaultSGD(), optim.Stored{Algorithm: optim.DefaultAdafactor(), Master: optim.MasterFloat32}} {
			p, err := optim.NewPlanOfShapes(alg, device.BFloat16, device.BFloat16, shapes)
			require.NoError(t, err)
			c := newCounted(t, nil, sheet{next: new(uint64)})
			require.Equal(t, p.State.Total, allocated(t, c, alg, c.shaped(t, device.BFloat16, shapes)), "%v", shapes)
			var sum int64
			for _, b := range p.Buffers {
				sum += b.Total
			}
			require.Equal(t, p.Resident.Total, sum)
		}
	}
	_, err := optim.NewPlanOfShapes(optim.DefaultAdafactor(), device.Float32, device.Float32, [][]int{{2, -3}})
	require.ErrorIs(t, err, device.ErrRange)
}

// The shapes of a model that is placed are those of its parameters.
func TestPlacedShape(t *testing.T) {
	b := cpu.NewThreads(1)
	defer b.Close()
	m, err := optim.Place(b, map[string][]float32{"w": make([]float32, 6)}, nil)
	require.NoError(t, err)
	defer m.Close()
	require.EqualError(t, m.SetShape("v", 2, 3), `optim: set shape: there is no tensor "v"`)
	require.EqualError(t, m.SetShape("w", 2, 4), `optim: set shape: tensor "w": shape [2 4] is not that of 6 elements`)
	require.NoError(t, m.SetShape("w", 2, 3))
	require.Equal(t, []int{2, 3}, m.Params()[0].Shape)
}

func must2[K, V any](seq iter.Seq2[K, V], err error) iter.Seq2[K, V] {
	if err != nil {
		panic(err)
	}
	return seq
}

// State of rows and columns that is the caller's moves, as other state does.
func TestRowsMove(t *testing.T) {
	b, h := onCPU(t)
	stay, move := h.matrices([][]int{{2, 3}})[0], h.matrices([][]int{{2, 3}})[0]
	elsewhere := func(n int) (*device.Buffer, []float32) {
		x := make([]float32, n)
		buffer, err := b.WrapAt(device.Float32, n, unsafe.Pointer(unsafe.SliceData(x)))
		require.NoError(t, err)
		return buffer, x
	}
	rows, atRows := elsewhere(2)
	columns, _ := elsewhere(3)
	move.State = map[string]*device.Buffer{"row_var": rows, "col_var": columns}
	one := optimizerOf(t, b, optim.DefaultAdafactor(), []optim.Param{stay})
	other := optimizerOf(t, b, optim.DefaultAdafactor(), []optim.Param{move})
	stepping(t, one, 1)
	stepping(t, other, 1)
	require.NoError(t, b.Device().DefaultStream().Synchronize())
	to := slices.Clone(atRows)
	clear(atRows)
	require.NoError(t, other.Move(optim.Row{Name: "row_var", At: []unsafe.Pointer{unsafe.Pointer(unsafe.SliceData(to))}}))
	stepping(t, one, 1)
	stepping(t, other, 1)
	for _, slot := range []string{optim.ParamSlot, "row_var", "col_var"} {
		require.Equal(t, h.bitsIn(one, "0", slot), h.bitsIn(other, "0", slot), slot)
	}
	require.Equal(t, []float32{0, 0}, atRows)
	require.EqualError(t, other.Move(optim.Row{Name: "row.G", At: []unsafe.Pointer{nil}}),
		`optim: move: group 0 has no "row.G", only "value", "grad" and the state ["exp_avg" "variance" "grad_accumulator" "row_var" "col_var"]`)
}

// A rule with rows and columns that is read from its source has the bits of the compiled one, where the functions themselves run too. The option Matrix
// is the tensor's to set.
func TestReadRows(t *testing.T) {
	for _, implementation := range []string{"", "scalar"} {
		t.Setenv(cpu.Environment, implementation)
		b := cpu.NewThreads(1)
		h := onBackend(t, b)
		for _, alg := range []optim.Algorithm{optim.DefaultAdafactor(), optim.DefaultCAME(), optim.DefaultAdamMini()} {
			s, err := alg.Setting()
			require.NoError(t, err)
			var bits [2]map[string][]uint64
			for k, a := range []optim.Algorithm{alg, ofRead{alg, readAgain(t, s.Rule)}} {
				o := optimizerOf(t, b, a, h.matrices([][]int{{3, 4}, {12}, {5, 70}}))
				stepping(t, o, 2)
				bits[k] = map[string][]uint64{}
				for i := range 3 {
					name := fmt.Sprint(i)
					bits[k][name] = h.bitsIn(o, name, optim.ParamSlot)
					for slot := range must2(o.States(name)) {
						bits[k][name+slot] = h.bitsIn(o, name, slot)
					}
				}
				require.NoError(t, o.Close())
			}
			require.Equal(t, bits[0], bits[1], s.Name)
		}
		require.NoError(t, b.Close())
	}
	setting, err := optim.DefaultAdamMini().Setting()
	require.NoError(t, err)
	_, err = optim.FromRule(setting.Rule, map[string]float64{"lr": 1, "beta1": 0, "beta2": 0, "eps": 0, "matrix": 1})
	require.EqualError(t, err, `optim: adammini: "matrix" is no hyperparameter: a tensor's shape says whether it is a matrix`)
}

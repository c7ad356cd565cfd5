package optim_test

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// perTensor is an optimizer of two groups, one of which has for each tensor what the other has for each element.
func perTensor(t *testing.T, b kernels.Backend) (*harness, *optim.Optimizer) {
	h := onBackend(t, b)
	param := func(name string, x ...float64) optim.Param {
		return optim.Param{Name: name, Value: h.buffer(device.Float32, x), Grad: h.buffer(device.Float32, x)}
	}
	o := optimizerOf(t, b, optim.DefaultNovoGrad(), []optim.Param{param("w", 3, 4), param("none")})
	require.NoError(t, o.AddGroup(optim.DefaultAdamW(), []optim.Param{param("v", 1, 2)}))
	return h, o
}

// State that a tensor has once is found by its name, and what is written to it counts from the next step on.
func TestTensorState(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h, o := perTensor(t, b)
		names, err := o.StateNames(0)
		require.NoError(t, err)
		require.Equal(t, []string{"exp_avg", "exp_avg_sq"}, names)
		v, err := o.State("w", "exp_avg_sq")
		require.NoError(t, err)
		require.Equal(t, device.Float64, v.DType())
		require.Equal(t, []float64{0}, h.values(v))
		require.NoError(t, o.Step(nil))
		require.Equal(t, []float64{25}, h.values(v), "the first gradient's squares")
		none, err := o.State("none", "exp_avg_sq")
		require.NoError(t, err)
		require.Equal(t, []float64{0}, h.values(none))
		h.set(v, []float64{1e6})
		require.NoError(t, o.Step(nil))
		beta2, rest := float64(float32(0.999)), 1-0.999
		require.Equal(t, []float64{float64(beta2*1e6) + float64(float64(float32(rest))*25)}, h.values(v))
		require.NoError(t, o.Close())
	})
}

func TestTensorStateIsTheOptimizers(t *testing.T) {
	b, h := onCPU(t)
	p := optim.Param{Name: "w", Value: h.buffer(device.Float32, []float64{1}), Grad: h.buffer(device.Float32, []float64{1}),
		State: map[string]*device.Buffer{"exp_avg_sq": h.buffer(device.Float64, []float64{1})}}
	_, err := optim.New(b, optim.DefaultNovoGrad(), []optim.Param{p})
	require.EqualError(t, err, `optim: group 0, tensor "w": state exp_avg_sq is one number of the tensor, in memory of the optimizer: copy it to the buffer that State returns`)
}

// A dict's state of a tensor must be that: one number, of a whole tensor, of the type, and not where another group has one for each element.
func TestTensorStateMismatches(t *testing.T) {
	slot := func(d *optim.StateDict, group int) *optim.Numbers {
		for i := range d.Groups[group].Tensors[0].Numbers {
			if n := &d.Groups[group].Tensors[0].Numbers[i]; n.Slot == "exp_avg_sq" {
				return n
			}
		}
		t.Fatal("no exp_avg_sq")
		return nil
	}
	for _, tt := range []struct {
		name string
		edit func(d *optim.StateDict)
		how  optim.LoadOptions
		want string
	}{
		{"missing", func(d *optim.StateDict) { d.Groups[0].Tensors[0].Numbers = d.Groups[0].Tensors[0].Numbers[:2] }, optim.LoadOptions{}, `group 0, tensor "w", exp_avg_sq: missing, here one number`},
		{"one for each element", func(d *optim.StateDict) { slot(d, 0).Len = 2 }, optim.LoadOptions{},
			`group 0, tensor "w", exp_avg_sq: shape: saved 2 elements, here one number`},
		{"one for a tensor", func(d *optim.StateDict) { slot(d, 1).Len = 1 }, optim.LoadOptions{},
			`group 1, tensor "v", exp_avg_sq: shape: saved one number, here 2 elements`},
		{"other state", func(d *optim.StateDict) { d.Groups[1].Tensors[0].Numbers[1].Len = 1 }, optim.LoadOptions{},
			`group 1, tensor "v", exp_avg: invalid: saved 1 elements in shape [2]`},
		{"type", func(d *optim.StateDict) { slot(d, 0).DType = device.Float32 }, optim.LoadOptions{},
			`group 0, tensor "w", exp_avg_sq: type: saved float32, here float64`},
		{"negative", func(d *optim.StateDict) { *slot(d, 0) = number(-1) }, optim.LoadOptions{},
			`group 0, tensor "w", exp_avg_sq: invalid: saved -1, here 0 or more`},
		{"no number", func(d *optim.StateDict) { *slot(d, 0) = number(math.NaN()) }, optim.LoadOptions{},
			`group 0, tensor "w", exp_avg_sq: invalid: saved NaN, here 0 or more`},
		{"pieces", func(*optim.StateDict) {}, optim.LoadOptions{Pieces: map[string][]optim.Piece{"w": {{Tensor: "w", From: 1, To: 2}, {Tensor: "w", From: 0, To: 1}}}},
			`group 0, tensor "w", exp_avg_sq: piece: saved of all of "w", here of pieces`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := cpu.NewThreads(1)
			defer b.Close()
			_, saved := perTensor(t, b)
			require.NoError(t, saved.Step(nil))
			d, err := saved.StateDict(nil)
			require.NoError(t, err)
			tt.edit(d)
			_, o := perTensor(t, b)
			before, err := o.StateDict(nil)
			require.NoError(t, err)
			err = o.LoadStateDict(nil, d, tt.how)
			var mismatch *optim.MismatchError
			require.ErrorAs(t, err, &mismatch)
			require.Equal(t, tt.want, mismatch.Mismatches[0].String())
			after, err := o.StateDict(nil)
			require.NoError(t, err)
			same(t, "after a load that failed", before, after)
		})
	}
}

// number is a tensor's exp_avg_sq.
func number(x float64) optim.Numbers {
	return optim.NewNumbers("exp_avg_sq", device.Float64, 1, func(_ int, to []byte) error {
		binary.NativeEndian.PutUint64(to, math.Float64bits(x))
		return nil
	})
}

// State of a rule that the optimizer does not have is not called damaged: the rule is what does not fit.
func TestTensorStateOfAnotherRule(t *testing.T) {
	b := cpu.NewThreads(1)
	defer b.Close()
	h, saved := perTensor(t, b)
	d, err := saved.StateDict(nil)
	require.NoError(t, err)
	x := func() *device.Buffer { return h.buffer(device.Float32, []float64{3, 4}) }
	o := optimizerOf(t, b, optim.DefaultLAMB(), []optim.Param{{Name: "w", Value: x(), Grad: x()}})
	var mismatch *optim.MismatchError
	require.ErrorAs(t, o.LoadStateDict(nil, d, optim.LoadOptions{}), &mismatch)
	require.Equal(t, "group 0: algorithm: saved NovoGrad, here LAMB", mismatch.Mismatches[0].String())
	require.ErrorAs(t, o.LoadStateDict(nil, d, optim.LoadOptions{Regroup: true, Convert: true}), &mismatch)
	for _, m := range mismatch.Mismatches {
		require.NotEqual(t, optim.MismatchInvalid, m.What)
	}
}

// A tensor takes its number with it: to another name as a whole, to another group, and out of another type.
func TestTensorStateMoves(t *testing.T) {
	b := cpu.NewThreads(1)
	defer b.Close()
	_, saved := perTensor(t, b)
	require.NoError(t, saved.Step(nil))
	d, err := saved.StateDict(nil)
	require.NoError(t, err)
	for i, n := range d.Groups[0].Tensors[0].Numbers {
		if n.Slot == "exp_avg_sq" { // as a program has it that keeps float32
			d.Groups[0].Tensors[0].Numbers[i] = optim.NewNumbers(n.Slot, device.Float32, 1, func(_ int, to []byte) error {
				copy(to, []byte{0, 0, 0xc8, 0x41}) // 25
				return nil
			})
		}
	}
	h := onBackend(t, b)
	param := func(name string) optim.Param {
		return optim.Param{Name: name, Value: h.buffer(device.Float32, []float64{0, 0}), Grad: h.buffer(device.Float32, []float64{0, 0})}
	}
	o := optimizerOf(t, b, optim.DefaultAdamW(), []optim.Param{param("v")})
	require.NoError(t, o.AddGroup(optim.DefaultNovoGrad(), []optim.Param{param("weight")}))
	require.NoError(t, saved.Remove("none"))
	for i := range d.Groups[0].Tensors {
		if d.Groups[0].Tensors[i].Name == "none" {
			d.Groups[0].Tensors = d.Groups[0].Tensors[:i]
			break
		}
	}
	require.NoError(t, o.LoadStateDict(nil, d, optim.LoadOptions{Regroup: true, Convert: true, Pieces: map[string][]optim.Piece{"weight": {{Tensor: "w", From: 0, To: 2}}}}))
	v, err := o.State("weight", "exp_avg_sq")
	require.NoError(t, err)
	require.Equal(t, []float64{25}, h.values(v))
}

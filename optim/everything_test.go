package optim_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// distant is a training of tensors of these lengths, each in the group that is given, by Prodigy, whose gradients lead to 1.
type distant struct {
	*harness
	o      *optim.Optimizer
	params []optim.Param
}

func newDistant(t *testing.T, b kernels.Backend, dtype device.DType, algorithms []optim.Algorithm, lengths, groups []int) *distant {
	tr := &distant{harness: onBackend(t, b)}
	by := map[int][]optim.Param{}
	first := 0
	for i, n := range lengths {
		x := make([]float64, n)
		for k := range x {
			x[k] = math.Sin(float64(first + k))
		}
		first += n
		p := optim.Param{Name: fmt.Sprint("t", i), Value: tr.buffer(dtype, x), Grad: tr.buffer(dtype, make([]float64, n))}
		by[groups[i]] = append(by[groups[i]], p)
		tr.params = append(tr.params, p)
	}
	var err error
	tr.o, err = optim.New(b, algorithms[0], by[0])
	require.NoError(t, err)
	for g := 1; g < len(by); g++ {
		require.NoError(t, tr.o.AddGroup(algorithms[g%len(algorithms)], by[g]))
	}
	return tr
}

// train takes steps by gradients of (p-1)²/2.
func (tr *distant) train(steps int) {
	for range steps {
		for _, p := range tr.params {
			x := tr.values(p.Value)
			for k := range x {
				x[k]--
			}
			tr.set(p.Grad, x)
		}
		require.NoError(tr.t, tr.o.Step(nil))
	}
}

// all are the parameters' elements, one behind the other.
func (tr *distant) all() (out []float64) {
	for _, p := range tr.params {
		out = append(out, tr.values(p.Value)...)
	}
	return out
}

// number is what a tensor has of what all have together.
func (tr *distant) number(tensor, name string) float64 {
	b, err := tr.o.State(tensor, name)
	require.NoError(tr.t, err)
	return tr.numbers(b)[0]
}

func prodigy(edit func(*optim.Prodigy)) optim.Algorithm {
	return with(optim.DefaultProdigy(), func(c *optim.Prodigy) {
		c.D0 = 1e-3
		if edit != nil {
			edit(c)
		}
	})
}

// Sums are of all tensors of all groups: cut into tensors in any way, a model has one estimate, and takes the same steps.
func TestEverythingTogether(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		algorithms := []optim.Algorithm{prodigy(nil)}
		whole := newDistant(t, b, device.Float64, algorithms, []int{9020}, []int{0})
		cut := newDistant(t, b, device.Float64, algorithms, []int{4000, 3, 0, 17, 5000}, []int{0, 1, 1, 0, 2})
		// group 0 has tensors 0 and 3, so elements are in another order there
		whole.train(12)
		cut.train(12)
		require.InDeltaSlice(t, whole.all(), cut.all(), 1e-9)
		for _, name := range []string{"d", "d_max", "d_numerator"} {
			want, got := whole.number("t0", name), cut.number("t0", name)
			require.InEpsilon(t, want, got, 1e-9, name)
			for _, tensor := range []string{"t1", "t2", "t4"} {
				require.Equal(t, got, cut.number(tensor, name))
			}
		}
		require.Greater(t, whole.number("t0", "d"), 1.5e-3)
		require.NoError(t, cut.o.RemoveGroup(0)) // and with it the tensors that the numbers were made with
		cut.params = []optim.Param{cut.params[1], cut.params[2], cut.params[4]}
		d := cut.number("t4", "d")
		cut.train(1)
		require.GreaterOrEqual(t, cut.number("t4", "d"), d)
		require.NoError(t, whole.o.Close())
		require.NoError(t, cut.o.Close())
	})
}

// Groups may decay as they like. What enters the sums must be the same for all of them.
func TestEverythingOfGroups(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		decays := []optim.Algorithm{prodigy(nil), prodigy(func(c *optim.Prodigy) { c.WeightDecay, c.Eps = 0.5, 1e-6 })}
		tr := newDistant(t, b, device.Float32, decays, []int{30, 40}, []int{0, 1})
		tr.train(3)
		require.NoError(t, tr.o.SetLR(0.5, 1))
		before := tr.all()
		err := tr.o.Step(nil)
		require.ErrorIs(t, err, device.ErrUnsupported)
		require.ErrorContains(t, err, `group 1, tensor "t1"`)
		require.ErrorContains(t, err, "to which group 0 gives Rate 1, and group 1 0.5: nothing was updated")
		require.Equal(t, before, tr.all())
		require.NoError(t, tr.o.SetLR(0.5, 0))
		tr.train(1)
		require.NotEqual(t, before, tr.all())

		value, grad := tr.buffer(device.BFloat16, make([]float64, 5)), tr.buffer(device.BFloat16, make([]float64, 5))
		err = tr.o.AddGroup(prodigy(nil), []optim.Param{{Name: "other", Value: value, Grad: grad}})
		require.ErrorIs(t, err, device.ErrUnsupported)
		require.ErrorContains(t, err, `group 2, tensor "other"`)
		require.ErrorContains(t, err, `numbers together with tensor "t0" of group 0`)
		require.ErrorContains(t, err, "param=bf16")
		require.NoError(t, tr.o.AddGroup(optim.DefaultAdamW(), []optim.Param{{Name: "other", Value: value, Grad: grad}})) // which has nothing with them
		require.ErrorIs(t, tr.o.SetClipTensorNorm(1), device.ErrUnsupported)
		require.ErrorIs(t, tr.o.SetAdaptiveClip(1, 1e-3), device.ErrUnsupported)
		tr.train(1)
		require.NoError(t, tr.o.Close())
	})
}

// A tensor that is left out of steps adds nothing to the sums, and has the others' numbers when it comes back.
func TestEverythingWithoutATensor(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		one := newDistant(t, b, device.Float32, []optim.Algorithm{prodigy(nil)}, []int{300}, []int{0})
		two := newDistant(t, b, device.Float32, []optim.Algorithm{prodigy(nil)}, []int{300, 50}, []int{0, 0})
		without(t, b)
		left := two.params[1]
		require.NoError(t, two.o.SetGrad("t1", nil))
		one.train(8)
		two.train(8)
		require.Equal(t, one.all(), two.all()[:300])
		require.Equal(t, one.number("t0", "d"), two.number("t1", "d"))
		require.NoError(t, two.o.SetGrad("t1", left.Grad))
		p0 := two.values(left.Value)
		d := two.number("t1", "d")
		two.train(1)
		state, err := two.o.State("t1", "p0")
		require.NoError(t, err)
		require.Equal(t, p0, two.numbers(state))
		require.NotEqual(t, p0, two.values(left.Value))
		require.GreaterOrEqual(t, two.number("t1", "d"), d)
		for range 3 { // a tensor that goes on by itself has the numbers, too
			require.NoError(t, two.o.SetGrad("t0", nil))
			two.train(1)
			require.NoError(t, two.o.SetGrad("t0", two.params[0].Grad))
			two.train(1)
		}
		require.NoError(t, one.o.Close())
		require.NoError(t, two.o.Close())
	})
}

// without holds steps of tensors in three groups, which come and go, to the reference's, whose launches have those alone that take the step.
func without(t *testing.T, b kernels.Backend) {
	var runs [2]*distant
	for i, of := range []kernels.Backend{b, byReference{b}} {
		tr := newDistant(t, of, device.Float32, []optim.Algorithm{prodigy(nil)}, []int{9000, 50, 4097, 1}, []int{0, 1, 1, 2})
		runs[i] = tr
		for _, left := range [][]int{{}, {1}, {0, 2}, {0}, {}, {3}, {1, 2, 3}, {}} {
			for _, k := range left {
				require.NoError(t, tr.o.SetGrad(tr.params[k].Name, nil))
			}
			tr.train(2)
			for _, k := range left {
				require.NoError(t, tr.o.SetGrad(tr.params[k].Name, tr.params[k].Grad))
			}
		}
	}
	require.Equal(t, wordsOf(runs[1].all()...), wordsOf(runs[0].all()...))
	for _, name := range []string{"d", "d_max", "d_numerator"} {
		require.Equal(t, runs[1].number("t3", name), runs[0].number("t3", name))
	}
	require.Greater(t, runs[0].number("t3", "d"), 2e-3)
	for _, tr := range runs {
		require.NoError(t, tr.o.Close())
	}
}

// A dict has the numbers beside each tensor. They must be one, and tensors in the order in which they are added up.
func TestEverythingLoads(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		make2 := func(lengths ...int) *distant {
			return newDistant(t, b, device.Float32, []optim.Algorithm{prodigy(nil)}, lengths, []int{0, 0})
		}
		one := make2(5000, 70)
		one.train(9)
		d, err := one.o.StateDict(nil)
		require.NoError(t, err)
		d = through(t, d)
		other := make2(5000, 70)
		require.NoError(t, other.o.LoadStateDict(nil, d, optim.LoadOptions{}))
		require.Equal(t, one.number("t0", "d"), other.number("t1", "d"))
		one.train(4)
		other.train(4)
		want, err := one.o.StateDict(nil)
		require.NoError(t, err)
		got, err := other.o.StateDict(nil)
		require.NoError(t, err)
		same(t, "after the load", want, got)

		at := func(i int) *optim.TensorState { return &d.Groups[0].Tensors[i] }
		*at(0), *at(1) = *at(1), *at(0)
		var mismatch *optim.MismatchError
		require.ErrorAs(t, other.o.LoadStateDict(nil, d, optim.LoadOptions{}), &mismatch)
		require.Equal(t, optim.MismatchOrder, mismatch.Mismatches[0].What)
		*at(0), *at(1) = *at(1), *at(0)
		for i, n := range at(1).Numbers {
			if n.Slot == "d" {
				at(1).Numbers[i] = optim.NewNumbers("d", device.Float64, 1, func(_ int, to []byte) error { clear(to); return nil })
			}
		}
		require.ErrorAs(t, other.o.LoadStateDict(nil, d, optim.LoadOptions{}), &mismatch)
		require.Equal(t, []any{"t1", "d", optim.MismatchInvalid, "one number of all tensors"},
			[]any{mismatch.Mismatches[0].Tensor, mismatch.Mismatches[0].Slot, mismatch.Mismatches[0].What, mismatch.Mismatches[0].Here})
		require.NoError(t, one.o.Close())
		require.NoError(t, other.o.Close())
	})
}

// A skipped step, and one without gradients or without a learning rate, leaves the numbers and the parameters as they are.
func TestEverythingStays(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		tr := newDistant(t, b, device.Float32, []optim.Algorithm{prodigy(nil)}, []int{30, 4}, []int{0, 0})
		require.NoError(t, tr.o.SetSkip(nil, optim.Skip{NonFinite: true}))
		tr.train(7)
		numbers := func() []float64 {
			return append([]float64{tr.number("t0", "d"), tr.number("t0", "d_max"), tr.number("t0", "d_numerator")}, tr.all()...)
		}
		want := numbers()
		tr.set(tr.params[1].Grad, []float64{1, 2, math.Inf(1), 4})
		require.NoError(t, tr.o.Step(nil))
		require.Equal(t, want, numbers())
		require.NoError(t, tr.o.SetSkip(nil, optim.Skip{}))
		tr.set(tr.params[1].Grad, []float64{1, 2, 3, 4})
		require.NoError(t, tr.o.SetLR(0))
		require.NoError(t, tr.o.Step(nil))
		require.Equal(t, want, numbers())
		require.NoError(t, tr.o.SetLR(1))
		fresh := newDistant(t, b, device.Float32, []optim.Algorithm{prodigy(nil)}, []int{30, 4}, []int{0, 0})
		before := fresh.all()
		require.NoError(t, fresh.o.Step(nil)) // of gradients that are 0
		require.Equal(t, before, fresh.all())
		require.Equal(t, []float64{float64(float32(1e-3)), float64(float32(1e-3)), 0}, []float64{fresh.number("t0", "d"), fresh.number("t0", "d_max"), fresh.number("t0", "d_numerator")})
		require.NoError(t, tr.o.Close())
		require.NoError(t, fresh.o.Close())
	})
}

// A tensor of another type may be there, without a gradient. With one it is refused, and the others go on when it has none again.
func TestEverythingOfOneType(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		tr := newDistant(t, b, device.Float32, []optim.Algorithm{prodigy(nil)}, []int{30, 4}, []int{0, 0})
		value, grad := tr.buffer(device.BFloat16, make([]float64, 5)), tr.buffer(device.BFloat16, make([]float64, 5))
		require.NoError(t, tr.o.AddGroup(prodigy(nil), []optim.Param{{Name: "frozen", Value: value}}))
		tr.train(3)
		require.NoError(t, tr.o.SetGrad("frozen", grad))
		before := tr.all()
		var of *optim.TensorError
		err := tr.o.Step(nil)
		require.ErrorAs(t, err, &of)
		require.Equal(t, "frozen", of.Tensor)
		require.ErrorIs(t, err, device.ErrUnsupported)
		require.Equal(t, before, tr.all())
		require.NoError(t, tr.o.SetGrad("frozen", nil))
		tr.train(3)
		require.NotEqual(t, before, tr.all())
		require.NoError(t, tr.o.Close())
	})
}

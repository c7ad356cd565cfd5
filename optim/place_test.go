package optim_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// copying is a CPU that Place does not know for one, so that it copies as for a GPU.
type copying struct{ kernels.Backend }

// onMemories runs a test where the buffers are the host's memory and where they are not.
func onMemories(t *testing.T, test func(t *testing.T, b kernels.Backend)) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		test(t, b)
		test(t, copying{b})
	})
}

// Two tensors are stepped, by the host's gradients, and are the host's again.
func TestPlace(t *testing.T) {
	onMemories(t, func(t *testing.T, b kernels.Backend) {
		w, dw, bias := []float32{1, 2, 3}, make([]float32, 3), []float32{4}
		p, err := optim.Place(b, map[string][]float32{"w": w, "bias": bias}, map[string][]float32{"w": dw})
		require.NoError(t, err)
		opt, err := optim.New(b, sgd(0.5), p.Params())
		require.NoError(t, err)
		copy(dw, []float32{2, 0, -2})
		p.Grad("bias")[0] = 1
		require.NoError(t, p.Step(opt))
		p.Grad("bias")[0] = -3
		require.NoError(t, p.Step(opt))
		require.Equal(t, []float32{-1, 2, 5}, w)
		require.Equal(t, []float32{5}, bias)
		require.NoError(t, p.Evaluate(opt))
		require.Equal(t, []float32{-1, 2, 5}, w, "SGD is evaluated where it is")
		p.Resume()
		require.Equal(t, []float32{-1, 2, 5}, w)
		w[0] = 7
		require.NoError(t, p.Upload())
		clear(dw)
		require.NoError(t, p.Step(opt))
		require.Equal(t, []float32{7, 2, 5}, w)
		require.Equal(t, []string{"w"}, []string{p.Params("w")[0].Name})
		_, err = optim.New(b, sgd(1), p.Params("nosuch"))
		require.EqualError(t, err, `optim: group 0, tensor "nosuch": value is nil`)
		require.Nil(t, p.Grad("nosuch"))
		require.NoError(t, opt.Close())
		require.NoError(t, p.Close())
	})
}

// The average of a schedule-free optimizer is elsewhere than its parameter, which training goes on from.
func TestPlacedEvaluate(t *testing.T) {
	onMemories(t, func(t *testing.T, b kernels.Backend) {
		w := []float64{0}
		p, err := optim.Place(b, map[string][]float64{"w": w}, nil)
		require.NoError(t, err)
		opt, err := optim.New(b, with(optim.DefaultScheduleFreeSGD(), func(c *optim.ScheduleFreeSGD) { c.Momentum = 0.5 }), p.Params())
		require.NoError(t, err)
		step := func(g float64) {
			p.Grad("w")[0] = g
			require.NoError(t, p.Step(opt))
		}
		// z goes to -8 and -12, their averages are -8 and -10, and the parameter is halfway between them.
		step(8)
		require.Equal(t, -8.0, w[0])
		step(4)
		require.Equal(t, -11.0, w[0])
		require.NoError(t, p.Evaluate(opt))
		require.Equal(t, -10.0, w[0])
		p.Resume()
		require.Equal(t, -11.0, w[0])
		step(0) // to an average of -32/3
		require.InDelta(t, -34./3, w[0], 1e-14)
		require.NoError(t, opt.Close())
		require.NoError(t, p.Close())
	})
}

func TestPlaceErrors(t *testing.T) {
	_, err := optim.Place[float32](nil, nil, nil)
	require.EqualError(t, err, "optim: place: the backend is nil")
	dev := cpu.New()
	for _, b := range []kernels.Backend{dev, copying{dev}} {
		_, err = optim.Place(b, map[string][]float32{"w": {1, 2}}, map[string][]float32{"w": {1}})
		require.EqualError(t, err, `optim: place: tensor "w": grad has 1 elements, value has 2`)
		_, err = optim.Place(b, map[string][]float32{"w": {1, 2}}, map[string][]float32{"v": {1, 2}})
		require.EqualError(t, err, `optim: place: there is a gradient of "v", and no value`)
	}
	require.NoError(t, dev.Close())
	_, err = optim.Place(copying{dev}, map[string][]float32{"w": {1}}, nil)
	require.ErrorIs(t, err, device.ErrClosed)
}

// What would train an average, or take values for gradients, is an error. A tensor that the optimizer does not have keeps its value.
func TestPlaceEvaluates(t *testing.T) {
	onMemories(t, func(t *testing.T, b kernels.Backend) {
		w, other := []float32{1, 2, 3}, []float32{4}
		p, err := optim.Place(b, map[string][]float32{"w": w, "other": other}, nil)
		require.NoError(t, err)
		alg := optim.DefaultScheduleFreeSGD()
		alg.LR = 0.5
		opt, err := optim.New(b, alg, p.Params("w"))
		require.NoError(t, err)
		for range 3 {
			copy(p.Grad("w"), []float32{1, -1, 2})
			require.NoError(t, p.Step(opt))
		}
		trained := append([]float32{}, w...)

		p.Resume()
		require.Equal(t, trained, w, "there was no Evaluate")
		require.NoError(t, p.Evaluate(opt))
		average := append([]float32{}, w...)
		require.NotEqual(t, trained, average)
		require.Equal(t, []float32{4}, other)
		require.EqualError(t, p.Evaluate(opt), "optim: evaluate: the values are those of Evaluate: Resume is missing")
		require.EqualError(t, p.Step(opt), "optim: step: the values are those of Evaluate: Resume is missing")
		require.EqualError(t, p.Upload(), "optim: upload: the values are those of Evaluate: Resume is missing")
		require.Equal(t, average, w)
		p.Resume()
		p.Resume()
		require.Equal(t, trained, w)
		require.Equal(t, []float32{0, 0, 0}, p.Grad("w"))
		require.NoError(t, p.Step(opt))

		none, err := optim.New(b, alg, nil)
		require.NoError(t, err)
		require.EqualError(t, p.Evaluate(none), "optim: evaluate: the optimizer has none of the tensors")
		require.NoError(t, none.Close())
		require.ErrorIs(t, p.Evaluate(none), device.ErrClosed)
		require.NoError(t, opt.Close())
		require.NoError(t, p.Close())
	})
}

// The host computes the next gradients from what was loaded, and what stands in the place of values is neither saved nor loaded over.
func TestPlacedLoads(t *testing.T) {
	onMemories(t, func(t *testing.T, b kernels.Backend) {
		w, trained := []float32{1, -2, 3}, []float32{0.25, -0.5, 0.75}
		p, err := optim.Place(b, map[string][]float32{"w": w}, nil)
		require.NoError(t, err)
		opt, err := optim.New(b, optim.Averaged{Algorithm: sgd(0.5), Decay: 0.5}, p.Params())
		require.NoError(t, err)
		step := func() {
			copy(p.Grad("w"), w)
			require.NoError(t, p.Step(opt))
		}
		step()
		step()
		saved, err := opt.StateDict(nil)
		require.NoError(t, err)
		step()
		require.NoError(t, opt.LoadStateDict(nil, saved, optim.LoadOptions{}))
		require.Equal(t, trained, w)
		require.NoError(t, p.Evaluate(opt))
		average := append([]float32{}, w...)
		require.NotEqual(t, trained, average)
		_, err = opt.StateDict(nil)
		require.EqualError(t, err, "optim: state dict: the values are those of Evaluate: Resume is missing")
		_, err = opt.LiveStateDict(nil)
		require.EqualError(t, err, "optim: live state dict: the values are those of Evaluate: Resume is missing")
		require.EqualError(t, opt.LoadStateDict(nil, saved, optim.LoadOptions{}), "optim: load state dict: the values are those of Evaluate: Resume is missing")
		require.EqualError(t, p.Params()[0].Download(), "optim: download: the values are those of Evaluate: Resume is missing")
		require.Equal(t, average, w)
		p.Resume()
		require.Equal(t, trained, w)
		w[0] = 7
		require.NoError(t, opt.LoadStateDict(nil, saved, optim.LoadOptions{WithoutValues: true}))
		require.Equal(t, []float32{7, -0.5, 0.75}, w, "values stay, the host's too")
		require.NoError(t, opt.Close())
		require.NoError(t, p.Close())
		require.NoError(t, optim.Param{}.Download(), "of a buffer alone")
	})
}

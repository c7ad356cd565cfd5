package optim_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// Tensors that move at every step are trained to the same bits as tensors that stay.
func TestRebind(t *testing.T) {
	init := [][]float64{{1, -2, 3}, {0.5, 0.25, -0.125, 7, 9}}
	grads := [][][]float64{
		{{1, 2, 3}, {1, 0, -1, 2, -2}},
		{{-1, 0.5, 0}, {3, 3, 3, 3, 3}},
		{{0, 0, 1}, {-4, 5, 0, 0, 1}},
		{{9, -9, 1}, {0, 0, 0, 0, 0}},
	}
	names := []string{"a", "b"}
	for _, dtype := range []device.DType{device.Float32, device.Float64} {
		run := func(move bool) (values []float64, norm float64, counters map[string]float64) {
			h := newHarness(t, dtype, nil)
			fresh := func(off int, x []float64) *device.Buffer { // at any distance from a round address
				whole, err := h.dev.Alloc(dtype, off+len(x))
				require.NoError(t, err)
				b, err := whole.Slice(off, off+len(x))
				require.NoError(t, err)
				h.set(b, x)
				return b
			}
			var params []optim.Param
			for i, x := range init {
				params = append(params, optim.Param{Name: names[i], Value: fresh(0, x), Grad: fresh(0, make([]float64, len(x)))})
			}
			o, err := optim.New(h.dev, with(optim.DefaultAdamW(), func(c *optim.AdamW) { c.LR, c.Betas, c.Eps, c.WeightDecay = 0.1, [2]float64{0.9, 0.99}, 1e-8, 0.1 }), params[:1])
			require.NoError(t, err)
			require.NoError(t, o.AddGroup(with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR, c.Momentum = 0.1, 0.9 }), params[1:]))
			require.NoError(t, o.SetClipNorm(2))
			o.SetSchedule(optim.StepDecay{Every: 2, Gamma: 0.5})
			for k, step := range grads {
				if move && k > 0 {
					var moved []optim.Param
					for i, p := range params {
						if k == 2 && i == 0 {
							continue // this one stays
						}
						old := p
						p.Value, p.Grad = fresh(k, h.values(p.Value)), fresh(2*k, make([]float64, p.Grad.Len()))
						h.set(old.Value, make([]float64, old.Value.Len())) // what was left is nobody's
						params[i] = p
						moved = append(moved, p)
					}
					require.NoError(t, o.Rebind(moved))
					norm, err := o.GradNorm(nil)
					require.NoError(t, err)
					require.Zero(t, norm)
				}
				for i, p := range params {
					h.set(p.Grad, step[i])
				}
				require.NoError(t, o.Step(nil))
			}
			require.Equal(t, len(grads), o.Steps())
			norm, err = o.GradNorm(nil)
			require.NoError(t, err)
			counters, err = o.GroupCounters(nil, 0)
			require.NoError(t, err)
			for i, p := range params {
				values = append(values, h.values(p.Value)...)
				name := []string{"exp_avg_sq", "momentum_buffer"}[i]
				b, err := o.State(p.Name, name)
				require.NoError(t, err)
				values = append(values, h.values(b)...)
			}
			return values, norm, counters
		}
		values, norm, counters := run(false)
		movedValues, movedNorm, movedCounters := run(true)
		require.Equal(t, values, movedValues, dtype.String())
		require.Equal(t, norm, movedNorm, dtype.String())
		require.Equal(t, counters, movedCounters, dtype.String())
	}
}

// A refused Rebind leaves all tensors where they were, those before the bad one too.
func TestRebindErrors(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1, 2, 3})
	other := cpu.New()
	defer other.Close()
	foreign, err := other.Alloc(device.Float32, 3)
	require.NoError(t, err)
	f32 := func(n int) *device.Buffer { return h.buffer(device.Float32, make([]float64, n)) }
	f64 := func(n int) *device.Buffer { return h.buffer(device.Float64, make([]float64, n)) }
	b := optim.Param{Name: "b", Value: f32(2), Grad: f32(2)}
	backend := &failing{cpuDevice: h.dev, fail: 1000}
	o, err := optim.New(backend, sgd(1), []optim.Param{{Name: "a", Value: h.value, Grad: h.grad}, b})
	require.NoError(t, err)
	ok := optim.Param{Name: "b", Value: f32(2), Grad: f32(2)}
	tests := []struct {
		name string
		p    optim.Param
		is   error
		want string
	}{
		{"no such tensor", optim.Param{Name: "c", Value: f32(3), Grad: f32(3)}, nil, `optim: rebind: there is no tensor "c"`},
		{"twice", ok, nil, `optim: group 0, tensor "b": another tensor has this name`},
		{"nil", optim.Param{Name: "a", Grad: f32(3)}, nil, `optim: group 0, tensor "a": value is nil`},
		{"foreign", optim.Param{Name: "a", Value: foreign, Grad: f32(3)}, device.ErrForeign,
			`optim: group 0, tensor "a": value: buffer of device cpu belongs to another device`},
		{"lengths", optim.Param{Name: "a", Value: f32(3), Grad: f32(2)}, nil, `optim: group 0, tensor "a": grad has 2 elements, value has 3`},
		{"another length", optim.Param{Name: "a", Value: f32(4), Grad: f32(4)}, nil,
			`optim: group 0, tensor "a": value has 4 elements, the one before has 3`},
		{"another type", optim.Param{Name: "a", Value: f64(3), Grad: f64(3)}, nil,
			`optim: group 0, tensor "a": value is float64, the one before is float32`},
		{"overlap", optim.Param{Name: "a", Value: h.value, Grad: h.value}, device.ErrOverlap,
			`optim: group 0, tensor "a": grad overlaps value of group 0, tensor "a"`},
	}
	want := []float64{1, 2, 3}
	steps := func() { // reach the first buffers
		t.Helper()
		h.set(h.grad, []float64{1, 1, 1})
		h.set(b.Grad, []float64{1, 1})
		before := h.values(b.Value)
		require.NoError(t, o.Step(nil))
		for i := range want {
			want[i]--
		}
		require.Equal(t, want, h.values(h.value))
		require.Equal(t, []float64{before[0] - 1, before[1] - 1}, h.values(b.Value))
		require.Equal(t, []float64{0, 0}, h.values(ok.Value))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := o.Rebind([]optim.Param{ok, tt.p})
			require.EqualError(t, err, tt.want)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
			steps()
		})
	}
	require.NoError(t, o.Rebind([]optim.Param{ok}))
	h.set(ok.Grad, []float64{1, 1})
	backend.compile = errors.New("no more programs")
	require.EqualError(t, o.Step(nil), "optim: step: nothing was updated: no more programs")
	require.Equal(t, []float64{0, 0}, h.values(ok.Value))
	backend.compile = nil
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{-1, -1}, h.values(ok.Value))
	require.NoError(t, o.Close())
	require.ErrorIs(t, o.Rebind([]optim.Param{ok}), device.ErrClosed)
}

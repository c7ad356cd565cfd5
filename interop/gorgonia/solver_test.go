package gorgonia_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"

	fusestep "github.com/fusestep/fusestep/interop/gorgonia"
)

// unreachable is an engine of memory that Go cannot reach, as a GPU's.
type unreachable struct{ tensor.Engine }

func (unreachable) AllocAccessible() bool { return false }

func f64(n int, shape ...int) *tensor.Dense {
	return dense(tensor.Float64, make([]float64, n), shape...)
}

// slice is a view of some columns, or of some rows.
func slice(t *testing.T, x *tensor.Dense, s ...tensor.Slice) *tensor.Dense {
	v, err := x.Slice(s...)
	require.NoError(t, err)
	return v.(*tensor.Dense)
}

func transposed(t *testing.T, x *tensor.Dense) *tensor.Dense {
	require.NoError(t, x.T())
	return x
}

// with is an algorithm's value with changes.
func with[A any](a A, change func(*A)) A {
	change(&a)
	return a
}

func sgd(lr float64) optim.SGD { return with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR = lr }) }

// A node that cannot be trained is named, and the nodes before it are as they were.
func TestNodeErrors(t *testing.T) {
	unbound := gorgonia.NewVector(gorgonia.NewGraph(), tensor.Float64, gorgonia.WithName("w"), gorgonia.WithShape(2))
	noGrad := gorgonia.NewVector(gorgonia.NewGraph(), tensor.Float64, gorgonia.WithName("w"), gorgonia.WithValue(f64(2, 2)))
	masked := f64(2, 2)
	masked.SetMask([]bool{false, true})
	shared := f64(4, 4)
	far := tensor.New(tensor.WithEngine(unreachable{tensor.StdEng{}}), tensor.WithBacking(make([]float64, 2)))
	tests := []struct {
		name string
		node gorgonia.ValueGrad
		is   error
		want string
	}{
		{"nil", nil, nil, `optim: group 0, tensor "0.1": node is nil`},
		{"no value", unbound, nil, `optim: group 0, tensor "w": value is nil`},
		{"no gradient", noGrad, nil, `optim: group 0, tensor "w": grad: No Gradient node/value found for *gorgonia.Node`},
		{"no run yet", &param{"w", f64(2, 2), nil}, nil, `optim: group 0, tensor "w": grad is nil`},
		{"scalar of another type", &param{"w", gorgonia.NewI(1), gorgonia.NewI(1)}, device.ErrUnsupported,
			`optim: group 0, tensor "w": value is a *gorgonia.I: not supported by this device`},
		{"tensor of another type", &param{"w", f64(2, 2), tensor.New(tensor.Of(tensor.Int), tensor.WithShape(2))}, device.ErrUnsupported,
			`optim: group 0, tensor "w": grad is of int: not supported by this device`},
		{"two types", &param{"w", f64(2, 2), dense(tensor.Float32, []float64{1, 2}, 2)}, nil,
			`optim: group 0, tensor "w": slot "grad": no format "f32" for calculations in float64: there are f64`},
		{"two lengths", &param{"w", gorgonia.NewF64(1), f64(2, 2)}, nil, `optim: group 0, tensor "w": grad has 2 elements, value has 1`},
		{"two shapes", &param{"w", f64(6, 2, 3), f64(6, 3, 2)}, nil, `optim: group 0, tensor "w": grad is of shape (3, 2), value of shape (2, 3)`},
		{"two orders", &param{"w", f64(6, 2, 3), transposed(t, f64(6, 3, 2))}, device.ErrUnsupported,
			`optim: group 0, tensor "w": grad has strides [1 2], value has [3 1]: not supported by this device`},
		{"gaps", &param{"w", slice(t, f64(6, 3, 2), nil, tensor.S(0)), f64(3, 3)}, device.ErrUnsupported,
			`optim: group 0, tensor "w": value has 3 elements, with gaps between them, in memory of 5: not supported by this device`},
		{"masked", &param{"w", masked, f64(2, 2)}, device.ErrUnsupported, `optim: group 0, tensor "w": value is masked: not supported by this device`},
		{"out of reach", &param{"w", far, f64(2, 2)}, device.ErrUnsupported,
			`optim: group 0, tensor "w": value is in memory that Go cannot reach: not supported by this device`},
		{"overlap", &param{"w", shared, shared}, device.ErrOverlap,
			`optim: group 0, tensor "w": grad overlaps value of group 0, tensor "w"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ok := &param{"ok", gorgonia.NewF64(1), gorgonia.NewF64(1)}
			s := newSolver(t, false, sgd(1))
			err := s.Step([]gorgonia.ValueGrad{ok, tt.node})
			var e *optim.TensorError
			require.True(t, errors.As(err, &e), "%v", err)
			require.EqualError(t, err, tt.want)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
			require.Equal(t, []float64{1, 1}, append(numbers(ok.value), numbers(ok.grad)...))
			require.NoError(t, s.Step([]gorgonia.ValueGrad{ok}), "after a refused first step any model will do")
			require.Equal(t, []float64{0, 0}, append(numbers(ok.value), numbers(ok.grad)...))
		})
	}
}

// What has no gaps is trained, whichever way it lies in memory.
func TestDenseViews(t *testing.T) {
	whole := dense(tensor.Float64, []float64{1, 2, 3, 4, 5, 6}, 3, 2)
	scalar := tensor.New(tensor.FromScalar(7.0))
	row := tensor.New(tensor.WithShape(1, 2), tensor.AsFortran([]float64{8, 9}))
	require.Len(t, row.Strides(), 1)
	turned := transposed(t, dense(tensor.Float64, []float64{1, 2, 3, 4}, 2, 2))
	turnedGrad := transposed(t, dense(tensor.Float64, []float64{1, 2, 3, 4}, 2, 2))
	model := []gorgonia.ValueGrad{
		&param{"rows", slice(t, whole, tensor.S(1, 3)), dense(tensor.Float64, []float64{1, 2, 3, 4}, 2, 2)},
		&param{"scalar", scalar, gorgonia.NewF64(1)}, // Gorgonia makes gradients of scalar tensors scalars
		&param{"row", row, dense(tensor.Float64, []float64{1, 2}, 2)},
		&param{"turned", turned, turnedGrad},
		&param{"empty", f64(0, 0), f64(0, 0)},
	}
	require.NoError(t, newSolver(t, false, sgd(1)).Step(model))
	require.Equal(t, []float64{1, 2, 2, 2, 2, 2}, numbers(whole))
	require.Equal(t, []float64{6}, numbers(scalar))
	require.Equal(t, []float64{7, 7}, numbers(row))
	require.Equal(t, []float64{0, 0, 0, 0}, numbers(turned))
}

// A step of a large tensor runs on other threads, and is over all the same when Step returns.
func TestLargeTensor(t *testing.T) {
	const n = 1 << 20
	x := make([]float64, n)
	for i := range x {
		x[i] = 1
	}
	w, g := dense(tensor.Float32, x, n), dense(tensor.Float32, x, n)
	for _, copied := range []bool{false, true} {
		s := newSolver(t, copied, sgd(0.25))
		for range 2 {
			require.NoError(t, g.Memset(float32(1)))
			require.NoError(t, s.Step([]gorgonia.ValueGrad{&param{"w", w, g}}))
		}
	}
	require.Equal(t, make([]float32, n), w.Data())
	require.Equal(t, make([]float32, n), g.Data())
}

// A later step must be given what the first was given: state is by place.
func TestModelChanges(t *testing.T) {
	f32 := dense(tensor.Float32, []float64{1, 2}, 2)
	node := func(name string, n int) *param { return &param{name, f64(n, n), f64(n, n)} }
	tests := []struct {
		name  string
		model []gorgonia.ValueGrad
		want  string
		copy  string // where tensors are copied, if that says something else
	}{
		{"fewer", []gorgonia.ValueGrad{node("a", 2)}, "interop/gorgonia: the model has 1 nodes, in the first step it had 2", ""},
		{"order", []gorgonia.ValueGrad{node("b", 2), node("a", 2)}, `optim: group 0, tensor "a": node 0 of the model is now "b"`, ""},
		{"length", []gorgonia.ValueGrad{node("a", 2), node("b", 3)}, `optim: group 0, tensor "b": value has 3 elements, the one before has 2`,
			`optim: group 0, tensor "b": value: device: upload: source has 3 elements, buffer has 2`},
		{"type", []gorgonia.ValueGrad{node("a", 2), &param{"b", f32, f32}},
			`optim: group 0, tensor "b": value is float32, the one before is float64`,
			`optim: group 0, tensor "b": value: device: upload: source is float32, buffer is float64`},
		{"type of a gradient", []gorgonia.ValueGrad{node("a", 2), &param{"b", f64(2, 2), f32}},
			`optim: group 0, tensor "b": slot "grad": no format "f32" for calculations in float64: there are f64`,
			`optim: group 0, tensor "b": grad: device: upload: source is float32, buffer is float64`},
	}
	for _, copied := range []bool{false, true} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s, copied %t", tt.name, copied), func(t *testing.T) {
				want := tt.want
				if copied && tt.copy != "" {
					want = tt.copy
				}
				s := newSolver(t, copied, with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR, c.Momentum = 1, 0.5 }))
				a, b := node("a", 2), node("b", 2)
				a.grad = dense(tensor.Float64, []float64{1, 1}, 2)
				require.NoError(t, s.Step([]gorgonia.ValueGrad{a, b}))
				require.EqualError(t, s.Step(tt.model), want)
				require.NoError(t, s.Step([]gorgonia.ValueGrad{a, b}), "a refused step changes nothing")
				require.Equal(t, []float64{-1.5, -1.5}, numbers(a.value))
				require.Equal(t, 2, s.Optimizer().Steps())
			})
		}
	}
}

// Machines of two graphs of one network train in turns, on the same values: one solver follows them, and keeps its state.
func TestGraphsInTurns(t *testing.T) {
	alg := optim.DefaultAdamW()
	want := newNet(t, tensor.Float64, true, xor)
	want.train(newSolver(t, false, alg), 6)

	a, b := newNet(t, tensor.Float64, true, xor), newNet(t, tensor.Float64, true, xor)
	for i, l := range b.learn {
		require.NoError(t, gorgonia.Let(l, a.learn[i].Value()))
	}
	s := newSolver(t, false, alg)
	for range 3 {
		a.train(s, 1)
		b.train(s, 1)
	}
	require.Equal(t, want.values(), a.values())
}

func TestNames(t *testing.T) {
	one := func(name string) gorgonia.ValueGrad { return &param{name, gorgonia.NewF64(1), gorgonia.NewF64(1)} }
	g := gorgonia.NewGraph()
	unnamed := gorgonia.NewScalar(g, tensor.Float64, gorgonia.WithValue(1.0), gorgonia.WithGrad(1.0))
	s := newSolver(t, false, optim.DefaultLion())
	require.NoError(t, s.Step([]gorgonia.ValueGrad{one("w"), one("b"), one("w"), unnamed, one("")}))
	for _, name := range []string{"w", "b", "w#2", "0.3", "0.4"} {
		_, err := s.Optimizer().State(name, "exp_avg")
		require.NoError(t, err)
	}
}

// The optimizer is configured before its first step, and in the caller's hands after it.
func TestOptimizer(t *testing.T) {
	for _, copied := range []bool{false, true} {
		w := &param{"w", f64(2, 2), nil}
		refuse := errors.New("not yet")
		s := newSolver(t, copied, sgd(1), func(o *optim.Optimizer) error {
			o.SetSchedule(optim.StepDecay{Every: 1, Gamma: 0.5})
			return refuse
		}, func(o *optim.Optimizer) error { return o.SetClipNorm(2.5) })
		step := func() error {
			w.grad = dense(tensor.Float64, []float64{3, 4}, 2)
			return s.Step([]gorgonia.ValueGrad{w})
		}
		require.Nil(t, s.Optimizer())
		require.ErrorIs(t, step(), refuse)
		require.Nil(t, s.Optimizer())
		require.Equal(t, []float64{0, 0}, numbers(w.value))

		refuse = nil
		const clip = 2.5 / (5 + 1e-6)
		require.NoError(t, step())
		require.Equal(t, []float64{-3 * clip, -4 * clip}, numbers(w.value))
		norm, err := s.Optimizer().GradNorm(nil)
		require.NoError(t, err)
		require.Equal(t, 5.0, norm)

		require.NoError(t, s.Optimizer().SetClipNorm(0))
		require.NoError(t, s.Optimizer().SetLR(2))
		gorgonia.ZeroValue(w.value)
		require.NoError(t, step())
		require.Equal(t, []float64{-3, -4}, numbers(w.value), "the schedule halves 2")

		s.Optimizer().SetSchedule(optim.ScheduleFunc(func(int) float64 { return -1 }))
		require.EqualError(t, step(), "optim: sgd: lr is -2, must be at least 0, and finite, after its schedule")
		require.Equal(t, []float64{-3, -4, 3, 4}, append(numbers(w.value), numbers(w.grad)...))
	}
}

// What the device refuses is an error of the node, at the first step and later, and leaves the node as it was.
func TestDeviceIsClosed(t *testing.T) {
	for _, first := range []bool{true, false} {
		dev := cpu.New()
		s, err := fusestep.NewSolver(dev, sgd(1))
		require.NoError(t, err)
		w := &param{"w", gorgonia.NewF64(1), gorgonia.NewF64(1)}
		if !first {
			require.NoError(t, s.Step([]gorgonia.ValueGrad{w}))
			w.value, w.grad = gorgonia.NewF64(1), gorgonia.NewF64(1)
		}
		require.NoError(t, dev.Close())
		err = s.Step([]gorgonia.ValueGrad{w})
		require.ErrorIs(t, err, device.ErrClosed)
		require.EqualError(t, err, `optim: group 0, tensor "w": device cpu: wrap of 1 float64: closed`)
		require.Equal(t, []float64{1, 1}, append(numbers(w.value), numbers(w.grad)...))
	}
}

func TestNewSolverAndClose(t *testing.T) {
	dev := cpu.New()
	defer dev.Close()
	_, err := fusestep.NewSolver(dev, sgd(-1))
	var e *optim.HyperparameterError
	require.True(t, errors.As(err, &e), "%v", err)
	_, err = fusestep.NewSolver(dev, nil)
	require.EqualError(t, err, "optim: group 0: the algorithm is nil")

	s, err := fusestep.NewSolver(elsewhere{dev}, optim.DefaultAdam())
	require.NoError(t, err)
	model := []gorgonia.ValueGrad{&param{"w", gorgonia.NewF64(1), gorgonia.NewF64(1)}}
	require.NoError(t, s.Step(model))
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Step(model), device.ErrClosed)
	require.ErrorIs(t, s.Close(), device.ErrClosed)
	s, err = fusestep.NewSolver(dev, optim.DefaultAdam())
	require.NoError(t, err)
	require.NoError(t, s.Close(), "without a step")
}

// An optimizer with numbers of rows and columns sees a tensor's axes as they lie in memory.
func TestShapes(t *testing.T) {
	turned := transposed(t, dense(tensor.Float64, []float64{1, 2, 3, 4, 5, 6}, 2, 3))
	turnedGrad := transposed(t, dense(tensor.Float64, []float64{1, 2, 3, 4, 5, 6}, 2, 3))
	model := []gorgonia.ValueGrad{
		&param{"matrix", dense(tensor.Float64, []float64{1, 2, 3, 4, 5, 6}, 3, 2), dense(tensor.Float64, []float64{1, 2, 3, 4, 5, 6}, 3, 2)},
		&param{"turned", turned, turnedGrad},
		&param{"vector", f64(7, 7), f64(7, 7)},
	}
	s := newSolver(t, false, optim.DefaultAdafactor())
	for range 2 {
		require.NoError(t, s.Step(model))
	}
	for name, want := range map[string]map[string]int{"matrix": {"row_var": 3, "col_var": 2}, "turned": {"row_var": 2, "col_var": 3}, "vector": {"variance": 7}} {
		got := map[string]int{}
		states, err := s.Optimizer().States(name)
		require.NoError(t, err)
		for slot, b := range states {
			got[slot] = b.Len()
		}
		require.Equal(t, want, got, name)
	}
}

package optim_test

import (
	"errors"
	"maps"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// rationed is a processor that has memory for so many buffers more.
type rationed struct {
	device.Processor
	left *int
}

func (r rationed) Alloc(n int64) (device.Memory, error) {
	if *r.left == 0 {
		return nil, device.ErrOutOfMemory
	}
	*r.left--
	return r.Processor.Alloc(n)
}

// short is an optimizer on a device that may be short of memory.
type short struct {
	*harness
	o     *optim.Optimizer
	left  *int
	grads map[string]*device.Buffer
	eval  map[string]*device.Buffer
	added []optim.Param
	saved *optim.StateDict // of another, which has more
}

func newShort(t *testing.T) *short {
	real := cpu.NewThreads(1)
	t.Cleanup(func() { require.NoError(t, real.Close()) })
	left := math.MaxInt
	c := newCounted(t, real, rationed{real.Device().Processor(), &left})
	s := &short{harness: onBackend(t, c), left: &left, grads: map[string]*device.Buffer{}, eval: map[string]*device.Buffer{}}
	param := func(name string, value, grad device.DType) optim.Param {
		v := s.buffer(value, []float64{1, -2, 3})
		s.grads[name] = s.buffer(grad, []float64{0.5, 0.25, -1})
		s.eval[name] = s.buffer(value, []float64{0, 0, 0})
		return optim.Param{Name: name, Value: v, Grad: s.grads[name]}
	}
	var err error
	bf, single := device.BFloat16, device.Float32
	s.o, err = optim.New(c, optim.DefaultSGD(), []optim.Param{param("a", single, single), param("b", bf, bf), param("c", single, bf),
		param("d", single, single)})
	require.NoError(t, err)
	master := optim.Averaged{Algorithm: optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterFloat32}, Decay: 0.5}
	require.NoError(t, s.o.AddGroup(master, []optim.Param{param("e", bf, bf), param("f", bf, single)}))
	s.added = []optim.Param{param("g", bf, bf), param("h", single, single)}
	delete(s.eval, "g")
	delete(s.eval, "h")
	return s
}

// rich is what the optimizer is when it has more than it began with.
func (s *short) rich() *optim.StateDict {
	t, scaler := s.t, optim.DefaultGradScaler()
	require.NoError(t, s.o.SetHyperparameter("momentum", 0.9, 0))
	require.NoError(t, s.o.SetAccumulate(true))
	require.NoError(t, s.o.SetGradScaler(nil, &scaler))
	s.step()
	require.NoError(t, s.o.SetGrad("d", nil))
	s.step()
	d, err := s.o.StateDict(nil)
	require.NoError(t, err)
	return d
}

// numbers are all that the optimizer has of its tensors.
func (s *short) numbers() map[string][]float64 {
	out := map[string][]float64{}
	for _, p := range s.o.Params() {
		out[p.Name] = s.harness.values(p.Value)
		states, err := s.o.States(p.Name)
		require.NoError(s.t, err)
		for name, b := range maps.Collect(states) {
			out[p.Name+" "+name] = s.harness.values(b)
		}
		counters, err := s.o.TensorCounters(nil, p.Name)
		require.NoError(s.t, err)
		for name, x := range counters {
			out[p.Name+" "+name] = []float64{x}
		}
	}
	return out
}

// step takes a step, of a sum where that is on.
func (s *short) step() {
	if err := s.o.Accumulate(nil); err != nil {
		require.ErrorIs(s.t, err, optim.ErrNotAccumulating)
	}
	require.NoError(s.t, s.o.Step(nil))
}

// Whichever allocation of a call fails, the optimizer trains on as if there had been no call, and the call works later.
func TestOutOfMemory(t *testing.T) {
	for name, call := range map[string]func(s *short) error{
		"add group": func(s *short) error {
			return s.o.AddGroup(optim.Stored{Algorithm: optim.DefaultLion(), Master: optim.MasterFloat32}, s.added)
		},
		"momentum":        func(s *short) error { return s.o.SetHyperparameter("momentum", 0.9, 0) },
		"accumulate":      func(s *short) error { return s.o.SetAccumulate(true) },
		"grad scaler":     func(s *short) error { g := optim.DefaultGradScaler(); return s.o.SetGradScaler(nil, &g) },
		"skip":            func(s *short) error { return s.o.SetSkip(nil, optim.Skip{NonFinite: true}) },
		"clip norm":       func(s *short) error { return s.o.SetClipNorm(0.5) },
		"clip tensors":    func(s *short) error { return s.o.SetClipTensorNorm(0.5) },
		"clip value":      func(s *short) error { return s.o.SetClipValue(0.3) },
		"tensor counters": func(s *short) error { return s.o.SetTensorCounters(nil, "d", map[string]float64{"step": 1}) },
		"capture": func(s *short) error {
			c, err := s.o.Capture(nil)
			if err == nil {
				err = c.Close()
			}
			return err
		},
		"evaluate": func(s *short) error { return s.o.EvalParams(nil, s.eval) },
		"load":     func(s *short) error { return s.o.LoadStateDict(nil, s.saved, optim.LoadOptions{}) },
		"leave out": func(s *short) error { // the step forks a part
			if err := s.o.SetGrad("a", nil); err != nil {
				return err
			}
			err := s.o.Step(nil)
			if err != nil {
				require.NoError(s.t, s.o.SetGrad("a", s.grads["a"]))
			}
			return err
		},
		"other gradient": func(s *short) error {
			if err := s.o.SetGrad("a", s.grads["c"]); err != nil {
				return err
			}
			err := s.o.Step(nil)
			if err != nil {
				require.NoError(s.t, s.o.SetGrad("a", s.grads["a"]))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, plenty := newShort(t), newShort(t)
			s.saved = newShort(t).rich()
			plenty.saved = s.saved
			both := func() {
				s.step()
				plenty.step()
			}
			both()
			failed := 0
			for ; ; failed++ {
				*s.left = failed
				err := call(s)
				*s.left = math.MaxInt
				if err == nil {
					break
				}
				require.ErrorIs(t, err, device.ErrOutOfMemory)
				both()
				for what, x := range plenty.numbers() {
					require.Equal(t, x, s.numbers()[what], "after %d buffers: %s", failed, what)
				}
			}
			t.Logf("%d buffers", failed)
			require.NoError(t, call(plenty))
			for range 3 {
				both()
				require.Equal(t, plenty.numbers(), s.numbers())
			}
		})
	}
}

// Tensors of which some got a state before memory was short may be stepped together later. The others get it then.
func TestOutOfMemoryHalfWay(t *testing.T) {
	for name, call := range map[string]func(s *short) error{
		"momentum":   func(s *short) error { return s.o.SetHyperparameter("momentum", 0.9, 0) },
		"accumulate": func(s *short) error { return s.o.SetAccumulate(true) },
	} {
		for _, apart := range []string{"a", "d"} {
			s, plenty := newShort(t), newShort(t)
			both := func(f func(s *short) error) {
				t.Helper()
				require.NoError(t, f(s), name)
				require.NoError(t, f(plenty), name)
				s.step()
				plenty.step()
			}
			both(func(s *short) error { return nil })
			both(func(s *short) error { return s.o.SetTensorCounters(nil, apart, map[string]float64{"step": 1}) })
			*s.left = 1
			require.ErrorIs(t, call(s), device.ErrOutOfMemory)
			*s.left = math.MaxInt
			both(func(s *short) error { // then a and d have one history, and are put together
				return errors.Join(s.o.SetGrad("d", nil), s.o.SetGrad("d", s.grads["d"]))
			})
			both(call)
			both(call)
			require.Equal(t, plenty.numbers(), s.numbers())
			require.NoError(t, s.o.Close())
		}
	}
}

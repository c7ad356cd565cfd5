package optim_test

import (
	_ "embed"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// teLoad and teStore are Transformer Engine's, of its AdamFunctorMasterParamRemainder: the bits of a master of two int16, and back.
func teLoad(weight uint16, remainder int16) float32 {
	hi := int16(weight)
	if remainder < 0 {
		hi--
	}
	return math.Float32frombits(uint32(uint16(hi))<<16 | uint32(uint16(remainder)))
}

func teStore(x float32) (weight uint16, remainder int16) {
	bits := math.Float32bits(x)
	hi, lo := int16(bits>>16), int16(bits&0xffff)
	if lo < 0 {
		hi++
	}
	return uint16(hi), lo
}

// masterOf are the numbers of a tensor that has a value of 16 bits: what its planes stand for.
func masterOf(t *testing.T, o *optim.Optimizer, tensor string, value *device.Buffer) []float32 {
	states, err := o.States(tensor)
	require.NoError(t, err)
	weights := elements[uint16](t, value)
	for name, b := range states {
		switch {
		case name == "master":
			return elements[float32](t, b)
		case name == "remainder" && b.DType() == device.Int16:
			var out []float32
			for i, r := range elements[int16](t, b) {
				out = append(out, teLoad(weights[i], r))
			}
			return out
		case name == "remainder":
			var out []float32
			for i, r := range elements[int8](t, b) {
				out = append(out, teLoad(weights[i], int16(r)<<8))
			}
			return out
		}
	}
	t.Fatalf("%s has no master", tensor)
	return nil
}

// halved are numbers that the type holds exactly.
func halved(dtype device.DType, x []float64) []float64 {
	out := slices.Clone(x)
	for i := range out {
		out[i] = dtype.Round(out[i])
	}
	return out
}

func requireBits(t *testing.T, want, got []float32, what string) {
	t.Helper()
	for i := range want {
		if math.Float32bits(want[i]) != math.Float32bits(got[i]) {
			t.Fatalf("%s: element %d is %v (%#08x), want %v (%#08x)", what, i, got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
	require.Len(t, got, len(want))
}

var exact = []struct {
	master optim.Master
	value  device.DType
}{{optim.MasterFloat32, device.BFloat16}, {optim.MasterFloat32, device.Float16}, {optim.MasterRemainder, device.BFloat16}}

// A training with a master is the training of float32 on the same gradients, bit for bit, for every algorithm: master and state are
// float32's, the value is the master rounded, and what is evaluated is that of float32, rounded.
func TestMasterIsFloat32(t *testing.T) {
	const n = 53
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for i, c := range optim.Cases() {
			for k, form := range exact {
				if testing.Short() && i%len(exact) != k {
					continue
				}
				what := fmt.Sprintf("%s, %v beside %s", c.Name, form.master, form.value)
				h, rng := onBackend(t, b), rand.New(rand.NewPCG(1, 2))
				init, grads := halved(form.value, random(rng, n)), make([]float64, n)
				value, wide := h.buffer(form.value, init), h.buffer(device.Float32, init)
				grad, eval, wideEval := h.buffer(device.BFloat16, grads), h.buffer(form.value, grads), h.buffer(device.Float32, grads)
				o, err := optim.New(b, optim.Stored{Algorithm: c.Algorithm, Master: form.master}, []optim.Param{{Name: "w", Value: value, Grad: grad}})
				require.NoError(t, err, what)
				single, err := optim.New(b, c.Algorithm, []optim.Param{{Name: "w", Value: wide, Grad: grad}})
				require.NoError(t, err, what)
				for step := range 4 {
					h.set(grad, random(rng, n))
					require.NoError(t, o.Step(nil))
					require.NoError(t, single.Step(nil))
					want := elements[float32](t, wide)
					requireBits(t, want, masterOf(t, o, "w", value), fmt.Sprintf("%s: step %d", what, step))
					for i, w := range elements[uint16](t, value) {
						rounded := uint16(reference.Bits(form.value, float64(want[i])))
						if form.master == optim.MasterRemainder {
							rounded, _ = teStore(want[i])
						}
						require.Equal(t, rounded, w, "%s: step %d: value[%d]", what, step, i)
					}
				}
				states, err := single.States("w")
				require.NoError(t, err)
				for name, want := range states {
					got, err := o.State("w", name)
					require.NoError(t, err)
					require.Equal(t, planeOf(t, want), planeOf(t, got), "%s: %s", what, name)
				}
				require.NoError(t, o.EvalParams(nil, map[string]*device.Buffer{"w": eval}))
				require.NoError(t, single.EvalParams(nil, map[string]*device.Buffer{"w": wideEval}))
				if setting, err := c.Algorithm.Setting(); err == nil && setting.Eval == nil {
					require.Equal(t, planeOf(t, value), planeOf(t, eval), what)
				} else {
					require.Equal(t, halved(form.value, h.values(wideEval)), h.values(eval), what)
				}
				require.NoError(t, o.Close())
				require.NoError(t, single.Close())
				for _, b := range []*device.Buffer{value, wide, grad, eval, wideEval} {
					require.NoError(t, b.Close())
				}
			}
		}
	})
}

// A remainder of 8 bits is off by less than a step's rounding to 24 bits for each step, where bfloat16 alone does not move.
//
// The bound: SGD's step p -= lr·g has a gradient that does not depend on p. In float32 it rounds once, to half a unit of 24 bits of
// significand; with 24 bits in all, of 16 bits of significand, once more. With all |p| at most P, n steps differ by at most n·P·(2⁻²⁴ + 2⁻²⁴ + 2⁻¹⁶).
func TestRemainder8(t *testing.T) {
	const n, steps = 100, 50
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h, rng := onBackend(t, b), rand.New(rand.NewPCG(3, 4))
		init, grads := make([]float64, n), make([]float64, n)
		for i := range init {
			init[i], grads[i] = device.BFloat16.Round(1+rng.Float64()), 0.5+rng.Float64()
		}
		values := map[string]*device.Buffer{"none": h.buffer(device.BFloat16, init), "8": h.buffer(device.BFloat16, init), "32": h.buffer(device.Float32, init)}
		grad := h.buffer(device.Float32, grads)
		train := func(name string, master optim.Master) *optim.Optimizer {
			o, err := optim.New(b, optim.Stored{Algorithm: sgd(1e-4), Master: master}, []optim.Param{{Name: name, Value: values[name], Grad: grad}})
			require.NoError(t, err)
			for range steps {
				require.NoError(t, o.Step(nil))
			}
			return o
		}
		train("none", optim.NoMaster)
		train("32", optim.NoMaster)
		got := masterOf(t, train("8", optim.MasterRemainder8), "8", values["8"])
		require.Equal(t, init, h.values(values["none"]), "no step changes a bfloat16")
		for i, want := range h.values(values["32"]) {
			require.InDelta(t, want, float64(got[i]), steps*2*(0x2p-24+0x1p-16), "element %d", i)
			require.Less(t, want, init[i]-10*1e-4, "the bound is less than what float32 moves")
			require.Zero(t, math.Float32bits(got[i])&0xff, "24 bits")
		}
	})
}

// Arrays of a training by Transformer Engine, whose AdamW is another sequence of operations, are its masters at each step, and a training goes on from them
// as one of float32 does from the masters.
func TestTransformerEngine(t *testing.T) {
	const n = 200
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h, rng := onBackend(t, b), rand.New(rand.NewPCG(5, 6))
		weights, remainders := make([]uint16, n), make([]int16, n)
		m, v, g := make([]float32, n), make([]float32, n), make([]float64, n)
		for i, x := range random(rng, n) {
			weights[i] = uint16(reference.Bits(device.BFloat16, x*math.Exp2(float64(i%41-20))))
		}
		const lr, beta1, beta2, eps, decay = float32(1e-2), float32(0.9), float32(0.999), float32(1e-8), float32(0.01)
		value, wide, grad := h.buffer(device.BFloat16, g), h.buffer(device.Float32, g), h.buffer(device.BFloat16, g)
		s := b.Device().DefaultStream()
		for step := 1; step <= 20; step++ {
			g = halved(device.BFloat16, random(rng, n))
			c1, c2 := float32(1-math.Pow(float64(beta1), float64(step))), float32(1-math.Pow(float64(beta2), float64(step)))
			masters := make([]float32, n)
			for i := range n {
				p, x := teLoad(weights[i], remainders[i]), float32(g[i])
				m[i] = float32(beta1*m[i]) + float32((1-beta1)*x)
				v[i] = float32(beta2*v[i]) + float32((1-beta2)*float32(x*x))
				u := float32(m[i]/c1)/(float32(math.Sqrt(float64(float32(v[i]/c2))))+eps) + float32(decay*p)
				p -= float32(lr * u)
				masters[i] = p
				weights[i], remainders[i] = teStore(p)
			}

			require.NoError(t, device.Upload(s, value, weights))
			require.NoError(t, device.Upload(s, wide, masters))
			h.set(grad, random(rng, n))
			alg := with(optim.DefaultAdamW(), func(c *optim.AdamW) { c.LR = 1e-2 })
			ours, err := optim.New(b, optim.Stored{Algorithm: alg, Master: optim.MasterRemainder}, []optim.Param{{Name: "w", Value: value, Grad: grad}})
			require.NoError(t, err)
			single, err := optim.New(b, alg, []optim.Param{{Name: "w", Value: wide, Grad: grad}})
			require.NoError(t, err)
			remainder, err := ours.State("w", "remainder")
			require.NoError(t, err)
			require.NoError(t, device.Upload(s, remainder, remainders))
			for _, o := range []*optim.Optimizer{ours, single} {
				for name, x := range map[string][]float32{"exp_avg": m, "exp_avg_sq": v} {
					to, err := o.State("w", name)
					require.NoError(t, err)
					require.NoError(t, device.Upload(s, to, x))
				}
				require.NoError(t, o.SetGroupCounters(nil, 0, map[string]float64{"step": float64(step)}))
				require.NoError(t, o.SetSteps(step))
				require.NoError(t, o.Step(nil))
			}
			requireBits(t, elements[float32](t, wide), masterOf(t, ours, "w", value), fmt.Sprintf("step %d", step))
			require.NoError(t, ours.Close())
			require.NoError(t, single.Close())
		}
	})
}

// every is each kind of master with a type of value that it can stand beside.
var every = append(slices.Clone(exact), struct {
	master optim.Master
	value  device.DType
}{optim.MasterRemainder8, device.BFloat16})

// A training that is saved and goes on elsewhere has the bits of one that never stopped. One whose master is lost goes on from the values.
func TestResumeMaster(t *testing.T) {
	const n = 50
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, form := range every {
			h := onBackend(t, b)
			init := halved(form.value, random(rand.New(rand.NewPCG(5, 6)), n))
			start := func() (optim.Param, *optim.Optimizer) {
				p := optim.Param{Name: "w", Value: h.buffer(form.value, init), Grad: h.buffer(device.BFloat16, init)}
				o, err := optim.New(b, optim.Stored{Algorithm: optim.DefaultAdamW(), Master: form.master}, []optim.Param{p})
				require.NoError(t, err)
				return p, o
			}
			step := func(p optim.Param, o *optim.Optimizer, k int) {
				h.set(p.Grad, random(rand.New(rand.NewPCG(uint64(k), 7)), n))
				require.NoError(t, o.Step(nil))
			}
			p, o := start()
			for k := range 3 {
				step(p, o, k)
			}
			saved := masterOf(t, o, "w", p.Value)
			require.NotEqual(t, h.values(p.Value), halved(device.Float64, widened(saved)), "the master is more than the value")
			resume := func(but string) (optim.Param, *optim.Optimizer) {
				q, resumed := start()
				require.NoError(t, b.Device().DefaultStream().Copy(q.Value, p.Value))
				states, err := o.States("w")
				require.NoError(t, err)
				for slot, buffer := range states {
					to, err := resumed.State("w", slot)
					require.NoError(t, err)
					if slot != but {
						require.NoError(t, b.Device().DefaultStream().Copy(to, buffer))
					}
				}
				kept, err := o.TensorCounters(nil, "w")
				require.NoError(t, err)
				require.NoError(t, resumed.SetTensorCounters(nil, "w", kept))
				require.NoError(t, resumed.SetSteps(o.Steps()))
				return q, resumed
			}
			q, resumed := resume("")
			_, name := beside(t, o)
			r, without := resume(name)
			value := h.values(p.Value)
			require.NoError(t, without.AdoptValues(nil, "w"))
			require.Equal(t, value, widened(masterOf(t, without, "w", r.Value)))
			for k := 3; k < 5; k++ {
				step(p, o, k)
				step(q, resumed, k)
				step(r, without, k)
			}
			requireBits(t, masterOf(t, o, "w", p.Value), masterOf(t, resumed, "w", q.Value), fmt.Sprint(form))
			require.Equal(t, planeOf(t, p.Value), planeOf(t, q.Value))
			require.NotEqual(t, masterOf(t, o, "w", p.Value), masterOf(t, without, "w", r.Value), "a master that is lost is missed")
		}
	})
}

// beside is the buffer beside the tensor's value, and its name.
func beside(t *testing.T, o *optim.Optimizer) (*device.Buffer, string) {
	for _, name := range []string{"master", "remainder"} {
		if b, err := o.State("w", name); err == nil {
			return b, name
		}
	}
	t.Fatal("there is no master")
	return nil, ""
}

func widened(x []float32) (out []float64) {
	for _, v := range x {
		out = append(out, float64(v))
	}
	return out
}

// Values that are written after New count, in the first step whatever the counters say, and later after AdoptValues. Masters that round to
// the values stay.
func TestAdoptValues(t *testing.T) {
	const n = 70_000 // more than a block
	still := with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR = 0 })
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, form := range every {
			h, rng := onBackend(t, b), rand.New(rand.NewPCG(8, 9))
			zeros := make([]float64, n)
			p := optim.Param{Name: "w", Value: h.buffer(form.value, zeros), Grad: h.buffer(device.BFloat16, zeros)}
			o, err := optim.New(b, optim.Stored{Algorithm: still, Master: form.master}, []optim.Param{p})
			require.NoError(t, err)
			s := b.Device().DefaultStream()
			late := halved(form.value, random(rng, n))
			late[0], late[1] = math.Copysign(0, -1), math.Inf(1)
			h.set(p.Value, late)
			require.NoError(t, o.SetGroupCounters(nil, 0, map[string]float64{"step": 5}))
			require.NoError(t, o.SetSteps(5))
			require.NoError(t, o.Step(nil)) // which changes nothing
			require.Equal(t, late, widened(masterOf(t, o, "w", p.Value)), "%v", form)
			require.Equal(t, late, h.values(p.Value))
			if form.master == optim.MasterFloat32 { // which alone is read from the first step on
				h.set(p.Value, zeros)
				require.NoError(t, o.Step(nil))
				require.Equal(t, late, widened(masterOf(t, o, "w", p.Value)), "%v", form)
				require.Equal(t, late, h.values(p.Value))
			}

			// In mid-training: some masters are more than the values, some values are new.
			m, _ := beside(t, o)
			bits, to := masterOf(t, o, "w", p.Value), h.values(p.Value)
			for i := range n {
				if i%3 == 0 {
					bits[i] = math.Float32frombits(math.Float32bits(bits[i]) + 0x300) // which rounds to the value
				}
				if i%7 == 0 {
					to[i] = form.value.Round(-3*to[i] + 1)
				}
			}
			to[14], to[21] = 0, math.Inf(-1)
			weights, remainders := make([]uint16, n), make([]int16, n)
			for i, x := range bits {
				weights[i], remainders[i] = teStore(x)
			}
			remainders[14], remainders[21] = -5, 5 // NaNs beside what is written there
			switch form.master {
			case optim.MasterFloat32:
				require.NoError(t, device.Upload(s, m, bits))
			case optim.MasterRemainder:
				require.NoError(t, device.Upload(s, m, remainders))
			default:
				var narrow []int8
				for i, r := range remainders {
					narrow = append(narrow, int8(r>>8))
					bits[i] = teLoad(weights[i], int16(narrow[i])<<8)
				}
				require.NoError(t, device.Upload(s, m, narrow))
			}
			h.set(p.Value, to)
			wrote := planeOf(t, p.Value)
			require.NoError(t, o.AdoptValues(nil))
			got := masterOf(t, o, "w", p.Value)
			require.Equal(t, wrote, planeOf(t, p.Value), "values stay")
			for i, x := range got {
				rounded := form.value.Round(float64(x))
				if form.master != optim.MasterFloat32 {
					w, _ := teStore(x)
					rounded = reference.Value(device.BFloat16, uint64(w))
				}
				if rounded != to[i] || i%7 != 0 && i > 1 && math.Float32bits(x) != math.Float32bits(bits[i]) {
					t.Fatalf("%v: element %d has the value %v and the master %v, which rounds to %v; it was %v", form, i, to[i], x, rounded, bits[i])
				}
				if form.master == optim.MasterFloat32 && i%7 == 0 && to[i] != form.value.Round(float64(bits[i])) {
					require.Equal(t, to[i], float64(x), "element %d of %v", i, form)
				}
			}
			before := planeOf(t, m)
			require.NoError(t, o.AdoptValues(s, "w"))
			require.Equal(t, before, planeOf(t, m), "what agrees stays")
			require.Error(t, o.AdoptValues(s, "w", "x"))
			require.NoError(t, o.Close())
		}
	})
}

// A group may have values of several types: those of float32 and float64 are their own masters.
func TestMasterMixed(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for master, types := range map[optim.Master][]device.DType{
			optim.MasterFloat32:    {device.Float32, device.BFloat16, device.Float16},
			optim.MasterRemainder:  {device.BFloat16, device.Float32, device.Float64},
			optim.MasterRemainder8: {device.Float64, device.BFloat16, device.Float32},
		} {
			h, rng := onBackend(t, b), rand.New(rand.NewPCG(1, 1))
			x, g := halved(device.Float16, halved(device.BFloat16, random(rng, 40))), random(rng, 40)
			var params []optim.Param
			for _, dtype := range types {
				grad := device.Float32
				if dtype == device.Float64 {
					grad = device.Float64
				}
				params = append(params, optim.Param{Name: dtype.String(), Value: h.buffer(dtype, x), Grad: h.buffer(grad, g)})
			}
			o, err := optim.New(b, optim.Stored{Algorithm: optim.DefaultAdamW(), Master: master}, params)
			require.NoError(t, err)
			for range 3 {
				require.NoError(t, o.Step(nil))
			}
			name := "remainder"
			if master == optim.MasterFloat32 {
				name = "master"
			}
			for i, p := range params {
				want := []string{"exp_avg", "exp_avg_sq"}
				if types[i].Size() == 2 {
					want = append(want, name)
				}
				var got []string
				states, err := o.States(p.Name)
				require.NoError(t, err)
				for name, b := range states {
					got = append(got, name)
					require.Equal(t, 40, b.Len())
				}
				require.Equal(t, want, got, p.Name)
				if i == 0 {
					first, err := o.StateNames(0)
					require.NoError(t, err)
					require.Equal(t, want, first)
				}
				if types[i].Size() == 2 && master != optim.MasterRemainder8 {
					at := slices.Index(types, device.Float32)
					requireBits(t, elements[float32](t, params[at].Value), masterOf(t, o, p.Name, p.Value), p.Name)
				}
			}
			require.NoError(t, o.Remove(params[1].Name))
			require.NoError(t, o.Step(nil))
			require.NoError(t, o.Close())
		}
	})
}

// A value that moves keeps its master, and a master is memory that nothing else may have.
func TestMasterRebind(t *testing.T) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	h := onBackend(t, dev)
	init := []float64{1, -2, 0.5}
	a, b := h.buffer(device.BFloat16, init), h.buffer(device.BFloat16, init)
	grad := h.buffer(device.Float32, []float64{1, 2, 3})
	alg := optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterFloat32}
	o, err := optim.New(dev, alg, []optim.Param{{Name: "w", Value: a, Grad: grad}})
	require.NoError(t, err)
	stays, err := optim.New(dev, alg, []optim.Param{{Name: "w", Value: b, Grad: grad}})
	require.NoError(t, err)
	step := func() {
		require.NoError(t, o.Step(nil))
		require.NoError(t, stays.Step(nil))
	}
	step()
	moved := h.buffer(device.BFloat16, h.values(a))
	require.NoError(t, o.Rebind([]optim.Param{{Name: "w", Value: moved, Grad: grad}}))
	step()
	requireBits(t, masterOf(t, stays, "w", b), masterOf(t, o, "w", moved), "rebound")
	require.NotEqual(t, h.values(a), h.values(moved))
	master, err := o.State("w", "master")
	require.NoError(t, err)
	require.ErrorIs(t, o.AddGroup(sgd(1), []optim.Param{{Name: "v", Value: master}}), device.ErrOverlap)
	require.ErrorIs(t, o.Rebind([]optim.Param{{Name: "w", Value: moved, Grad: master}}), device.ErrOverlap)
	require.ErrorIs(t, o.Rebind([]optim.Param{{Name: "w", Value: a, Grad: master}}), device.ErrOverlap)
	step()
}

// twoPlanes asks for a second plane of state, which nothing could name.
type twoPlanes struct{}

func (twoPlanes) Setting() (rule.Setting, error) {
	s, err := optim.DefaultAdam().Setting()
	s.Formats = "exp_avg=bf16+i16"
	return s, err
}

//go:embed master_test.go
var takenSource string

// takenElem has a slot that is called as a master is.
type takenElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"master"`
}
type takenScalars[F rule.Float] struct{ LR F }
type takenHyper struct{ LR float64 }

func taken[F rule.Float](e *takenElem[F], s *takenScalars[F], _ struct{}) {
	e.M = e.G
	e.P -= F(s.LR * e.M)
}

func takenPrologue(h *takenHyper, _ *struct{}, s *takenScalars[float64], _ struct{}) { s.LR = h.LR }

type takes struct{ setting rule.Setting }

func (a takes) Setting() (rule.Setting, error) { return a.setting, nil }

func TestMasterErrors(t *testing.T) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	h := onBackend(t, dev)
	one := []float64{1}
	half, bf, single := h.buffer(device.Float16, one), h.buffer(device.BFloat16, one), h.buffer(device.Float32, one)
	integer := func(t device.DType) *device.Buffer {
		b, err := dev.Alloc(t, 1)
		require.NoError(h.t, err)
		return b
	}
	param := func(value, grad *device.Buffer) []optim.Param {
		return []optim.Param{{Name: "w", Value: value, Grad: grad}}
	}
	stored := func(m optim.Master) optim.Stored { return optim.Stored{Algorithm: optim.DefaultAdam(), Master: m} }
	def, err := rule.New(taken[float32], taken[float64], takenPrologue, takenSource)
	require.NoError(t, err)
	there := "there are f32, bf16, f16, bf16+f32, f16+f32, bf16+i16, bf16+i8"
	for _, c := range []struct {
		alg    optim.Algorithm
		params []optim.Param
		want   string
	}{
		{stored(optim.MasterRemainder), param(half, single), `optim: group 0, tensor "w": slot "param": no format "f16+i16" for calculations in float32: ` + there},
		{stored(optim.MasterRemainder8), param(half, single), `optim: group 0, tensor "w": slot "param": no format "f16+i8" for calculations in float32: ` + there},
		{stored(4), param(bf, single), `optim: adam: master is 4, must be one of the constants of type Master`},
		{optim.Stored{Algorithm: stored(optim.MasterFloat32), Master: optim.MasterRemainder}, param(bf, single), `optim: adam: parameters have two masters, f32 and i16`},
		{twoPlanes{}, param(bf, single), `optim: group 0: slot "exp_avg": no format "bf16+i16" for calculations in float32: there are f32, bf16, f16`},
		{optim.Stored{Algorithm: takes{def.With(takenHyper{1}, struct{}{})}, Master: optim.MasterFloat32}, param(bf, single),
			`optim: taken: the rule has state "master" of its own, which is what a master keeps beside a value of 16 bits: give the slot another name`},
		{optim.Stored{Algorithm: optim.DefaultAdam(), All: device.Int16}, param(bf, single), `slot "exp_avg": no format "i16" for calculations in float32: there are f32, bf16, f16`},
		{optim.DefaultAdam(), param(integer(device.Int16), single), `optim: group 0, tensor "w": value is int16: not supported by this device`},
		{optim.DefaultAdam(), param(single, integer(device.Int8)), `optim: group 0, tensor "w": slot "grad": no format "i8" for calculations in float32: there are f32, bf16, f16`},
	} {
		o, err := optim.New(dev, c.alg, c.params)
		require.ErrorContains(t, err, c.want)
		require.Nil(t, o)
	}
	_, err = optim.New(dev, stored(optim.MasterRemainder), param(half, single))
	var tensor *optim.TensorError
	var none *format.Error
	require.ErrorAs(t, err, &tensor)
	require.ErrorAs(t, err, &none)
	require.Equal(t, &format.Error{Slot: rule.Param, Format: "f16+i16", Compute: device.Float32}, none)

	o, err := optim.New(dev, optim.Stored{Algorithm: stored(optim.MasterRemainder), All: device.BFloat16}, param(bf, single))
	require.NoError(t, err, "types of state and a master may be said apart")
	require.EqualError(t, o.SetAlgorithm(0, optim.Stored{Algorithm: stored(optim.MasterFloat32), All: device.BFloat16}),
		`optim: group 0: algorithm adam has the master "f32", the group "i16": another needs a new group`)
	require.NoError(t, o.SetHyperparameter("amsgrad", 1))
	require.NoError(t, o.Step(nil))
	names, err := o.StateNames(0)
	require.NoError(t, err)
	require.Equal(t, []string{"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "remainder"}, names)
}

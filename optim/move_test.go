package optim_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// foreign is tensors whose memory is somebody else's, one group of them.
type foreign struct {
	t      *testing.T
	dev    *cpu.Device
	params []optim.Param
	memory map[string][][]byte // by row and tensor
	sizes  map[string]int
}

// newForeign makes tensors with values, gradients and all state that the algorithm has, of zeros.
func newForeign(t *testing.T, dev *cpu.Device, alg optim.Algorithm, dtype device.DType, lengths []int) *foreign {
	f := &foreign{t: t, dev: dev, memory: map[string][][]byte{}, sizes: map[string]int{}}
	plan, err := optim.NewPlan(alg, dtype, dtype, nil)
	require.NoError(t, err)
	for i, n := range lengths {
		p := optim.Param{Name: fmt.Sprint("t", i), State: map[string]*device.Buffer{}}
		for _, b := range plan.Buffers {
			if b.Name == "counters" {
				continue
			}
			name := b.Name
			if name == "param" {
				name = "value"
			}
			f.sizes[name] = b.DType.Size()
			x := make([]byte, n*b.DType.Size()+8)[:n*b.DType.Size()]
			f.memory[name] = append(f.memory[name], x)
			buffer, err := dev.WrapAt(b.DType, n, unsafe.Pointer(unsafe.SliceData(x)))
			require.NoError(t, err)
			switch name {
			case "value":
				p.Value = buffer
			case "grad":
				p.Grad = buffer
			default:
				p.State[name] = buffer
			}
		}
		f.params = append(f.params, p)
	}
	return f
}

// row is where the tensors have a buffer; nil where without says so.
func (f *foreign) row(group int, name string, without func(i int) bool) optim.Row {
	r := optim.Row{Group: group, Name: name}
	for i, x := range f.memory[name] {
		if r.At = append(r.At, unsafe.Pointer(unsafe.SliceData(x))); without != nil && without(i) {
			r.At[i] = nil
		}
	}
	return r
}

// move copies a row to other memory, as far from a round address as many elements, and spoils what it leaves.
func (f *foreign) move(name string, off int) {
	for i, old := range f.memory[name] {
		size := f.sizes[name]
		x := make([]byte, (off+8)*size+len(old))[off*size:][:len(old)]
		copy(x, old)
		for k := range old {
			old[k] = 0x7f
		}
		f.memory[name][i] = x
	}
}

// Tensors that move at every step, whose state is the caller's and whose gradients come and go, are trained to the same bits as tensors of the
// optimizer's that stay.
func TestMove(t *testing.T) {
	lengths := []int{5, 1, 300, 64, 0, 17}
	sixteen := optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterFloat32, All: device.BFloat16, Stochastic: true, Seed: 3}
	for _, tt := range []struct {
		name  string
		alg   optim.Algorithm
		dtype device.DType
	}{
		{"adamw", optim.DefaultAdamW(), device.Float32},
		{"momentum in float64", with(optim.DefaultSGD(), func(c *optim.SGD) { c.Momentum = 0.9 }), device.Float64},
		{"bfloat16 with masters", sixteen, device.BFloat16},
		{"schedule-free", optim.DefaultScheduleFreeSGD(), device.Float32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t, tt.dtype, nil)
			f := newForeign(t, h.dev, tt.alg, tt.dtype, lengths)
			counting := &counting{cpuDevice: h.dev}
			moved, err := optim.New(counting, tt.alg, f.params)
			require.NoError(t, err)
			var params []optim.Param
			rng := rand.New(rand.NewPCG(1, 2))
			random := func(n int) []float64 {
				x := make([]float64, n)
				for i := range x {
					x[i] = float64(rng.IntN(2001)-1000) / 256
				}
				return x
			}
			for i, n := range lengths {
				x := random(n)
				h.set(f.params[i].Value, x)
				params = append(params, optim.Param{Name: f.params[i].Name, Value: h.buffer(tt.dtype, x), Grad: h.buffer(tt.dtype, make([]float64, n))})
			}
			stays, err := optim.New(h.dev, tt.alg, params)
			require.NoError(t, err)
			for _, o := range []*optim.Optimizer{moved, stays} {
				require.NoError(t, o.SetClipNorm(4))
			}
			compiled := 0
			for step := range 12 {
				without := func(i int) bool { return step%2 == 1 && i%3 == 0 || step == 8 }
				if step%4 == 3 {
					f.move("value", step)
					for name := range f.params[0].State {
						f.move(name, step+1)
					}
				}
				f.move("grad", step%3)
				rows := []optim.Row{f.row(0, "grad", without), f.row(0, "value", nil)}
				for slot := range f.params[0].State {
					rows = append(rows, f.row(0, slot, nil))
				}
				for name, b := range params {
					x := random(lengths[name])
					h.set(b.Grad, x)
					f.set("grad", name, b.Grad)
					grad := b.Grad
					if without(name) {
						grad = nil
					}
					require.NoError(t, stays.SetGrad(b.Name, grad))
				}
				require.NoError(t, moved.Move(rows...))
				require.NoError(t, moved.Step(nil))
				require.NoError(t, stays.Step(nil))
				if step == 2 {
					compiled = counting.updates
				}
				wantNorm, err := stays.GradNorm(nil)
				require.NoError(t, err)
				norm, err := moved.GradNorm(nil)
				require.NoError(t, err)
				require.Equal(t, wantNorm, norm, "step %d", step)
				for i, p := range params {
					want, err := stays.TensorCounters(nil, p.Name)
					require.NoError(t, err)
					got, err := moved.TensorCounters(nil, p.Name)
					require.NoError(t, err)
					require.Equal(t, want, got, "step %d, tensor %d", step, i)
					f.equal("value", i, p.Value)
					for slot := range f.params[i].State {
						b, err := stays.State(p.Name, slot)
						require.NoError(t, err)
						f.equal(slot, i, b)
					}
				}
			}
			require.Equal(t, compiled, counting.updates, "once tensors have parted, nothing is compiled")
			require.NoError(t, moved.Close())
			require.NoError(t, f.params[0].Value.Check(h.dev.Device()), "what is the caller's stays open")
		})
	}
}

// Two optimizers of two groups each, which share all gradients, are told where these are one after the other, and at times what cannot be: each has the
// bits of an optimizer whose tensors stay.
func TestMoveOfShared(t *testing.T) {
	h := newHarness(t, device.Float32, nil)
	dev := h.dev
	type training struct {
		moved, stays *optim.Optimizer
		groups       [2]*foreign
		params       [2][]optim.Param // of stays
	}
	rng := rand.New(rand.NewPCG(3, 4))
	random := func(n int) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = float64(rng.IntN(2001)-1000) / 256
		}
		return x
	}
	algorithms := [2]optim.Algorithm{optim.DefaultAdamW(), with(optim.DefaultSGD(), func(c *optim.SGD) { c.Momentum = 0.9 })}
	types := [2]device.DType{device.Float32, device.Float64}
	var trainings [2]*training
	for k := range trainings {
		x := &training{}
		for g, alg := range algorithms {
			f := newForeign(t, dev, alg, types[g], []int{5, 300, 1, 64, 17})
			x.groups[g] = f
			for i := range f.params {
				p, gradient := &f.params[i], types[g]
				p.Name = fmt.Sprint(g, ".", i)
				if g == 0 && i == 1 { // which has a program of its own
					gradient = device.BFloat16
					x := make([]byte, 2*p.Value.Len())
					f.memory["grad"][i] = x
					var err error
					p.Grad, err = dev.WrapAt(gradient, p.Value.Len(), unsafe.Pointer(&x[0]))
					require.NoError(t, err)
				}
				if k == 1 {
					p.Grad = trainings[0].groups[g].params[i].Grad
				}
				values := random(p.Value.Len())
				h.set(p.Value, values)
				x.params[g] = append(x.params[g], optim.Param{Name: p.Name, Value: h.buffer(types[g], values), Grad: h.buffer(gradient, values)})
			}
			if k == 1 {
				f.memory["grad"] = trainings[0].groups[g].memory["grad"] // moves with it
			}
			var err error
			if g == 0 {
				x.moved, err = optim.New(dev, alg, f.params)
				require.NoError(t, err)
				x.stays, err = optim.New(dev, alg, x.params[g])
				require.NoError(t, err)
				continue
			}
			require.NoError(t, errors.Join(x.moved.AddGroup(alg, f.params), x.stays.AddGroup(alg, x.params[g])))
		}
		for _, o := range []*optim.Optimizer{x.moved, x.stays} {
			require.NoError(t, o.SetClipNorm(float64(4*k))) // and no norm in the first one
		}
		trainings[k] = x
	}
	addresses := func(x *training) (out []uint64) {
		for _, f := range x.groups {
			for _, p := range f.params {
				out = append(out, p.Value.Addr(), p.Grad.Addr())
			}
		}
		return out
	}
	for step := range 40 {
		var without [2][]bool
		for g, f := range trainings[0].groups {
			if step%5 != 0 {
				f.move("grad", step%3)
			}
			for i, p := range f.params {
				x := random(p.Value.Len())
				for _, y := range trainings {
					h.set(y.params[g][i].Grad, x)
				}
				f.set("grad", i, trainings[0].params[g][i].Grad)
				without[g] = append(without[g], step > 10 && rng.IntN(3) == 0)
			}
		}
		for _, x := range trainings {
			var rows []optim.Row
			for g, f := range x.groups {
				if step%7 == 3 {
					f.move("value", step%5)
				}
				rows = append(rows, f.row(g, "grad", func(i int) bool { return without[g][i] }), f.row(g, "value", nil))
				for i, p := range x.params[g] {
					grad := p.Grad
					if without[g][i] {
						grad = nil
					}
					require.NoError(t, x.stays.SetGrad(p.Name, grad))
				}
			}
			before := addresses(x)
			at := make([]byte, 8*300)
			for _, wrong := range []optim.Row{
				{Group: 1, Name: "value", At: slices.Repeat([]unsafe.Pointer{unsafe.Pointer(&at[0])}, 5)},           // of each other
				{Group: 1, Name: "grad", At: append(slices.Clone(rows[2].At[:4]), unsafe.Pointer(&at[4]))},          // aligned to 4
				{Group: 1, Name: "grad", At: append(slices.Clone(rows[2].At[:4]), rows[3].At[0])},                   // a value's
				{Group: 0, Name: "value", At: append(slices.Clone(rows[1].At[:4]), nil)},                            // nowhere
				{Group: 1, Name: "momentum_buffer", At: slices.Repeat([]unsafe.Pointer{unsafe.Pointer(&at[0])}, 4)}, // of how many
			} {
				require.Error(t, x.moved.Move(append(slices.Clone(rows), wrong)...))
			}
			require.Equal(t, before, addresses(x), "on an error all is as it was")
			require.NoError(t, x.moved.Move(append([]optim.Row{{Name: "grad", At: make([]unsafe.Pointer, 5)}}, rows...)...), "of two rows the last one counts")
		}
		for k, x := range trainings {
			require.NoError(t, errors.Join(x.moved.Step(nil), x.stays.Step(nil)))
			for g, f := range x.groups {
				for i, p := range x.params[g] {
					want, err := x.stays.TensorCounters(nil, p.Name)
					require.NoError(t, err)
					got, err := x.moved.TensorCounters(nil, p.Name)
					require.NoError(t, err)
					require.Equal(t, want, got, "step %d of %d, tensor %s", step, k, p.Name)
					f.equal("value", i, p.Value)
				}
			}
		}
	}
}

// set copies a buffer's bytes to a row's memory.
func (f *foreign) set(name string, i int, b *device.Buffer) {
	copy(f.memory[name][i], f.bytes(b))
}

// equal says that a buffer has a row's bytes.
func (f *foreign) equal(name string, i int, b *device.Buffer) {
	f.t.Helper()
	require.Equal(f.t, f.bytes(b), append([]byte{}, f.memory[name][i]...), "%s of tensor %d", name, i)
}

// bytes are a buffer's of the device, once its work is over.
func (f *foreign) bytes(b *device.Buffer) []byte {
	require.NoError(f.t, f.dev.DefaultStream().Synchronize())
	n := b.Len() * b.DType().Size()
	if n == 0 {
		return []byte{}
	}
	address := uintptr(b.Addr())
	return append([]byte{}, unsafe.Slice(*(**byte)(unsafe.Pointer(&address)), n)...)
}

// What is wrong with where a tensor is to be is said before anything moves.
func TestMoveErrors(t *testing.T) {
	h := newHarness(t, device.Float32, nil)
	f := newForeign(t, h.dev, optim.DefaultAdamW(), device.Float32, []int{4, 4})
	h.set(f.params[0].Grad, []float64{1, 1, 1, 1})
	o, err := optim.New(h.dev, optim.DefaultAdamW(), f.params)
	require.NoError(t, err)
	own := h.buffer(device.Float32, []float64{1, 2})
	require.NoError(t, o.AddGroup(optim.DefaultSGD(), []optim.Param{{Name: "own", Value: own, Grad: h.buffer(device.Float32, []float64{1, 2})}}))
	at := func(name string, i, off int) unsafe.Pointer { return unsafe.Pointer(&f.memory[name][i][off]) }
	row := func(name string, x ...unsafe.Pointer) optim.Row { return optim.Row{Name: name, At: x} }
	other := make([]float32, 4)
	free := unsafe.Pointer(&other[0])
	for _, tt := range []struct {
		name string
		rows []optim.Row
		want string
		is   error
	}{
		{"group", []optim.Row{{Group: 7, Name: "grad"}}, "optim: move: there is no group 7, only 2 of them: out of range", device.ErrRange},
		{"name", []optim.Row{row("hessian", nil, nil)}, `optim: move: group 0 has no "hessian", only "value", "grad" and the state ["exp_avg" "exp_avg_sq" "max_exp_avg_sq" "grad_accumulator"]`, nil},
		{"count", []optim.Row{row("grad", free)}, "optim: move: group 0: grad: addresses has 1 elements, tensors has 2", nil},
		{"state that is not there", []optim.Row{row("max_exp_avg_sq", free, nil)}, `optim: group 0, tensor "t0": has no state "max_exp_avg_sq", only ["exp_avg" "exp_avg_sq"]`, nil},
		{"nil", []optim.Row{row("value", free, nil)}, `optim: group 0, tensor "t1": value: the address is nil`, nil},
		{"misaligned", []optim.Row{row("grad", at("grad", 0, 0), unsafe.Add(free, 2))},
			fmt.Sprintf(`optim: group 0, tensor "t1": grad: address %p is no multiple of 4, the bytes of a float32`, unsafe.Add(free, 2)), nil},
		{"a gradient in a value", []optim.Row{row("grad", at("value", 1, 4), at("grad", 1, 0))}, `optim: group 0, tensor "t0": grad overlaps value of group 0, tensor "t1"`, device.ErrOverlap},
		{"a gradient in state", []optim.Row{row("grad", free, at("exp_avg", 1, 0))}, `optim: group 0, tensor "t1": grad overlaps exp_avg of group 0, tensor "t1"`, device.ErrOverlap},
		{"a value in a gradient", []optim.Row{row("value", at("grad", 1, 4), at("value", 1, 0))}, "", device.ErrOverlap},
		{"two values", []optim.Row{row("value", free, free)}, "", device.ErrOverlap},
		{"allocated", []optim.Row{row("grad", free, free), {Group: 1, Name: "value", At: []unsafe.Pointer{free}}},
			`optim: group 1, tensor "own": value: cpu: move: the buffer wraps nothing: not supported by this device`, device.ErrUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := o.Steps()
			err := o.Move(tt.rows...)
			if tt.want != "" {
				require.EqualError(t, err, tt.want)
			}
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
			require.Error(t, err)
			for i, p := range f.params {
				require.Equal(t, uint64(uintptr(at("value", i, 0))), p.Value.Addr())
				require.Equal(t, uint64(uintptr(at("grad", i, 0))), p.Grad.Addr())
			}
			require.NoError(t, o.Step(nil))
			counters, err := o.GroupCounters(nil, 0)
			require.NoError(t, err)
			require.Equal(t, float64(before+1), counters["step"], "steps go on with what they had")
		})
	}
	fixed, err := optim.New(struct{ optim.Backend }{h.dev}, optim.DefaultSGD(), []optim.Param{{Value: h.buffer(device.Float32, []float64{1})}})
	require.NoError(t, err)
	require.ErrorIs(t, fixed.Move(), device.ErrUnsupported, "a backend that is no kernels.Mover")
	nowhere, err := h.dev.WrapAt(device.Float32, 1, nil)
	require.NoError(t, err)
	require.EqualError(t, o.AddGroup(optim.DefaultSGD(), []optim.Param{{Value: nowhere}}), `optim: group 2, tensor "2.0": value wraps nothing`)
	require.NoError(t, o.Close())
	require.ErrorIs(t, o.Move(), device.ErrClosed)
}

// A gradient that wraps nothing yet says the type of those to come.
func TestMoveBringsGradients(t *testing.T) {
	h := newHarness(t, device.Float32, nil)
	value := h.buffer(device.Float32, []float64{1, 2})
	nowhere, err := h.dev.WrapAt(device.BFloat16, 2, nil)
	require.NoError(t, err)
	o, err := optim.New(h.dev, sgd(1), []optim.Param{{Value: value, Grad: nowhere}})
	require.NoError(t, err)
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{1, 2}, h.values(value), "there is none yet")
	g := []uint16{0x3f80, 0x4000} // 1 and 2
	require.NoError(t, o.Move(optim.Row{Name: "grad", At: []unsafe.Pointer{unsafe.Pointer(&g[0])}}))
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{0, 0}, h.values(value))

	never := h.buffer(device.Float32, []float64{1, 2}) // there has been no gradient, nor a buffer for one
	o, err = optim.New(h.dev, sgd(1), []optim.Param{{Value: never}})
	require.NoError(t, err)
	require.NoError(t, o.SetClipNorm(2.5))
	require.NoError(t, o.Step(nil))
	for range 2 {
		x := []float32{3, 4}
		require.NoError(t, o.Move(optim.Row{Name: "grad", At: []unsafe.Pointer{unsafe.Pointer(&x[0])}}))
		require.NoError(t, o.MeasureGradNorm(nil))
		norm, err := o.GradNorm(nil)
		require.NoError(t, err)
		require.Equal(t, 5.0, norm)
		require.NoError(t, o.Step(nil))
	}
	require.InDeltaSlice(t, []float64{-2, -2}, h.values(never), 1e-5)
}

// State of the caller's is what it must be, and stays the caller's.
func TestStateOfTheCallers(t *testing.T) {
	h := newHarness(t, device.Float32, nil)
	f32 := func(n int) *device.Buffer { return h.buffer(device.Float32, make([]float64, n)) }
	value, grad := h.buffer(device.Float32, []float64{1, 2}), h.buffer(device.Float32, []float64{1, 1})
	closed := f32(2)
	require.NoError(t, closed.Close())
	for _, tt := range []struct {
		name, slot string
		b          *device.Buffer
		want       string
		is         error
	}{
		{"name", "momentum_buffer", f32(2), `optim: group 0, tensor "0.0": has no state "momentum_buffer", only ["exp_avg" "exp_avg_sq"]`, nil},
		{"that of an option", "max_exp_avg_sq", f32(2), `optim: group 0, tensor "0.0": has no state "max_exp_avg_sq", only ["exp_avg" "exp_avg_sq"]`, nil},
		{"type", "exp_avg", h.buffer(device.Float64, []float64{0, 0}), `optim: group 0, tensor "0.0": state exp_avg is float64, its format is float32`, nil},
		{"length", "exp_avg", f32(3), `optim: group 0, tensor "0.0": state exp_avg has 3 elements, value has 2`, nil},
		{"closed", "exp_avg", closed, "", device.ErrClosed},
		{"nil", "exp_avg", nil, "", device.ErrClosed},
		{"overlap", "exp_avg", value, `optim: group 0, tensor "0.0": exp_avg overlaps value of group 0, tensor "0.0"`, device.ErrOverlap},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := optim.New(h.dev, optim.DefaultAdamW(), []optim.Param{{Value: value, Grad: grad, State: map[string]*device.Buffer{tt.slot: tt.b}}})
			require.Error(t, err)
			var tensor *optim.TensorError
			require.ErrorAs(t, err, &tensor)
			if tt.want != "" {
				require.EqualError(t, err, tt.want)
			}
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
		})
	}
	own := h.buffer(device.Float32, []float64{0.5, 0.25}) // from which the training goes on
	params := []optim.Param{{Value: value, Grad: grad, State: map[string]*device.Buffer{"exp_avg": own}}}
	o, err := optim.New(h.dev, optim.DefaultAdamW(), params)
	require.NoError(t, err)
	b, err := o.State("0.0", "exp_avg")
	require.NoError(t, err)
	require.Same(t, own, b)
	_, err = o.State("0.0", "exp_avg_sq")
	require.NoError(t, err, "what is not given is allocated")
	require.EqualError(t, o.Rebind([]optim.Param{{Name: "0.0", Value: value, Grad: grad, State: params[0].State}}),
		`optim: group 0, tensor "0.0": state stays where it is: Rebind takes none`)
	require.NoError(t, o.Step(nil))
	require.InDeltaSlice(t, []float64{0.55, 0.325}, h.values(own), 1e-7)
	require.NoError(t, own.Close())
	require.ErrorIs(t, o.Step(nil), device.ErrClosed)
	require.ErrorContains(t, o.Step(nil), "state exp_avg")
	require.NoError(t, o.Close())
}

// Counters of many tensors are set at once, or none is, and tensors that come to one history are stepped together again.
func TestSetCounters(t *testing.T) {
	h := newHarness(t, device.Float32, nil)
	const n = 3000
	values, grads := h.buffer(device.Float32, make([]float64, n)), h.buffer(device.Float32, make([]float64, n))
	var params []optim.Param
	for i := range n {
		v, err := values.Slice(i, i+1)
		g, err2 := grads.Slice(i, i+1)
		require.NoError(t, errors.Join(err, err2))
		params = append(params, optim.Param{Name: fmt.Sprint(i), Value: v, Grad: g})
	}
	counting := &counting{cpuDevice: h.dev}
	o, err := optim.New(counting, optim.DefaultAdamW(), params)
	require.NoError(t, err)
	set := map[string]map[string]float64{}
	for i := range n {
		set[fmt.Sprint(i)] = map[string]float64{"step": float64(i % 7)}
	}
	before, err := o.Counters(nil)
	require.NoError(t, err)
	require.Len(t, before, n)
	set["5"] = map[string]float64{"step": -1}
	var restore *optim.RestoreError
	require.ErrorAs(t, o.SetCounters(nil, set), &restore)
	after, err := o.Counters(nil)
	require.NoError(t, err)
	require.Equal(t, before, after)
	delete(set, "5") // stays at 0
	require.EqualError(t, o.SetCounters(nil, map[string]map[string]float64{"none": nil}), `optim: set counters: there is no tensor "none"`)
	require.NoError(t, o.SetCounters(nil, set))
	require.NoError(t, o.SetSteps(6))
	after, err = o.Counters(nil)
	require.NoError(t, err)
	for i := range n {
		one, err := o.TensorCounters(nil, fmt.Sprint(i))
		require.NoError(t, err)
		require.Equal(t, one, after[fmt.Sprint(i)])
		want := float64(i % 7)
		if i == 5 {
			want = 0
		}
		require.Equal(t, want, one["step"], "tensor %d", i)
	}
	for i := range n { // one after the other, until all are one history
		require.NoError(t, o.SetTensorCounters(nil, fmt.Sprint(i), map[string]float64{"step": 6}))
	}
	require.NoError(t, o.Step(nil))
	counters, err := o.GroupCounters(nil, 0)
	require.NoError(t, err)
	require.Equal(t, 7.0, counters["step"])
}

// What a step on ten thousand tensors costs beyond the step, where all gradients have moved.
func BenchmarkMove(b *testing.B) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	const n, length = 10_000, 4
	var params []optim.Param
	memory := make([]float32, 6*n*length)
	take := func() unsafe.Pointer {
		x := &memory[0]
		memory = memory[length:]
		return unsafe.Pointer(x)
	}
	wrap := func() *device.Buffer {
		w, err := dev.WrapAt(device.Float32, length, take())
		require.NoError(b, err)
		return w
	}
	rows := [2]optim.Row{{Name: "grad"}, {Name: "grad"}}
	for range n {
		params = append(params, optim.Param{Value: wrap(), State: map[string]*device.Buffer{"exp_avg": wrap(), "exp_avg_sq": wrap()}})
	}
	for i := range 2 * n {
		rows[i/n].At = append(rows[i/n].At, take())
	}
	o, err := optim.New(dev, optim.DefaultAdamW(), params)
	require.NoError(b, err)
	for _, tt := range []struct {
		name string
		row  func(i int) optim.Row
	}{{"stays", func(int) optim.Row { return rows[0] }}, {"moves", func(i int) optim.Row { return rows[i%2] }}} {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				require.NoError(b, o.Move(tt.row(i)))
				require.NoError(b, o.Step(nil))
			}
		})
	}
}

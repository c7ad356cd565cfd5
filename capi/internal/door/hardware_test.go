//go:build cuda && cgo && linux

package door

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/internal/gpu"
)

// hardware is the GPU that FUSESTEP_DEVICE names, else the emulated one.
func hardware(t *testing.T) *cuda.Device {
	d, err := gpu.Open(cmp.Or(os.Getenv("FUSESTEP_DEVICE"), "emu"))
	require.NoError(t, err)
	require.False(t, d.Emulated && os.Getenv("REQUIRE_GPU") != "", "REQUIRE_GPU is set, and the GPU is emulated")
	t.Cleanup(func() { require.NoError(t, d.Device().Close()) })
	return d.Backend.(*cuda.Device)
}

// framework is a library that has tensors in a device's memory, and hands over their addresses.
type framework struct {
	t    *testing.T
	dev  *device.Device
	keep []*device.Buffer // nothing is freed while the test runs
}

// tensor is memory with numbers in it.
func (f *framework) tensor(t device.DType, x []float64) unsafe.Pointer {
	b, err := f.dev.Alloc(t, len(x))
	require.NoError(f.t, err)
	require.NoError(f.t, device.UploadFloats(f.dev.DefaultStream(), b, x))
	f.keep = append(f.keep, b)
	return pointer(b)
}

// pointer is an address as C has it.
func pointer(b *device.Buffer) (p unsafe.Pointer) {
	*(*uintptr)(unsafe.Pointer(&p)) = uintptr(b.Addr())
	return p
}

// read is what is in memory of tensor's now.
func (f *framework) read(at unsafe.Pointer) []float64 {
	i := slices.IndexFunc(f.keep, func(b *device.Buffer) bool { return b.Len() > 0 && pointer(b) == at })
	require.GreaterOrEqual(f.t, i, 0)
	x := make([]float64, f.keep[i].Len())
	if f.keep[i].DType() != device.Int16 {
		require.NoError(f.t, device.DownloadFloats(f.dev.DefaultStream(), x, f.keep[i]))
		return x
	}
	remainders := make([]int16, len(x))
	require.NoError(f.t, device.Download(f.dev.DefaultStream(), remainders, f.keep[i]))
	require.NoError(f.t, f.dev.DefaultStream().Synchronize())
	for i, r := range remainders {
		x[i] = float64(r)
	}
	return x
}

// inContext does f on a thread where a GPU's primary context is current, as it is in a program with CUDA's runtime.
func inContext(t *testing.T, dev *cuda.Device, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var ordinal int
	_, err := fmt.Sscanf(dev.Name(), "cuda:%d", &ordinal)
	require.NoError(t, err)
	d, err := cu.GetDevice(ordinal)
	require.NoError(t, err)
	ctx, err := d.RetainPrimaryCtx()
	require.NoError(t, err)
	require.NoError(t, cu.SetCurrentContext(ctx))
	defer func() {
		require.NoError(t, cu.SetCurrentContext(cu.CUContext{}))
		require.NoError(t, d.ReleasePrimaryCtx())
	}()
	f()
}

var lengths = []int{1, 700, 0, 5000}

// run trains with tensors that the framework has: the gradients are elsewhere at each step, one tensor's is now and then not there, and what
// is clipped and scaled changes. It gives all values, all state and what steps told.
func (f *framework) run(d *Device, algorithm, options string, value device.DType, matrices []int, stream uintptr, wait func()) (out [][]float64) {
	t := f.t
	o, err := New(d, algorithm)
	require.NoError(t, err)
	defer func() { require.NoError(t, o.Close()) }()
	if d.gpu != nil {
		require.NoError(t, o.SetStream(stream))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	normal := func(n int) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = value.Round(rng.NormFloat64())
		}
		return x
	}
	row := func() (out []unsafe.Pointer) {
		for _, n := range lengths {
			out = append(out, f.tensor(value, normal(n)))
		}
		return out
	}
	k, err := kindOf(algorithm)
	require.NoError(t, err)
	g := Group{Lengths: lengths, Rows: matrices, Values: row(), Options: options, Value: slices.Repeat([]device.DType{value}, len(lengths)), Grad: slices.Repeat([]device.DType{value}, len(lengths))}
	parsed, err := parseOptions(options)
	require.NoError(t, err)
	a, err := k.with(k.defaults())
	require.NoError(t, err)
	a, err = parsed.wrap(a)
	require.NoError(t, err)
	has := map[bool]map[string]device.DType{}
	for _, matrix := range []bool{false, true} {
		has[matrix], err = state(a, types{value, value, matrix})
		require.NoError(t, err)
	}
	for _, name := range parsed.rows(k)[2:] {
		var at []unsafe.Pointer
		for i, n := range lengths {
			t, used := has[matrices != nil && matrices[i] > 0][name]
			if !used {
				at = append(at, nil)
				continue
			}
			b, err := f.dev.Alloc(t, n) // of rows and columns there are fewer
			require.NoError(f.t, err)
			require.NoError(f.t, f.dev.DefaultStream().Zero(b))
			f.keep = append(f.keep, b)
			at = append(at, pointer(b))
		}
		g.State = append(g.State, at)
	}
	require.NoError(t, f.dev.DefaultStream().Synchronize())
	require.NoError(t, o.AddGroup(g))
	for step := range 8 {
		rows := make([][]unsafe.Pointer, 2+len(g.State))
		rows[1] = row()
		if step == 2 {
			g.Values[1] = f.tensor(value, f.read(g.Values[1]))
			rows[0] = g.Values
		}
		in := Args{Rows: rows, Tell: step%2 == 1, MaxNorm: []float64{0, 20, 0}[step%3], MaxTensorNorm: []float64{3, 0}[step%2]}
		if step == 3 {
			in.Mask = []uint8{1, 0, 1, 1}
		}
		number := func(x float64) unsafe.Pointer { return f.tensor(device.Float32, []float64{x}) }
		switch {
		case step < 4:
		case d.gpu == nil:
			in.Scale, in.FoundInf = 8, step == 6
		default:
			in.ScaleAt = number(8)
			if step >= 6 {
				in.FoundAt = number(float64(7 - step))
			}
		}
		if step == 7 { // its norm is not asked for, as it need not be measured
			in.Tell, in.MaxNorm = false, 0
		}
		told, err := o.Step(in)
		require.NoError(t, err)
		wait()
		out = append(out, []float64{told.Norm})
	}
	counters := make([]float64, len(lengths)*o.NumCounters())
	require.NoError(t, o.Counters(0, counters))
	out = append(out, counters)
	evaluated := row()
	require.NoError(t, o.Eval(0, evaluated))
	wait()
	for _, at := range append(g.State, g.Values, evaluated) {
		for i, n := range lengths {
			if at[i] != nil && n > 0 {
				out = append(out, f.read(at[i]))
			}
		}
	}
	return out
}

// A framework's tensors on a GPU have the bits of tensors on the host, on CUDA's default stream and on one of the framework's.
func TestHardware(t *testing.T) {
	dev := hardware(t)
	host := cpu.NewThreads(1)
	defer host.Close()
	var own cu.Stream
	inContext(t, dev, func() {
		var err error
		own, err = cu.MakeStream(cu.NonBlocking)
		require.NoError(t, err)
	})
	for _, tt := range []struct {
		algorithm, options string
		value              device.DType
		matrices           []int // the rows of each tensor's
	}{
		{"AdamW", "", device.Float32, nil},
		{"NAdam", `{"ema_decay": 0.9}`, device.Float64, nil},
		{"SGD", `{"all": "bf16", "stochastic": true, "seed": 5, "l1": 0.1}`, device.BFloat16, nil},
		{"Adam", `{"master": "f32"}`, device.BFloat16, nil},
		{"ScheduleFreeAdamW", `{"master": "i16", "all": "f16"}`, device.BFloat16, nil},
		{"LAMB", `{"ema_decay": 0.5}`, device.Float32, nil},
		{"NovoGrad", `{"master": "i16"}`, device.BFloat16, nil},
		{"Adafactor", "", device.Float32, []int{0, 35, 7, 50}},
		{"AdamMini", `{"master": "f32"}`, device.BFloat16, []int{1, 0, 0, 2500}},
	} {
		t.Run(tt.algorithm+" "+tt.value.Short(), func(t *testing.T) {
			want := (&framework{t: t, dev: host.Device()}).run(OnCPU(host), tt.algorithm, tt.options, tt.value, tt.matrices, 0, func() {})
			for name, s := range map[string]cu.Stream{"default": {}, "own": own} {
				t.Run(name, func(t *testing.T) {
					f := &framework{t: t, dev: dev.Device()}
					wait := func() { inContext(t, dev, func() { require.NoError(t, s.Synchronize()) }) }
					require.Equal(t, want, f.run(OnGPU(dev), tt.algorithm, tt.options, tt.value, tt.matrices, *(*uintptr)(unsafe.Pointer(&s)), wait))
				})
			}
		})
	}
}

// What a GPU cannot do is an error: state that moves, addresses where there is no memory, and a stream that is being captured.
func TestHardwareErrors(t *testing.T) {
	dev := hardware(t)
	f := &framework{t: t, dev: dev.Device()}
	types := []device.DType{device.Float32}
	value, grad, first, second := f.tensor(device.Float32, []float64{1, 2}), f.tensor(device.Float32, []float64{1, 1}), f.tensor(device.Float32, []float64{0, 0}), f.tensor(device.Float32, []float64{0, 0})
	var own cu.Stream
	inContext(t, dev, func() {
		var err error
		own, err = cu.MakeStream(cu.NonBlocking)
		require.NoError(t, err)
	})
	o, err := New(OnGPU(dev), "AdamW")
	require.NoError(t, err)
	require.NoError(t, o.SetStream(*(*uintptr)(unsafe.Pointer(&own))))
	at := func(p unsafe.Pointer) []unsafe.Pointer { return []unsafe.Pointer{p} }
	var nowhere [2]float32 // in the host's memory
	g := Group{Lengths: []int{2}, Values: at(unsafe.Pointer(&nowhere)), Value: types, Grad: types, State: [][]unsafe.Pointer{at(first), at(second), nil}}
	err = o.AddGroup(g)
	require.ErrorContains(t, err, "no allocation holds")
	require.Equal(t, Tensor, CodeOf(err))
	g.Values = at(value)
	require.NoError(t, o.AddGroup(g))
	_, err = o.Step(Args{Rows: [][]unsafe.Pointer{nil, at(unsafe.Pointer(&nowhere)), nil, nil, nil}})
	require.ErrorContains(t, err, "no allocation holds")
	require.Equal(t, Tensor, CodeOf(err))
	_, err = o.Step(Args{Rows: [][]unsafe.Pointer{nil, at(grad), at(second), nil, nil}})
	require.EqualError(t, err, `tensor "0.0": state exp_avg: on a GPU it stays where it was given`)
	require.Equal(t, Tensor, CodeOf(err))
	_, err = o.Step(Args{Rows: [][]unsafe.Pointer{nil, at(grad), at(first), at(second), nil}})
	require.NoError(t, err)
	inContext(t, dev, func() { require.NoError(t, own.Synchronize()) })
	before := f.read(value)
	_, err = dev.Capture(func(s *device.Stream) error {
		callers := o.stream
		o.stream = s
		_, err := o.Step(Args{})
		o.stream = callers
		require.ErrorContains(t, err, "is being captured")
		require.Equal(t, Capturing, CodeOf(err))
		return nil
	})
	require.NoError(t, err, "the capture is as it was")
	require.Equal(t, before, f.read(value))
	_, err = o.Step(Args{})
	require.NoError(t, err)
	inContext(t, dev, func() { require.NoError(t, own.Synchronize()) })
	require.NotEqual(t, before, f.read(value))

	require.ErrorContains(t, o.Capture(Args{}), "is not being captured")
	_, err = o.Step(Args{Rates: at(grad)})
	require.ErrorContains(t, err, "lr is given, which fs_capture alone takes")
	rate, before := f.tensor(device.Float64, []float64{0.5}), f.read(value)
	graph, err := dev.Capture(func(s *device.Stream) error {
		callers := o.stream
		defer func() { o.stream = callers }()
		o.stream = s
		_, err := o.Outcome()
		require.Equal(t, Capturing, CodeOf(err))
		require.Equal(t, Capturing, CodeOf(o.Counters(0, make([]float64, o.NumCounters()))))
		require.ErrorContains(t, o.Capture(Args{Rates: at(unsafe.Pointer(&nowhere))}), "no allocation holds")
		return o.Capture(Args{Rates: at(rate)})
	})
	require.NoError(t, err)
	require.Equal(t, before, f.read(value))
	for range 2 {
		require.NoError(t, o.stream.Launch(graph))
	}
	counters := make([]float64, o.NumCounters())
	require.NoError(t, o.Counters(0, counters))
	require.Equal(t, 4.0, counters[slices.Index(o.kind.Counters, "step")])
	require.InDeltaSlice(t, []float64{before[0] - 1, before[1] - 1}, f.read(value), 0.1)
	_, err = o.Step(Args{Mask: []uint8{0}})
	require.NoError(t, err, "all that were captured are left out")
	require.NoError(t, o.Close())

	host := cpu.NewThreads(1)
	defer host.Close()
	o, err = New(OnCPU(host), "AdamW")
	require.NoError(t, err)
	require.Equal(t, Argument, CodeOf(o.SetStream(0)))
	require.Equal(t, Argument, CodeOf(o.Capture(Args{})))
}

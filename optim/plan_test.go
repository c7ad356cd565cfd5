package optim_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/optim"
)

// meter is a processor that counts the bytes that are allocated.
type meter struct {
	device.Processor
	bytes *int64
}

func (c meter) Alloc(n int64) (device.Memory, error) {
	*c.bytes += n
	return c.Processor.Alloc(n)
}

// sheet is a processor with any amount of memory that holds nothing: models of any size fit on it.
type sheet struct {
	device.Processor
	next *uint64
}

func (s sheet) Alloc(n int64) (device.Memory, error) {
	at := *s.next
	*s.next += (uint64(n) + 1<<20 - 1) &^ (1<<20 - 1)
	return blank(at), nil
}
func (sheet) NewQueue() (device.Queue, error) { return idle{}, nil }
func (sheet) Close() error                    { return nil }

type blank uint64

func (b blank) Addr() uint64 { return uint64(b) }
func (blank) Free() error    { return nil }

type idle struct{ device.Queue }

func (idle) Upload(device.Span, []byte) error { return nil }
func (idle) Zero(device.Span) error           { return nil }
func (idle) Synchronize() error               { return nil }
func (idle) Close() error                     { return nil }

// counted is a backend whose device counts; on a sheet it computes nothing.
type counted struct {
	kernels.Backend // that computes
	dev             *device.Device
	bytes           *int64
}

func (c counted) Device() *device.Device { return c.dev }

func (c counted) Compile(w kernels.Work) (kernels.Update, error) {
	if c.Backend == nil {
		return nothing{}, nil
	}
	return c.Backend.Compile(w)
}

func (c counted) Storage(compute device.DType) []device.DType { return format.Storage(compute) }

type nothing struct{ kernels.Update }

func (nothing) Close() error { return nil }

func newCounted(t *testing.T, b kernels.Backend, p device.Processor) counted {
	c := counted{Backend: b, bytes: new(int64)}
	dev, err := device.New("counting", meter{p, c.bytes})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	c.dev = dev
	return c
}

// tensors are parameters with gradients of the lengths, each off elements behind a multiple of 1,024 bytes.
func (c counted) tensors(t *testing.T, value, grad device.DType, lengths []int, off int) (params []optim.Param) {
	end := 0
	for _, n := range lengths {
		end += n + 2048 // more than a page of the smallest elements needs
	}
	arena := func(dtype device.DType) (out []*device.Buffer) {
		whole, err := c.dev.Alloc(dtype, end)
		require.NoError(t, err)
		require.NoError(t, c.dev.DefaultStream().Zero(whole))
		at := 0
		for _, n := range lengths {
			first, err := whole.Slice(at, end)
			require.NoError(t, err)
			at += int(-first.Addr()%1024)/dtype.Size() + off
			b, err := whole.Slice(at, at+n)
			require.NoError(t, err)
			out, at = append(out, b), at+n
		}
		return out
	}
	values, grads := arena(value), arena(grad)
	for i := range lengths {
		params = append(params, optim.Param{Value: values[i], Grad: grads[i]})
	}
	return params
}

// shaped are parameters of the shapes.
func (c counted) shaped(t *testing.T, dtype device.DType, shapes [][]int) []optim.Param {
	var lengths []int
	for _, shape := range shapes {
		n := 1
		for _, k := range shape {
			n *= k
		}
		lengths = append(lengths, n)
	}
	params := c.tensors(t, dtype, dtype, lengths, 0)
	for i := range params {
		params[i].Shape = shapes[i]
	}
	return params
}

// planned are algorithms with as many kinds of state as there are.
func planned() map[string]optim.Algorithm {
	out := map[string]optim.Algorithm{
		"adamw bf16": optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.BFloat16},
		"adamw mixed": optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.BFloat16,
			State: map[string]device.DType{"exp_avg_sq": device.Float32}},
		"adamw master":     optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterFloat32},
		"adamw remainder":  optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterRemainder, All: device.BFloat16},
		"adamw remainder8": optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterRemainder8, All: device.Float16},
		"adamw stochastic": optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.BFloat16, Stochastic: true},
		"adamw averaged":   optim.Averaged{Algorithm: optim.DefaultAdamW(), Decay: 0.999},
		"adamw averaged, all bf16": optim.Stored{Algorithm: optim.Averaged{Algorithm: optim.DefaultAdamW(), Decay: 0.999}, All: device.BFloat16,
			State: map[string]device.DType{"ema": device.BFloat16}},
		"adamw averaged, remainder": optim.Averaged{Algorithm: optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterRemainder}, Decay: 0.999},
	}
	for _, c := range optim.Cases() {
		out[c.Name] = c.Algorithm
	}
	return out
}

// llama is the lengths of Llama 3 8B's tensors.
func llama() []int {
	out := []int{128256 * 4096}
	for range 32 {
		out = append(out, 4096*4096, 1024*4096, 1024*4096, 4096*4096, 14336*4096, 14336*4096, 14336*4096, 4096, 4096)
	}
	return append(out, 4096, 128256*4096)
}

// What is planned is what New allocates, to the byte: on a CPU, and on a device that has room for anything.
func TestPlanIsAllocated(t *testing.T) {
	for name, lengths := range map[string][]int{
		"none": nil, "empty": {0, 0}, "one": {1}, "small": {1, 33, 0, 128, 4097, 7}, "staggered": {1 << 18, 5}, "llama": llama(),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "llama" && strconv.IntSize == 32 {
				t.Skip("a buffer has fewer elements than an int of 32 bits counts")
			}
			var elements int64
			for _, n := range lengths {
				elements += int64(n)
			}
			real := cpu.NewThreads(1)
			defer real.Close()
			for algorithm, alg := range planned() {
				if name == "llama" && !strings.HasPrefix(algorithm, "adamw") {
					continue // others fill state with what is not 0, which takes its time
				}
				for _, kind := range [][2]device.DType{{device.Float32, device.Float32}, {device.BFloat16, device.Float32},
					{device.BFloat16, device.BFloat16}, {device.Float16, device.Float16}, {device.Float64, device.Float64}} {
					if _, ok := alg.(optim.Stored); ok && kind[0] == device.Float64 {
						continue // there are no 16 bits for it
					}
					if kind[0] == device.Float16 && strings.Contains(algorithm, "remainder") {
						continue // which only a bfloat16 has
					}
					what := fmt.Sprintf("%s of %s, gradient %s", algorithm, kind[0], kind[1])
					p, err := optim.NewPlan(alg, kind[0], kind[1], lengths)
					require.NoError(t, err, what)
					require.Equal(t, elements, p.Params, what)
					require.Equal(t, elements*int64(kind[0].Size()+kind[1].Size()), p.Resident.Total-p.State.Total, what)

					c := newCounted(t, nil, sheet{next: new(uint64)})
					params := c.tensors(t, kind[0], kind[1], lengths, 0)
					require.Equal(t, p.State.Total, allocated(t, c, alg, params), what)
					if name != "small" {
						continue
					}
					c = newCounted(t, real, real.Device().Processor())
					params = c.tensors(t, kind[0], kind[1], lengths, 0)
					require.Equal(t, p.State.Total, allocated(t, c, alg, params), what)
					for _, off := range []int{1, 63} { // whose values do not begin at a line
						params = c.tensors(t, kind[0], kind[1], lengths, off)
						more := allocated(t, c, alg, params) - p.State.Total
						require.GreaterOrEqual(t, more, int64(0), what)
						require.LessOrEqual(t, more, int64(p.State.PerParam*64*len(lengths)), what)
					}
				}
			}
		})
	}
}

// What is switched on later is beside the plan: as much as its documentation says, and for zeroed gradients nothing.
func TestPlanLeavesOut(t *testing.T) {
	real := cpu.NewThreads(1)
	defer real.Close()
	lengths := []int{1, 33, 128, 4097}
	c := newCounted(t, real, real.Device().Processor())
	params := c.tensors(t, device.BFloat16, device.BFloat16, lengths, 0)
	o, err := optim.New(c, optim.Averaged{Algorithm: optim.DefaultAdamW(), Decay: 0.9}, params)
	require.NoError(t, err)
	added := func(set error) int64 {
		require.NoError(t, set)
		before := *c.bytes
		require.NoError(t, o.Step(nil))
		require.Equal(t, before, *c.bytes) // no step allocates
		defer func() { *c.bytes = 0 }()
		return before
	}
	*c.bytes = 0
	require.Zero(t, added(o.SetZeroGrad(true)))
	scaler := optim.DefaultGradScaler()
	require.EqualValues(t, kernels.ControlWords*device.Float64.Size(), added(o.SetGradScaler(nil, &scaler)))
	require.Zero(t, added(o.SetClipNorm(1)))
	require.NoError(t, o.SetAccumulate(true))
	one, err := optim.NewPlan(optim.Averaged{Algorithm: optim.DefaultSGD(), Decay: 0.9}, device.BFloat16, device.BFloat16, lengths)
	require.NoError(t, err) // of one state of float32, and one counter
	require.Equal(t, device.Float32.Size(), one.State.PerParam)
	require.Equal(t, one.State.Total-int64(device.Float64.Size()), *c.bytes)
	require.NoError(t, o.Close())
}

// What SetAdaptiveClip adds is what a plan says.
func TestPlanOfAdaptiveClip(t *testing.T) {
	real := cpu.NewThreads(1)
	defer real.Close()
	for _, shapes := range [][][]int{{{7}}, {{3, 4}}, {{5, 70}, {7}, {2, 3, 4}, {0, 3}, {1}}, {{0}}} {
		for _, alg := range []optim.Algorithm{optim.DefaultAdamW(), optim.DefaultSGD(), optim.DefaultAdafactor(), optim.DefaultLAMB(), optim.DefaultNovoGrad(), optim.DefaultAdamMini()} {
			for _, dtype := range []device.DType{device.BFloat16, device.Float64} {
				what := fmt.Sprintf("%T of %s %v", alg, dtype, shapes)
				p, err := optim.NewPlanOfShapes(alg, dtype, dtype, shapes)
				require.NoError(t, err, what)
				c := newCounted(t, real, real.Device().Processor())
				o, err := optim.New(c, alg, c.shaped(t, dtype, shapes))
				require.NoError(t, err, what)
				before := *c.bytes
				require.NoError(t, o.SetAdaptiveClip(0.01, 1e-3))
				require.NoError(t, o.Step(nil))
				require.Equal(t, p.AdaptiveClip, *c.bytes-before, what)
				require.NoError(t, o.Close())
			}
		}
	}
}

// Partial sums are most of what a GPU keeps beside the state.
func TestPlanOfPartialSums(t *testing.T) {
	if !gpu.Built {
		t.Skip("it needs the emulated GPU")
	}
	dev, err := gpu.Open("emu")
	require.NoError(t, err)
	defer dev.Device().Close()
	used := func() int64 {
		free, total, err := dev.Device().MemInfo()
		require.NoError(t, err)
		return total - free
	}
	h := onBackend(t, dev)
	shapes := [][]int{{6400, 500}, {65, 3}, {5000}}
	params := h.matrices(shapes)
	p, err := optim.NewPlanOfShapes(optim.DefaultAdafactor(), device.Float32, device.Float32, shapes)
	require.NoError(t, err)
	matrices := (6400 + 65) * 3  // a row's squares, and the tensor's of the parameter and of the update
	columns := 500*6400/64 + 3*2 // their squares
	vector := 2 * 2              // the tensor's of parameter and update
	require.EqualValues(t, 8*(matrices+columns+vector), p.Partial)
	before := used()
	o, err := optim.New(dev, optim.DefaultAdafactor(), params)
	require.NoError(t, err)
	stepping(t, o, 1)
	rest := used() - before - p.State.Total - p.Partial
	require.GreaterOrEqual(t, rest, int64(0))
	require.Less(t, rest, p.Partial/2) // tables of chunks, mostly
	require.NoError(t, o.Close())
}

// allocated is the bytes that New allocates, and nothing in addition by then.
func allocated(t *testing.T, c counted, alg optim.Algorithm, params []optim.Param) int64 {
	before := *c.bytes
	o, err := optim.New(c, alg, params)
	require.NoError(t, err)
	n := *c.bytes - before
	if c.Backend != nil {
		require.NoError(t, o.Step(nil))
		require.NoError(t, c.dev.DefaultStream().Synchronize())
		require.Equal(t, n, *c.bytes-before)
	}
	require.NoError(t, o.Close())
	return n
}

// What is planned is what a program says of itself, whatever its formats: for each parameter the bytes of all its planes, and of those that
// a step reads and writes.
func TestPlanIsTheProgram(t *testing.T) {
	for _, c := range optim.Cases() {
		s, err := c.Algorithm.Setting()
		require.NoError(t, err)
		for _, kind := range kinds {
			program, err := kernels.New(kernels.SpecOfTypes(s, kind[0], kind[1]))
			require.NoError(t, err)
			p, err := optim.NewPlan(c.Algorithm, kind[0], kind[1], []int{1000, 24})
			require.NoError(t, err)
			require.Equal(t, program.Bytes, p.Read.PerParam+p.Written.PerParam, "%s", program.Spec)
			size := 0
			for k, plane := range program.Planes {
				size += plane.DType.Size()
				require.Equal(t, plane.DType, p.Buffers[k].DType)
				require.Equal(t, program.Of(k).Name, p.Buffers[k].Name)
			}
			require.Equal(t, size, p.Resident.PerParam, "%s", program.Spec)
			require.Equal(t, optim.Bytes{PerParam: kind[1].Size(), Total: int64(1024 * kind[1].Size())}, p.Norm, "%s", program.Spec)
			require.Equal(t, int64(1024*p.Read.PerParam), p.Read.Total)
			require.Equal(t, int64(1024*p.Written.PerParam), p.Written.Total)
		}
	}
}

func TestPlanOfAdamW(t *testing.T) {
	for _, test := range []struct {
		alg                           optim.Algorithm
		value, grad                   device.DType
		resident, read, written, norm int
	}{
		{optim.DefaultAdamW(), device.Float32, device.Float32, 16, 16, 12, 4},
		{optim.DefaultAdamW(), device.Float32, device.BFloat16, 14, 14, 12, 2},
		{optim.DefaultAdamW(), device.BFloat16, device.BFloat16, 12, 12, 10, 2},
		{optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.BFloat16}, device.BFloat16, device.BFloat16, 8, 8, 6, 2},
		{optim.DefaultAdamW(), device.Float64, device.Float64, 32, 32, 24, 8},
		{optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterFloat32}, device.BFloat16, device.BFloat16, 16, 14, 14, 2},
		{optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterRemainder}, device.BFloat16, device.BFloat16, 14, 14, 12, 2},
		{optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterRemainder8}, device.BFloat16, device.BFloat16, 13, 13, 11, 2},
		{optim.Averaged{Algorithm: optim.DefaultAdamW(), Decay: 0.9}, device.BFloat16, device.BFloat16, 16, 16, 14, 2},
	} {
		p, err := optim.NewPlan(test.alg, test.value, test.grad, []int{256})
		require.NoError(t, err)
		require.Equal(t, []int{test.resident, test.read, test.written, test.norm},
			[]int{p.Resident.PerParam, p.Read.PerParam, p.Written.PerParam, p.Norm.PerParam}, "%s, %s", test.value, test.grad)
		require.Equal(t, int64(256*test.resident+8*3), p.Resident.Total) // step, beta1_power, beta2_power
		var total int64
		for _, b := range p.Buffers {
			total += b.Total
		}
		require.Equal(t, total, p.Resident.Total)
	}
}

// A slot may have more planes than one. The first of a parameter is the caller's, the others are state.
func TestPlanOfPlanes(t *testing.T) {
	p, err := optim.NewPlan(optim.Stored{Algorithm: optim.DefaultSGD(), Master: optim.MasterFloat32}, device.BFloat16, device.BFloat16, []int{100, 28})
	require.NoError(t, err)
	state := int64((128 + 28) * 4) // the second tensor's begins at a multiple of 64 elements
	require.Equal(t, &optim.Plan{Params: 128,
		Buffers: []optim.PlannedBuffer{
			{Name: "param", DType: device.BFloat16, Bytes: optim.Bytes{PerParam: 2, Total: 256}},
			{Name: "master", DType: device.Float32, Owned: true, Bytes: optim.Bytes{PerParam: 4, Total: state}},
			{Name: "grad", DType: device.BFloat16, Bytes: optim.Bytes{PerParam: 2, Total: 256}},
			{Name: "counters", DType: device.Float64, Owned: true, Bytes: optim.Bytes{Total: 8}}},
		Resident: optim.Bytes{PerParam: 8, Total: 512 + state + 8}, State: optim.Bytes{PerParam: 4, Total: state + 8},
		Read: optim.Bytes{PerParam: 6, Total: 768}, Written: optim.Bytes{PerParam: 6, Total: 768}, Norm: optim.Bytes{PerParam: 2, Total: 256}, AdaptiveClip: 2 * 8 * 10}, p)
}

func TestPlanErrors(t *testing.T) {
	adamw := optim.DefaultAdamW()
	plan := func(alg optim.Algorithm, value, grad device.DType, lengths ...int) error {
		p, err := optim.NewPlan(alg, value, grad, lengths)
		require.Nil(t, p)
		return err
	}
	require.EqualError(t, plan(nil, device.Float32, device.Float32, 1), "optim: group 0: the algorithm is nil")
	require.ErrorAs(t, plan(optim.AdamW{}, device.Float32, device.Float32, 1), new(*optim.DefaultError))
	require.ErrorIs(t, plan(adamw, 0, device.Float32, 1), device.ErrUnsupported)
	require.ErrorAs(t, plan(adamw, device.Float64, device.Float32, 1), new(*format.Error))
	require.ErrorAs(t, plan(optim.Stored{Algorithm: adamw, All: device.Float64}, device.Float32, device.Float32, 1), new(*format.Error))
	require.ErrorIs(t, plan(adamw, device.Float32, device.Float32, 4, -1), device.ErrRange)
	tiny := adamw
	tiny.Eps = 1e-50
	require.ErrorAs(t, plan(tiny, device.Float32, device.Float32, 1), new(*optim.HyperparameterError))

	if most := int64(1) << 57; strconv.IntSize == 64 { // 16 bytes each
		p, err := optim.NewPlan(adamw, device.Float32, device.Float32, []int{int(most)})
		require.NoError(t, err)
		require.Equal(t, 28*most, p.Read.Total+p.Written.Total)
		require.ErrorIs(t, plan(adamw, device.Float32, device.Float32, int(most)+1), device.ErrRange)
	}
	const largest = int(^uint(0) >> 1)
	require.ErrorIs(t, plan(adamw, device.Float32, device.Float32, largest), device.ErrRange)
	require.EqualError(t, plan(adamw, device.Float32, device.Float32, 5, largest-40),
		fmt.Sprintf("optim: plan: tensor 1 has %d elements, behind 5 of others: %v", largest-40, device.ErrRange))

	s, err := optim.DefaultScheduleFreeSGD().Setting()
	require.NoError(t, err)
	eval, err := kernels.New(kernels.Spec{Rule: s.Eval, Compute: device.Float32, Eval: true})
	require.NoError(t, err)
	for _, program := range []*kernels.Program{kernels.Norm(), eval} {
		_, err := optim.PlanOf(program, []int{1})
		require.ErrorIs(t, err, device.ErrUnsupported)
	}
}

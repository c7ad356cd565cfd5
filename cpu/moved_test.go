package cpu

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// movable is a work of wrapped memory, which can move.
type movable struct {
	t       *testing.T
	dev     *Device
	work    kernels.Work
	memory  [][][]byte // by tensor and plane
	updates []kernels.Movable
}

// groups is how many the work has. Tensor i is of group i mod groups.
const groups = 3

func newMovable(t *testing.T, d *Device, p *kernels.Program, lengths []int) *movable {
	m := &movable{t: t, dev: d, work: kernels.Work{Program: p}}
	rng := rand.New(rand.NewPCG(6, 7))
	for range groups {
		c, err := d.Alloc(device.Float64, len(p.Counters))
		require.NoError(t, err)
		require.NoError(t, device.Upload(d.DefaultStream(), c, p.InitialCounters()))
		require.NoError(t, d.DefaultStream().Synchronize())
		m.work.Counters = append(m.work.Counters, c)
	}
	for i, n := range lengths {
		tensor, memory := kernels.Tensor{Group: i % groups, ID: uint64(i) << 40}, [][]byte{}
		for _, plane := range p.Planes {
			b, err := d.WrapAt(plane.DType, n, nil)
			require.NoError(t, err)
			x := make([]byte, n*plane.DType.Size())
			for k := range x {
				x[k] = byte(rng.Uint32()) & 0x3f // no NaN, whose payload may differ
			}
			tensor.Planes, memory = append(tensor.Planes, b), append(memory, x)
		}
		if tensor.Sums = newSums(t, d, p, n, 0); p.Rule.Everything && i > 0 {
			tensor.Sums = m.work.Tensors[0].Sums
		}
		m.work.Tensors, m.memory = append(m.work.Tensors, tensor), append(m.memory, memory)
	}
	m.move(math.MaxUint64)
	norm := kernels.Work{Program: kernels.Norm()}
	for i := range m.work.Tensors {
		norm.Tensors = append(norm.Tensors, kernels.Tensor{Planes: []*device.Buffer{m.grad(i)}})
	}
	for _, w := range []kernels.Work{m.work, norm} {
		u, err := d.Compile(w)
		require.NoError(t, err)
		m.updates = append(m.updates, u.(kernels.Movable))
	}
	return m
}

// newSums is a tensor's sums before the first step; nil where the program has no use for them.
func newSums(t testing.TB, d *Device, p *kernels.Program, n, rows int) *device.Buffer {
	if p.SumWords() == 0 {
		return nil
	}
	b, err := d.Alloc(device.Float64, p.SumWords())
	require.NoError(t, err)
	require.NoError(t, device.Upload(d.DefaultStream(), b, p.InitialSums(n, rows, 0)))
	require.NoError(t, d.DefaultStream().Synchronize())
	return b
}

// grad is the gradient of a tensor, which is plane 1.
func (m *movable) grad(i int) *device.Buffer { return m.work.Tensors[i].Planes[1] }

// move brings planes to other memory, where nothing follows anything, and spoils what they leave.
func (m *movable) move(planes uint64) {
	for i, tensor := range m.memory {
		for k, old := range tensor {
			if planes>>k&1 == 0 {
				continue
			}
			size := m.work.Program.Planes[k].DType.Size()
			room := aligned(make([]byte, len(old)+1000), len(old)+500, cacheLine)
			x := room[(i+k)%5*size:][:len(old)] // at any distance from a round address
			copy(x, old)
			for j := range old {
				old[j] = 0xff
			}
			tensor[k] = x
			if b := m.work.Tensors[i].Planes[k]; b != nil {
				moveTo(m.t, m.dev, b, unsafe.Pointer(unsafe.SliceData(x)))
			}
		}
	}
}

// moveTo moves a buffer.
func moveTo(t *testing.T, d *Device, b *device.Buffer, at unsafe.Pointer) {
	word, err := d.Word(b)
	require.NoError(t, err)
	*word = at
}

// step takes one, without a group, or with all where that is negative. It returns the norm.
func (m *movable) step(g kernels.GroupStep, without int) float64 {
	control, err := kernels.NewControl(m.dev.Device())
	require.NoError(m.t, err)
	in := kernels.Step{Control: control}
	for i := range groups {
		g.Off = i == without
		in.Groups = append(in.Groups, g)
	}
	s := m.dev.DefaultStream()
	require.NoError(m.t, m.updates[1].Enqueue(s, kernels.Step{Control: control}))
	require.NoError(m.t, m.updates[0].Enqueue(s, in))
	require.NoError(m.t, s.Synchronize())
	return view[float64](control)[kernels.ControlNorm]
}

// An update and a norm whose buffers have moved, or of which groups are left out, have the bits of the rule on memory that stays.
func TestMoved(t *testing.T) {
	adam := rules.AdamRule().With(rules.AdamHyper{LR: 0.1, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8}, rules.AdamOptions{})
	t.Run("adam", func(t *testing.T) { moved(t, adam.Rule, adam.Hyper) })
	t.Run("staged", func(t *testing.T) {
		defer func(old int) { smallBytes = old }(smallBytes)
		smallBytes = 20_000 // some tensors are larger
		moved(t, kerneltest.Staged(t)[0], []float64{0.1, 0.9})
	})
	t.Run("together", func(t *testing.T) { moved(t, kerneltest.Staged(t)[3], []float64{0.1, 0.9}) })
}

func moved(t *testing.T, r *rule.Rule, hyper []float64) {
	step := kernels.GroupStepOf(rule.Setting{Rule: r}, hyper)
	step.MaxNorm = 3
	lengths := make([]int, 150)
	for i := range lengths {
		lengths[i] = []int{1, 1000, 0, 1024, 130, 3, 2047, 64, 33, 17000}[i*7%10]
	}
	old := prefetches
	prefetches = func() bool { return true }
	defer func() { prefetches = old }()
	for _, formats := range []string{"", "param=bf16 grad=f16"} {
		p := newProgram(t, kernels.Spec{Rule: r, Options: 1<<len(r.Options) - 1, Compute: device.Float32, Formats: formats})
		scalar := NewThreads(2)
		defer scalar.Close()
		scalar.processor.choice = choice{implementation: implementations()[0]}
		want := newMovable(t, scalar, p, lengths)
		var norms []float64
		without := []int{-1, 1, 1, -1, 0}
		for _, off := range without {
			if off >= 0 { // the norm is of those that take the step
				w := kernels.Work{Program: kernels.Norm()}
				for i := range want.work.Tensors {
					if i%groups != off {
						w.Tensors = append(w.Tensors, kernels.Tensor{Planes: []*device.Buffer{want.grad(i)}})
					}
				}
				u, err := scalar.Compile(w)
				require.NoError(t, err)
				all := want.updates[1]
				want.updates[1] = u.(kernels.Movable)
				norms = append(norms, want.step(step, off))
				want.updates[1] = all
				continue
			}
			norms = append(norms, want.step(step, off))
		}
		for _, implementation := range implementations() {
			t.Run(implementation.name+" "+formats, func(t *testing.T) {
				d := NewThreads(2)
				defer d.Close()
				d.processor.choice = choice{implementation: implementation}
				m := newMovable(t, d, p, lengths)
				gradients := make([]*device.Buffer, len(lengths))
				for i := range gradients {
					gradients[i] = m.grad(i)
				}
				norm := m.updates[1].(*norm).work
				before := -1
				for k, off := range without {
					for i, g := range gradients {
						m.work.Tensors[i].Planes[1], norm.Tensors[i].Planes[0] = g, g
					}
					planes := []uint64{0, 1 << 1, math.MaxUint64, 1<<1 | 1<<2, 1 << 1}[k]
					m.move(planes)
					for i := range gradients {
						if i%groups == off {
							m.work.Tensors[i].Planes[1], norm.Tensors[i].Planes[0] = nil, nil
						}
					}
					for _, u := range m.updates {
						require.NoError(t, u.Moved(planes|1<<1, off != before))
					}
					before = off
					require.Equal(t, norms[k], m.step(step, off), "norm of step %d", k)
				}
				for i := range lengths {
					for k := range p.Planes {
						require.Equal(t, want.memory[i][k], m.memory[i][k], "tensor %d, %s", i, p.PlaneName(k))
					}
					if p.SumWords() > 0 {
						require.Equal(t, contents(want.work.Tensors[i].Sums), contents(m.work.Tensors[i].Sums), "tensor %d", i)
					}
				}
				for g := range groups {
					require.Equal(t, view[float64](want.work.Counters[g]), view[float64](m.work.Counters[g]), "counters of group %d", g)
				}
			})
		}
	}
}

// Memory that the device has allocated does not move, nor does a part of a buffer.
func TestMoveRefuses(t *testing.T) {
	d := NewThreads(1)
	defer d.Close()
	x, y := make([]float32, 8), make([]float32, 8)
	at := unsafe.Pointer(&y[0])
	allocated, err := d.Alloc(device.Float32, 8)
	require.NoError(t, err)
	wrapped, err := Wrap(d, x)
	require.NoError(t, err)
	part, err := wrapped.Slice(2, 4)
	require.NoError(t, err)
	for name, b := range map[string]*device.Buffer{"allocated": allocated, "a part": part, "nil": nil} {
		_, err := d.Word(b)
		require.ErrorIs(t, err, device.ErrUnsupported, name)
	}
	moveTo(t, d, wrapped, at)
	require.Equal(t, uint64(uintptr(at)), wrapped.Addr())
	require.Equal(t, uint64(uintptr(at))+8, part.Addr(), "a part moves with it")
	moveTo(t, d, wrapped, nil)
	require.Zero(t, wrapped.Addr())
	_, err = d.WrapAt(device.Float32, -1, nil)
	require.ErrorIs(t, err, device.ErrRange)
	_, err = (*Device)(nil).WrapAt(device.Float32, 1, nil)
	require.ErrorIs(t, err, device.ErrClosed)
}

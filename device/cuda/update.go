//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/ptx"
)

// inFlight is the steps that can be under way before Enqueue waits for the oldest to have read its inputs.
const inFlight = 256

// update implements kernels.Capturable.
type update struct {
	g                   *gpu
	work                kernels.Work // holds the buffers
	mod                 *module
	chunks              int
	chunkTable, tensors *device.Buffer // as package ptx lays them out
	counters, scalars   *device.Buffer
	inputs              *device.Buffer
	aside               []*device.Buffer // where a traffic stores what divert has turned away
	staged              *device.Buffer   // pinned memory, a piece for each step that is under way
	ring                [inFlight]piece
	next                int
}

// piece is where a step's inputs are copied from.
type piece struct {
	used *device.Event // after which it may be written again; nil before the first time
	busy bool
}

// unmeasured are the words of kernels.Step.Control that an update reads, for a step that has none. They lie behind the inputs.
var unmeasured = [...]float64{kernels.ControlNorm: 0, kernels.ControlUnscale: 1, kernels.ControlSkip: 0}

// Storage implements kernels.Backend.
func (d *Device) Storage(compute device.DType) []device.DType { return format.Storage(compute) }

// Compile implements kernels.Backend.
func (d *Device) Compile(w kernels.Work) (kernels.Update, error) {
	if err := d.usable(); err != nil {
		return nil, err
	}
	if w.Program.Reduces() {
		return d.newNorm(w)
	}
	u, err := d.compile(w, false)
	if err != nil {
		return nil, err // and not a nil *update, which is no nil kernels.Update
	}
	return u, nil
}

func (d *Device) compile(w kernels.Work, traffic bool) (*update, error) {
	if err := d.usable(); err != nil {
		return nil, err
	}
	if len(w.Program.Passes) != 1 || w.Program.Rule.Tensor != nil {
		return nil, fmt.Errorf("cuda: %s: a rule with tensor functions: %w", w.Program, device.ErrUnsupported)
	}
	mod, err := d.gpu.module(w.Program)
	if err != nil {
		return nil, err
	}
	u := &update{g: d.gpu, work: w, mod: mod}
	if traffic {
		err = u.divert(d)
	}
	if err == nil {
		err = u.fill(d)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cuda: %s: %w", w.Program, err), u.Close())
	}
	return u, nil
}

// fill makes the tables that the kernels walk.
func (u *update) fill(d *Device) (err error) {
	p := u.work.Program
	total := 0
	for i := range u.work.Tensors {
		total += u.work.Tensors[i].Len()
	}
	length := u.g.chunkLen(total, u.mod.update)
	var chunks, tensors, counters []uint64
	for i := range u.work.Tensors {
		t := &u.work.Tensors[i]
		tensors = append(tensors, uint64(t.Group))
		for _, b := range t.Planes {
			tensors = append(tensors, b.Addr())
		}
		if u.mod.Indexed {
			tensors = append(tensors, t.Index())
		}
		if u.mod.Tensors != "" {
			tensors = append(append(tensors, t.Sums.Addr()), make([]uint64, p.NumTensorScalars())...)
		}
		n := t.Len()
		for lo := 0; lo < n; lo += length {
			chunks = append(chunks, uint64(i), uint64(lo), uint64(min(length, n-lo)))
		}
	}
	for _, b := range u.work.Counters {
		counters = append(counters, b.Addr())
	}
	u.chunks = len(chunks) / ptx.ChunkWords
	groups := len(counters)
	words := groups*p.Inputs() + len(unmeasured)
	if u.chunkTable, err = d.words(chunks); err != nil {
		return err
	}
	if u.tensors, err = d.words(tensors); err != nil {
		return err
	}
	if u.counters, err = d.words(counters); err != nil {
		return err
	}
	if u.scalars, err = d.Alloc(p.Compute, groups*p.NumScalars()); err != nil {
		return err
	}
	if u.inputs, err = d.Alloc(device.Float64, words); err != nil {
		return err
	}
	host, err := d.gpu.staging(words * 8 * inFlight)
	if err != nil {
		return err
	}
	if u.staged, err = d.dev.Wrap(device.Float64, words*inFlight, host); err != nil {
		return errors.Join(err, host.Free())
	}
	return nil
}

// words is a buffer of 64-bit words. They are a device's addresses and counts, held as the bits of float64 that nobody looks at.
func (d *Device) words(x []uint64) (*device.Buffer, error) {
	b, err := d.Alloc(device.Float64, len(x))
	if err != nil || len(x) == 0 {
		return b, err
	}
	s := d.DefaultStream()
	err = device.Upload(s, b, unsafe.Slice((*float64)(unsafe.Pointer(&x[0])), len(x)))
	if err == nil {
		err = s.Synchronize()
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (u *update) Enqueue(s *device.Stream, step kernels.Step) error {
	if err := u.Feed(s, step); err != nil {
		return err
	}
	return u.Launch(s, step)
}

// Feed implements kernels.Capturable: a copy from the ring.
func (u *update) Feed(s *device.Stream, step kernels.Step) error {
	defer runtime.KeepAlive(u)
	q, err := u.g.queue(s)
	if err != nil {
		return err
	}
	groups := len(u.work.Counters)
	if groups == 0 {
		return nil
	}
	in := &u.ring[u.next]
	if in.used == nil {
		if in.used, err = u.staged.Device().NewEvent(); err != nil {
			return err
		}
	}
	if in.busy {
		if err := in.used.Marker().Synchronize(); err != nil {
			return err
		}
	}
	words, n := u.inputs.Len(), u.work.Program.Inputs()
	from := u.staged.Span().Mem.(*staging).p
	host := unsafe.Slice((*float64)(from), inFlight*words)[u.next*words:][:words]
	u.next = (u.next + 1) % len(u.ring)
	for g := range groups {
		u.work.Program.WriteInputs(&step.Groups[g], host[g*n:(g+1)*n])
	}
	copy(host[groups*n:], unmeasured[:])
	unrecorded := false
	err = u.g.do(func() error {
		if err := cu.MemcpyHtoDAsync(cu.DevicePtr(u.inputs.Addr()), unsafe.Pointer(&host[0]), int64(len(host)*8), q.s); err != nil {
			return failure(driver.CuMemcpyHtoDAsync, err)
		}
		if err := in.used.Marker().(*marker).e.Record(q.s); err != nil {
			unrecorded = true
			return failure(driver.CuEventRecord, err)
		}
		in.busy = true
		return nil
	})
	if unrecorded { // nobody can tell later when the copy is done
		in.busy = false
		err = errors.Join(err, q.Synchronize())
	}
	return err
}

// Launch implements kernels.Capturable: the prologue, what computes the scalars of tensors, and the update. Where nothing was measured they read what stands behind the inputs.
func (u *update) Launch(s *device.Stream, step kernels.Step) error {
	defer runtime.KeepAlive(u)
	defer runtime.KeepAlive(step.Control)
	q, err := u.g.queue(s)
	if err != nil {
		return err
	}
	groups := len(u.work.Counters)
	control := u.inputs.Addr() + uint64(8*groups*u.work.Program.Inputs())
	if step.Control != nil {
		control = step.Control.Addr()
	}
	return u.g.do(func() error {
		prologue := []uint64{u.inputs.Addr(), u.counters.Addr(), u.scalars.Addr(), control, uint64(groups)}
		if err := launch(u.mod.prologue.Function, (groups+ptx.Block-1)/ptx.Block, q, prologue); err != nil {
			return err
		}
		err := u.ofTensors(q, control)
		if err == nil {
			err = u.pass(u.mod.update, q, control)
		}
		if err != nil {
			return fmt.Errorf("parameters and tensors' state are as they were, but the groups' counters are one step ahead: %w", err)
		}
		return nil
	})
}

// ofTensors launches what computes the scalars that each tensor has to itself, if it has some.
func (u *update) ofTensors(q *queue, control uint64) error {
	if u.mod.Tensors == "" {
		return nil
	}
	n := len(u.work.Tensors)
	return launch(u.mod.tensors.Function, (n+ptx.Block-1)/ptx.Block, q, []uint64{u.inputs.Addr(), control, u.tensors.Addr(), uint64(n)})
}

// pass launches the update or the traffic over all chunks.
func (u *update) pass(k kernel, q *queue, more ...uint64) error {
	args := append([]uint64{u.chunkTable.Addr(), uint64(u.chunks), u.tensors.Addr(), u.scalars.Addr()}, more...)
	return launch(k.Function, min(u.chunks, u.g.grid(k)), q, args)
}

// launch enqueues a kernel of ptx.Block threads a block. No blocks are no launch.
func launch(f driver.Function, blocks int, q *queue, args []uint64) error {
	if blocks == 0 {
		return nil
	}
	return failure(driver.CuLaunchKernel, f.Launch([3]uint32{uint32(blocks), 1, 1}, [3]uint32{ptx.Block, 1, 1}, 0, q.handle(), args))
}

func (u *update) Close() error {
	var errs []error
	for _, b := range append(u.aside, u.chunkTable, u.tensors, u.counters, u.scalars, u.inputs, u.staged) {
		if b != nil {
			errs = append(errs, b.Close())
		}
	}
	for _, in := range u.ring {
		if in.used != nil {
			errs = append(errs, in.used.Close())
		}
	}
	return errors.Join(errs...)
}

//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/ptx"
	"github.com/fusestep/fusestep/kernels/rule"
)

// inFlight is the steps that can be under way before Enqueue waits for the oldest to have read its inputs.
const inFlight = 256

// update implements kernels.Capturable.
type update struct {
	g                 *gpu
	work              kernels.Work // holds the buffers
	mod               *module
	walks             []walk         // by pass
	tensors           *device.Buffer // as package ptx lays them out
	counters, scalars *device.Buffer
	inputs            *device.Buffer
	aside             []*device.Buffer // where a traffic stores what divert has turned away
	staged            *device.Buffer   // pinned memory, a piece for each step that is under way
	ring              [inFlight]piece
	next              int
}

// walk is what a pass goes through, and what becomes of its fills.
type walk struct {
	chunks       *device.Buffer   // as package ptx lays them out; tiles in a pass with fills
	folded       *device.Buffer   // what each tile makes of each fill; nil without fills
	spare        *device.Buffer   // between the levels of the trees over these
	sums, maxima []*device.Buffer // the trees' tiles, level by level
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
	mod, err := d.gpu.module(w.Program)
	if err != nil {
		return nil, err
	}
	u := &update{g: d.gpu, work: w, mod: mod}
	if traffic {
		err = u.divert(d)
	}
	for i := range w.Program.Passes {
		if err == nil {
			err = u.chunk(d, i, traffic)
		}
	}
	if err == nil {
		err = u.fill(d)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cuda: %s: %w", w.Program, err), u.Close())
	}
	return u, nil
}

// chunk makes the table of chunks that a pass goes through. A traffic fills nothing.
func (u *update) chunk(d *Device, pass int, traffic bool) (err error) {
	u.walks = append(u.walks, walk{})
	w := &u.walks[pass]
	total := 0
	for i := range u.work.Tensors {
		total += u.work.Tensors[i].Len()
	}
	length, fills := u.g.chunkLen(total, u.mod.passes[pass].update), u.work.Program.Passes[pass].Fills
	if traffic {
		fills = nil
	}
	if len(fills) > 0 {
		length = kernels.NormTile
	}
	var chunks []uint64
	for i := range u.work.Tensors {
		n := u.work.Tensors[i].Len()
		for lo := 0; lo < n; lo += length {
			chunks = append(chunks, uint64(i), uint64(lo), uint64(min(length, n-lo)))
		}
	}
	if w.chunks, err = d.words(chunks); err != nil || len(fills) == 0 {
		return err
	}
	return u.plant(d, w, fills)
}

// plant makes the trees of a pass's fills, whose tiles w has.
func (u *update) plant(d *Device, w *walk, fills []kernels.Fill) (err error) {
	spare := 0
	for _, t := range u.work.Tensors {
		spare += len(fills) * spareSums(levels(t.Len()))
	}
	if w.folded, err = d.Alloc(device.Float64, len(fills)*w.count()); err != nil {
		return err
	}
	if w.spare, err = d.Alloc(device.Float64, spare); err != nil {
		return err
	}
	from, room := w.folded.Addr(), w.spare.Addr()
	sums, maxima := &forest{spare: &room}, &forest{spare: &room}
	for _, fill := range fills {
		of := sums
		if fill.Kind == rule.FillMax {
			of = maxima
		}
		for _, t := range u.work.Tensors {
			count := levels(t.Len())
			of.grow(from, count, t.Sums.Addr()+uint64(8*fill.Word))
			from += uint64(8 * count)
		}
	}
	if w.sums, err = sums.tables(d); err != nil {
		return err
	}
	w.maxima, err = maxima.tables(d)
	return err
}

// count is how many chunks there are.
func (w *walk) count() int { return w.chunks.Len() / ptx.ChunkWords }

// fill makes the other tables that the kernels walk.
func (u *update) fill(d *Device) (err error) {
	p := u.work.Program
	var tensors, counters []uint64
	for i := range u.work.Tensors {
		t := &u.work.Tensors[i]
		tensors = append(tensors, uint64(t.Group))
		for _, b := range t.Planes {
			tensors = append(tensors, b.Addr())
		}
		if u.mod.Indexed {
			tensors = append(tensors, t.Index())
		}
		if own := p.NumTensorScalars(); own > 0 {
			tensors = append(append(tensors, t.Sums.Addr()), make([]uint64, own)...)
		}
	}
	for _, b := range u.work.Counters {
		counters = append(counters, b.Addr())
	}
	groups := len(counters)
	words := groups*p.Inputs() + len(unmeasured)
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

// Launch implements kernels.Capturable: the prologue, and for each pass what computes the scalars of tensors, the pass, and the trees of its fills.
// Where nothing was measured they read what stands behind the inputs.
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
		if err := launch(u.mod.prologue.Function, blocks(groups, ptx.Block), q, prologue); err != nil {
			return err
		}
		changed := []string{"the groups' counters"}
		for i := range u.work.Program.Passes {
			names, err := u.pass(i, q, control)
			for _, name := range names {
				if !slices.Contains(changed, name) {
					changed = append(changed, name)
				}
			}
			if err != nil {
				return fmt.Errorf("the step has changed %s, and nothing else: %w", strings.Join(changed, ", "), err)
			}
		}
		return nil
	})
}

// pass launches what there is of a pass, and names what of tensors has been changed when it returns.
func (u *update) pass(i int, q *queue, control uint64) (changed []string, err error) {
	p, k := u.work.Program, &u.mod.passes[i]
	if of := p.Passes[i].Tensor; of != nil {
		n := len(u.work.Tensors)
		args := []uint64{u.inputs.Addr(), u.scalars.Addr(), control, u.tensors.Addr(), uint64(n)}
		if err := launch(k.tensors.Function, blocks(n, ptx.Block), q, args); err != nil {
			return nil, err
		}
		changed = kept(p, of)
	}
	more := []uint64{control}
	if to := u.walks[i].folded; to != nil {
		more = append(more, to.Addr())
	}
	if err := u.walk(i, k.update, q, more...); err != nil {
		return changed, err
	}
	for _, plane := range p.Passes[i].Stores {
		changed = append(changed, p.PlaneName(plane))
	}
	return changed, u.trees(i, q, control)
}

// trees launches what makes words of Tensor.Sums of what a pass has made of tiles.
func (u *update) trees(pass int, q *queue, control uint64) error {
	w := &u.walks[pass]
	if err := launchTrees(q, u.mod.sums, w.sums, control); err != nil {
		return err
	}
	return launchTrees(q, u.mod.max, w.maxima, control)
}

// kept names what a pass's Tensor stores of what is kept from step to step.
func kept(p *kernels.Program, tensor *ir.Func) (names []string) {
	first := p.SumWords() - len(p.Rule.Tensor) // of the words of Tensor.Sums, the rule's
	for _, s := range tensor.Stores {
		if v := tensor.Vars[s.Var]; v.Bank == kernels.SumsBank && p.Rule.Tensor[v.Index-first].State != "" {
			names = append(names, p.Rule.Tensor[v.Index-first].State)
		}
	}
	return names
}

// walk launches an update or a traffic over all chunks of a pass.
func (u *update) walk(pass int, k kernel, q *queue, more ...uint64) error {
	w := &u.walks[pass]
	count := w.count()
	n := count
	if w.folded != nil {
		n = blocks(count, ptx.NormWarps)
	}
	args := append([]uint64{w.chunks.Addr(), uint64(count), u.tensors.Addr(), u.scalars.Addr()}, more...)
	return launch(k.Function, min(n, u.g.grid(k)), q, args)
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
	all := append(u.aside, u.tensors, u.counters, u.scalars, u.inputs, u.staged)
	for _, w := range u.walks {
		all = append(append(append(all, w.chunks, w.folded, w.spare), w.sums...), w.maxima...)
	}
	for _, b := range all {
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

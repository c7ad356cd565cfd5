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
	passes            []tables       // by pass
	tensors           *device.Buffer // as package ptx lays them out
	counters, scalars *device.Buffer
	inputs            *device.Buffer
	aside             []*device.Buffer // where a traffic stores what divert has turned away
	staged            *device.Buffer   // pinned memory, a piece for each step that is under way
	ring              [inFlight]piece
	next              int
	rewrites          rewriter // of tensors
}

// tables are what a pass goes through, and what becomes of its fills.
type tables struct {
	update, columns walk             // of the kernels of ptx.Pass
	spare           *device.Buffer   // between the levels of the trees over what chunks make
	totals          *device.Buffer   // what trees make of rows and columns
	sums, maxima    []*device.Buffer // the trees' tiles, level by level
	lines           *device.Buffer   // what ptx.Module.Lines goes through; nil without fills
	rows            []*device.Buffer // what ptx.Module.Rows goes through, for each fold of the pass
}

// walk is what a kernel goes through.
type walk struct {
	chunks *device.Buffer // as package ptx lays them out; nil without the kernel
	count  int
	warps  bool           // a chunk is a warp's, and not a block's
	matrix bool           // chunks are rows of columns
	fills  []kernels.Fill // of the kernel
	folded *device.Buffer // what each chunk makes of each fill, fill after fill; nil without fills
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
	if err := w.CheckRows(); err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	mod, err := d.gpu.module(w.Program)
	if err != nil {
		return nil, err
	}
	u := &update{g: d.gpu, work: w, mod: mod}
	if traffic {
		err = u.divert(d)
	}
	for i := 0; i < len(w.Tensors) && err == nil && w.Program.Matrix(); i++ {
		err = divisible(&w.Tensors[i])
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

// chunk makes the tables of chunks that a pass goes through. A traffic fills nothing, and goes through matrices as through other tensors.
func (u *update) chunk(d *Device, pass int, traffic bool) (err error) {
	u.passes = append(u.passes, tables{})
	w, q, k := &u.passes[pass], &u.work.Program.Passes[pass], &u.mod.passes[pass]
	total := 0
	for i := range u.work.Tensors {
		total += u.work.Tensors[i].Numbers(q.Domain)
	}
	matrix := u.matrix(pass) && !traffic
	for _, f := range q.Fills {
		switch {
		case traffic:
		case f.Domain == rule.OfColumns:
			w.columns.fills = append(w.columns.fills, f)
		default:
			w.update.fills = append(w.update.fills, f)
		}
	}
	w.update.warps, w.update.matrix = matrix || len(w.update.fills) > 0, matrix
	w.columns.warps, w.columns.matrix = true, true
	length := u.g.chunkLen(total, k.update)
	switch {
	case matrix:
		length = u.g.rowsLen(total, k.update)
	case w.update.warps:
		length = kernels.NormTile
	}
	var update, columns chunker
	for i := range u.work.Tensors {
		t := &u.work.Tensors[i]
		if !matrix {
			update.flat(i, t.Numbers(q.Domain), length)
			continue
		}
		if u.mod.Passes[pass].Update != "" {
			update.rows(i, t, length)
		}
		if len(w.columns.fills) > 0 {
			columns.columns(i, t)
		}
	}
	if err := w.update.fill(d, &update); err != nil {
		return err
	}
	if err := w.columns.fill(d, &columns); err != nil {
		return err
	}
	for _, f := range q.Folds {
		var table []uint64
		for i := range u.work.Tensors {
			table = addRows(table, f, &u.work.Tensors[i])
		}
		b, err := d.words(table)
		if err != nil {
			return err
		}
		w.rows = append(w.rows, b)
	}
	return u.plant(d, pass)
}

// matrix says whether a pass is over the elements of matrices.
func (u *update) matrix(pass int) bool {
	return u.work.Program.Matrix() && u.work.Program.Passes[pass].Domain == rule.OfElements
}

// fill makes the table, and room for what becomes of its chunks.
func (w *walk) fill(d *Device, of *chunker) (err error) {
	if w.count = of.count; len(w.fills) > 0 {
		if w.folded, err = d.Alloc(device.Float64, len(w.fills)*of.places); err != nil {
			return err
		}
	}
	w.chunks, err = d.words(of.words)
	return err
}

// plant makes the trees of a pass's fills, over what chunks make, and what makes numbers of rows and columns of the trees'.
func (u *update) plant(d *Device, pass int) (err error) {
	w, matrix, domain := &u.passes[pass], u.matrix(pass), u.work.Program.Passes[pass].Domain
	each := func(do func(f *kernels.Fill, t *kernels.Tensor, from uint64, trees, sums int)) {
		for _, walk := range []*walk{&w.update, &w.columns} {
			if walk.folded == nil {
				continue
			}
			from := walk.folded.Addr()
			for i := range walk.fills {
				if u.work.Program.Rule.Everything { // one tree over the tiles of all tensors
					n := walk.folded.Len() / len(walk.fills)
					if len(u.work.Tensors) > 0 {
						do(&walk.fills[i], &u.work.Tensors[0], from, 1, n)
					}
					from += uint64(8 * n)
					continue
				}
				for k := range u.work.Tensors {
					f, t := &walk.fills[i], &u.work.Tensors[k]
					trees, sums := treesOf(f, matrix, t, t.Numbers(domain))
					do(f, t, from, trees, sums)
					from += uint64(8 * trees * sums)
				}
			}
		}
	}
	spare, totals := 0, 0
	each(func(f *kernels.Fill, _ *kernels.Tensor, _ uint64, trees, sums int) {
		spare += trees * spareSums(sums)
		if f.Domain != rule.OfTensor && sums > 1 {
			totals += trees
		}
	})
	if w.spare, err = d.Alloc(device.Float64, spare); err != nil {
		return err
	}
	if w.totals, err = d.Alloc(device.Float64, totals); err != nil {
		return err
	}
	room, to := w.spare.Addr(), w.totals.Addr()
	sums, maxima := &forest{spare: &room}, &forest{spare: &room}
	var lines []uint64
	each(func(f *kernels.Fill, t *kernels.Tensor, from uint64, trees, n int) {
		of := sums
		if f.Kind == rule.FillMax {
			of = maxima
		}
		if f.Domain == rule.OfTensor {
			of.grow(from, n, t.Sums.Addr()+uint64(8*f.Word))
			return
		}
		if n > 1 { // else it is the sum
			for k := range trees {
				of.grow(from+uint64(8*k*n), n, to+uint64(8*k))
			}
			from, to = to, to+uint64(8*trees)
		}
		lines = addLines(lines, f, t, from, trees)
	})
	if w.sums, err = sums.tables(d); err != nil {
		return err
	}
	if w.maxima, err = maxima.tables(d); err != nil {
		return err
	}
	w.lines, err = d.words(lines)
	return err
}

// fill makes the other tables that the kernels walk.
func (u *update) fill(d *Device) (err error) {
	p := u.work.Program
	var counters []uint64
	for _, b := range u.work.Counters {
		counters = append(counters, b.Addr())
	}
	groups := len(counters)
	words := groups*p.Inputs() + len(unmeasured)
	if u.tensors, err = d.words(u.table(u.work.Tensors)); err != nil {
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

// table is that of tensors.
func (u *update) table(of []kernels.Tensor) (tensors []uint64) {
	for i := range of {
		t := &of[i]
		tensors = append(tensors, uint64(t.Group))
		for _, b := range t.Planes {
			tensors = append(tensors, b.Addr())
		}
		if u.mod.Indexed {
			tensors = append(tensors, t.Index())
		}
		if u.work.Program.Matrix() {
			tensors = append(tensors, uint64(t.Columns()), uint64(t.RowsOfMatrix()))
		}
		if own := u.work.Program.NumTensorScalars(); own > 0 {
			tensors = append(append(tensors, t.Sums.Addr()), make([]uint64, own)...)
		}
	}
	return tensors
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
	if err := in.wait(u.inputs.Device()); err != nil {
		return err
	}
	words, n := u.inputs.Len(), u.work.Program.Inputs()
	from := u.staged.Span().Mem.(*staging).p
	host := unsafe.Slice((*float64)(from), inFlight*words)[u.next*words:][:words]
	u.next = (u.next + 1) % len(u.ring)
	for g := range groups {
		u.work.Program.WriteInputs(&step.Groups[g], host[g*n:(g+1)*n])
	}
	copy(host[groups*n:], unmeasured[:])
	return in.copy(q, u.inputs, unsafe.Pointer(&host[0]))
}

// wait waits until the piece may be written again.
func (in *piece) wait(d *device.Device) (err error) {
	if in.used == nil {
		in.used, err = d.NewEvent()
	}
	if err == nil && in.busy {
		err = in.used.Marker().Synchronize()
	}
	return err
}

// copy enqueues copying the piece, which is at an address of the host's, to all of a buffer.
func (in *piece) copy(q *queue, to *device.Buffer, from unsafe.Pointer) error {
	unrecorded := false
	err := q.g.do(func() error {
		if err := cu.MemcpyHtoDAsync(cu.DevicePtr(to.Addr()), from, int64(to.Len()*to.DType().Size()), q.s); err != nil {
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
	defer runtime.KeepAlive(step)
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
		for g := range step.Groups {
			if err := u.rate(q, g, step.Groups[g].LR); err != nil {
				return err
			}
		}
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

// rate enqueues making a number on the device a group's learning rate.
func (u *update) rate(q *queue, group int, lr *device.Buffer) error {
	if lr == nil {
		return nil
	}
	p := u.work.Program
	to := u.inputs.Addr() + uint64(8*(group*p.Inputs()+p.Rule.HyperIndex("LR")))
	return failure(driver.CuMemcpyDtoDAsync, cu.MemcpyDtoDAsync(cu.DevicePtr(to), cu.DevicePtr(lr.Addr()), 8, q.s))
}

// pass launches what there is of a pass, and names what of tensors has been changed when it returns, but for what nobody keeps.
func (u *update) pass(i int, q *queue, control uint64) (changed []string, err error) {
	p, k, w := u.work.Program, &u.mod.passes[i], &u.passes[i]
	if of := p.Passes[i].Tensor; of != nil {
		n := len(u.work.Tensors)
		if p.Rule.Everything {
			n = min(n, 1)
		}
		args := []uint64{u.inputs.Addr(), u.scalars.Addr(), control, u.tensors.Addr(), uint64(n)}
		if err := launch(k.tensors.Function, blocks(n, ptx.Block), q, args); err != nil {
			return nil, err
		}
		changed = kept(p, of)
		if n = len(u.work.Tensors); n > 1 && u.mod.Passes[i].Spread != "" {
			if err := launch(k.spread.Function, blocks(n, ptx.Block), q, []uint64{control, u.tensors.Addr(), uint64(n)}); err != nil {
				return changed, err
			}
		}
	}
	for n, f := range p.Passes[i].Folds {
		if err := launch(u.mod.rows[f.Kind].Function, w.rows[n].Len()/ptx.RowsWords, q, []uint64{w.rows[n].Addr(), control}); err != nil {
			return changed, err
		}
	}
	if err := u.walk(&w.columns, k.columns, q, w.columns.args(control)...); err != nil { // reads what the update stores
		return changed, err
	}
	if err := u.walk(&w.update, k.update, q, w.update.args(control)...); err != nil {
		return changed, err
	}
	for _, plane := range p.Passes[i].Stores {
		if p.Of(plane).Role != kernels.Scratch {
			changed = append(changed, p.PlaneName(plane))
		}
	}
	return changed, u.trees(i, q, control)
}

// trees launches what makes words of Tensor.Sums, and numbers of rows and columns, of what a pass has made of chunks.
func (u *update) trees(pass int, q *queue, control uint64) error {
	w := &u.passes[pass]
	if err := launchTrees(q, u.mod.sums, w.sums, control); err != nil {
		return err
	}
	if err := launchTrees(q, u.mod.max, w.maxima, control); err != nil {
		return err
	}
	return launch(u.mod.lines.Function, w.lines.Len()/ptx.LineWords, q, []uint64{w.lines.Addr(), control})
}

// kept names what a pass's Tensor stores of what is kept from step to step.
func kept(p *kernels.Program, tensor *ir.Func) (names []string) {
	for _, s := range tensor.Stores {
		for _, t := range p.TensorStates() {
			if v := tensor.Vars[s.Var]; v.Bank == kernels.SumsBank && v.Index == t.Word {
				names = append(names, t.Name)
			}
		}
	}
	return names
}

// args are those of an update behind ptx.GraphParams.
func (w *walk) args(control uint64) []uint64 {
	args := []uint64{control}
	if n := len(w.fills); n > 0 {
		args = append(args, w.folded.Addr())
		if w.matrix && n > 1 {
			args = append(args, uint64(w.folded.Len()/n))
		}
	}
	return args
}

// walk launches a kernel over all chunks.
func (u *update) walk(w *walk, k kernel, q *queue, more ...uint64) error {
	n := w.count
	if w.warps {
		n = blocks(n, ptx.NormWarps)
	}
	args := append([]uint64{w.chunks.Addr(), uint64(w.count), u.tensors.Addr(), u.scalars.Addr()}, more...)
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
	for _, w := range u.passes {
		all = append(append(append(all, w.update.chunks, w.update.folded, w.columns.chunks, w.columns.folded, w.spare, w.totals, w.lines), w.sums...), w.maxima...)
		all = append(all, w.rows...)
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
	return errors.Join(append(errs, u.rewrites.close())...)
}

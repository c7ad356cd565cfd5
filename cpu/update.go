package cpu

import (
	"fmt"
	"sync"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A thread takes a batch of elements at a time: a chunk of a tensor, or several tensors that follow each other. Small batches keep all threads busy
// to the end of a step; in DRAM large ones are faster, as each starts with loads that nothing has fetched ahead: AdamW on 64 Mi elements gains 3 to
// 5 % from chunks of 64 Ki instead of 16 Ki, and little beyond. So a thread has at least 64 batches to take, within these bounds.
const (
	minChunk = 16 << 10
	maxChunk = 512 << 10
)

func chunkLen(elements, threads int) int {
	return min(max(elements/threads/64&^(minChunk-1), minChunk), maxChunk)
}

// inlineLen is the elements up to which a step runs on the caller's thread: less work than waking another one.
const inlineLen = 100_000

// Storage implements kernels.Backend: whoever runs the arithmetic can have every format.
func (d *Device) Storage(compute device.DType) []device.DType { return format.Storage(compute) }

// Compile implements kernels.Backend. It fails with device.ErrUnsupported, where the environment variable Environment names no
// implementation, and with device.ErrClosed.
func (d *Device) Compile(w kernels.Work) (kernels.Update, error) {
	if d.Threads() == 0 {
		return nil, fmt.Errorf("cpu: %w", device.ErrClosed)
	}
	switch {
	case w.Program.Reduces():
		return d.newNorm(w)
	case w.Program.Compute == device.Float32:
		return newUpdate[float32](d.processor, w)
	}
	return newUpdate[float64](d.processor, w)
}

// update implements kernels.Update for a program that computes with F.
type update[F rule.Float] struct {
	proc     *processor
	work     kernels.Work // holds the buffers
	program  *kernels.Program
	tensors  []tensor
	chunks   []chunk
	batches  []int // of each its first chunk, and at last how many chunks there are
	elements int
	counters [][]float64 // of each group
	vectors  *vectors[F] // nil: the rule itself runs
	pace     pace

	mu     sync.Mutex
	free   []*step[F]      // steps that are not under way, to be used again
	spaces []*workspace[F] // those that are not in use
}

// tensor is the memory of a kernels.Tensor.
type tensor struct {
	group  int
	index  uint64 // kernels.Tensor.Index
	planes [][]byte
	sums   []float64 // kernels.Tensor.Sums
}

// chunk is elements lo to hi of a tensor. It is followed if the next one lies behind it in all planes.
type chunk struct {
	tensor, lo, hi int
	followed       bool
}

func newUpdate[F rule.Float](proc *processor, w kernels.Work) (u *update[F], err error) {
	u = newWalk[F](proc, w)
	if u.vectors, err = newVectors[F](w.Program, u.elements, len(w.Tensors), u.scattered(), proc); err != nil {
		return nil, err
	}
	return u, nil
}

// newWalk makes an update's batches of tensors, and nothing that computes.
func newWalk[F rule.Float](proc *processor, w kernels.Work) *update[F] {
	u := &update[F]{proc: proc, work: w, program: w.Program}
	for _, b := range w.Counters {
		u.counters = append(u.counters, view[float64](b))
	}
	for i := range w.Tensors {
		u.elements += w.Tensors[i].Len()
	}
	size := chunkLen(u.elements, proc.pool.threads)
	planes := make([][]byte, len(w.Tensors)*len(w.Program.Planes))
	for i := range w.Tensors {
		t := &w.Tensors[i]
		v := tensor{group: t.Group, index: t.Index(), sums: view[float64](t.Sums)}
		v.planes, planes = planes[:len(t.Planes):len(t.Planes)], planes[len(t.Planes):]
		for k, b := range t.Planes {
			v.planes[k] = contents(b)
		}
		u.tensors = append(u.tensors, v)
		for lo := 0; lo < t.Len(); lo += size {
			u.chunks = append(u.chunks, chunk{tensor: i, lo: lo, hi: min(lo+size, t.Len())})
		}
	}
	n := size // elements of the batch so far
	for i, c := range u.chunks {
		if n += c.hi - c.lo; n > size {
			u.batches, n = append(u.batches, i), c.hi-c.lo
		}
	}
	u.batches = append(u.batches, len(u.chunks))
	return u
}

// gap is the bytes that may lie between two tensors that follow each other: padding.
const gap = 256

// Moved implements kernels.Movable.
func (u *update[F]) Moved(planes uint64) error {
	for i := range u.tensors {
		at := u.work.Tensors[i].Planes
		for k := range at {
			if planes>>k&1 == 1 {
				u.tensors[i].planes[k] = contents(at[k])
			}
		}
	}
	if scattered := u.scattered(); u.vectors != nil {
		return u.vectors.forShort(u.elements, len(u.tensors), scattered, u.proc)
	}
	return nil
}

// scattered marks the chunks that are followed, and says whether any is not, beside the last.
func (u *update[F]) scattered() (any bool) {
	for i := range len(u.chunks) - 1 {
		c, next := &u.chunks[i], &u.chunks[i+1]
		c.followed = u.follows(c, next)
		any = any || !c.followed
	}
	return any
}

// follows says whether a chunk begins where another ends, or soon behind it. None does where a tensor has no memory.
func (u *update[F]) follows(c, next *chunk) bool {
	for k, plane := range u.program.Planes {
		size, x, y := plane.DType.Size(), u.tensors[c.tensor].planes[k], u.tensors[next.tensor].planes[k]
		if x == nil || y == nil {
			return false
		}
		end, begin := uintptr(unsafe.Pointer(&x[c.hi*size-1]))+1, uintptr(unsafe.Pointer(&y[next.lo*size]))
		if begin < end || begin-end > gap {
			return false
		}
	}
	return true
}

// step is a task: one step of an update, with what it was given from outside.
type step[F rule.Float] struct {
	u        *update[F]
	groups   []kernels.GroupStep
	hyper    []float64 // of all groups, whose Hyper point here
	control  []float64 // kernels.Step.Control, or nil
	scalars  []float64 // of one group, before rounding
	rounded  []F       // of all groups
	uniforms []F       // of all groups, a block each, with vectors
	space    *workspace[F]
	body     func(thread, i int)
}

// workspace is what a step needs only while it runs. Steps that wait have none.
type workspace[F rule.Float] struct {
	passes  []rule.Pass[F] // of each thread, without vectors
	windows []*window[F]   // likewise
	eval    *ir.Evaluator[F]
	vars    []F          // of the graph
	scratch []scratch[F] // of each thread, with vectors
	own     []*own[F]    // of each thread, where tensors have scalars
}

func (u *update[F]) newWorkspace() *workspace[F] {
	w := &workspace[F]{}
	for i := 0; u.program.TensorScalars != nil && i < u.proc.pool.threads; i++ {
		w.own = append(w.own, u.newOwn())
	}
	if v := u.vectors; v != nil {
		for range u.proc.pool.threads {
			w.scratch = append(w.scratch, v.newScratch())
		}
		w.eval, w.vars = ir.NewUniformEvaluator[F](v.graph, rule.ElemBank), make([]F, len(v.graph.Vars))
		return w
	}
	p := u.program
	pass := rule.Pass[F]{Options: p.Options, Around: p.Around}
	pass.Loads, pass.Stores = p.RuleSlots()
	for range u.proc.pool.threads {
		pass.Slots = make([][]F, len(p.SlotNames()))
		w.passes, w.windows = append(w.passes, pass), append(w.windows, newWindow[F](p))
	}
	return w
}

// begin gives the step a workspace.
func (s *step[F]) begin() {
	u := s.u
	u.mu.Lock()
	defer u.mu.Unlock()
	if n := len(u.spaces); n > 0 {
		s.space, u.spaces = u.spaces[n-1], u.spaces[:n-1]
		return
	}
	s.space = u.newWorkspace()
}

// end lets the next step have the workspace, if there is one, and the step itself.
func (s *step[F]) end() {
	u := s.u
	u.mu.Lock()
	defer u.mu.Unlock()
	if s.space != nil {
		u.spaces, s.space = append(u.spaces, s.space), nil
	}
	u.free = append(u.free, s)
}

func (u *update[F]) take() *step[F] {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n := len(u.free); n > 0 {
		s := u.free[n-1]
		u.free = u.free[:n-1]
		return s
	}
	n := u.program.NumScalars()
	s := &step[F]{u: u, scalars: make([]float64, n), rounded: make([]F, len(u.counters)*n)}
	if v := u.vectors; v != nil {
		s.uniforms = make([]F, len(u.counters)*v.blockLen())
	}
	s.body = s.batch
	return s
}

func (u *update[F]) Enqueue(s *device.Stream, in kernels.Step) error {
	t := u.take()
	t.groups, t.hyper = append(t.groups[:0], in.Groups...), t.hyper[:0]
	for i := range t.groups {
		g := &t.groups[i]
		n := len(t.hyper)
		t.hyper = append(t.hyper, g.Hyper...)
		g.Hyper = t.hyper[n:]
	}
	t.control = view[float64](in.Control)
	return u.proc.enqueue(s, t, u.small())
}

func (u *update[F]) Close() error { return nil }

func (s *step[F]) run() {
	u := s.u
	norm, unscale := 0.0, 1.0
	if s.control != nil {
		if norm, unscale = s.control[kernels.ControlNorm], s.control[kernels.ControlUnscale]; s.control[kernels.ControlSkip] == 1 {
			s.skipped()
			s.end()
			return
		}
	}
	u.touched(s.groups)
	s.begin()
	for _, own := range s.space.own {
		own.tensor, own.group, own.norm, own.unscale = -1, -1, norm, unscale
	}
	for g, counters := range u.counters {
		if s.groups[g].Off {
			continue
		}
		u.program.RunScalars(&s.groups[g], norm, unscale, counters, s.scalars)
		rounded := s.of(g)
		for i, x := range s.scalars {
			rounded[i] = F(x)
		}
		if v := u.vectors; v != nil {
			n := v.blockLen()
			v.block(s.uniforms[g*n:(g+1)*n], s.space.vars, s.space.eval, rounded)
		}
	}
	u.each(s.body)
	s.end()
}

// skipped is what a skipped step does: nothing but to set to 0 the gradients that an applied one sets to 0.
func (s *step[F]) skipped() {
	u := s.u
	for _, k := range u.program.Zeroed() {
		for i := range u.tensors {
			if s.off(i) {
				continue
			}
			if raceEnabled {
				touched(u.tensors[i].planes[k], true)
			}
			clear(u.tensors[i].planes[k])
		}
	}
}

// off says whether the step leaves a tensor out.
func (s *step[F]) off(tensor int) bool { return s.groups[s.u.tensors[tensor].group].Off }

// of are the scalars of a group.
func (s *step[F]) of(group int) []F {
	n := len(s.scalars)
	return s.rounded[group*n : (group+1)*n]
}

// touched tells the race detector what a pass reads and writes.
func (u *update[F]) touched(groups []kernels.GroupStep) {
	for i := 0; raceEnabled && i < len(u.tensors); i++ {
		if g := u.tensors[i].group; g < len(groups) && groups[g].Off {
			continue
		}
		for k, plane := range u.program.Planes {
			touched(u.tensors[i].planes[k], plane.Store)
		}
	}
}

// small says whether a step is less work than waking another thread.
func (u *update[F]) small() bool { return u.elements <= inlineLen }

// each runs body for every batch, on all threads unless the update is small.
func (u *update[F]) each(body func(thread, i int)) {
	if !u.small() {
		u.pace.do(u.proc.pool, len(u.batches)-1, body)
		return
	}
	for i := range len(u.batches) - 1 {
		body(0, i)
	}
}

// batch updates the chunks of one batch on a thread of the pool.
func (s *step[F]) batch(thread, i int) {
	for k := s.u.batches[i]; k < s.u.batches[i+1]; k++ {
		if s.off(s.u.chunks[k].tensor) {
			continue
		}
		if v := s.u.vectors; v != nil {
			if v.short != nil && k+1 < s.u.batches[i+1] && !s.u.chunks[k].followed && !s.off(s.u.chunks[k+1].tensor) {
				c := &s.u.chunks[k+1]
				v.approach(&s.u.tensors[c.tensor], c, &s.space.scratch[thread])
			}
			s.vectorChunk(thread, k)
		} else {
			s.chunk(thread, k)
		}
	}
}

// chunk updates one chunk.
func (s *step[F]) chunk(thread, i int) {
	c := s.u.chunks[i]
	t := &s.u.tensors[c.tensor]
	p := &s.space.passes[thread]
	program := s.u.program
	rounded := s.of(t.group)
	if s.space.own != nil {
		rounded = s.space.own[thread].scalarsOf(s, c.tensor)
	}
	own := len(program.Rule.Scalars)
	if p.Scalars = rounded[:own]; !program.Alone {
		p.Shared = rule.SharedOf(rounded[own:])
	}
	w := s.space.windows[thread]
	w.each(t, c.lo, c.hi, rounded, func() {
		for i, x := range w.slots {
			p.Slots[program.Slots[i].Index] = x
		}
		rule.Apply(program.Rule, p)
	})
}

// vectorChunk is chunk with vector code.
func (s *step[F]) vectorChunk(thread, i int) {
	v := s.u.vectors
	c := &s.u.chunks[i]
	t := &s.u.tensors[c.tensor]
	n := v.blockLen()
	block, scalars := s.uniforms[t.group*n:(t.group+1)*n], s.of(t.group)
	if s.space.own != nil {
		own := s.space.own[thread]
		scalars = own.scalarsOf(s, c.tensor)
		block = own.block
	}
	v.run(t, c, block, scalars, &s.space.scratch[thread])
}

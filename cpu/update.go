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
// implementation, with device.ErrClosed, and with a kernels.RowsError.
func (d *Device) Compile(w kernels.Work) (kernels.Update, error) {
	if err := d.usable(&w); err != nil {
		return nil, err
	}
	if w.Program.Reduces() {
		return d.newNorm(w)
	}
	if w.Program.Compute == device.Float32 {
		return newUpdate[float32](d.processor, w)
	}
	return newUpdate[float64](d.processor, w)
}

// usable says whether the device is open, and the work's tensors what its program asks for.
func (d *Device) usable(w *kernels.Work) error {
	err := w.CheckRows()
	if d.Threads() == 0 {
		err = device.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	return nil
}

// update implements kernels.Update for a program that computes with F.
type update[F rule.Float] struct {
	proc      *processor
	work      kernels.Work // holds the buffers
	program   *kernels.Program
	tensors   []tensor
	planes    [][]byte   // of all tensors, one's behind the other's: see tensor
	regions   [][]region // that they are, by plane; nil of planes that have not moved
	chunks    []chunk
	batches   []batch
	large     []int // the batches of large tensors
	staged    bool  // tensors are large or small: see tensor
	scattered bool  // tensors do not follow each other in memory
	elements  int
	counters  [][]float64   // of each group
	vectors   []*vectors[F] // of each pass; nil: the rule itself runs

	numLarge, tiles int   // large tensors, and tiles of all of them
	fills           int   // most of a pass, or of a phase
	firstFill       []int // of each pass: of its phase's fills its first
	smallTiles      int   // most of a small tensor
	smallLen        int   // and elements
	kept            int   // numbers of an element of a small tensor that its passes keep

	paces []pace // of each pass
	matrices

	mu     sync.Mutex
	free   []*step[F]      // steps that are not under way, to be used again
	spaces []*workspace[F] // those that are not in use
}

// tensor is the memory of a kernels.Tensor. Where a program has several passes, or sums something, a small tensor goes through all passes on one
// thread, while a cache holds it. Large ones go through a pass together; when all are through, their tiles' sums are added up. Where tensors have their
// numbers together, all are large.
type tensor struct {
	group  int
	index  uint64 // kernels.Tensor.Index
	planes [][]byte
	sums   []float64 // kernels.Tensor.Sums

	large  bool
	number int // of the large ones
	tile   int // of a large one: its first tile among theirs
	tiles  int // of the pass that has most

	rows, columns      int // of matrices that have elements: all rows, and a row's elements
	matrices, rowsEach int
	columnSums         int          // of a large one: where its columns' are among theirs
	shape              *narrowShape // of narrow ones, with machine code
	unit               int          // of such: a chunk is a multiple of so many rows, and the tiles of kernels.NormTile rows are one; 0: each row has a tile
}

// smallBytes is the bytes of a tensor up to which it is small: a second-level cache holds it and the next one. A test changes it.
var smallBytes = 256 << 10

// chunk is elements lo to hi of a tensor; of a small one all.
type chunk struct{ tensor, lo, hi int }

// batch is chunks lo to hi, of large tensors or of small ones.
type batch struct {
	lo, hi int
	large  bool
}

func newUpdate[F rule.Float](proc *processor, w kernels.Work) (u *update[F], err error) {
	u = newWalk[F](proc, w)
	for i := range w.Program.Passes {
		v, err := newVectors(u, &w.Program.Passes[i])
		if err != nil {
			return nil, err
		}
		if v != nil {
			u.vectors = append(u.vectors, v)
		}
	}
	if err := u.forSmall(); err != nil {
		return nil, err
	}
	if err := u.forNarrow(); err != nil {
		return nil, err
	}
	return u, u.forShort()
}

// newWalk makes an update's batches of tensors, and nothing that computes.
func newWalk[F rule.Float](proc *processor, w kernels.Work) *update[F] {
	u := &update[F]{proc: proc, work: w, program: w.Program, paces: make([]pace, len(w.Program.Passes))}
	for _, b := range w.Counters {
		u.counters = append(u.counters, view[float64](b))
	}
	for i := range w.Tensors {
		u.elements += w.Tensors[i].Len()
	}
	u.firstFill = make([]int, len(u.program.Passes))
	for _, q := range u.program.Passes {
		u.fills = max(u.fills, len(q.Fills))
	}
	u.staged = len(u.program.Passes) > 1 || u.fills > 0 || u.program.Matrix()
	size := chunkLen(u.elements, proc.pool.threads)
	u.planes, u.regions = make([][]byte, len(w.Tensors)*len(w.Program.Planes)), make([][]region, len(w.Program.Planes))
	for i := range w.Tensors {
		t := &w.Tensors[i]
		v := tensor{group: t.Group, index: t.Index(), sums: view[float64](t.Sums)}
		v.planes = u.planes[i*len(t.Planes):][:len(t.Planes):len(t.Planes)]
		for k, b := range t.Planes {
			v.planes[k] = contents(b)
		}
		n := t.Len()
		v.large, v.tiles = !u.staged || u.program.Rule.Everything || n*elementBytes(u.program) > smallBytes, tilesOf(n)
		if u.program.Matrix() {
			u.matrix(i, t, &v, size)
		}
		if v.large {
			v.number, v.tile = u.numLarge, u.tiles
			u.numLarge, u.tiles = u.numLarge+1, u.tiles+v.tiles
			for lo, hi := 0, 0; lo < n; lo = hi {
				hi = min(v.end(lo, size), n)
				u.chunks = append(u.chunks, chunk{tensor: i, lo: lo, hi: hi})
			}
		} else {
			u.smallTiles, u.smallLen = max(u.smallTiles, v.tiles), max(u.smallLen, n)
			u.chunks = append(u.chunks, chunk{tensor: i, hi: n}) // one without elements has numbers all the same
		}
		u.tensors = append(u.tensors, v)
	}
	n := 0 // elements of the batch so far
	for i, c := range u.chunks {
		large, last := u.tensors[c.tensor].large, len(u.batches)-1
		if n += c.hi - c.lo; last < 0 || n > size || u.batches[last].large != large {
			if large {
				u.large = append(u.large, len(u.batches))
			}
			u.batches, n = append(u.batches, batch{i, i + 1, large}), c.hi-c.lo
			continue
		}
		u.batches[last].hi++
	}
	return u
}

// gap is the bytes that may lie between two tensors that follow each other: padding.
const gap = 256

// Moved implements kernels.Movable.
func (u *update[F]) Moved(planes uint64, others bool) error {
	for k := range u.regions {
		if planes>>k&1 == 0 {
			continue
		}
		if others || u.regions[k] == nil {
			u.regions[k] = u.regions[k][:0]
			for i := range u.work.Tensors {
				u.regions[k] = append(u.regions[k], regionOf(u.work.Tensors[i].Planes[k].Span()))
			}
		}
		for i, r := range u.regions[k] {
			u.planes[i*len(u.regions)+k] = r.bytes()
		}
	}
	return u.forShort()
}

// forShort looks whether the tensors are scattered: whether a chunk does not lie behind the one before it. There short tensors have code of their own.
func (u *update[F]) forShort() error {
	if u.staged && u.program.Matrix() {
		return nil
	}
	u.scattered = false
	for i := 0; i < len(u.chunks)-1 && !u.scattered; i++ {
		u.scattered = !u.follows(&u.chunks[i], &u.chunks[i+1])
	}
	for _, v := range u.vectors {
		if !u.scattered || v.short != nil {
			continue
		}
		if err := v.forShort(u); err != nil {
			return err
		}
		u.spaces = nil // which may be too small for it
	}
	return nil
}

// extent is the bytes and the buffers of the update.
func (u *update[F]) extent() (bytes, buffers int) {
	return u.elements * elementBytes(u.program), len(u.tensors) * len(u.program.Planes)
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
	norm     float64   // of that
	unscale  float64
	scalars  []float64 // of all groups; before rounding, and then rounded
	rounded  []F       // of all groups
	uniforms [][]F     // of a pass, with vectors: of all groups, a block each
	space    *workspace[F]
	pass     int // that large tensors are in
	body     func(thread, i int)
	lines    func(thread, i int) // of rows or columns of large tensors
	columns  func(thread, i int) // of what columns of large tensors are filled with
}

// workspace is what a step needs only while it runs. Steps that wait have none.
type workspace[F rule.Float] struct {
	hands [][]hand[F] // of each thread, by pass
	eval  []*ir.Evaluator[F]
	vars  [][]F // of each pass's graph
	made  []float64
	tiles results // of large tensors
	small []smallSpace

	columns []float64 // of large tensors: see columnSums
}

// smallSpace is what a thread needs for a small tensor: what kernels.Pass.Tensor makes, and what tiles fill.
type smallSpace struct {
	made    []float64
	tiles   results
	columns []float64
}

// hand is what a thread needs for a pass.
type hand[F rule.Float] struct {
	own     *own[F]      // where tensors have scalars
	scratch scratch[F]   // with vectors
	pass    rule.Pass[F] // without
	window  *window[F]   // without machine code, as what follows
	terms   [][]F        // of a tile, for each fill
	lanes   *[kernels.NormLanes]float64
	block   []F // with vectors, in a pass that has numbers of rows: the group's, with the row's
	narrow  *narrowScratch[F]
}

// results is where passes leave what they fill, tile by tile.
type results struct {
	all           []float64 // fill after fill
	stride, first int
}

func newResults(fills, tiles int) results {
	return results{all: make([]float64, fills*tiles), stride: tiles}
}

// tile is the place of a fill's tile.
func (r results) tile(fill, i int) *float64 { return &r.all[fill*r.stride+r.first+i] }

// from are those behind so many elements.
func (r results) from(elements int) results {
	r.first += elements / kernels.NormTile
	return r
}

// total makes one of a fill's tiles, which it uses as scratch.
func (r results) total(f kernels.Fill, fill, tiles int) float64 {
	at := fill*r.stride + r.first
	return kernels.FillTree(f.Kind, r.all[at:at+tiles])
}

func (u *update[F]) newWorkspace() *workspace[F] {
	p := u.program
	w := &workspace[F]{tiles: newResults(u.fills, u.tiles), columns: newColumns(u.columnSums)}
	if u.staged {
		w.made = make([]float64, u.numLarge*p.NumTensorScalars())
	}
	for range u.proc.pool.threads {
		hands := make([]hand[F], len(p.Passes))
		kept := make([][]F, u.kept)
		for k := range kept {
			size := u.smallLen * p.Compute.Size()
			kept[k] = as[F](aligned(make([]byte, size+cacheLine), size, cacheLine))
		}
		narrow := u.newNarrowScratch()
		for i := range hands {
			hands[i] = u.newHand(i)
			hands[i].scratch.kept, hands[i].narrow = kept, narrow
		}
		w.hands = append(w.hands, hands)
		w.small = append(w.small, smallSpace{make([]float64, p.NumTensorScalars()), newResults(u.fills, u.smallTiles), newColumns(u.smallColumnSums)})
	}
	for _, v := range u.vectors {
		w.eval, w.vars = append(w.eval, newUniforms[F](v.graph)), append(w.vars, make([]F, len(v.graph.Vars)))
	}
	return w
}

func (u *update[F]) newHand(pass int) (h hand[F]) {
	p := u.program
	q := &p.Passes[pass]
	if p.NumTensorScalars() > 0 && (u.vectors == nil || u.vectors[pass].perTensor()) {
		h.own = u.newOwn(pass)
	}
	if u.vectors != nil {
		h.scratch = u.vectors[pass].newScratch()
		if u.vectors[pass].loop != nil {
			h.block = make([]F, u.vectors[pass].blockLen())
			return h
		}
	}
	h.window, h.lanes = newWindow[F](p, q), newLanes()
	for range q.Fills {
		h.terms = append(h.terms, make([]F, kernels.NormTile))
	}
	h.pass = rule.Pass[F]{Domain: q.Domain, Stage: q.Stage, Options: p.Options, Around: q.Around, Slots: make([][]F, len(p.SlotNames())), Terms: make([][]F, len(p.Rule.Tensor))}
	if rows, columns := len(p.Rule.Row), len(p.Rule.Column); q.Domain != rule.OfElements {
		h.pass.Slots = make([][]F, len(p.Rule.Fields(q.Domain)))
	} else {
		h.pass.Row, h.pass.RowTerms, h.pass.Columns, h.pass.ColumnTerms = make([]F, rows), make([][]F, rows), make([][]F, columns), make([][]F, columns)
	}
	h.pass.Loads, h.pass.Stores = p.RuleSlots(pass)
	return h
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
	n := u.program.NumScalars() * len(u.counters)
	s := &step[F]{u: u, scalars: make([]float64, n), rounded: make([]F, n)}
	for _, v := range u.vectors {
		s.uniforms = append(s.uniforms, make([]F, len(u.counters)*v.blockLen()))
	}
	s.body, s.lines, s.columns = s.batch, s.largeLines, s.largeColumns
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
	s.norm, s.unscale = 0, 1
	if s.control != nil {
		if s.norm, s.unscale = s.control[kernels.ControlNorm], s.control[kernels.ControlUnscale]; s.control[kernels.ControlSkip] == 1 {
			s.skipped()
			s.end()
			return
		}
	}
	u.touched(s.groups)
	s.begin()
	for _, hands := range s.space.hands {
		for i := range hands {
			if own := hands[i].own; own != nil {
				own.tensor, own.group = -1, -1
			}
		}
	}
	for g, counters := range u.counters {
		if s.groups[g].Off {
			continue
		}
		scalars, rounded := s.scalarsOf(g), s.of(g)
		u.program.RunScalars(&s.groups[g], s.norm, s.unscale, counters, scalars)
		for i, x := range scalars {
			rounded[i] = F(x)
			scalars[i] = float64(rounded[i])
		}
		for i, v := range u.vectors {
			v.block(s.block(i, g), s.space.vars[i], s.space.eval[i], rounded)
		}
	}
	for s.pass = range u.program.Passes {
		if s.pass == 0 {
			s.tensors()
			u.each(&u.paces[s.pass], len(u.batches), s.body)
		} else if len(u.large) > 0 {
			s.tensors()
			if u.program.Passes[s.pass].Domain == rule.OfElements {
				u.each(&u.paces[s.pass], len(u.large), s.body)
			} else {
				u.each(&u.paces[s.pass], len(u.big), s.lines)
			}
		}
		s.sum()
	}
	s.end()
}

// tensors computes the numbers of large tensors before a pass.
func (s *step[F]) tensors() {
	for i := 0; s.u.staged && s.u.program.Passes[s.pass].Tensor != nil && i < len(s.u.tensors); i++ {
		if t := &s.u.tensors[i]; t.large && !s.off(i) {
			if s.runTensor(s.pass, t, s.madeOf(t)); s.u.program.Rule.Everything {
				return
			}
		}
	}
}

// runTensor is kernels.Pass.Tensor of a tensor.
func (s *step[F]) runTensor(pass int, t *tensor, made []float64) {
	s.u.program.RunTensorScalars(pass, &s.groups[t.group], s.norm, s.unscale, s.scalarsOf(t.group), t.sums, made)
}

// madeOf is what kernels.Pass.Tensor has made of a large tensor; nil where threads do that, as nobody does it twice.
func (s *step[F]) madeOf(t *tensor) []float64 {
	if !s.u.staged {
		return nil
	}
	n, at := s.u.program.NumTensorScalars(), t.number
	if s.u.program.Rule.Everything {
		at = 0
	}
	return s.space.made[at*n : (at+1)*n]
}

// sum adds up what large tensors have filled in a pass.
func (s *step[F]) sum() {
	q := &s.u.program.Passes[s.pass]
	for k, f := range q.Fills {
		if s.u.program.Rule.Everything {
			s.sumAll(k, f)
			continue
		}
		for i := range s.u.tensors {
			if t := &s.u.tensors[i]; f.Domain == rule.OfTensor && t.large && !s.off(i) {
				t.sums[f.Word] = s.tilesOf(s.pass, t).total(f, k, t.numTiles(q.Domain))
			}
		}
	}
	if numColumnFills(q) > 0 {
		s.u.each(&s.u.columnPaces[s.pass], len(s.u.spans), s.columns)
	}
}

// sumAll adds up what all tensors have filled together. Their tiles lie one behind the other, but for tensors that the step leaves out.
func (s *step[F]) sumAll(fill int, f kernels.Fill) {
	var sums []float64
	all := s.space.tiles.all[(s.u.firstFill[s.pass]+fill)*s.space.tiles.stride:][:s.u.tiles]
	n := 0
	for i := range s.u.tensors {
		if t := &s.u.tensors[i]; !s.off(i) {
			sums = t.sums
			n += copy(all[n:], all[t.tile:][:t.tiles])
		}
	}
	if sums != nil {
		sums[f.Word] = kernels.FillTree(f.Kind, all[:n])
	}
}

// tilesOf are those of a large tensor in a pass.
func (s *step[F]) tilesOf(pass int, t *tensor) results {
	r := s.space.tiles.from(t.tile * kernels.NormTile)
	r.first += s.u.firstFill[pass] * r.stride
	return r
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

// of are the scalars of a group, rounded to the type that the program computes with.
func (s *step[F]) of(group int) []F {
	n := s.u.program.NumScalars()
	return s.rounded[group*n : (group+1)*n]
}

// scalarsOf are the same as float64.
func (s *step[F]) scalarsOf(group int) []float64 {
	n := s.u.program.NumScalars()
	return s.scalars[group*n : (group+1)*n]
}

// block is the uniforms of a group in a pass.
func (s *step[F]) block(pass, group int) []F {
	n := s.u.vectors[pass].blockLen()
	return s.uniforms[pass][group*n : (group+1)*n]
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
		touched(u.tensors[i].sums, u.staged)
	}
}

// small says whether a step is less work than waking another thread.
func (u *update[F]) small() bool { return u.elements <= inlineLen }

// each runs body for so many batches, on the threads of the pace's choice unless the update is small.
func (u *update[F]) each(c *pace, n int, body func(thread, i int)) {
	if !u.small() {
		c.do(u.proc.pool, n, body)
		return
	}
	for i := range n {
		body(0, i)
	}
}

// batch updates the chunks of one batch on a thread of the pool: those of large tensors by one pass, others by all.
func (s *step[F]) batch(thread, i int) {
	if s.pass > 0 {
		i = s.u.large[i]
	}
	b := s.u.batches[i]
	short := s.u.scattered && s.u.vectors != nil && s.u.vectors[s.pass].short != nil
	var ahead cursor
	if short {
		ahead = cursor{b.lo, s.u.chunks[b.lo].lo, b.hi}
		s.advance(&ahead, shortAhead/s.u.program.Compute.Size())
	}
	for k := b.lo; k < b.hi; k++ {
		c := &s.u.chunks[k]
		if s.off(c.tensor) {
			continue
		}
		switch t, h := &s.u.tensors[c.tensor], &s.space.hands[thread][s.pass]; {
		case short:
			s.short(h, t, c, &ahead)
		case t.inPhases():
			s.phase(thread, c)
		case t.large && t.rows > 0:
			columns := s.space.columns[t.columnSums:]
			if t.atOnce() {
				columns = s.space.small[thread].columns
			}
			s.matrix(h, s.pass, c, nil, s.madeOf(t), s.tilesOf(s.pass, t), columns)
		case t.large:
			s.chunk(h, s.pass, c, nil, s.madeOf(t), s.tilesOf(s.pass, t).from(c.lo))
		default:
			next := c // which prefetching of itself does not harm
			if k+1 < b.hi && !s.off(s.u.chunks[k+1].tensor) {
				next = &s.u.chunks[k+1]
			}
			s.through(thread, c, &s.u.tensors[next.tensor])
		}
	}
}

// cursor is a place in a batch: an element of a chunk. Behind the last one, chunk is end.
type cursor struct{ chunk, at, end int }

// advance brings it forward by so many elements of tensors that the step does not leave out.
func (s *step[F]) advance(to *cursor, n int) {
	for to.chunk < to.end {
		c := &s.u.chunks[to.chunk]
		if left := c.hi - to.at; !s.off(c.tensor) {
			if n < left {
				to.at += n
				return
			}
			n -= left
		}
		if to.chunk++; to.chunk < to.end {
			to.at = s.u.chunks[to.chunk].lo
		}
	}
}

// short updates a chunk of a short tensor that is scattered. What lies past its end is another one's or nobody's, and would come from memory in vain:
// so what is prefetched goes from chunk to chunk, ahead of what is updated.
func (s *step[F]) short(h *hand[F], t *tensor, c *chunk, ahead *cursor) {
	s.scalarsFor(h, c.tensor, nil)
	v, block, pointers := s.u.vectors[s.pass], (*byte)(unsafe.Pointer(&s.blockFor(h, s.pass, t)[0])), h.scratch.pointers
	for at, n := c.lo, 0; at < c.hi; at += n {
		n = c.hi - at
		v.point(pointers, t, at)
		if ahead.chunk < ahead.end {
			next, round := &s.u.chunks[ahead.chunk], roundBytes/s.u.program.Compute.Size()
			if left := next.hi - ahead.at; left < n {
				n = min(max(left&^(round-1), round), n)
			}
			v.point(pointers[len(v.touches):], &s.u.tensors[next.tensor], ahead.at)
		} else {
			v.point(pointers[len(v.touches):], t, at)
		}
		v.short.run(pointers, block, h.scratch.frame, t.index+uint64(at), n)
		s.advance(ahead, n)
	}
}

// through updates a small tensor by all passes, before the next one comes.
func (s *step[F]) through(thread int, c *chunk, next *tensor) {
	t, space := &s.u.tensors[c.tensor], &s.space.small[thread]
	for i := range s.u.program.Passes {
		q := &s.u.program.Passes[i]
		if q.Tensor != nil {
			s.runTensor(i, t, space.made)
		}
		switch h := &s.space.hands[thread][i]; {
		case c.hi == 0:
		case t.rows > 0 && q.Domain == rule.OfElements:
			s.matrix(h, i, c, next, space.made, space.tiles, space.columns)
			s.fillColumns(i, t, space.columns, 0, t.numbers(rule.OfColumns))
		case t.rows > 0:
			s.fold(h, i, t, 0, t.matrices)
			s.chunk(h, i, &chunk{tensor: c.tensor, hi: t.numbers(q.Domain)}, nil, space.made, space.tiles)
		default:
			s.chunk(h, i, c, next, space.made, space.tiles)
		}
		for k, f := range q.Fills {
			if f.Domain == rule.OfTensor {
				t.sums[f.Word] = space.tiles.total(f, k, t.numTiles(q.Domain))
			}
		}
	}
}

// chunk updates one chunk by a pass. Next is nil, or the tensor that comes behind a small one.
func (s *step[F]) chunk(h *hand[F], pass int, c *chunk, next *tensor, made []float64, to results) {
	t := &s.u.tensors[c.tensor]
	scalars := s.scalarsFor(h, c.tensor, made)
	if s.u.vectors == nil {
		s.apply(h, pass, t, c, scalars, to)
		return
	}
	v, block := s.u.vectors[pass], s.blockFor(h, pass, t)
	switch {
	case v.loop != nil && next != nil:
		v.small(t, next, c, block, &h.scratch, to)
		return
	case v.loop != nil:
		v.run(t, c, block, &h.scratch, to)
		return
	}
	s.byWindows(h, pass, t, c.lo, c.hi, scalars, to, nil, func(term, _ int) { v.interpret(h, (*byte)(unsafe.Pointer(&block[0])), term) })
}

// scalarsFor are the group's, or those that the tensor has to itself.
func (s *step[F]) scalarsFor(h *hand[F], tensor int, made []float64) []F {
	if h.own != nil {
		h.own.of(s, tensor, made)
		return h.own.scalars
	}
	return s.of(s.u.tensors[tensor].group)
}

// blockFor is behind scalarsFor.
func (s *step[F]) blockFor(h *hand[F], pass int, t *tensor) []F {
	if h.own != nil {
		return h.own.block
	}
	return s.block(pass, t.group)
}

// apply is chunk by the rule itself.
func (s *step[F]) apply(h *hand[F], pass int, t *tensor, c *chunk, scalars []F, to results) {
	s.given(h, scalars)
	s.byWindows(h, pass, t, c.lo, c.hi, scalars, to, nil, func(term, _ int) { s.applyTo(h, pass, term) })
}

// given is what a thread's pass by the rule itself is given beside memory.
func (s *step[F]) given(h *hand[F], scalars []F) {
	p, program := &h.pass, s.u.program
	own := len(program.Rule.Scalars)
	if p.Scalars = scalars[:own]; !program.Alone {
		p.Shared = rule.SharedOf(scalars[own:])
	}
	if h.own != nil {
		p.Tensor = h.own.numbers[:len(program.Rule.Tensor)]
	}
}

// applyTo runs the rule itself on the window, whose terms begin at one of the thread's.
func (s *step[F]) applyTo(h *hand[F], pass, term int) {
	p, program := &h.pass, s.u.program
	q := &program.Passes[pass]
	for i, x := range h.window.slots {
		if program.Slots[i].Domain == q.Domain {
			p.Slots[program.Slots[i].Index] = x
		}
	}
	for k, f := range q.Fills {
		of := p.Terms
		switch f.Domain {
		case rule.OfRows:
			of = p.RowTerms
		case rule.OfColumns:
			of = p.ColumnTerms
		}
		of[f.Field] = h.terms[k][term : term+h.window.n]
	}
	rule.Apply(program.Rule, p)
}

// byWindows calls f for elements from to end, or as many rows or columns, as many as the thread's window has at a time, and tells it how many came
// before. Where the pass fills something, f is told where in the thread's terms these elements' begin. Columns are what the columns of a row's
// elements have so far.
func (s *step[F]) byWindows(h *hand[F], pass int, t *tensor, from, end int, scalars []F, to results, columns *columnSums, f func(term, before int)) {
	size, fills := end-from, s.u.program.Passes[pass].Fills
	if len(fills) > 0 {
		size = kernels.NormTile
	}
	for lo := from; lo < end; lo += size {
		hi, term := min(lo+size, end), 0
		h.window.each(t, lo, hi, scalars, func() {
			f(term, lo-from+term)
			term += h.window.n
		})
		column := 0
		for k, fill := range fills {
			if terms := h.terms[k][:hi-lo]; fill.Domain == rule.OfColumns {
				kernels.FillColumns(fill.Kind, columns.of(column)[lo-from:hi-from], terms)
				column++
			} else {
				*to.tile(k, (lo-from)/size) = fillTile(s.u.proc.choice.set, fill.Kind, terms, h.lanes)
			}
		}
	}
}

// fillTile is kernels.FillTile.
func fillTile[F rule.Float](set *instructions, kind rule.Fill, terms []F, lanes *[kernels.NormLanes]float64) float64 {
	if kind == rule.FillSquares {
		return sumSquares(set, terms, lanes)
	}
	return kernels.FillTile(kind, terms)
}

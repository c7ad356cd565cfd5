package cpu

import (
	"slices"
	"unsafe"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// norm implements kernels.Update for kernels.Norm and kernels.NormOfTensors.
type norm struct {
	proc    *processor
	work    kernels.Work // holds the tiles' memory
	wide    bool         // one of the gradients is float64
	of      []gradient   // the work's
	tiles   []tile       // in the tree's order
	own     []ownSums    // of kernels.NormOfTensors
	spare   []float64    // as long as the longest of these
	sums    []float64
	scale   float64 // of the elements, while the tree is summed
	last    *commitStep
	code    [device.Float16 + 1]*loop // that sums the squares of a tile, by the elements' type; nil where there is none
	scratch []sumScratch              // of each thread
	batch   int                       // tiles that a thread takes at a time
	body    func(thread, i int)       // of a batch
	pace    pace
}

// normStep is a task: it computes the norm.
type normStep struct {
	*norm
	to      *device.Buffer
	control []float64
}

// commitStep is a task: kernels.CommitControl.
type commitStep struct{ *normStep }

func (c *commitStep) run() { kernels.CommitControl(c.control) }

// gradient is what is looked at of a kernels.Tensor where gradients have moved.
type gradient struct {
	region
	dtype device.DType
	sums  []float64 // kernels.Tensor.Sums
}

// tile is the memory of at most kernels.NormTile elements.
type tile struct {
	dtype device.DType
	x     []byte
}

// sumScratch is what a thread needs to sum a tile.
type sumScratch struct {
	lanes *[kernels.NormLanes]float64
	frame []byte // of the loop

	half [1][]byte // elements of 16 bits
	wide []float32 // what they are; nil before there are some
}

func newLanes() *[kernels.NormLanes]float64 {
	const size = kernels.NormLanes * int(unsafe.Sizeof(float64(0)))
	return (*[kernels.NormLanes]float64)(unsafe.Pointer(&aligned(make([]byte, size+cacheLine), size, cacheLine)[0]))
}

// ownSums is a tensor's tiles, lo to hi, and its kernels.Tensor.Sums.
type ownSums struct {
	lo, hi int
	wide   bool // float64: there is a sum of scaled elements
	to     []float64
}

// newNorm makes an update of a work of kernels.Norm or kernels.NormOfTensors.
func (d *Device) newNorm(w kernels.Work) (*norm, error) {
	if d.processor.choice.err != nil {
		return nil, d.processor.choice.err
	}
	n := &norm{proc: d.processor, work: w}
	for range d.processor.pool.threads {
		n.scratch = append(n.scratch, sumScratch{lanes: newLanes()})
	}
	n.body = n.sumBatch
	return n, n.Moved(1, true)
}

// Moved implements kernels.Movable.
func (n *norm) Moved(_ uint64, others bool) error {
	n.tiles, n.own, n.wide = n.tiles[:0], n.own[:0], false
	if others {
		n.of = n.of[:0]
		for _, t := range n.work.Tensors {
			b := t.Planes[0]
			n.of = append(n.of, gradient{regionOf(b.Span()), b.DType(), view[float64](t.Sums)})
		}
	}
	size := 0
	for i := range n.of {
		size += len(n.of[i].bytes())
	}
	for i := range n.of {
		x, t := n.of[i].bytes(), n.of[i].dtype
		if x == nil {
			continue
		}
		n.wide = n.wide || t == device.Float64
		if n.proc.choice.loops != nil && n.code[t] == nil {
			var err error
			if n.code[t], err = n.proc.squares(t, n.proc.prefetching(size, len(n.of))); err != nil {
				return err
			}
			for i := range n.scratch {
				n.scratch[i].frame = newFrame(max(len(n.scratch[i].frame), n.code[t].frame))
			}
		}
		first := len(n.tiles)
		for size := kernels.NormTile * t.Size(); len(x) > 0; {
			k := min(size, len(x))
			n.tiles = append(n.tiles, tile{t, x[:k]})
			x = x[k:]
		}
		if n.of[i].sums != nil {
			n.own = append(n.own, ownSums{first, len(n.tiles), t == device.Float64, n.of[i].sums})
			n.spare = slices.Grow(n.spare, len(n.tiles)-first)
		}
	}
	n.sums = slices.Grow(n.sums[:0], len(n.tiles))[:len(n.tiles)]
	n.batch = max(chunkLen(len(n.tiles)*kernels.NormTile, n.proc.pool.threads)/kernels.NormTile, 1)
	return nil
}

// squares is the loop that sums the squares of elements of a type.
func (d *processor) squares(t device.DType, ahead prefetching) (*loop, error) {
	f := kernels.Norm().Stages[0].Terms[t]
	return d.shared(keyOf(f, termOf, false, ahead), func() (*emit.Code, error) { return emitSquares(d.choice.loops, f, ahead) })
}

// termOf is the field of kernels.Stage.Terms that is summed.
var termOf = []emit.Fill{{Var: 1}}

// The lanes that machine code sums by are the tree's.
var _ [kernels.NormLanes]float64 = [emit.Lanes]float64{}

// emitSquares makes the machine code that sums a term.
func emitSquares(set *emit.Set, f *ir.Func, ahead prefetching) (*emit.Code, error) {
	return emit.Compile(emit.Loop{Func: f, Planes: []int{0}, Fills: termOf, Varying: f.Varying(rule.ElemBank), Set: set,
		Near: ahead.near, Far: ahead.far})
}

func (n *norm) sumBatch(thread, i int) {
	for k := i * n.batch; k < min((i+1)*n.batch, len(n.tiles)); k++ {
		n.sums[k] = n.sumTile(&n.tiles[k], &n.scratch[thread])
	}
}

// sumTile is kernels.SumSquares of a tile, by machine code if there is some. Elements that must be scaled are rare and go the scalar way.
func (n *norm) sumTile(t *tile, s *sumScratch) float64 {
	if code := n.code[t.dtype]; code != nil && n.scale == 1 {
		at := [1]*byte{&t.x[0]}
		code.run(at[:], nil, s.frame, 0, len(t.x)/t.dtype.Size())
		return *code.fill(s.frame, 0)
	}
	elements := len(t.x) / t.dtype.Size()
	x := unsafe.Pointer(&t.x[0])
	switch t.dtype {
	case device.Float32:
		return sumFloats(n, unsafe.Slice((*float32)(x), elements), s)
	case device.Float64:
		return sumFloats(n, unsafe.Slice((*float64)(x), elements), s)
	}
	half, err := format.Plain(t.dtype, device.Float32)
	if err != nil {
		panic(err)
	}
	if s.wide == nil {
		s.wide = make([]float32, kernels.NormTile)
	}
	s.half[0] = t.x
	format.Load(half, s.wide[:elements], s.half[:])
	return sumFloats(n, s.wide[:elements], s)
}

// sumFloats is sumTile of numbers.
func sumFloats[F rule.Float](n *norm, x []F, s *sumScratch) float64 {
	if n.scale != 1 {
		return kernels.SumSquares(x, n.scale)
	}
	return sumSquares(n.proc.choice.set, x, s.lanes)
}

// sumSquares is kernels.SumSquares by committed vector code, if there is some: whole rows in the loop, the last part of one here.
func sumSquares[F rule.Float](set *instructions, x []F, lane *[kernels.NormLanes]float64) float64 {
	if set == nil {
		return kernels.SumSquares(x, 1)
	}
	clear(lane[:])
	rows := len(x) / kernels.NormLanes
	if rows > 0 {
		set.squares[int(unsafe.Sizeof(F(0)))](&lane[0], (*byte)(unsafe.Pointer(&x[0])), rows)
	}
	for l, v := range x[rows*kernels.NormLanes:] {
		lane[l] += float64(float64(v) * float64(v))
	}
	return kernels.SumTree(lane[:])
}

func (n *normStep) run() {
	for i := 0; raceEnabled && i < len(n.tiles); i++ {
		touched(n.tiles[i].x, false)
	}
	if n.wide {
		first := kernels.NormFirst
		if n.own != nil {
			first = kernels.NormFirstOfTensors
		}
		kernels.RunControl(n.control, kernels.NormBy(first, n.tree))
		return
	}
	var out kernels.NormOf // no other scale is needed
	kernels.NormFirst(&kernels.NormSum{Sum: n.tree(1), Scale: 1}, &out)
	kernels.RunControl(n.control, out.Norm)
}

// tree is the total of the squares of elements multiplied by scale.
func (n *norm) tree(scale float64) float64 {
	n.scale = scale
	n.pace.do(n.proc.pool, (len(n.tiles)+n.batch-1)/n.batch, n.body)
	for i := range n.own {
		switch t := &n.own[i]; {
		case scale == 1:
			t.to[0] = n.sumOf(t)
		case t.wide:
			t.to[1] = n.sumOf(t)
		}
	}
	return kernels.SumTree(n.sums)
}

// sumOf is a tensor's sum, of the tiles' sums, which stay.
func (n *norm) sumOf(t *ownSums) float64 {
	return kernels.SumTree(append(n.spare[:0], n.sums[t.lo:t.hi]...))
}

func (n *norm) Enqueue(s *device.Stream, step kernels.Step) error {
	if n.last == nil || n.last.to != step.Control {
		n.last = &commitStep{&normStep{n, step.Control, view[float64](step.Control)}}
	}
	if step.Commit {
		return n.proc.enqueue(s, n.last, true)
	}
	return n.proc.enqueue(s, n.last.normStep, len(n.tiles)*kernels.NormTile <= inlineLen)
}

func (n *norm) Close() error { return nil }

package cpu

import (
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// norm implements kernels.Update for kernels.Norm.
type norm struct {
	drv   *driver
	work  kernels.Work // holds the tiles' memory
	wide  bool         // one of them is float64
	tiles []tile       // in the tree's order
	sums  []float64
	scale float64 // of the elements, while the tree is summed
	last  *normStep
	lanes [][kernels.NormLanes]float64 // of each thread
	batch int                          // tiles that a thread takes at a time
	body  func(thread, i int)          // of a batch
}

// tile is at most kernels.NormTile elements of one type; the other slice is nil.
type tile struct {
	f32 []float32
	f64 []float64
}

// normStep is a task: it computes the norm.
type normStep struct {
	*norm
	to  *device.Buffer
	out []float64
}

// newNorm makes an update of a work of kernels.Norm.
func (d *Device) newNorm(w kernels.Work) (*norm, error) {
	if d.driver.choice.err != nil {
		return nil, d.driver.choice.err
	}
	n := &norm{drv: d.driver, work: w}
	for _, t := range w.Tensors {
		g := t.Planes[0]
		var f32 []float32
		var f64 []float64
		switch g.DType() {
		case device.Float32:
			f32 = view[float32](g)
		case device.Float64:
			f64, n.wide = view[float64](g), true
		default:
			return nil, device.ErrUnsupported
		}
		for lo := 0; lo < g.Len(); lo += kernels.NormTile {
			hi := min(lo+kernels.NormTile, g.Len())
			if f32 != nil {
				n.tiles = append(n.tiles, tile{f32: f32[lo:hi]})
			} else {
				n.tiles = append(n.tiles, tile{f64: f64[lo:hi]})
			}
		}
	}
	n.sums = make([]float64, len(n.tiles))
	n.lanes = make([][kernels.NormLanes]float64, d.driver.pool.threads)
	n.batch = max(chunkLen(len(n.tiles)*kernels.NormTile, d.driver.pool.threads)/kernels.NormTile, 1)
	n.body = n.sumBatch
	return n, nil
}

func (n *norm) sumBatch(thread, i int) {
	for k := i * n.batch; k < min((i+1)*n.batch, len(n.tiles)); k++ {
		if t := n.tiles[k]; t.f32 != nil {
			n.sums[k] = sumTile(n, thread, t.f32)
		} else {
			n.sums[k] = sumTile(n, thread, t.f64)
		}
	}
}

// sumTile sums a tile by vector code, if there is some. Elements that must be scaled are rare and go the scalar way.
func sumTile[F rule.Float](n *norm, thread int, x []F) float64 {
	if set := n.drv.choice.set; set != nil && n.scale == 1 {
		return vectorSquares(set, &n.lanes[thread], x)
	}
	return kernels.SumSquares(x, n.scale)
}

// vectorSquares is kernels.SumSquares by vector code, of scale 1: whole rows in the loop, the last part of one here.
func vectorSquares[F rule.Float](set *instructions, lane *[kernels.NormLanes]float64, x []F) float64 {
	rows := len(x) / kernels.NormLanes
	if rows > 0 {
		set.squares[int(unsafe.Sizeof(F(0)))](&lane[0], (*byte)(unsafe.Pointer(&x[0])), rows)
	} else {
		clear(lane[:])
	}
	for l, v := range x[rows*kernels.NormLanes:] {
		lane[l] += float64(float64(v) * float64(v))
	}
	set.halve(&lane[0])
	for w := set.vector / 16; w > 0; w /= 2 { // what is left of the tree lies in one vector
		for l := range w {
			lane[l] += lane[l+w]
		}
	}
	return lane[0]
}

func (n *normStep) run() {
	for i := 0; raceEnabled && i < len(n.tiles); i++ {
		touched(n.tiles[i].f32, false)
		touched(n.tiles[i].f64, false)
	}
	if n.wide {
		n.out[0] = kernels.NormBy(n.tree)
		return
	}
	var out kernels.NormOf // no other scale is needed
	kernels.NormFirst(&kernels.NormSum{Sum: n.tree(1), Scale: 1}, &out)
	n.out[0] = out.Norm
}

// tree is the total of the squares of elements multiplied by scale.
func (n *norm) tree(scale float64) float64 {
	n.scale = scale
	n.drv.pool.do((len(n.tiles)+n.batch-1)/n.batch, n.body)
	return kernels.SumTree(n.sums)
}

func (n *norm) Enqueue(s *device.Stream, step kernels.Step) error {
	if n.last == nil || n.last.to != step.Reduced {
		n.last = &normStep{n, step.Reduced, view[float64](step.Reduced)}
	}
	return n.drv.enqueue(s, n.last, len(n.tiles)*kernels.NormTile <= inlineLen)
}

func (n *norm) Close() error { return nil }

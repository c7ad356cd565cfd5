package cpu

import (
	"math"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// norm implements kernels.Norm. As a task, it computes the norm.
type norm struct {
	drv   *driver
	tiles []tile // in the tree's order
	sums  []float64
	total *device.Buffer
	lanes [][kernels.NormLanes]float64 // of each thread
	batch int                          // tiles that a thread takes at a time
	sum   func(thread, i int)          // of a tile
	body  func(thread, i int)          // of a batch
}

// tile is at most kernels.NormTile elements of one type; the other slice is nil.
type tile struct {
	f32 []float32
	f64 []float64
}

// CompileNorm implements kernels.Backend.
func (d *Device) CompileNorm(grads []*device.Buffer) (kernels.Norm, error) {
	if d.driver.choice.err != nil {
		return nil, d.driver.choice.err
	}
	n := &norm{drv: d.driver}
	for _, g := range grads {
		var f32 []float32
		var f64 []float64
		switch g.DType() {
		case device.Float32:
			f32 = view[float32](g)
		case device.Float64:
			f64 = view[float64](g)
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
	n.sum, n.body = n.vectorTile, n.sumBatch
	if d.driver.choice.set == nil {
		n.sum = n.scalarTile
	}
	var err error
	n.total, err = d.Alloc(device.Float64, 1)
	return n, err
}

func (n *norm) sumBatch(thread, i int) {
	for k := i * n.batch; k < min((i+1)*n.batch, len(n.tiles)); k++ {
		n.sum(thread, k)
	}
}

func (n *norm) scalarTile(_, i int) {
	if t := n.tiles[i]; t.f32 != nil {
		n.sums[i] = kernels.SumSquares(t.f32)
	} else {
		n.sums[i] = kernels.SumSquares(t.f64)
	}
}

func (n *norm) vectorTile(thread, i int) {
	if t := n.tiles[i]; t.f32 != nil {
		n.sums[i] = vectorSquares(n.drv.choice.set, &n.lanes[thread], t.f32)
	} else {
		n.sums[i] = vectorSquares(n.drv.choice.set, &n.lanes[thread], t.f64)
	}
}

// vectorSquares is kernels.SumSquares by vector code: whole rows in the loop, the last part of one here.
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

func (n *norm) run() {
	n.drv.pool.do((len(n.tiles)+n.batch-1)/n.batch, n.body)
	view[float64](n.total)[0] = math.Sqrt(kernels.SumTree(n.sums))
}

func (n *norm) Enqueue(s *device.Stream) error {
	s.Queue().(*queue).enqueue(n, len(n.tiles)*kernels.NormTile <= inlineLen)
	return nil
}

func (n *norm) Total() *device.Buffer { return n.total }

func (n *norm) Close() error { return n.total.Close() }

package cpu

import (
	"math"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// norm implements kernels.Norm. As a task, it computes the norm.
type norm struct {
	drv   *driver
	tiles []func() float64 // the sum of squares of each tile, in the tree's order
	sums  []float64
	total *device.Buffer
	body  func(thread, i int)
}

// CompileNorm implements kernels.Backend.
func (d *Device) CompileNorm(grads []*device.Buffer) (kernels.Norm, error) {
	n := &norm{drv: d.driver}
	for _, g := range grads {
		switch g.DType() {
		case device.Float32:
			n.tiles = addTiles(n.tiles, view[float32](g))
		case device.Float64:
			n.tiles = addTiles(n.tiles, view[float64](g))
		default:
			return nil, device.ErrUnsupported
		}
	}
	n.sums = make([]float64, len(n.tiles))
	n.body = func(_, i int) { n.sums[i] = n.tiles[i]() }
	var err error
	n.total, err = d.Alloc(device.Float64, 1)
	return n, err
}

func addTiles[F rule.Float](tiles []func() float64, x []F) []func() float64 {
	for lo := 0; lo < len(x); lo += kernels.NormTile {
		tile := x[lo:min(lo+kernels.NormTile, len(x))]
		tiles = append(tiles, func() float64 { return kernels.SumSquares(tile) })
	}
	return tiles
}

func (n *norm) run() {
	n.drv.pool.do(len(n.tiles), n.body)
	view[float64](n.total)[0] = math.Sqrt(kernels.SumTree(n.sums))
}

func (n *norm) Enqueue(s *device.Stream) error {
	s.Queue().(*queue).enqueue(n, len(n.tiles)*kernels.NormTile <= inlineLen)
	return nil
}

func (n *norm) Total() *device.Buffer { return n.total }

func (n *norm) Close() error { return n.total.Close() }

//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ptx"
)

// norm implements kernels.Capturable for kernels.Norm and kernels.NormOfTensors.
type norm struct {
	g     *gpu
	mod   *normModule
	count int                             // tiles of all types
	tiles map[device.DType]*device.Buffer // as package ptx lays them out
	sums  [2]*device.Buffer               // the tiles', and room for the sums of them
	scale *device.Buffer                  // the output that says whether later passes run
	trees [][]*device.Buffer              // by pass, of kernels.NormOfTensors: tiles of each level of tensors' trees
	spare *device.Buffer                  // sums between these levels
	work  kernels.Work                    // holds the gradients

	rewrites map[device.DType]*rewriter // of tiles
}

// newNorm makes an update of a work of kernels.Norm or kernels.NormOfTensors.
func (d *Device) newNorm(w kernels.Work) (kernels.Update, error) {
	mod, err := d.gpu.norm(w.Program)
	if err != nil {
		return nil, err
	}
	n := &norm{g: d.gpu, mod: mod, work: w, tiles: map[device.DType]*device.Buffer{}, rewrites: map[device.DType]*rewriter{}}
	if err := n.fill(d); err != nil {
		return nil, errors.Join(fmt.Errorf("cuda: norm: %w", err), n.Close())
	}
	return n, nil
}

func (n *norm) fill(d *Device) (err error) {
	for _, tensor := range n.work.Tensors {
		t := tensor.Planes[0].DType()
		if !slices.ContainsFunc(ptx.NormGradients, func(of ptx.NormGradient) bool { return of.DType == t }) {
			return fmt.Errorf("%s: %w", t, device.ErrUnsupported)
		}
	}
	var tables map[device.DType][]uint64
	tables, n.count = norms(n.work)
	for t, table := range tables {
		if n.tiles[t], err = d.words(table); err != nil {
			return err
		}
	}
	if n.count == 0 {
		n.sums[0], err = d.words([]uint64{0}) // the sum of nothing
	} else {
		n.sums[0], err = d.Alloc(device.Float64, n.count)
	}
	if err != nil {
		return err
	}
	if n.sums[1], err = d.Alloc(device.Float64, levels(n.count)); err != nil {
		return err
	}
	if n.scale, err = d.Alloc(device.Float64, 1); err != nil {
		return err
	}
	return n.plant(d)
}

// norms are the tables of tiles, by type, and how many tiles there are.
func norms(w kernels.Work) (tables map[device.DType][]uint64, count int) {
	tables = map[device.DType][]uint64{}
	for _, tensor := range w.Tensors {
		b := tensor.Planes[0]
		t := b.DType()
		for lo := 0; lo < b.Len(); lo += kernels.NormTile {
			tables[t] = append(tables[t], b.Addr()+uint64(lo*t.Size()), uint64(min(kernels.NormTile, b.Len()-lo)), uint64(count))
			count++
		}
	}
	return tables, count
}

// plant makes the tensors' trees.
func (n *norm) plant(d *Device) (err error) {
	spare := 0
	for _, t := range n.work.Tensors {
		spare += spareSums(levels(t.Len()))
	}
	if n.spare, err = d.Alloc(device.Float64, spare); err != nil {
		return err
	}
	for i := range n.mod.passes {
		f := &forest{}
		if p := &n.mod.passes[i]; p.Tensors != "" {
			f = n.tree(p.Reduce)
		}
		trees, err := f.tables(d)
		if n.trees = append(n.trees, trees); err != nil {
			return err
		}
	}
	return nil
}

// tree is the trees of all tensors whose sums a stage makes.
func (n *norm) tree(of *kernels.Stage) *forest {
	from, room := n.sums[0].Addr(), n.spare.Addr()
	f := &forest{spare: &room}
	for _, t := range n.work.Tensors {
		count := levels(t.Len())
		if count > 0 && (of.Only == 0 || t.Planes[0].DType() == of.Only) {
			f.grow(from, count, t.Sums.Addr()+uint64(8*of.Sum))
		}
		from += uint64(8 * count)
	}
	return f
}

func (n *norm) Enqueue(s *device.Stream, step kernels.Step) error { return n.Launch(s, step) }

// Feed implements kernels.Capturable: nothing changes from step to step but the gradients.
func (n *norm) Feed(*device.Stream, kernels.Step) error { return nil }

// Launch implements kernels.Capturable.
func (n *norm) Launch(s *device.Stream, step kernels.Step) error {
	defer runtime.KeepAlive(n)
	defer runtime.KeepAlive(step.Control)
	q, err := n.g.queue(s)
	if err != nil {
		return err
	}
	return n.g.do(func() error {
		if step.Commit {
			word := func(i int) cu.DevicePtr { return cu.DevicePtr(step.Control.Addr() + uint64(8*i)) }
			return failure(driver.CuMemcpyDtoDAsync, cu.MemcpyDtoDAsync(word(kernels.ControlState), word(kernels.ControlNext), 8*kernels.ControlStateWords, q.s))
		}
		for i := range n.mod.passes {
			p := &n.mod.passes[i]
			if only := p.Reduce.Only; only != 0 && n.tiles[only] == nil {
				continue
			}
			var scale []uint64
			if p.Reduce.Unless != "" {
				scale = []uint64{n.scale.Addr()}
			}
			if err := n.launchPass(q, p, n.trees[i], step.Control, scale); err != nil {
				return err
			}
		}
		return nil
	})
}

// launchPass enqueues the trees and the root.
func (n *norm) launchPass(q *queue, p *normPass, trees []*device.Buffer, control *device.Buffer, scale []uint64) error {
	for i, of := range ptx.NormGradients {
		if b := n.tiles[of.DType]; b != nil {
			tiles := b.Len() / ptx.TileWords
			if err := launch(p.squares[i].Function, blocks(tiles, of.Tiles), q, append([]uint64{b.Addr(), uint64(tiles), n.sums[0].Addr()}, scale...)); err != nil {
				return err
			}
		}
	}
	if err := launchTrees(q, p.tensors, trees, scale...); err != nil { // before the tree of everything, whose upper levels lie where the tiles' sums are
		return err
	}
	from, to := n.sums[0].Addr(), n.sums[1].Addr()
	for count := n.count; count > 1; count = levels(count) {
		if err := launch(p.sums.Function, blocks(levels(count), ptx.NormWarps), q, append([]uint64{from, uint64(count), to}, scale...)); err != nil {
			return err
		}
		from, to = to, from
	}
	return failure(driver.CuLaunchKernel, p.root.Launch([3]uint32{1, 1, 1}, [3]uint32{1, 1, 1}, 0, q.handle(), []uint64{from, control.Addr(), n.scale.Addr()}))
}

func (n *norm) Close() error {
	var errs []error
	for _, b := range slices.AppendSeq(append(slices.Concat(n.trees...), n.sums[0], n.sums[1], n.scale, n.spare), maps.Values(n.tiles)) {
		if b != nil {
			errs = append(errs, b.Close())
		}
	}
	for _, r := range n.rewrites {
		errs = append(errs, r.close())
	}
	return errors.Join(errs...)
}

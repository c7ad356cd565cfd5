//go:build cuda && cgo && linux

package cuda

import (
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ptx"
)

// A forest is trees over numbers of tiles, each of which ends in one number at an address of its own: tables of ptx.TileWords, level by level.
type forest struct {
	levels [][]uint64
	spare  *uint64 // room for numbers between the levels, from here on
}

// grow adds a tree over so many numbers side by side. That over none makes what is without numbers.
func (f *forest) grow(from uint64, count int, to uint64) {
	for level := 0; ; level++ {
		if level == len(f.levels) {
			f.levels = append(f.levels, nil)
		}
		at, last := *f.spare, count <= kernels.NormTile
		if last {
			at = to
		}
		for k := range max(levels(count), 1) {
			f.levels[level] = append(f.levels[level], from+uint64(8*k*kernels.NormTile), uint64(min(kernels.NormTile, count-k*kernels.NormTile)), at+uint64(8*k))
		}
		if last {
			return
		}
		from, count = at, levels(count)
		*f.spare += uint64(8 * count)
	}
}

// tables are the levels in the device's memory, also those that were made before an error.
func (f *forest) tables(d *Device) (all []*device.Buffer, err error) {
	for _, tiles := range f.levels {
		b, err := d.words(tiles)
		if err != nil {
			return all, err
		}
		all = append(all, b)
	}
	return all, nil
}

// spareSums is how many numbers there are between the levels of a tree over so many.
func spareSums(count int) (n int) {
	for count > kernels.NormTile {
		count = levels(count)
		n += count
	}
	return n
}

// levels is how many sums one level up has.
func levels(n int) int { return (n + kernels.NormTile - 1) / kernels.NormTile }

// launchTrees enqueues trees, level by level.
func launchTrees(q *queue, k kernel, trees []*device.Buffer, more ...uint64) error {
	for _, b := range trees {
		tiles := b.Len() / ptx.TileWords
		if err := launch(k.Function, blocks(tiles, ptx.NormWarps), q, append([]uint64{b.Addr(), uint64(tiles)}, more...)); err != nil {
			return err
		}
	}
	return nil
}

func blocks(tiles, each int) int { return (tiles + each - 1) / each }

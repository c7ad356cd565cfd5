//go:build cuda && cgo && linux

package cuda

import (
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ptx"
)

// geometry is how a pass over all tensors is made and launched: how many blocks walk the chunks on each multiprocessor, how many elements
// a chunk has, and how elements are loaded and stored. 0 is what is found best. The chunks of a pass with fills are tiles, whatever is said.
type geometry struct {
	blocks, chunk int
	hints         ptx.Hints
}

// geometryVariable is an environment variable for measurements, read by Open: blocks and elements, such as 5x4096 or 0x8192, and then the
// hints, if any, such as 0x0,cs,wt or 5x4096,,cs. The results of a step do not depend on it.
const geometryVariable = "FUSESTEP_CUDA_GEOMETRY"

func readGeometry() (g geometry, err error) {
	text := os.Getenv(geometryVariable)
	if text == "" {
		return geometry{}, nil
	}
	launch, hints, hinted := strings.Cut(text, ",")
	blocks, chunk, ok := strings.Cut(launch, "x")
	if ok && hinted {
		g.hints.Load, g.hints.Store, ok = strings.Cut(hints, ",")
		ok = ok && slices.Contains(ptx.LoadHints, g.hints.Load) && slices.Contains(ptx.StoreHints, g.hints.Store)
	}
	if ok {
		g.blocks, err = strconv.Atoi(blocks)
	}
	if ok && err == nil {
		g.chunk, err = strconv.Atoi(chunk)
	}
	if !ok || err != nil || g.blocks < 0 || g.blocks > 1024 || g.chunk < 0 || g.chunk > 1<<30 || g.chunk%4 != 0 {
		return geometry{}, fmt.Errorf("%s is %q: must be the blocks of a multiprocessor, 0 to 1024, an x, and the elements of a chunk, a multiple of 4 up to 2^30, and may go on with a comma, a hint of %q, a comma and a hint of %q",
			geometryVariable, text, ptx.LoadHints, ptx.StoreHints)
	}
	return g, nil
}

// grid is how many blocks of a pass run, all at once: were there more than fit, the last ones would run alone at the end. With 6
// for each multiprocessor where 5 fit, that took 1 to 4 % of the time in a simulation.
func (g *gpu) grid(k kernel) int {
	if g.geometry.blocks > 0 {
		return g.processors * g.geometry.blocks
	}
	return g.processors * max(k.resident, 1)
}

// The elements of a chunk. Blocks have the same number of chunks, or some have one more: what these take longer is at most a part in
// chunksPerBlock where a chunk is longer than the shortest. Long ones save looking up addresses, where there is work enough. In a
// simulation of timing, steps with 16,384 elements took 2 to 9 % longer than with 2,048 to 4,096.
const (
	minChunk, maxChunk = 2 << 10, 16 << 10
	chunksPerBlock     = 64
)

// minRows is the least that rowsLen is: what a warp takes as long for as for the lookup of its addresses, about.
const minRows = 4 * kernels.NormLanes

// chunkLen is how many elements of so many a block of the kernel takes at a time. It is a multiple of what 16 bytes hold.
func (g *gpu) chunkLen(total int, k kernel) int {
	if g.geometry.chunk > 0 {
		return g.geometry.chunk
	}
	n := total / (g.grid(k) * chunksPerBlock)
	return min(max(1<<(bits.Len(uint(n)|1)-1), minChunk), maxChunk)
}

// rowsLen is how many elements of so many a warp of the kernel takes at a time of the rows of matrices, or those of a row where it has more.
func (g *gpu) rowsLen(total int, k kernel) int {
	n := total / (g.grid(k) * ptx.NormWarps)
	return min(max(1<<(bits.Len(uint(n)|1)-1), minRows), kernels.NormTile)
}

package ptxvm

// special is a register slot that holds a special register.
type special struct {
	slot int32
	name string
}

// specialNames are the special registers, all of 32 bits.
var specialNames = map[string]bool{
	"%laneid": true, "%warpid": true, "%nwarpid": true,
	"%lanemask_eq": true, "%lanemask_lt": true, "%lanemask_le": true, "%lanemask_gt": true, "%lanemask_ge": true,
}

func init() {
	for _, name := range []string{"%tid", "%ntid", "%ctaid", "%nctaid"} {
		for _, axis := range []string{".x", ".y", ".z"} {
			specialNames[name+axis] = true
		}
	}
}

// blockValue is the value of a special register that changes from block to block.
func (b *block) blockValue(name string) (value uint64, ok bool) {
	switch name {
	case "%ctaid.x", "%ctaid.y", "%ctaid.z":
		return uint64(b.index[axis(name)]), true
	}
	return 0, false
}

// laneValue is a lane's value of a special register that all blocks have alike.
func (w *warp) laneValue(name string, lane int) uint64 {
	r := w.block.run
	switch name {
	case "%tid.x", "%tid.y", "%tid.z":
		return uint64(r.thread(w.first + lane)[axis(name)])
	case "%ntid.x", "%ntid.y", "%ntid.z":
		return uint64(r.Block[axis(name)])
	case "%nctaid.x", "%nctaid.y", "%nctaid.z":
		return uint64(r.Grid[axis(name)])
	case "%laneid":
		return uint64(lane)
	case "%warpid":
		return uint64(w.number)
	case "%nwarpid":
		return uint64(r.warps)
	case "%lanemask_eq":
		return 1 << lane
	case "%lanemask_lt":
		return 1<<lane - 1
	case "%lanemask_le":
		return 2<<lane - 1
	case "%lanemask_gt":
		return uint64(^uint32(0) << lane << 1)
	case "%lanemask_ge":
		return uint64(^uint32(0) << lane)
	}
	return 0
}

func axis(name string) int { return int(name[len(name)-1] - 'x') }

package ptxvm

// inst is a decoded instruction. All operands are slots: constants and special registers have a place in the register
// file too, filled in beforehand, so that no instruction asks what its operands are. Operands it does not have are slot 0,
// which holds the constant 0, or true among the predicates.
type inst struct {
	op          opcode
	mode        mode
	nsrc, npsrc uint8
	line        int32

	guard     int32
	guardFlip uint32 // all ones for @!p

	dst  int32
	src  [4]int32
	pdst [2]int32 // predicate slots, -1 without
	psrc [2]int32
	flip [2]uint32 // all ones where psrc is negated

	target     int32 // of a branch
	reconverge int32 // where the lanes that a branch divides meet again

	alu aluFunc
	cmp cmpFunc
	mem *memop
}

type opcode uint8

const (
	opALU       opcode = iota // dst = alu(src...)
	opSetp                    // pdst[0] = cmp(src) mode psrc[0], pdst[1] = !cmp(src) mode psrc[0]
	opPred                    // pdst[0] = psrc[0] mode psrc[1]
	opSelp                    // dst = psrc[0] ? src[0] : src[1]
	opBranch                  // to target
	opExit                    // the lanes end
	opTrap                    // the launch ends
	opBarrier                 // of the block, number src[0], threads src[1] (if nsrc is 2)
	opWarpSync                // of the lanes in src[0]
	opNop                     // fences and prefetches: memory here is always coherent
	opLoadParam               // mem.regs = parameters at mem.offset
	opLoad                    // mem.regs = memory at src[0]+mem.offset
	opStore                   // memory at src[0]+mem.offset = src[1:]... (mem.regs)
	opAtomic                  // dst = memory at src[0]+mem.offset, updated with src[1:]
	opShuffle                 // dst|pdst[0] = shuffle of src[0] by src[1], src[2], members src[3]
	opVote                    // dst or pdst[0] = vote on psrc[0], members src[0]
	opActive                  // dst = active lanes
)

// mode is a variant of an opcode.
type mode uint8

const (
	modeFirst mode = iota // the first operand alone
	modeAnd
	modeOr
	modeXor

	modeUp
	modeDown
	modeBfly
	modeIdx

	modeAll
	modeAny
	modeUni
	modeBallot
)

// combine applies a mode to predicates, as masks.
func (m mode) combine(a, b uint32) uint32 {
	switch m {
	case modeAnd:
		return a & b
	case modeOr:
		return a | b
	case modeXor:
		return a ^ b
	}
	return a
}

// memop is the part of an instruction that only memory needs.
type memop struct {
	space  space
	size   uint64 // of an element
	bytes  uint64 // of a lane's access: size × vector length
	signed bool
	strong bool   // volatile, relaxed or atomic: exempt from races with its like
	nc     bool   // through the read-only cache
	wrap   uint64 // mask of the base register's bits
	offset uint64
	regs   []int32 // of the vector
	cache  int32   // index into the warp's cache of allocations
	update func(old, b, c uint64) uint64
}

type space uint8

const (
	spaceGlobal space = iota
	spaceShared
	spaceParam
)

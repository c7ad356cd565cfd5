package ptxvm

// updates holds the atomic operations under name and type, "add.u32": the new value from the old one and the operands.
var updates = map[string]func(old, b, c uint64) uint64{}

func init() {
	defAtomic[uint32]("u32")
	defAtomic[int32]("s32")
	defAtomic[uint64]("u64")
	defAtomic[int64]("s64")
	delete(updates, "add.s64") // PTX has add.u64 only: the bits are the same
	defAtomicBits[uint32]("b32")
	defAtomicBits[uint64]("b64")
	updates["inc.u32"] = func(old, b, _ uint64) uint64 {
		if uint32(old) >= uint32(b) {
			return 0
		}
		return old + 1
	}
	updates["dec.u32"] = func(old, b, _ uint64) uint64 {
		if uint32(old) == 0 || uint32(old) > uint32(b) {
			return b
		}
		return old - 1
	}
	updates["add.f32"] = func(old, b, _ uint64) uint64 { return put32(get32(old) + get32(b)) }
	updates["add.f64"] = func(old, b, _ uint64) uint64 { return put64(get64(old) + get64(b)) }
}

func defAtomic[T integerType](t string) {
	updates["add."+t] = func(old, b, _ uint64) uint64 { return uint64(T(old) + T(b)) }
	updates["min."+t] = func(old, b, _ uint64) uint64 { return uint64(min(T(old), T(b))) }
	updates["max."+t] = func(old, b, _ uint64) uint64 { return uint64(max(T(old), T(b))) }
}

func defAtomicBits[T uint32 | uint64](t string) {
	updates["and."+t] = func(old, b, _ uint64) uint64 { return old & b }
	updates["or."+t] = func(old, b, _ uint64) uint64 { return old | b }
	updates["xor."+t] = func(old, b, _ uint64) uint64 { return old ^ b }
	updates["exch."+t] = func(_, b, _ uint64) uint64 { return b }
	updates["cas."+t] = func(old, b, c uint64) uint64 {
		if T(old) == T(b) {
			return c
		}
		return old
	}
}

package ptxvm

import "strconv"

// typ is a PTX fundamental type. The zero typ is no type.
type typ struct {
	kind byte // 'b' bits, 'u' unsigned, 's' signed, 'f' float, 'p' predicate
	size uint8
}

var (
	pred = typ{'p', 0}
	b16  = typ{'b', 2}
	b32  = typ{'b', 4}
	b64  = typ{'b', 8}
	u32  = typ{'u', 4}
)

// typesByName holds every type that a memory instruction may name; registers exclude the 8-bit ones.
var typesByName = map[string]typ{
	"pred": pred,
	"b8":   {'b', 1}, "b16": b16, "b32": b32, "b64": b64,
	"u8": {'u', 1}, "u16": {'u', 2}, "u32": u32, "u64": {'u', 8},
	"s8": {'s', 1}, "s16": {'s', 2}, "s32": {'s', 4}, "s64": {'s', 8},
	"f32": {'f', 4}, "f64": {'f', 8},
}

func (t typ) String() string {
	if t == pred {
		return ".pred"
	}
	return "." + string(t.kind) + strconv.Itoa(int(t.size)*8)
}

// accepts tells whether an operand of instruction type t may be a register of type reg. wide is PTX's relaxed rule for
// ld, st and cvt: an integer register may be wider than the instruction's type.
func (t typ) accepts(reg typ, wide bool) bool {
	if t.kind == 'p' || reg.kind == 'p' {
		return t.kind == reg.kind
	}
	if reg.size != t.size {
		return wide && reg.size > t.size && t.kind != 'f' && reg.kind != 'f'
	}
	switch t.kind {
	case 'f':
		return reg.kind == 'f' || reg.kind == 'b'
	case 'b':
		return true
	default:
		return reg.kind != 'f'
	}
}

package emit

import (
	"fmt"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/internal/x86"
)

// other is an operation in the place of one, for mutants.
var other = map[x86.Op]x86.Op{
	x86.VADDPS: x86.VSUBPS, x86.VSUBPS: x86.VADDPS, x86.VMULPS: x86.VADDPS, x86.VDIVPS: x86.VMULPS, x86.VSQRTPS: x86.VMOVUPS,
	x86.VANDPS: x86.VORPS, x86.VANDNPS: x86.VANDPS, x86.VORPS: x86.VANDPS, x86.VXORPS: x86.VORPS,
	x86.VADDPD: x86.VSUBPD, x86.VSUBPD: x86.VADDPD, x86.VMULPD: x86.VADDPD, x86.VDIVPD: x86.VMULPD, x86.VSQRTPD: x86.VMOVUPD,
	x86.VANDPD: x86.VORPD, x86.VANDNPD: x86.VANDPD, x86.VORPD: x86.VANDPD, x86.VXORPD: x86.VORPD,
	x86.VPADDD: x86.VPSUBD, x86.VPSUBD: x86.VPADDD, x86.VPMULLD: x86.VPADDD, x86.VPMULUDQ: x86.VPMULLD, x86.VPMAXUD: x86.VPADDD,
	x86.VPCMPEQD: x86.VPSUBD, x86.VPCMPEQQ: x86.VPCMPGTQ, x86.VPCMPGTQ: x86.VPCMPEQQ,
	x86.VPSLLD: x86.VPSRLD, x86.VPSRLD: x86.VPSLLD, x86.VPSLLQ: x86.VPSRLQ, x86.VPSRLQ: x86.VPSLLQ, x86.VPROLD: x86.VPSLLD,
	x86.VPACKUSDW: x86.VPSUBD, x86.VPACKUSWB: x86.VPACKUSDW,
	x86.VPMOVZXBD: x86.VPMOVZXWD, x86.VPMOVZXWD: x86.VPMOVZXBD, x86.VPMOVZXBQ: x86.VPMOVZXWQ, x86.VPMOVZXWQ: x86.VPMOVZXBQ,
	x86.VPMOVZXDQ: x86.VPMOVZXWQ, x86.VPMOVDB: x86.VPMOVDW, x86.VPMOVDW: x86.VPMOVDB, x86.VPMOVQB: x86.VPMOVQW,
	x86.VPMOVQW: x86.VPMOVQB, x86.VPMOVQD: x86.VPMOVQW, x86.VCVTPH2PS: x86.VPMOVZXWD, x86.VCVTPS2PD: x86.VPMOVZXDQ,
	x86.VSTOREQ: x86.VSTORED, x86.VSTORED: x86.VSTOREQ,
	x86.VFIXUPIMMPS: x86.VPADDD, x86.VFIXUPIMMPD: x86.VPADDD, x86.VPBLENDW: x86.VPSUBD,
	x86.VFMADD231PD: x86.VADDPD, x86.VFMADD231PS: x86.VADDPS, x86.VFNMADD231PS: x86.VFMADD231PS,
	x86.VRSQRT14PS: x86.VSQRTPS, x86.KORTESTW: x86.KNOTW, x86.VMAXPS: x86.VMINPS, x86.VMINPS: x86.VMAXPS,
	x86.KANDW: x86.KORW, x86.KANDNW: x86.KANDW, x86.KORW: x86.KANDNW,
}

// mutants change an instruction, and say whether they have.
var mutants = map[string]func(i *x86.Ins) bool{
	"other operation": func(i *x86.Ins) bool {
		o, ok := other[i.Op]
		if i.Op == x86.VSQRTPS || i.Op == x86.VSQRTPD {
			ok = !i.Args[1].IsMem() // a move takes no single element
		}
		if ok {
			i.Op = o
		}
		return ok
	},
	"predicate": func(i *x86.Ins) bool {
		switch i.Op {
		case x86.VCMPPS, x86.VCMPPD:
			i.Args[3] = x86.Imm(map[int]int{0x11: 0x12, 0x12: 0x11, 0x1E: 0x1D, 0x1D: 0x1E, 0x00: 0x04, 0x04: 0x00}[i.Args[3].Value()])
			return true
		}
		return false
	},
	"predicate of words": func(i *x86.Ins) bool {
		switch i.Op {
		case x86.VPCMPUD, x86.VPCMPUQ:
			i.Args[3] = x86.Imm(map[int]int{0: 2, 1: 2, 6: 5}[i.Args[3].Value()])
			return true
		}
		return false
	},
	"immediate": func(i *x86.Ins) bool {
		switch i.Op {
		case x86.VPSLLD, x86.VPSRLD, x86.VPSLLQ, x86.VPSRLQ, x86.VPROLD, x86.VPSHUFD, x86.VPERMQ, x86.VSHUFPS, x86.VCVTPS2PH, x86.MOVI,
			x86.VPINSRB, x86.VPINSRW, x86.VPINSRD, x86.VPEXTRB, x86.VPEXTRW, x86.VPEXTRD, x86.VPTERNLOGD, x86.VPBLENDW, x86.VFPCLASSPS, x86.VFPCLASSPD:
			for k, a := range i.Args {
				if a.IsImm() {
					i.Args[k] = x86.Imm(a.Value() ^ 1)
				}
			}
			return true
		}
		return false
	},
	"no class of subnormal numbers": func(i *x86.Ins) bool { return without(i, 0x20) },
	"no class of negative zero":     func(i *x86.Ins) bool { return without(i, 0x04) },
	"other register": func(i *x86.Ins) bool {
		switch i.Op {
		case x86.VMOVD, x86.VPBROADCASTD, x86.VPBROADCASTQ:
			i.Args[1] = count
			return true
		}
		return false
	},
	"order": func(i *x86.Ins) bool {
		switch i.Op {
		case x86.VPSUBD, x86.VPCMPGTQ, x86.VSHUFPS:
			if !i.Args[2].IsMem() {
				i.Args[1], i.Args[2] = i.Args[2], i.Args[1]
				return true
			}
		}
		return false
	},
	"quiet predicate": func(i *x86.Ins) bool { // true for NaN
		if (i.Op == x86.VCMPPS || i.Op == x86.VCMPPD) && i.Args[3].Value()&3 == 1 {
			i.Args[3] = x86.Imm(map[int]int{0x11: 0x19, 0x1D: 0x16}[i.Args[3].Value()])
			return true
		}
		return false
	},
	"arms": func(i *x86.Ins) bool {
		switch i.Op {
		case x86.VBLENDVPS, x86.VBLENDVPD, x86.VBLENDMPS, x86.VBLENDMPD, x86.VANDNPS, x86.VANDNPD, x86.KANDNW:
			if !i.Args[2].IsMem() {
				i.Args[1], i.Args[2] = i.Args[2], i.Args[1]
				return true
			}
		}
		return false
	},
	"not": func(i *x86.Ins) bool {
		if i.Op != x86.KNOTW {
			return false
		}
		i.Op, i.Args[2] = x86.KANDW, i.Args[1]
		return true
	},
	"next address": func(i *x86.Ins) bool {
		switch i.Op {
		case x86.KLOADW, x86.KSTOREW, x86.VBROADCASTSS, x86.VBROADCASTSD, x86.VSTORED, x86.VSTOREQ:
			for k, a := range i.Args {
				if a.IsMem() {
					i.Args[k] = a.Plus(64)
					return true
				}
			}
		}
		return false
	},
	"next vector": func(i *x86.Ins) bool {
		switch i.Op {
		case x86.VMOVUPS, x86.VMOVUPD, x86.VSTOREUPS, x86.VSTOREUPD, x86.VCVTPH2PS, x86.VCVTPS2PH, x86.VCVTPS2PD, x86.VPACKUSDW,
			x86.VPADDD, x86.VPMULLD, x86.VPCMPEQD, x86.VPCMPEQQ, x86.VPCMPGTQ, x86.VPBLENDW:
			for k, a := range i.Args {
				if a.IsMem() {
					i.Args[k] = a.Plus(i.Size)
					return true
				}
			}
		}
		return false
	},
	"all elements": func(i *x86.Ins) bool {
		switch i.Op {
		case x86.VMASKMOVPS, x86.VMASKMOVPD:
			i.Op, i.Args[1], i.Args[2] = i.Op-x86.VMASKMOVPS+x86.VMOVUPS, i.Args[2], x86.Arg{}
		case x86.VMASKSTOREPS, x86.VMASKSTOREPD:
			i.Op, i.Args[1], i.Args[2] = i.Op-x86.VMASKSTOREPS+x86.VSTOREUPS, i.Args[2], x86.Arg{}
		case x86.VMOVUPS, x86.VMOVUPD, x86.VSTOREUPS, x86.VSTOREUPD, x86.VPMOVZXBD, x86.VPMOVZXBQ, x86.VPMOVZXWD, x86.VPMOVZXWQ,
			x86.VPMOVZXDQ, x86.VPMOVDB, x86.VPMOVQB, x86.VPMOVDW, x86.VPMOVQW, x86.VPMOVQD, x86.VCVTPH2PS, x86.VCVTPS2PH, x86.VCVTPS2PD:
			if i.Mask == 0 {
				return false
			}
			i.Mask, i.Zero = 0, false
		default:
			return false
		}
		return true
	},
}

// without takes classes from VFPCLASSPS.
func without(i *x86.Ins, classes int) bool {
	if i.Op != x86.VFPCLASSPS && i.Op != x86.VFPCLASSPD {
		return false
	}
	i.Args[2] = x86.Imm(i.Args[2].Value() &^ classes)
	return true
}

// TestMutants changes one kind of instruction in what is emitted, in all of some graphs, and wants TestRandom's comparison to notice.
// Each operation that is emitted has such a mutant.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("some thousand graphs")
	}
	fills := func(seed uint64, set *Set, mutate func(*x86.Ins)) error {
		return tryFills(seed, set, func(i *x86.Ins) {
			if isFills(i) {
				mutate(i)
			}
		}, func([]float64) {})
	}
	for _, set := range sets(t) {
		t.Run(set.String(), func(t *testing.T) { killMutants(t, set, try) })
		t.Run(set.String()+", fills", func(t *testing.T) { killMutants(t, set, fills) })
	}
}

// trying makes a graph of a seed and holds its code, which mutate may change, to the evaluator.
type trying func(seed uint64, set *Set, mutate func(*x86.Ins)) error

func killMutants(t *testing.T, set *Set, try trying) {
	const graphs, most = 300, 4000 // what few notice is tried on most
	seeds, forms := map[x86.Op][]uint64{}, map[x86.Op]map[x86.Ins]bool{}
	for seed := range uint64(graphs) {
		require.NoError(t, try(seed, set, func(i *x86.Ins) {
			if s := seeds[i.Op]; len(s) == 0 || s[len(s)-1] != seed {
				seeds[i.Op] = append(s, seed)
			}
			if forms[i.Op] == nil {
				forms[i.Op] = map[x86.Ins]bool{}
			}
			forms[i.Op][*i] = true
		}))
	}
	for op, seeds := range seeds {
		has := false
		for name, mutate := range mutants {
			changes := false
			for form := range forms[op] {
				changes = mutate(&form) || changes
			}
			if !changes { // this mutant is not for this operation
				continue
			}
			killed := false
			notices := func(seed uint64) bool {
				return try.survives(seed, set, func(i *x86.Ins) {
					if i.Op == op {
						mutate(i)
					}
				}) != nil
			}
			for _, seed := range seeds {
				if killed = notices(seed); killed {
					break
				}
			}
			for seed := uint64(graphs); !killed && seed < most; seed++ {
				killed = notices(seed)
			}
			has = true
			require.True(t, killed, "%s: %s survives %d graphs", op, name, most)
		}
		require.True(t, has, "%s has no mutant", op)
	}
	t.Logf("%d operations, each with mutants that do not survive", len(seeds))
}

// survives tries where the code may fault.
func (try trying) survives(seed uint64, set *Set, mutate func(*x86.Ins)) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return try(seed, set, mutate)
}

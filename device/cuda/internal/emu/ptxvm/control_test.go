package ptxvm

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// Every body ends with the element's new value in %r9; this stores it.
const storeR9 = "st.global.u32 [%rd1], %r9;"

func TestControlFlow(t *testing.T) {
	tests := []struct {
		name        string
		grid, block uint32
		body        string
		want        func(i int) uint32
	}{
		{"predicated", 2, 64, `
and.b32 %r3, %r0, 1; setp.eq.u32 %p1, %r3, 1; mov.u32 %r9, 5;
@%p1 add.u32 %r9, %r9, 1;
@!%p1 add.u32 %r9, %r9, 2;
` + storeR9, func(i int) uint32 { return 7 - uint32(i&1) }},
		{"if else", 2, 48, `
setp.lt.u32 %p1, %r0, 7; @%p1 bra THEN;
mov.u32 %r9, 1; bra.uni JOIN;
THEN: mov.u32 %r9, 2;
JOIN: add.u32 %r9, %r9, 10;
` + storeR9, func(i int) uint32 {
			if i < 7 {
				return 12
			}
			return 11
		}},
		{"a join before its side path in the text", 1, 64, `
setp.lt.u32 %p1, %r0, 7; mov.u32 %r9, 1; @%p1 bra COLD;
JOIN: activemask.b32 %r3; popc.b32 %r3, %r3; add.u32 %r9, %r9, %r3; bar.sync 0;
` + storeR9 + `
ret;
COLD: mov.u32 %r9, 2; bra JOIN;`, func(i int) uint32 {
			if i < 7 {
				return 34
			}
			return 33
		}},
		{"trip count of each lane", 1, 96, `
mov.u32 %r9, 0; mov.u32 %r3, 0;
LOOP: setp.ge.u32 %p1, %r3, %r0; @%p1 bra DONE;
add.u32 %r9, %r9, %r3; add.u32 %r3, %r3, 1; bra LOOP;
DONE: ` + storeR9, func(i int) uint32 { return uint32(i * (i - 1) / 2) }},
		{"do while", 1, 40, `
mov.u32 %r9, 0;
LOOP: add.u32 %r9, %r9, 3; setp.le.u32 %p1, %r9, %r0; @%p1 bra LOOP;
` + storeR9, func(i int) uint32 { return uint32(i/3*3 + 3) }},
		{"nested loops with continue and break", 1, 64, `
mov.u32 %r9, 0; mov.u32 %r3, 0;
OUTER: setp.gt.u32 %p1, %r3, %r0; @%p1 bra DONE;
mov.u32 %r4, 0;
INNER: setp.ge.u32 %p1, %r4, %r3; @%p1 bra NEXT;
add.u32 %r4, %r4, 1;
and.b32 %r5, %r4, 3; setp.eq.u32 %p2, %r5, 2; @%p2 bra INNER;
setp.gt.u32 %p3, %r4, 20; @%p3 bra NEXT;
add.u32 %r9, %r9, %r4; bra INNER;
NEXT: add.u32 %r3, %r3, 1; bra OUTER;
DONE: ` + storeR9, func(i int) uint32 {
			sum := 0
			for a := 0; a <= i; a++ {
				for b := 0; b < a; {
					b++
					if b&3 == 2 {
						continue
					}
					if b > 20 {
						break
					}
					sum += b
				}
			}
			return uint32(sum)
		}},
		{"early return of some lanes", 2, 64, `
setp.ge.u32 %p1, %r0, 77; @%p1 ret;
mov.u32 %r9, 1000;
` + storeR9, func(i int) uint32 {
			if i < 77 {
				return 1000
			}
			return uint32(i)
		}},
		{"return inside nested branches keeps the others together", 1, 32, `
mov.u32 %r9, 1; setp.lt.u32 %p1, %r0, 20; @!%p1 bra OUT;
setp.lt.u32 %p2, %r0, 10; @!%p2 bra IN;
ret;
IN: mov.u32 %r9, 2;
OUT: activemask.b32 %r3; popc.b32 %r3, %r3; mad.lo.u32 %r9, %r3, 100, %r9;
` + storeR9, func(i int) uint32 {
			switch {
			case i < 10:
				return uint32(i)
			case i < 20:
				return 2202
			}
			return 2201
		}},
		{"two returns, each after a branch of its own", 1, 32, `
setp.lt.u32 %p1, %r0, 16; and.b32 %r3, %r0, 1; setp.eq.u32 %p2, %r3, 0; mov.u32 %r9, 0; @%p1 bra LOW;
@%p2 bra A; add.u32 %r9, %r9, 1;
A: activemask.b32 %r4; popc.b32 %r4, %r4; mad.lo.u32 %r9, %r4, 10, %r9; st.global.u32 [%rd1], %r9; ret;
LOW: @%p2 bra B; add.u32 %r9, %r9, 2;
B: activemask.b32 %r4; popc.b32 %r4, %r4; mad.lo.u32 %r9, %r4, 10, %r9; st.global.u32 [%rd1], %r9; ret;`, func(i int) uint32 {
			if i < 16 {
				return 160 + 2*uint32(i&1)
			}
			return 160 + uint32(i&1)
		}},
		{"divergence inside a loop meets in each iteration", 1, 32, `
mov.u32 %r9, 0; mov.u32 %r3, 0;
LOOP: and.b32 %r4, %r0, %r3; setp.eq.u32 %p1, %r4, 0; @%p1 bra SKIP;
add.u32 %r9, %r9, 1;
SKIP: activemask.b32 %r5; popc.b32 %r5, %r5; setp.ne.u32 %p2, %r5, 32; @%p2 trap;
add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, 32; @%p1 bra LOOP;
` + storeR9, func(i int) uint32 {
			n := uint32(0)
			for k := range 32 {
				if i&k != 0 {
					n++
				}
			}
			return n
		}},
		{"switch", 1, 64, `
and.b32 %r3, %r0, 3;
setp.eq.u32 %p1, %r3, 0; @%p1 bra A; setp.eq.u32 %p1, %r3, 1; @%p1 bra B; setp.eq.u32 %p1, %r3, 2; @%p1 bra C;
mov.u32 %r9, 40; bra Z;
A: mov.u32 %r9, 10; bra Z;
B: mov.u32 %r9, 20; bra C2;
C: mov.u32 %r9, 30;
C2: add.u32 %r9, %r9, 1;
Z: ` + storeR9, func(i int) uint32 { return []uint32{10, 21, 31, 40}[i&3] }},
		{"loop around a barrier", 2, 96, `
mov.u32 %r3, %tid.x; mov.u32 %r4, tile; mad.lo.u32 %r5, %r3, 4, %r4; mov.u32 %r6, 0; mov.u32 %r9, %r3;
LOOP: st.shared.u32 [%r5], %r9; bar.sync 0;
add.u32 %r7, %r3, 1; rem.u32 %r7, %r7, 96; mad.lo.u32 %r7, %r7, 4, %r4; ld.shared.u32 %r9, [%r7]; bar.sync 0;
add.u32 %r6, %r6, 1; setp.lt.u32 %p1, %r6, 10; @%p1 bra LOOP;
` + storeR9, func(i int) uint32 { return uint32((i + 10) % 96) }},
		{"scopes and named registers", 1, 32, `
mov.u32 %r9, 1;
{ .reg .u32 tmp; add.u32 tmp, %r0, 1; { .reg .u32 tmp; mov.u32 tmp, 50; add.u32 %r9, %r9, tmp; } add.u32 %r9, %r9, tmp; }
` + storeR9, func(i int) uint32 { return uint32(i) + 52 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantWords(t, test.body, test.grid, test.block, test.want)
		})
	}
}

// TestRandomGraphs runs programs of blocks that branch anywhere, differently in each lane, and follows each lane in Go.
func TestRandomGraphs(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 2 + rng.IntN(12)
		type node struct {
			bit, yes, no int // no is -1 for the next block
			exits        bool
		}
		nodes := make([]node, n)
		var b strings.Builder
		b.WriteString("mov.u32 %r9, %r0; mov.u32 %r3, 200;\n")
		for i := range nodes {
			nodes[i] = node{bit: rng.IntN(16), yes: rng.IntN(n), no: rng.IntN(n + n/2), exits: rng.IntN(8) == 0}
			if nodes[i].no >= n {
				nodes[i].no = -1
			}
			// Each visit mixes the block's number into the lane's state, and costs fuel.
			fmt.Fprintf(&b, "B%d: mad.lo.u32 %%r9, %%r9, 1664525, %d; sub.u32 %%r3, %%r3, 1; setp.eq.u32 %%p1, %%r3, 0; @%%p1 bra END;\n", i, i+1)
			if nodes[i].exits {
				fmt.Fprintf(&b, "shr.u32 %%r4, %%r9, 27; setp.eq.u32 %%p1, %%r4, 3; @%%p1 st.global.u32 [%%rd1], %%r9; @%%p1 ret;\n")
			}
			fmt.Fprintf(&b, "shr.u32 %%r4, %%r9, %d; and.b32 %%r4, %%r4, 1; setp.eq.u32 %%p1, %%r4, 1; @%%p1 bra B%d;\n", nodes[i].bit+8, nodes[i].yes)
			if nodes[i].no >= 0 {
				fmt.Fprintf(&b, "bra B%d;\n", nodes[i].no)
			}
		}
		b.WriteString("END: " + storeR9)
		wantWords(t, b.String(), 1, 96, func(lane int) uint32 {
			x := uint32(lane)
			for at, fuel := 0, 200; at < n; {
				x = x*1664525 + uint32(at) + 1
				if fuel--; fuel == 0 || nodes[at].exits && x>>27 == 3 {
					break
				}
				switch {
				case x>>(nodes[at].bit+8)&1 == 1:
					at = nodes[at].yes
				case nodes[at].no >= 0:
					at = nodes[at].no
				default:
					at++
				}
			}
			return x
		})
	}
}

func TestSpecialRegisters(t *testing.T) {
	for name, want := range map[string]func(i int) uint32{
		"%tid.x": func(i int) uint32 { return uint32(i % 40) }, "%tid.y": func(int) uint32 { return 0 },
		"%ntid.x": func(int) uint32 { return 40 }, "%ntid.z": func(int) uint32 { return 1 },
		"%ctaid.x": func(i int) uint32 { return uint32(i / 40) }, "%nctaid.x": func(int) uint32 { return 3 },
		"%laneid": func(i int) uint32 { return uint32(i % 40 % 32) }, "%warpid": func(i int) uint32 { return uint32(i % 40 / 32) },
		"%lanemask_eq": func(i int) uint32 { return 1 << (i % 40 % 32) },
		"%lanemask_lt": func(i int) uint32 { return 1<<(i%40%32) - 1 },
		"%lanemask_le": func(i int) uint32 { return 2<<(i%40%32) - 1 },
		"%lanemask_gt": func(i int) uint32 { return ^uint32(2<<(i%40%32) - 1) },
		"%lanemask_ge": func(i int) uint32 { return ^uint32(1<<(i%40%32) - 1) },
	} {
		wantWords(t, "mov.u32 %r9, "+name+";\n"+storeR9, 3, 40, want)
	}
}

// TestThreeDimensions numbers the threads of a grid and block with three axes.
func TestThreeDimensions(t *testing.T) {
	text := header + `.visible .entry k(.param .u64 ptr) {
.reg .b32 %r<16>; .reg .b64 %rd<4>;
mov.u32 %r0, %tid.x; mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ctaid.y; mov.u32 %r5, %ctaid.z;
mov.u32 %r6, %ntid.x; mov.u32 %r7, %ntid.y; mov.u32 %r8, %ntid.z; mov.u32 %r9, %nctaid.x; mov.u32 %r10, %nctaid.y;
mad.lo.u32 %r11, %r2, %r7, %r1; mad.lo.u32 %r11, %r11, %r6, %r0;
mad.lo.u32 %r12, %r5, %r10, %r4; mad.lo.u32 %r12, %r12, %r9, %r3;
mul.lo.u32 %r13, %r6, %r7; mul.lo.u32 %r13, %r13, %r8; mad.lo.u32 %r12, %r12, %r13, %r11;
ld.param.u64 %rd0, [ptr]; mad.wide.u32 %rd1, %r12, 4, %rd0; st.global.u32 [%rd1], %r12;
}`
	k := mustLoad(t, text).Kernel("k")
	for seed := range uint64(4) {
		r := newRunner(t, 2*3*4*3*5*2, nil)
		l := Launch{Grid: [3]uint32{2, 3, 4}, Block: [3]uint32{3, 5, 2}, Params: [][]byte{param64(r.ptr)}, Checks: AllChecks, Seed: seed}
		if err := k.Run(r.mem, l); err != nil {
			t.Fatal(err)
		}
		for i, got := range r.words(t, r.ptr) {
			if got != uint32(i) {
				t.Fatalf("element %d: got %d", i, got)
			}
		}
	}
}

func TestPredicates(t *testing.T) {
	tests := []struct {
		body string
		want func(a, b bool) bool
	}{
		{"and.pred %p3, %p1, %p2;", func(a, b bool) bool { return a && b }},
		{"or.pred %p3, %p1, %p2;", func(a, b bool) bool { return a || b }},
		{"xor.pred %p3, %p1, %p2;", func(a, b bool) bool { return a != b }},
		{"not.pred %p3, %p1;", func(a, b bool) bool { return !a }},
		{"mov.pred %p3, %p2;", func(a, b bool) bool { return b }},
		{"mov.pred %p3, 1;", func(a, b bool) bool { return true }},
		{"mov.pred %p3, 0;", func(a, b bool) bool { return false }},
		{"setp.eq.and.u32 %p3, %r3, 1, %p2;", func(a, b bool) bool { return a && b }},
		{"setp.eq.or.u32 %p3, %r3, 1, %p2;", func(a, b bool) bool { return a || b }},
		{"setp.eq.xor.u32 %p3, %r3, 1, !%p2;", func(a, b bool) bool { return a == b }},
		{"setp.eq.u32 %p4|%p3, %r3, 1;", func(a, b bool) bool { return !a }},
		{"setp.eq.and.u32 %p4|%p3, %r3, 1, %p2;", func(a, b bool) bool { return !a && b }},
		{"selp.u32 %r5, %r3, %r4, %p1; setp.ne.u32 %p3, %r5, 0;", func(a, b bool) bool { return a || b }},
		{"set.eq.u32.u32 %r5, %r3, 1; setp.eq.u32 %p3, %r5, 0xffffffff;", func(a, b bool) bool { return a }},
		{"set.eq.or.f32.u32 %f1, %r3, 1, %p2; setp.eq.f32 %p3, %f1, 0f3f800000;", func(a, b bool) bool { return a || b }},
		{"vote.sync.any.pred %p3, %p1, -1;", func(a, b bool) bool { return true }},
		{"vote.sync.all.pred %p3, %p1, -1;", func(a, b bool) bool { return false }},
		{"or.pred %p4, %p1, %p2; or.pred %p4, %p4, %p0; vote.sync.all.pred %p3, %p4, -1;", func(a, b bool) bool { return true }},
		{"vote.sync.uni.pred %p3, %p1, -1;", func(a, b bool) bool { return false }},
		{"vote.sync.uni.pred %p3, !%p0, -1;", func(a, b bool) bool { return true }},
		{"vote.sync.ballot.b32 %r5, %p1, -1; setp.eq.u32 %p3, %r5, 0xaaaaaaaa;", func(a, b bool) bool { return true }},
	}
	for _, test := range tests {
		body := `
and.b32 %r3, %r0, 1; shr.u32 %r4, %r0, 1; and.b32 %r4, %r4, 1;
setp.eq.u32 %p0, %r0, %r0; setp.eq.u32 %p1, %r3, 1; setp.eq.u32 %p2, %r4, 1;
` + test.body + `
selp.u32 %r9, 1, 0, %p3;
` + storeR9
		t.Run(test.body, func(t *testing.T) {
			wantWords(t, body, 1, 32, func(i int) uint32 { return uint32(btoi(test.want(i&1 != 0, i&2 != 0))) })
		})
	}
}

// TestCompare checks setp on all operators and types against Go.
func TestCompare(t *testing.T) {
	ordered := map[string]func(c int, unordered bool) bool{
		"eq": func(c int, u bool) bool { return !u && c == 0 }, "ne": func(c int, u bool) bool { return !u && c != 0 },
		"lt": func(c int, u bool) bool { return !u && c < 0 }, "le": func(c int, u bool) bool { return !u && c <= 0 },
		"gt": func(c int, u bool) bool { return !u && c > 0 }, "ge": func(c int, u bool) bool { return !u && c >= 0 },
	}
	all := map[string]func(c int, unordered bool) bool{
		"num": func(_ int, u bool) bool { return !u }, "nan": func(_ int, u bool) bool { return u },
		"lo": ordered["lt"], "ls": ordered["le"], "hi": ordered["gt"], "hs": ordered["ge"],
	}
	for name, f := range ordered {
		all[name] = f
		all[name+"u"] = func(c int, u bool) bool { return u || f(c, u) }
	}
	for _, ty := range []string{"u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "b16", "b32", "b64"} {
		values := valuesOf(ty)
		for name, want := range all {
			float, alias := ty[0] == 'f', name == "lo" || name == "ls" || name == "hi" || name == "hs"
			if (!float && (len(name) == 3)) || alias && ty[0] != 'u' || ty[0] == 'b' && name != "eq" && name != "ne" {
				if comparisons[name+"."+ty] != nil {
					t.Errorf("setp.%s.%s must not exist", name, ty)
				}
				continue
			}
			cmp := comparisons[name+"."+ty]
			if cmp == nil {
				t.Errorf("setp.%s.%s is missing", name, ty)
				continue
			}
			for _, a := range values {
				for _, b := range values {
					var va, vb vreg
					va[5], vb[5] = a, b
					c, u := order(ty, trim(ty, a), trim(ty, b))
					if got := cmp(&va, &vb)>>5&1 != 0; got != want(c, u) {
						t.Errorf("setp.%s.%s %#x, %#x: got %v", name, ty, a, b, got)
					}
				}
			}
		}
	}
}

// order compares as a type does.
func order(ty string, a, b uint64) (c int, unordered bool) {
	less, equal := a < b, a == b
	switch {
	case ty[0] == 's':
		less = int64(a) < int64(b)
	case ty == "f32":
		less, equal = f32(a) < f32(b), f32(a) == f32(b)
		unordered = f32(a) != f32(a) || f32(b) != f32(b)
	case ty == "f64":
		less, equal = f64(a) < f64(b), f64(a) == f64(b)
		unordered = f64(a) != f64(a) || f64(b) != f64(b)
	}
	switch {
	case equal:
		return 0, unordered
	case less:
		return -1, unordered
	}
	return 1, unordered
}

func TestTestp(t *testing.T) {
	for bits, want := range map[uint32]string{
		0x00000000: "finite number", 0x80000000: "finite number", 0x3f800000: "finite number normal", 0x00800000: "finite number normal",
		0x007fffff: "finite number subnormal", 0x80000001: "finite number subnormal", 0x7f800000: "infinite number",
		0xff800000: "infinite number", 0x7fffffff: "notanumber", 0xffc00000: "notanumber",
	} {
		for _, test := range strings.Fields("finite infinite number notanumber normal subnormal") {
			holds := uint32(btoi(strings.Contains(" "+want+" ", " "+test+" ")))
			wantWords(t, fmt.Sprintf("mov.f32 %%f1, 0f%08x; testp.%s.f32 %%p1, %%f1; selp.u32 %%r9, 1, 0, %%p1;\n%s", bits, test, storeR9),
				1, 32, func(int) uint32 { return holds })
		}
	}
}

func TestMove(t *testing.T) {
	tests := []struct {
		body string
		want uint32
	}{
		{"mov.b64 %rd2, {%r3, %r4}; shr.u64 %rd2, %rd2, 16; cvt.u32.u64 %r9, %rd2;", 0xaabb1122},
		{"mov.b64 %rd2, {%r3, %r4}; mov.b64 {%r5, %r9}, %rd2;", 0x33eeaabb},
		{"mov.b64 %rd2, {%r3, %r4}; mov.b64 {%r9, _}, %rd2;", 0x11223344},
		{"mov.b32 {%h1, %h2}, %r3; mov.b32 %r9, {%h2, %h1};", 0x33441122},
		{"mov.b32 {%h1, %h2}, %r3; mov.b64 %rd2, {%h1, %h2, %h2, %h1}; mov.b64 {_, %r9}, %rd2;", 0x33441122},
		{"mov.b32 %f1, %r3; mov.b32 %r9, %f1;", 0x11223344},
		{"mov.f32 %f1, 1.5; mov.b32 %r9, %f1;", 0x3fc00000},
		{"mov.f32 %f1, -1.5e-3; mov.b32 %r9, %f1;", 0xbac49ba6},
		{"mov.f32 %f1, 0d3ff8000000000000; mov.b32 %r9, %f1;", 0x3fc00000},
		{"mov.b32 %r9, 0fff800001;", 0xff800001},
		{"mov.f64 %d1, 0f3fc00000; mov.b64 {_, %r9}, %d1;", 0x3ff80000},
		{"mov.u32 %r9, -2;", 0xfffffffe},
		{"mov.u32 %r9, 017;", 15},
		{"mov.u32 %r9, 0b101;", 5},
		{"mov.u32 %r9, 0xFFU;", 255},
		{"mov.u32 %r9, tile;", 0},
		{"cvta.to.global.u64 %rd2, %rd1; ld.global.u32 %r9, [%rd2];", 0},
		{"mov.u64 %rd2, tile; cvta.shared.u64 %rd3, %rd2; cvta.to.shared.u64 %rd3, %rd3; st.shared.u32 [%rd3+8], %r3; ld.shared.u32 %r9, [tile+8];", 0x11223344},
	}
	for _, test := range tests {
		t.Run(test.body, func(t *testing.T) {
			// One thread: the last case stores to one place.
			wantWords(t, "mov.u32 %r3, 0x11223344; mov.u32 %r4, 0x33eeaabb;\n"+test.body+"\n"+storeR9, 1, 1, func(int) uint32 { return test.want })
		})
	}
}

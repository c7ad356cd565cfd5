package ptxvm

import (
	"fmt"
	"testing"
)

// TestShuffle compares shfl.sync with the definition in the PTX manual.
func TestShuffle(t *testing.T) {
	for _, mode := range []string{"up", "down", "bfly", "idx"} {
		for _, c := range []int{0, 31, 0x1f1f & 0x1800, 0x101f, 0x1807, 0x1c03} {
			for _, b := range []int{0, 1, 5, 16, 31} {
				body := fmt.Sprintf("shfl.sync.%s.b32 %%r3|%%p1, %%r0, %d, %d, -1;\nselp.u32 %%r4, 1000, 0, %%p1; add.u32 %%r9, %%r3, %%r4;\n%s", mode, b, c, storeR9)
				wantWords(t, body, 1, 64, func(i int) uint32 {
					lane := i % 32
					mask, clamp := c>>8&31, c&31
					maxLane := lane&mask | clamp&^mask
					var j int
					var ok bool
					switch mode {
					case "up":
						j = lane - b
						ok = j >= maxLane
					case "down":
						j = lane + b
						ok = j <= maxLane
					case "bfly":
						j = lane ^ b
						ok = j <= maxLane
					case "idx":
						j = lane&mask | b&^mask
						ok = j <= maxLane
					}
					if !ok {
						return uint32(i)
					}
					return uint32(i-lane+j) + 1000
				})
			}
		}
	}
}

// TestReduce sums a block the usual way: shuffles in warps, shared memory between them.
func TestReduce(t *testing.T) {
	const body = `
ld.global.u32 %r9, [%rd1];
shfl.sync.bfly.b32 %r3, %r9, 16, 31, -1; add.u32 %r9, %r9, %r3;
shfl.sync.bfly.b32 %r3, %r9, 8, 31, -1; add.u32 %r9, %r9, %r3;
shfl.sync.bfly.b32 %r3, %r9, 4, 31, -1; add.u32 %r9, %r9, %r3;
shfl.sync.bfly.b32 %r3, %r9, 2, 31, -1; add.u32 %r9, %r9, %r3;
shfl.sync.bfly.b32 %r3, %r9, 1, 31, -1; add.u32 %r9, %r9, %r3;
mov.u32 %r3, %laneid; mov.u32 %r4, %warpid; setp.eq.u32 %p1, %r3, 0; mad.lo.u32 %r5, %r4, 4, 0;
@%p1 st.shared.u32 [%r5], %r9;
bar.sync 0;
mov.u32 %r6, %tid.x; setp.ne.u32 %p1, %r6, 0; @%p1 ret;
ld.shared.v4.u32 {%r3, %r4, %r5, %r6}, [tile]; add.u32 %r9, %r3, %r4; add.u32 %r9, %r9, %r5; add.u32 %r9, %r9, %r6;
` + storeR9
	for seed := range uint64(3) {
		k := mustLoad(t, kernelText(body)).Kernel("k")
		r := newRunner(t, 512, func(i int) uint32 { return uint32(i) })
		l := Launch{Grid: [3]uint32{4, 1, 1}, Block: [3]uint32{128, 1, 1}, Params: r.params(), Checks: AllChecks, Seed: seed}
		if err := k.Run(r.mem, l); err != nil {
			t.Fatal(err)
		}
		for b := range 4 {
			if got, want := r.words(t, r.ptr)[128*b], uint32(128*(128*b)+127*64); got != want {
				t.Errorf("block %d: got %d, want %d", b, got, want)
			}
		}
	}
}

func TestAtomics(t *testing.T) {
	tests := []struct {
		body string
		want uint32 // the first word, which was 0, after 64 threads
	}{
		{"atom.global.add.u32 %r3, [%rd0], 2;", 128},
		{"atom.global.add.s32 %r3, [%rd0], -1;", 0xffffffc0},
		{"red.global.add.u32 [%rd0], %r0;", 2016},
		{"red.relaxed.gpu.global.max.u32 [%rd0], %r0;", 63},
		{"neg.s32 %r3, %r0; red.global.min.s32 [%rd0], %r3;", 0xffffffc1},
		{"red.global.or.b32 [%rd0], %r0;", 63},
		{"red.global.xor.b32 [%rd0], %r0;", 0},
		{"red.global.and.b32 [%rd0], %r0;", 0},
		{"red.global.inc.u32 [%rd0], 10;", 64 % 11},
		{"red.global.dec.u32 [%rd0], 10;", 2},
		{"atom.global.exch.b32 %r3, [%rd0], 9;", 9},
		{"atom.global.cas.b32 %r3, [%rd0], %r0, 1; ", 1},
		{"red.global.add.f32 [%rd0], 0f3f800000;", 0x42800000},
		{"red.global.add.u64 [%rd0], 3;", 192},
		{"setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [tile], 0; bar.sync 0; atom.shared.add.u32 %r3, [tile], 1; bar.sync 0; @%p1 ld.shared.u32 %r4, [tile]; @%p1 st.global.u32 [%rd0], %r4;", 64},
	}
	for _, test := range tests {
		t.Run(test.body, func(t *testing.T) {
			r := newRunner(t, 64, func(int) uint32 { return 0 })
			wantClean(t, r, test.body, 1, 64)
			if got := r.words(t, r.ptr)[0]; got != test.want {
				t.Errorf("got %#x, want %#x", got, test.want)
			}
		})
	}
	// The old values of 64 increments are 0 to 63, in some order; here that of the lanes.
	wantWords(t, "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [tile], 0; bar.sync 0; atom.shared.add.u32 %r9, [tile], 1;"+storeR9, 1, 64,
		func(i int) uint32 { return uint32(i) })
}

// TestAccess loads and stores each type and vector, contiguous and scattered.
func TestAccess(t *testing.T) {
	tests := []struct {
		body string
		want func(i int) uint32
	}{
		{"ld.global.u8 %r9, [%rd1]; " + storeR9, func(i int) uint32 { return uint32(uint8(i)) }},
		{"mul.lo.u32 %r3, %r0, -1; st.global.u32 [%rd1], %r3; ld.global.s8 %r9, [%rd1]; " + storeR9, func(i int) uint32 { return uint32(int32(int8(-i))) }},
		{"mul.lo.u32 %r3, %r0, -300; st.global.u32 [%rd1], %r3; ld.global.s16 %r9, [%rd1]; " + storeR9, func(i int) uint32 { return uint32(int32(int16(-300 * i))) }},
		{"st.global.u8 [%rd1+1], 255; ld.global.u32 %r9, [%rd1]; " + storeR9, func(i int) uint32 { return uint32(i&0xff | 0xff00) }},
		{"shr.u32 %r3, %r0, 2; and.b32 %r4, %r0, 3; mad.wide.u32 %rd2, %r3, 16, %rd0; setp.ne.u32 %p1, %r4, 0; @%p1 ret;\n" +
			"ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%rd2]; st.global.v4.u32 [%rd2], {%r8, %r7, %r6, %r5};", func(i int) uint32 { return uint32(i ^ 3) }},
		{"setp.ge.u32 %p1, %r0, 64; @%p1 ret; mad.wide.u32 %rd2, %r0, 8, %rd0;\n" +
			"ld.global.cs.v2.b32 {%r5, %r6}, [%rd2]; st.global.wt.v2.b32 [%rd2], {%r6, %r5};", func(i int) uint32 { return uint32(i ^ 1) }},
		{"setp.ge.u32 %p1, %r0, 32; @%p1 ret; mad.wide.u32 %rd2, %r0, 16, %rd0;\n" +
			"ld.global.L1::no_allocate.L2::128B.v2.f64 {%d1, %d2}, [%rd2]; st.global.v2.f64 [%rd2], {%d2, %d1};", func(i int) uint32 { return uint32(i ^ 2) }},
		{"setp.ge.u32 %p1, %r0, 32; @%p1 ret; mad.wide.u32 %rd2, %r0, 16, %rd0; prefetch.global.L2 [%rd2];\n" +
			"ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd2]; st.global.v4.f32 [%rd2], {%f1, %f3, %f2, %f4};",
			func(i int) uint32 { return uint32([]int{i, i + 1, i - 1, i}[i&3]) }},
		{"neg.s32 %r3, %r0; st.global.u32 [%rd1], %r3; ld.global.s32 %rd2, [%rd1]; shr.s64 %rd2, %rd2, 1; cvt.u32.u64 %r9, %rd2; " + storeR9,
			func(i int) uint32 { return uint32(-i >> 1) }},
		{"neg.s32 %r3, %r0; st.global.u32 [%rd1], %r3; ld.global.u32 %rd2, [%rd1]; shr.u64 %rd2, %rd2, 1; cvt.u32.u64 %r9, %rd2; " + storeR9,
			func(i int) uint32 { return uint32(-i) >> 1 }},
		{"setp.ge.u32 %p1, %r0, 32; @%p1 ret; mad.wide.u32 %rd2, %r0, 16, %rd0; ld.global.v4.u32 {%rd3, %rd4, %rd5, %rd6}, [%rd2];\n" +
			"add.u64 %rd3, %rd3, %rd4; add.u64 %rd5, %rd5, %rd6; add.u64 %rd3, %rd3, %rd5; mov.b64 {%r3, %r4}, %rd3; st.global.v2.u32 [%rd2], {%r3, %r4};",
			func(i int) uint32 {
				switch i & 3 {
				case 0:
					return uint32(4*i + 6)
				case 1:
					return 0
				}
				return uint32(i)
			}},
		{"rem.u32 %r3, %r0, 128; xor.b32 %r3, %r3, 37; mad.wide.u32 %rd2, %r3, 4, %rd0; ld.global.u32 %r9, [%rd2]; bar.sync 0; " + storeR9,
			func(i int) uint32 { return uint32(i ^ 37) }},
		// 16 bits and 8 bits: zero-extended when read, cut off when stored, in vectors too.
		{"setp.ge.u32 %p1, %r0, 64; @%p1 ret; mad.wide.u32 %rd2, %r0, 8, %rd0;\n" +
			"ld.global.v4.u16 {%r3, %r4, %r5, %r6}, [%rd2]; add.u32 %r3, %r3, 0x50000; st.global.v4.u16 [%rd2], {%r4, %r3, %r6, %r5};",
			func(i int) uint32 { return uint32(i) << 16 }},
		{"setp.ge.u32 %p1, %r0, 64; @%p1 ret; mad.wide.u32 %rd2, %r0, 8, %rd0;\n" +
			"ld.global.v2.u16 {%h1, %h2}, [%rd2]; ld.global.b16 %h3, [%rd2+4]; st.global.v2.b16 [%rd2], {%h3, %h1};",
			func(i int) uint32 { return uint32([]int{i + 1 | i<<16, i}[i&1]) }},
		{"ld.global.v4.u8 {%r3, %r4, %r5, %r6}, [%rd1]; sub.u32 %r4, %r4, 1; st.global.v4.u8 [%rd1], {%r6, %r5, %r4, %r3};",
			func(i int) uint32 { return uint32(i)<<24 | 0xff0000 }},
		{"setp.ge.u32 %p1, %r0, 32; @%p1 ret; mad.wide.u32 %rd2, %r0, 16, %rd0; ld.global.v4.b32 {%r3, %r4, %r5, %r6}, [%rd2];\n" +
			"prmt.b32 %r3, %r3, %r4, 0x5410; prmt.b32 %r5, %r5, %r6, 0x1054; mov.b32 {%h1, %h2}, %r3; mov.b32 %r6, {%h2, %h1}; st.global.v2.b32 [%rd2], {%r6, %r5};",
			func(i int) uint32 { return uint32([]int{i + 1 | i<<16, i + 2 | (i+1)<<16, i, i}[i&3]) }},
		{"ld.param.u32 %r9, [n]; ld.volatile.global.u32 %r3, [%rd1]; fence.acq_rel.gpu; membar.gl; " + storeR9, func(int) uint32 { return 128 }},
	}
	for _, test := range tests {
		t.Run(test.body, func(t *testing.T) { wantWords(t, test.body, 1, 128, test.want) })
	}
}

// TestPages runs over allocations of several pages whose rows straddle them, on several goroutines.
func TestPages(t *testing.T) {
	const n = 3*pageSize/4 + 640
	k := mustLoad(t, kernelText(`
ld.param.u32 %r3, [n]; setp.ge.u32 %p1, %r0, %r3; @%p1 ret;
ld.param.u64 %rd2, [other]; mad.wide.u32 %rd2, %r0, 4, %rd2; ld.global.nc.u32 %r9, [%rd2+0]; mul.lo.u32 %r9, %r9, 3;
`+storeR9)).Kernel("k")
	r := newRunner(t, n, nil)
	b := make([]byte, 4*n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	if err := r.mem.Write(r.oth, b); err != nil {
		t.Fatal(err)
	}
	// Shifted by 4 bytes, so that rows of 128 bytes straddle pages.
	r.n = n - 1
	params := [][]byte{param64(r.ptr + 4), param64(r.oth + 4), param64(n - 1)}
	l := Launch{Grid: [3]uint32{(n + 255) / 256, 1, 1}, Block: [3]uint32{256, 1, 1}, Params: params, Checks: AllChecks, Workers: 4}
	for range 3 { // the shadow of a launch must not be seen by the next
		if err := k.Run(r.mem, l); err != nil {
			t.Fatal(err)
		}
	}
	in, out := r.words(t, r.oth+4), r.words(t, r.ptr+4)
	for i := range in {
		if out[i] != 3*in[i] {
			t.Fatalf("element %d: got %#x, want %#x", i, out[i], 3*in[i])
		}
	}
}

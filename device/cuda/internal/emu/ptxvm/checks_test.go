package ptxvm

import (
	"errors"
	"strings"
	"testing"
)

// TestChecks holds pairs of bodies: one that a check must catch, at a line, and its nearest clean twin.
func TestChecks(t *testing.T) {
	const reg = "mov.u32 %r3, %tid.x; mov.u32 %r4, tile; mad.lo.u32 %r5, %r3, 4, %r4; xor.b32 %r6, %r3, 1; mad.lo.u32 %r6, %r6, 4, %r4;\n"
	tests := []struct {
		name        string
		grid, block uint32
		bad         string
		kind        Kind
		line        int // of the fault in bad
		good        string
		noWords     bool // the buffer is not initialized
	}{
		{name: "load behind the allocation", bad: "ld.global.u32 %r9, [%rd1+4];", kind: IllegalAddress, line: 1,
			good: "ld.global.u32 %r9, [%rd1];"},
		{name: "store before the allocation", bad: "st.global.u32 [%rd1+-4], %r0;", kind: IllegalAddress, line: 1,
			good: "st.global.u32 [%rd1+-0], %r0;"},
		{name: "vector half behind", bad: "setp.ne.u32 %p1, %r0, 126; @%p1 ret;\nadd.u64 %rd2, %rd1, 8;\nld.global.v2.u32 {%r3, %r4}, [%rd2];",
			kind: IllegalAddress, line: 3,
			good: "setp.ne.u32 %p1, %r0, 126; @%p1 ret;\nld.global.v2.u32 {%r3, %r4}, [%rd1];"},
		{name: "a vector of 16 bits, one behind", bad: "setp.ne.u32 %p1, %r0, 127; @%p1 ret; add.u64 %rd2, %rd1, 4;\nst.global.v2.u16 [%rd2], {%r0, %r0};",
			kind: IllegalAddress, line: 2,
			good: "setp.ne.u32 %p1, %r0, 127; @%p1 ret; st.global.v2.u16 [%rd1], {%r0, %r0};"},
		{name: "a byte behind", bad: "setp.ne.u32 %p1, %r0, 127; @%p1 ret;\nld.global.u8 %r9, [%rd1+4];", kind: IllegalAddress, line: 2,
			good: "setp.ne.u32 %p1, %r0, 127; @%p1 ret; ld.global.u8 %r9, [%rd1+3];"},
		{name: "null", bad: "mov.u64 %rd2, 0; ld.global.u32 %r9, [%rd2];", kind: IllegalAddress, line: 1,
			good: "mov.u64 %rd2, 0; setp.eq.u64 %p1, %rd2, 1; @%p1 ld.global.u32 %r9, [%rd2];"},
		{name: "shared behind the end", bad: "mov.u32 %r3, tile; ld.shared.u32 %r9, [%r3+4096];", kind: IllegalAddress, line: 1,
			good: "mov.u32 %r3, tile; setp.ne.u32 %p1, %r0, 0; @%p1 ret; st.shared.u32 [%r3+4092], %r3; ld.shared.u32 %r9, [%r3+4092];"},
		{name: "atomic behind the end", bad: "atom.global.add.u32 %r9, [%rd1+4], 1;", kind: IllegalAddress, line: 1,
			good: "atom.global.add.u32 %r9, [%rd1], 1;"},

		{name: "misaligned", bad: "ld.global.u16 %h1, [%rd1+1];", kind: Misaligned, line: 1, good: "ld.global.u16 %h1, [%rd1+2];"},
		{name: "misaligned vector", bad: "ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd0+8];", kind: Misaligned, line: 1,
			good: "ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd0+16];"},
		{name: "misaligned vector of 16 bits", bad: "ld.global.v4.u16 {%r3, %r4, %r5, %r6}, [%rd0+4];", kind: Misaligned, line: 1,
			good: "ld.global.v4.u16 {%r3, %r4, %r5, %r6}, [%rd0+8];"},
		{name: "misaligned vector of bytes", bad: "ld.global.v4.u8 {%r3, %r4, %r5, %r6}, [%rd1+2];", kind: Misaligned, line: 1,
			good: "ld.global.v2.u8 {%r3, %r4}, [%rd1+2];"},
		{name: "misaligned shared store", bad: "st.shared.u64 [tile+4], %rd1;", kind: Misaligned, line: 1,
			good: "setp.ne.u32 %p1, %r0, 3; @%p1 ret; st.shared.u64 [tile+8], %rd1;"},

		{name: "uninitialized global", noWords: true, bad: "ld.global.u32 %r9, [%rd1];", kind: Uninitialized, line: 1,
			good: "st.global.u32 [%rd1], %r0; ld.global.u32 %r9, [%rd1];"},
		{name: "half initialized", noWords: true, bad: "cvt.u16.u32 %h1, %r0; st.global.u16 [%rd1], %h1;\nld.global.u32 %r9, [%rd1];",
			kind: Uninitialized, line: 2,
			good: "cvt.u16.u32 %h1, %r0; st.global.u16 [%rd1], %h1; st.global.u16 [%rd1+2], %h1; ld.global.u32 %r9, [%rd1];"},
		{name: "a byte of a vector of 16 bits", noWords: true, bad: "st.global.u8 [%rd1], %r0; st.global.u16 [%rd1+2], %r0;\nld.global.v2.u16 {%r3, %r4}, [%rd1];",
			kind: Uninitialized, line: 2,
			good: "st.global.v2.u8 [%rd1], {%r0, %r0}; st.global.u16 [%rd1+2], %r0; ld.global.v2.u16 {%r3, %r4}, [%rd1];"},
		{name: "uninitialized shared", bad: reg + "ld.shared.u32 %r9, [%r5];", kind: Uninitialized, line: 2,
			good: reg + "st.shared.u32 [%r5], %r0; ld.shared.u32 %r9, [%r5];"},
		{name: "uninitialized atomic", bad: reg + "atom.shared.add.u32 %r9, [%r5], 1;", kind: Uninitialized, line: 2,
			good: reg + "st.shared.u32 [%r5], %r0; atom.shared.add.u32 %r9, [%r5], 1;"},

		{name: "register written under another condition",
			bad:  "setp.lt.u32 %p1, %r0, 5;\n@%p1 mov.u32 %r9, 1;\nadd.u32 %r9, %r9, 1;",
			kind: Register, line: 3,
			good: "setp.lt.u32 %p1, %r0, 5; @%p1 mov.u32 %r9, 1; @!%p1 mov.u32 %r9, 2; add.u32 %r9, %r9, 1;"},
		{name: "predicate written by some lanes", bad: "setp.lt.u32 %p1, %r0, 5;\n@%p1 setp.lt.u32 %p2, %r0, 3;\n@%p2 mov.u32 %r9, 1;",
			kind: Register, line: 3,
			good: "setp.lt.u32 %p1, %r0, 5; @%p1 setp.lt.u32 %p2, %r0, 3; @!%p1 setp.lt.u32 %p2, %r0, 3; @%p2 mov.u32 %r9, 1;"},
		{name: "stored register", bad: "setp.lt.u32 %p1, %r0, 5; @%p1 mov.u32 %r9, 1;\nst.global.u32 [%rd1], %r9;", kind: Register, line: 2,
			good: "setp.lt.u32 %p1, %r0, 5; @%p1 mov.u32 %r9, 1; @%p1 st.global.u32 [%rd1], %r9;"},
		{name: "half of a packed register", bad: "setp.lt.u32 %p1, %r0, 5; cvt.u16.u32 %h1, %r0; @%p1 cvt.u16.u32 %h2, %r0;\nmov.b32 %r9, {%h1, %h2};",
			kind: Register, line: 2,
			good: "setp.lt.u32 %p1, %r0, 5; cvt.u16.u32 %h1, %r0; @%p1 cvt.u16.u32 %h2, %r0; @%p1 mov.b32 %r9, {%h1, %h2};"},
		{name: "unpacked register", bad: "setp.lt.u32 %p1, %r0, 5; @%p1 mov.u32 %r9, 1;\nmov.b32 {%h1, %h2}, %r9;", kind: Register, line: 2,
			good: "setp.lt.u32 %p1, %r0, 5; @%p1 mov.u32 %r9, 1; @%p1 mov.b32 {%h1, %h2}, %r9;"},
		{name: "stored lane of a vector of 16 bits", bad: "setp.lt.u32 %p1, %r0, 5; @%p1 mov.u32 %r9, 1;\nst.global.v2.u16 [%rd1], {%r0, %r9};", kind: Register, line: 2,
			good: "setp.lt.u32 %p1, %r0, 5; @%p1 mov.u32 %r9, 1; @%p1 st.global.v2.u16 [%rd1], {%r0, %r9};"},
		{name: "register across blocks", grid: 2, // the first block's value must not survive
			bad:  "mov.u32 %r3, %ctaid.x; setp.eq.u32 %p1, %r3, 0; @%p1 mov.u32 %r9, 1;\nadd.u32 %r9, %r9, 1;",
			kind: Register, line: 2,
			good: "mov.u32 %r3, %ctaid.x; setp.eq.u32 %p1, %r3, 0; @%p1 mov.u32 %r9, 1; @%p1 add.u32 %r9, %r9, 1;"},

		{name: "global race of neighbours", bad: "xor.b32 %r3, %r0, 1; mad.wide.u32 %rd2, %r3, 4, %rd0;\nld.global.u32 %r9, [%rd2]; st.global.u32 [%rd1], %r9;",
			kind: Race, line: 2,
			good: "xor.b32 %r3, %r0, 1; mad.wide.u32 %rd2, %r3, 4, %rd0; ld.global.u32 %r9, [%rd2]; bar.sync 0; st.global.u32 [%rd1], %r9;"},
		{name: "all write one word", bad: "st.global.u32 [%rd0], 7;", kind: Race, line: 1, good: "st.relaxed.gpu.global.u32 [%rd0], 7;"},
		{name: "volatile beside plain", bad: "st.volatile.global.u32 [%rd0], 7;\nld.global.u32 %r9, [%rd0];", kind: Race, line: 2,
			good: "st.volatile.global.u32 [%rd0], 7; ld.volatile.global.u32 %r9, [%rd0];"},
		{name: "plain increment", grid: 4, bad: "setp.ne.u32 %p1, %r0, 0; mov.u32 %r3, %tid.x; setp.ne.u32 %p1, %r3, 0; @%p1 ret;\nld.global.u32 %r9, [%rd0]; add.u32 %r9, %r9, 1; st.global.u32 [%rd0], %r9;",
			kind: Race, line: 2, good: "red.global.add.u32 [%rd0], 1;"},
		{name: "a barrier does not order blocks", grid: 2,
			bad:  "mov.u32 %r3, %ctaid.x; setp.eq.u32 %p1, %r0, 0; setp.eq.u32 %p2, %r0, 128;\n@%p1 st.global.u32 [%rd0], 1; bar.sync 0; @%p2 ld.global.u32 %r9, [%rd0];",
			kind: Race, line: 2,
			good: "mov.u32 %r3, %ctaid.x; setp.eq.u32 %p1, %r0, 0; setp.eq.u32 %p2, %r0, 64;\n@%p1 st.global.u32 [%rd0], 1; bar.sync 0; @%p2 ld.global.u32 %r9, [%rd0];"},
		{name: "halves of a word", // different bytes are no race
			bad:  "and.b32 %r3, %r0, 1; sub.u32 %r3, %r0, %r3; mad.wide.u32 %rd2, %r3, 2, %rd0; cvt.u16.u32 %h1, %r0;\nst.global.u16 [%rd2], %h1;",
			kind: Race, line: 2,
			good: "mad.wide.u32 %rd2, %r0, 2, %rd0; cvt.u16.u32 %h1, %r0; st.global.u16 [%rd2], %h1;"},
		{name: "bytes of a word",
			bad:  "mad.wide.u32 %rd2, %r0, 1, %rd0;\nst.global.u8 [%rd2], %r0; st.global.u8 [%rd2+1], %r0;",
			kind: Race, line: 2,
			good: "mad.wide.u32 %rd2, %r0, 2, %rd0; st.global.u8 [%rd2], %r0; st.global.u8 [%rd2+1], %r0;"},
		{name: "a vector of bytes, read by a neighbour",
			bad:  "st.global.v4.u8 [%rd1], {%r0, %r0, %r0, %r0}; xor.b32 %r3, %r0, 1; mad.wide.u32 %rd2, %r3, 4, %rd0;\nld.global.u8 %r9, [%rd2+3];",
			kind: Race, line: 2,
			good: "st.global.v4.u8 [%rd1], {%r0, %r0, %r0, %r0}; bar.sync 0; xor.b32 %r3, %r0, 1; mad.wide.u32 %rd2, %r3, 4, %rd0; ld.global.u8 %r9, [%rd2+3];"},
		{name: "wide read of a neighbour's half", bad: "mad.wide.u32 %rd2, %r0, 2, %rd0; cvt.u16.u32 %h1, %r0; st.global.u16 [%rd2], %h1; and.b32 %r3, %r0, -2; mad.wide.u32 %rd3, %r3, 2, %rd0;\nld.global.u32 %r9, [%rd3];",
			kind: Race, line: 2,
			good: "mad.wide.u32 %rd2, %r0, 2, %rd0; cvt.u16.u32 %h1, %r0; st.global.u16 [%rd2], %h1; bar.sync 0; and.b32 %r3, %r0, -2; mad.wide.u32 %rd3, %r3, 2, %rd0; ld.global.u32 %r9, [%rd3];"},
		{name: "write after many read", bad: "ld.global.u32 %r9, [%rd0]; setp.eq.u32 %p1, %r0, 0;\n@%p1 st.global.u32 [%rd0], 1;", kind: Race, line: 2,
			good: "ld.global.u32 %r9, [%rd0]; setp.eq.u32 %p1, %r0, 0; bar.sync 0; @%p1 st.global.u32 [%rd0], 1;"},

		{name: "words of a vector that another thread read",
			bad:  "setp.lt.u32 %p1, %r0, 32; mad.wide.u32 %rd2, %r0, 16, %rd0; @%p1 ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd2];\nst.global.u32 [%rd1], %r0;",
			kind: Race, line: 2,
			good: "setp.lt.u32 %p1, %r0, 32; mad.wide.u32 %rd2, %r0, 16, %rd0; @%p1 ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd2]; bar.sync 0; st.global.u32 [%rd1], %r0;"},
		{name: "words of a vector, written one by one",
			bad: "setp.lt.u32 %p1, %r0, 32; mad.wide.u32 %rd2, %r0, 16, %rd0; @%p1 st.global.v4.u32 [%rd2], {%r0, %r0, %r0, %r0}; bar.sync 0; st.global.u32 [%rd1], %r0;\n" +
				"xor.b32 %r3, %r0, 1; mad.wide.u32 %rd3, %r3, 4, %rd0; ld.global.u32 %r9, [%rd3];",
			kind: Race, line: 2,
			good: "setp.lt.u32 %p1, %r0, 32; mad.wide.u32 %rd2, %r0, 16, %rd0; @%p1 st.global.v4.u32 [%rd2], {%r0, %r0, %r0, %r0}; bar.sync 0; st.global.u32 [%rd1], %r0;\n" +
				"ld.global.u32 %r9, [%rd1];"},

		{name: "shared without a barrier", bad: reg + "st.shared.u32 [%r5], %r0;\nld.shared.u32 %r9, [%r6];", kind: Race, line: 3,
			good: reg + "st.shared.u32 [%r5], %r0; bar.sync 0; ld.shared.u32 %r9, [%r6];"},
		// The third warp's store comes after the first warp's load.
		{name: "shared with the warp's barrier only, across warps", bad: reg + "xor.b32 %r6, %r6, 256; st.shared.u32 [%r5], %r0; bar.sync 0;\nst.shared.u32 [%r5], %r3; bar.warp.sync -1;\nld.shared.u32 %r9, [%r6];",
			block: 128, kind: Race, line: 3,
			good: reg + "st.shared.u32 [%r5], %r0; bar.warp.sync -1; ld.shared.u32 %r9, [%r6];"},
		{name: "shared write after read", bad: reg + "st.shared.u32 [%r5], %r0; bar.sync 0; ld.shared.u32 %r9, [%r6];\nst.shared.u32 [%r5], %r9;",
			kind: Race, line: 3,
			good: reg + "st.shared.u32 [%r5], %r0; bar.sync 0; ld.shared.u32 %r9, [%r6]; bar.sync 0; st.shared.u32 [%r5], %r9;"},
		{name: "shared counter", bad: reg + "setp.eq.u32 %p1, %r3, 0; @%p1 st.shared.u32 [tile], 0;\natom.shared.add.u32 %r9, [tile], 1;",
			kind: Race, line: 3,
			good: reg + "setp.eq.u32 %p1, %r3, 0; @%p1 st.shared.u32 [tile], 0; bar.sync 0; atom.shared.add.u32 %r9, [tile], 1; bar.sync 0; ld.shared.u32 %r9, [tile];"},

		{name: "nc of memory written by the thread itself", bad: "ld.global.nc.u32 %r9, [%rd1];\nst.global.u32 [%rd1], %r9;", kind: ReadOnly, line: 2,
			good: "ld.global.u32 %r9, [%rd1]; st.global.u32 [%rd1], %r9;"},
		{name: "nc after a store", bad: "st.global.u32 [%rd1], %r0;\nld.global.nc.u32 %r9, [%rd1];", kind: ReadOnly, line: 2,
			good: "ld.global.nc.u32 %r9, [%rd1]; ld.param.u64 %rd2, [other]; st.global.u32 [%rd2], %r9;", block: 1},

		{name: "barrier in a branch", bad: "setp.lt.u32 %p1, %r0, 5; @%p1 bra OUT;\nbar.sync 0;\nOUT: ret;", kind: Barrier, line: 2,
			good: "setp.lt.u32 %p1, %r0, 5; @%p1 bra OUT; mov.u32 %r9, 1; OUT: bar.sync 0; ret;"},
		{name: "predicated barrier", bad: "setp.lt.u32 %p1, %r0, 5;\n@%p1 bar.sync 0;", kind: Barrier, line: 2,
			good: "setp.lt.u32 %p1, %r0, 500; @%p1 bar.sync 0;"},
		{name: "barrier after an exit", bad: "setp.lt.u32 %p1, %r0, 5; @%p1 ret;\nbar.sync 0;", kind: Barrier, line: 2,
			good: "setp.lt.u32 %p1, %r0, 5; bar.sync 0; @%p1 ret;"},
		{name: "barrier that a warp never reaches", block: 96, bad: "setp.ge.u32 %p1, %r0, 64; @%p1 ret;\nbar.sync 0;", kind: Barrier, line: 2,
			good: "setp.ge.u32 %p1, %r0, 64; @%p1 bra B; B: bar.sync 0;"},
		{name: "two barriers", block: 64, bad: "setp.ge.u32 %p1, %r0, 32; @%p1 bra B; bar.sync 1; ret;\nB: bar.sync 2;", kind: Barrier, line: 2,
			good: "setp.ge.u32 %p1, %r0, 32; @%p1 bra B; bar.sync 1; ret;\nB: bar.sync 1;"},
		{name: "part of a block", block: 64, bad: "bar.sync 1, 32;", kind: Barrier, line: 1, good: "bar.sync 1, 64;"},

		{name: "shuffle of a lane that left", bad: "setp.lt.u32 %p1, %r0, 5; @%p1 ret;\nshfl.sync.idx.b32 %r9, %r0, 0, 31, 0xffffffff;",
			kind: Shuffle, line: 2, block: 32,
			good: "setp.lt.u32 %p1, %r0, 5; @%p1 ret; shfl.sync.idx.b32 %r9, %r0, 6, 31, 0xffffffff;"},
		{name: "shuffle in a branch", bad: "setp.lt.u32 %p1, %r0, 16;\n@%p1 shfl.sync.bfly.b32 %r9, %r0, 1, 31, 0xffffffff;", kind: Shuffle, line: 2, block: 32,
			good: "setp.lt.u32 %p1, %r0, 16; @%p1 shfl.sync.bfly.b32 %r9, %r0, 1, 31, 0xffff;"},
		{name: "shuffle by a lane that is no member", bad: "shfl.sync.bfly.b32 %r9, %r0, 1, 31, 0xffff;", kind: Shuffle, line: 1, block: 32,
			good: "shfl.sync.bfly.b32 %r9, %r0, 1, 31, -1;"},
		{name: "vote in a branch", bad: "setp.lt.u32 %p1, %r0, 16;\n@%p1 vote.sync.any.pred %p2, %p1, -1;", kind: Shuffle, line: 2, block: 32,
			good: "setp.lt.u32 %p1, %r0, 16; vote.sync.any.pred %p2, %p1, -1;"},
		{name: "warp barrier in a branch", bad: "setp.lt.u32 %p1, %r0, 16;\n@%p1 bar.warp.sync -1;", kind: Shuffle, line: 2, block: 32,
			good: "setp.lt.u32 %p1, %r0, 16; @%p1 bar.warp.sync 0xffff;"},

		{name: "trap", bad: "setp.eq.u32 %p1, %r0, 77;\n@%p1 trap;", kind: Trapped, line: 2, good: "setp.eq.u32 %p1, %r0, 777; @%p1 trap;"},
		{name: "endless loop", bad: "L:\nbra L;", kind: Budget, line: 2,
			good: "mov.u32 %r3, 0; L: add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, 1000; @%p1 bra L;"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			grid, block := max(test.grid, 1), test.block
			if block == 0 {
				block = 128
			}
			words := func(i int) uint32 { return uint32(i) }
			if test.noWords {
				words = nil
			}
			n := int(grid * block)
			f := wantFault(t, newRunner(t, n, words), test.bad, grid, block, test.kind, test.line)
			if want := strings.Split(test.bad, "\n")[test.line-1]; f.Source != want || !strings.Contains(f.Error(), want) {
				t.Errorf("fault names %q, want %q", f.Source, want)
			}
			wantClean(t, newRunner(t, n, words), test.good, grid, block)
		})
	}
}

func TestUseAfterFree(t *testing.T) {
	r := newRunner(t, 32, func(int) uint32 { return 1 })
	body := "ld.global.u32 %r9, [%rd1];"
	wantClean(t, r, body, 1, 32)
	if err := r.mem.Free(r.ptr); err != nil {
		t.Fatal(err)
	}
	f := wantFault(t, r, body, 1, 32, UseAfterFree, 1)
	if f.Addr != r.ptr {
		t.Errorf("address %#x, want %#x", f.Addr, r.ptr)
	}
}

// TestFastMode runs what only the checks forbid.
func TestFastMode(t *testing.T) {
	for _, test := range []struct {
		body  string
		check Checks
	}{
		{"ld.param.u64 %rd2, [other]; mad.wide.u32 %rd2, %r0, 4, %rd2; ld.global.u32 %r9, [%rd2];", CheckMemory},
		{"setp.lt.u32 %p1, %r0, 5; @%p1 mov.u32 %r9, 1; add.u32 %r9, %r9, 1;", CheckRegisters},
		{"st.global.u32 [%rd0], 7;", CheckRaces},
		{"ld.global.nc.u32 %r9, [%rd1]; st.global.u32 [%rd1], %r9;", CheckReadOnly},
		{"setp.lt.u32 %p1, %r0, 5; @%p1 ret; bar.sync 0;", CheckBarriers},
		{"setp.lt.u32 %p1, %r0, 32; @%p1 ret; bar.sync 0;", CheckBarriers},
	} {
		k := mustLoad(t, kernelText(test.body)).Kernel("k")
		for checks := range AllChecks + 1 {
			r := newRunner(t, 64, func(i int) uint32 { return uint32(i) })
			l := Launch{Grid: [3]uint32{1, 1, 1}, Block: [3]uint32{64, 1, 1}, Params: r.params(), Checks: checks}
			if err := k.Run(r.mem, l); (err != nil) != (checks&test.check != 0) {
				t.Errorf("checks %05b: %s: %v", checks, test.body, err)
			}
		}
	}
}

// TestFaultOrder has faults in several blocks: run in sequence, the first is reported.
func TestFaultOrder(t *testing.T) {
	k := mustLoad(t, kernelText("setp.lt.u32 %p1, %r0, 70; @%p1 ret;\ntrap;")).Kernel("k")
	r := newRunner(t, 256, nil)
	l := Launch{Grid: [3]uint32{8, 1, 1}, Block: [3]uint32{32, 1, 1}, Params: r.params(), Workers: 1}
	var f *Fault
	if err := k.Run(r.mem, l); !errors.As(err, &f) {
		t.Fatal(err)
	}
	want := "ptxvm: trap: the kernel gave up: kernel k, block (2,0,0), thread (6,0,0), line 10: trap;"
	if f.Error() != want {
		t.Errorf("got  %v\nwant %s", f, want)
	}
	for _, l.Seed = range []uint64{1, 2, 3} {
		if err := k.Run(r.mem, l); !errors.As(err, &f) || f.Kind != Trapped {
			t.Error(err)
		}
	}
}

// TestSeed runs a race that no check looks for: the order of warps shows.
func TestSeed(t *testing.T) {
	k := mustLoad(t, kernelText("st.global.u32 [%rd0], %r0;")).Kernel("k")
	seen := map[uint32]bool{}
	for seed := range uint64(20) {
		r := newRunner(t, 512, nil)
		l := Launch{Grid: [3]uint32{4, 1, 1}, Block: [3]uint32{128, 1, 1}, Params: r.params(), Workers: 1, Seed: seed}
		for range 2 {
			if err := k.Run(r.mem, l); err != nil {
				t.Fatal(err)
			}
		}
		first := r.words(t, r.ptr)[0]
		seen[first] = true
		if seed == 0 && first != 511 {
			t.Errorf("natural order ends with %d, want 511", first)
		}
	}
	if len(seen) < 5 {
		t.Errorf("20 seeds gave only %d orders", len(seen))
	}
}

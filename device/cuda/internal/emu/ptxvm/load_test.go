package ptxvm

import (
	"errors"
	"strings"
	"testing"
)

// TestDiagnostics gives Load a faulty body, or text where it starts with a directive, and expects complaints "line: part".
func TestDiagnostics(t *testing.T) {
	tests := []struct {
		name, body string
		want       []string // line of the body, colon, part of the message
	}{
		{"unknown instruction", "nop;\nfrobnicate.u32 %r1, %r2;", []string{"1:nop: unknown instruction", "2:frobnicate.u32: unknown instruction"}},
		{"several at once", "add.u32 %r3, %r0;\nadd.u32 %x, %r0, 1;\n\nbra NOWHERE;", []string{"1:takes 3 operands", "2:%x is not declared", "4:no label NOWHERE"}},
		{"flush to zero", "mov.f32 %f1, 0f00000000; \nadd.rn.ftz.f32 %f2, %f1, %f1;", []string{"2:.ftz is not emulated"}},
		{"approximations", "mov.f32 %f1, 1.0;\ndiv.approx.f32 %f2, %f1, %f1;\nsqrt.approx.f32 %f2, %f1;\nex2.approx.f32 %f2, %f1;\ndiv.full.f32 %f2, %f1, %f1;",
			[]string{"2:.approx is not emulated", "3:.approx", "4:.approx", "5:.full"}},
		{"roundings", "mov.f32 %f1, 1.0;\nadd.rz.f32 %f2, %f1, %f1;\nadd.sat.f32 %f2, %f1, %f1;\ncvt.rn.satfinite.bf16.f32 %h1, %f1;", []string{"2:.rz", "3:.sat", "4:.satfinite"}},
		{"no rounding", "mov.f32 %f1, 1.0;\ndiv.f32 %f2, %f1, %f1;\nfma.f32 %f2, %f1, %f1, %f1;", []string{"2:rounding", "3:rounding"}},
		{"register types", "add.f32 %r3, %r0, %r0; // bits are floats too\nadd.u32 %f1, %r0, %r0;\nadd.u64 %rd2, %r0, %rd0;\nsetp.lt.u32 %r3, %r0, 1;\n@%r0 ret;\nselp.u32 %r3, %r0, %r0, %r0;",
			[]string{"2:%f1 has type .f32", "3:%r0 has type .b32, the instruction needs .u64", "4:needs .pred", "5:needs .pred", "6:needs .pred"}},
		{"literals", "add.f32 %f1, 1, 1.0;\nadd.u32 %r3, %r0, 1.5;\nmov.b32 %r3, 1.0;\nmov.f32 %f1, 0f1234;\nmov.u32 %r3, 09;\nmov.u32 %r3, 1_000;",
			[]string{"1:literal does not fit", "2:literal does not fit", "3:literal", "4:malformed number 0f1234", "5:malformed number", "6:malformed number"}},
		{"never written", "add.u32 %r9, %r8, 1;\n@%p3 ret;", []string{"1:%r8 is read, but no instruction writes it", "2:%p3 is read"}},
		{"special registers", "add.u32 %r3, %tid.x, 1;\nmov.u64 %rd2, %tid.x;\nmov.u32 %r3, %clock;", []string{"1:only an operand of mov", "2:has type .u32", "3:%clock is not declared"}},
		{"memory", "ld.u32 %r3, [%rd0];\nld.global.v3.u32 {%r3,%r4,%r5}, [%rd0];\nld.global.v4.u64 {%rd2,%rd3,%rd4,%rd5}, [%rd0];\nld.global.u32 %r3, %rd0;\n" +
			"ld.global.u32 %r3, [%r0];\nld.local.u32 %r3, [%rd0];\nld.global.v2.u32 %r3, [%rd0];\nst.param.u32 [n], %r0;\nst.global.nc.u32 [%rd0], %r0;\nld.global.u32 %h1, [%rd0];\nld.global.u32 %f1, [%rd0];\nld.global.pred %p1, [%rd0];",
			[]string{"1:generic addressing", "2:.v3 is unknown", "3:at most 16 bytes", "4:address in brackets", "5:%r0 has type .b32, the instruction needs .b64", "6:name one of", "7:vector of 2", "8:", "9:",
				"10:%h1 has type .b16", "11:%f1 has type .f32", "12:unknown type"}},
		{"parameters", "ld.param.u64 %rd2, [n];\nld.param.u32 %r3, [ptr+8];\nld.param.u32 %r3, [ptr+2];\nld.param.u32 %r3, [%rd0];\nld.param.u32 %r3, [m];\nld.param.u32 %r3, [ptr+-4];",
			[]string{"1:outside parameter n", "2:outside parameter ptr", "3:not aligned", "4:not an address", "5:m is not declared", "6:outside"}},
		// C5: an address without a name is none of a parameter.
		{"parameters by number", "ld.param.u64 %rd2, [256];\nld.param.u64 %rd2, [0];\nld.param.v2.u32 {%r3, %r4}, [18446744073709551608];\nld.param.u32 %r3, [-4];",
			[]string{"1:[256] names no parameter", "2:names no parameter", "3:names no parameter", "4:names no parameter"}},
		{"comparisons", "setp.lt.b32 %p1, %r0, 1;\nsetp.ltu.u32 %p1, %r0, 1;\nsetp.eq.nand.u32 %p1, %r0, 1, %p1;\nset.eq.u64.u32 %rd2, %r0, 1;\nsetp.eq.u32 %p1|%p1, %r0, 1;\nsetp.u32 %p1, %r0, 1;",
			[]string{"1:no comparison lt", "2:no comparison ltu", "3:", "4:result must be", "5:both results", "6:"}},
		{"barriers", "bar.sync 16;\nbar.arrive 0, 64;\nbar.sync;\nbar.red.popc.u32 %r3, 0, %p0;", []string{"1:0 to 15", "2:no such form", "3:no such form", "4:no such form"}},
		{"fences", "membar.all;\nfence.release.gpu;\nmembar.gl 1;\nprefetch.local.L1 [%rd0];\nprefetch.global.L1 %rd0;\nbra.uni.x L;\nL: ret.x;", []string{"1:no such form", "2:no such form", "3:takes 0", "4:no such form", "5:in brackets", "6:no such form", "7:no such form"}},
		{"packing", "mov.b64 {%r3, %r4, %r5}, %rd0;\nmov.b32 %r3, {%r4};\nmov.u64 %rd2, {%r0, %r0};\nmov.b64 %rd2, {%r0, %rd0};\nmov.f16 %h1, 1;", []string{"1:no vector of 3", "2:no vector of 1", "3:no vector of 2 makes up .u64", "4:%rd0 has type", "5:.f16 is not emulated"}},
		{"atomics", "atom.global.add.f16 %h1, [%rd0], %h1;\natom.global.cas.b32 %r3, [%rd0], 1;\nred.global.mul.u32 [%rd0], 1;\natom.add.u32 %r3, [%rd0], 1;",
			[]string{"1:unknown type", "2:takes 4", "3:no atomic mul", "4:generic"}},
		{"not emulated", "call foo;\nbrx.idx %r0, ts;\ncp.async.ca.shared.global [%rd0], [%rd1], 16;\nvote.ballot.b32 %r3, %p0;\nshfl.up.b32 %r3, %r0, 1, 0;\nadd.cc.u32 %r3, %r0, 1;",
			[]string{"1:call: unknown instruction", "2:unknown", "3:unknown", "4:no such form", "5:no such form", "6:.cc is not emulated"}},
		{"declared twice", ".reg .b32 %r1;\nL: ret;\nL: ret;\n.shared .b8 tile[4];", []string{"1:%r1 is declared twice", "3:L is declared twice", "4:tile is declared twice"}},
		{"declarations", ".reg .b8 %c;\n.reg .u32 %y<3;\n.reg b32 %z;\n.reg .b32 %w<70000>;\n.shared .align 3 .b8 a[4];\n.shared .b8 b[300000];\n.local .b8 c[4];\n.reg .b32 1;",
			[]string{"1:not a type of registers", "2:expected \">\"", "3:not a type", "4:expected an integer", "5:not a power of two", "6:expected an integer", "7:expected an instruction", "8:expected a name"}},
		{"syntax", "add.u32 %r3 %r0, 1;\nadd.u32 %r3, {{%r0}}, 1;\n%r3;\n@;\nld.global.v2.u32 {%r3, %r4, [%rd0];\nmov.u32 %r3, [;\nld.global.u32 %r3, [%rd0+1.5];\nadd.u32 %r3, %r0, \"s\";\nmov.u32 ;\nld.global.u32 %r3, [%rd0-4];",
			[]string{"1:expected \",\"", "2:malformed vector", "3:expected an instruction", "4:expected a name", "5:malformed vector", "6:malformed", "7:not an integer", "8:expected a name", "9:takes 2 operands", "10:expected \"]\""}},
		{"too much shared memory", ".shared .b8 a[200000];\n.shared .b8 b[200000];", []string{"2:exceeds"}},
		{"strange characters", "mov.u32 %r3, 1é;\n\x00ret;", []string{"1:unexpected character", "1:unexpected character", "2:unexpected character"}},
		{"open ends", "mov.u32 %r3, 1;\n/* comment\n", []string{"2:comment is not closed", "5:not closed"}},
		{"empty module", "#\n", []string{"1:has no .version", "1:has no .target", "1:has no .address_size"}},
		{"module scope", "#" + header + ".global .align 4 .b8 x[4];\n.func f() { ret; }\n.entry k() { add.u32 a, b, c; }\n.entry k() {}\n.entry (\n", []string{"4:.global is not emulated", "5:.func is not emulated", "6:not declared", "7:defined twice", "8:expected a name"}},
		{"32 bits", "#.version 7.0\n.target sm_75\n.address_size 32\n", []string{"3:address size 32"}},
		{"limits", "#" + header + ".entry k(.param .b8 x[5000]) {}\n.entry l() .maxntid 2048 {}\n.entry m() .reqntid 1024, 2 {}\n.entry o(.param .pred x) {}\n", []string{"4:integer from 0", "5:integer", "6:not a block", "7:expected a type"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text, first := kernelText(test.body), bodyLine
			if strings.HasPrefix(test.body, "#") {
				text, first = test.body[1:], 1
			}
			_, err := Load(text)
			var list LoadError
			if !errors.As(err, &list) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			rest := list
			for _, want := range test.want {
				line, part, _ := strings.Cut(want, ":")
				found := false
				for i, d := range rest {
					if strings.Contains(d.Msg, part) && line == itoa(d.Line-first+1) {
						rest, found = append(rest[:i:i], rest[i+1:]...), true
						break
					}
				}
				if !found {
					t.Errorf("no complaint %q in\n%v", want, err)
				}
			}
			for _, d := range rest {
				if !strings.Contains(d.Msg, "no instruction writes it") {
					t.Errorf("unexpected: line %d of the body: %s", d.Line-first+1, d.Msg)
				}
			}
		})
	}
}

func itoa(n int) string {
	if n < 0 {
		return "-" + itoa(-n)
	}
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// TestModule reads a module with what else a compiler writes.
func TestModule(t *testing.T) {
	m := mustLoad(t, `// generated
.version 7.8
.target sm_90 // the target
.address_size 64
.pragma "nounroll";
.extern .shared .align 16 .b8 dyn[];
.shared .align 8 .b64 both;
/* two
   kernels */
.visible .entry first(
	.param .u64 .ptr .global .align 16 a,
	.param .u32 b,
	.param .align 8 .b8 c[24]
)
.maxntid 64, 2
.minnctapersm 2
{
	.reg .b32 %r<9>;
	.reg .b64 %rd<3>, %extra;
	.shared .b32 own[3];
	.loc 1 17 3
	.pragma "nounroll";
	ld.param.v2.u32 {%r1, %r2}, [c+16];
	mov.u32 %r3, dyn;
	st.shared.u32 [%r3+4], %r1;
	mov.u64 %rd1, both;
	ld.param.u64 %rd2, [a];
	ld.shared.u32 %r4, [dyn+4];
	add.u32 %r4, %r4, %r2;
	add.u32 %r4, %r4, %r3;
	st.global.u32 [%rd2], %r4;
	st.shared.u32 [own+8], %r4;
	ret;
}
.weak .entry second() { ret; }
`)
	if m.Version != "7.8" || m.Target != "sm_90" || strings.Join(m.Kernels(), " ") != "first second" || m.Kernel("third") != nil {
		t.Errorf("%+v", m)
	}
	k := m.Kernel("first")
	if k.Name() != "first" || k.MaxThreads() != 128 || m.Kernel("second").MaxThreads() != 1024 || k.SharedBytes() != 20 || len(k.Params()) != 3 {
		t.Errorf("%+v", k)
	}
	mem := NewMemory(DefaultBase, DefaultSpace)
	a, _ := mem.Alloc(4)
	c := make([]byte, 32)
	c[16], c[20] = 5, 7
	l := Launch{Grid: [3]uint32{1, 1, 1}, Block: [3]uint32{1, 1, 1}, SharedBytes: 8, Checks: AllChecks, Params: [][]byte{param64(a), param64(0), c}}
	if err := k.Run(mem, l); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if err := mem.Read(a, got); err != nil || got[0] != 5+7+32 {
		t.Errorf("got %d, %v", got, err)
	}

	for name, change := range map[string]func(l *Launch){
		"too many threads": func(l *Launch) { l.Block = [3]uint32{129, 1, 1} },
		"no threads":       func(l *Launch) { l.Block[1] = 0 },
		"no blocks":        func(l *Launch) { l.Grid[2] = 0 },
		"grid too high":    func(l *Launch) { l.Grid[1] = 65536 },
		"block too deep":   func(l *Launch) { l.Block[2] = 65 },
		"too many blocks":  func(l *Launch) { l.Grid = [3]uint32{1 << 28, 2, 1} },
		"parameters":       func(l *Launch) { l.Params = l.Params[:2] },
		"short parameter":  func(l *Launch) { l.Params = [][]byte{param64(a), nil, c} },
		"shared memory":    func(l *Launch) { l.SharedBytes = 227 << 10 },
		"workers":          func(l *Launch) { l.Workers = -1 },
	} {
		bad := l
		change(&bad)
		if err := k.Run(mem, bad); !errors.Is(err, ErrLaunch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	req := mustLoad(t, header+".entry k() .reqntid 32 { ret; }").Kernel("k")
	if err := req.Run(mem, Launch{Grid: [3]uint32{1, 1, 1}, Block: [3]uint32{16, 1, 1}}); !errors.Is(err, ErrLaunch) {
		t.Error(err)
	}
}

// FuzzLoad feeds Load damaged modules; what loads must also run without a panic.
func FuzzLoad(f *testing.F) {
	f.Add(adamwText())
	f.Add(".shared")
	f.Add(kernelText("L: bar.sync 0; @!%p1 bra L; setp.eq.and.u32 %p1|%p2, %r0, 0x1p, !%p3; ld.shared.v4.f32 {%f1,_,%f2,%f3}, [tile+16];"))
	f.Add(kernelText("mov.b64 {%r3, _}, %rd1; shfl.sync.up.b32 %r3|%p1, %r3, 1, 0, -1; @%p1 trap; { .reg .u32 x; mov.u32 x, %laneid; }"))
	f.Add(kernelText("ld.param.u64 %rd2, [256]; ld.shared.u32 %r3, [4096]; ld.shared.u32 %r3, [-4]; st.shared.u32 [18446744073709551612], %r3;"))
	f.Add(kernelText("ld.param.u64 %rd2, [ptr+-9223372036854775808]; ld.shared.v4.u32 {%r3,%r4,%r5,%r6}, [tile+9223372036854775792]; prefetch.global.L1 [0];"))
	f.Add(kernelText("atom.shared.cas.b32 %r3, [tile], 1, 2; cvt.rzi.s32.f32 %r4, 0d1; vote.sync.ballot.b32 %r3, %p1, 0b11; /* */ .pragma \"x\";"))
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Load(text)
		if err != nil {
			return
		}
		mem := NewMemory(DefaultBase, DefaultSpace)
		a, err := mem.Alloc(1024)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range m.Kernels() {
			k := m.Kernel(name)
			l := Launch{Grid: [3]uint32{1, 1, 1}, Block: [3]uint32{40, 1, 1}, Budget: 1000, Workers: 1}
			for _, p := range k.Params() {
				l.Params = append(l.Params, append(param64(a), make([]byte, p.Size)...))
			}
			for _, l.Checks = range []Checks{0, AllChecks} {
				_ = k.Run(mem, l)
			}
		}
	})
}

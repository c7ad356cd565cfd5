package ptxvm

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

var tokens = regexp.MustCompile(`[%@!.]?[A-Za-z_$][A-Za-z0-9_.:$]*|0[fd][0-9A-F]+|-?[0-9]+|[\[\]{}(),;+|<>]`)

// odd is what a token of a text is replaced by, beside other tokens of the text.
var odd = []string{"", "0", "-1", "1", "7", "16", "256", "4095", "65536", "4294967295", "9223372036854775807", "18446744073709551615", "-9223372036854775808",
	"0f7FC00000", "0d7FF8000000000000", "_", "{", "}", "[", "]", "[0]", "[256]", "{%r0,%r1}", "%tid.x", "%ntid.y", "%laneid", "pred", ".pred", ".b8", ".v2", ".v4", "%p1|%p2", "!%p1", "%p1", "%rd0", "%f1", "tile", "ptr", "n", "L", "@%p1", "@!%p1"}

// C5: no text, whatever is wrong with it, makes Load or Run panic. Texts are real ones with one to three tokens replaced.
func TestMutants(t *testing.T) {
	texts := []string{adamwText()}
	for _, body := range []string{
		"mov.u32 %r3, 3; mov.f32 %f0, 0f3F800000; st.shared.v4.f32 [tile+16], {%f0,%f0,%f0,%f0}; setp.lt.u32 %p3, %r0, 7; L: bar.sync 0; @!%p3 bra M; M: setp.eq.and.u32 %p1|%p2, %r0, 1, !%p3; ld.shared.v4.f32 {%f1,_,%f2,%f3}, [tile+16]; selp.u32 %r3, %r0, 5, %p1;",
		"ld.param.u64 %rd2, [ptr]; ld.param.u32 %r3, [n+0]; mov.b64 {%r3, _}, %rd1; shfl.sync.up.b32 %r3|%p1, %r3, 1, 0, -1; @%p1 bra L; { .reg .u32 x; mov.u32 x, %laneid; } L: ret;",
		"setp.ne.u32 %p1, %r0, 3; atom.shared.cas.b32 %r3, [tile], 1, 2; red.global.add.u32 [%rd0+4], 1; cvt.rzi.s32.f32 %r4, 0f3F800000; vote.sync.ballot.b32 %r3, %p1, 0xffffffff; bar.warp.sync 0xffffffff; activemask.b32 %r3;",
		"mov.f32 %f1, 0f3F800000; mul.wide.u32 %rd2, %r0, 4; mad.lo.u64 %rd2, %rd2, 3, %rd0; shl.b64 %rd3, %rd2, 70; div.u32 %r3, %r0, 3; rem.s64 %rd4, %rd2, -1; set.gt.u32.f32 %r4, %f1, 0f00000000; testp.notanumber.f32 %p1, %f1; ld.global.v2.f32 {%f2, %f3}, [%rd0+8]; st.global.v2.f32 [%rd0+8], {%f1, %f2};",
	} {
		text := kernelText(strings.ReplaceAll(body, "; ", ";\n"))
		mustLoad(t, text)
		texts = append(texts, text)
	}
	n := 6_000
	if testing.Short() {
		n = 1_000
	}
	rng := rand.New(rand.NewPCG(1, 2))
	loaded := 0
	for range n {
		text := texts[rng.IntN(len(texts))]
		for range 1 + rng.IntN(3) {
			at := tokens.FindAllStringIndex(text, -1)
			i := at[rng.IntN(len(at))]
			with := odd[rng.IntN(len(odd))]
			for try := 0; try < 30 && class(with) != class(text[i[0]:i[1]]); try++ { // mostly by its like, so that many texts load
				j := at[rng.IntN(len(at))]
				with = []string{odd[rng.IntN(len(odd))], text[j[0]:j[1]]}[rng.IntN(2)]
			}
			text = text[:i[0]] + with + text[i[1]:]
		}
		if tryText(t, text) {
			loaded++
		}
	}
	if loaded < n/20 {
		t.Errorf("only %d of %d texts loaded: nothing was run", loaded, n)
	}
}

// class is what sort of token it is.
func class(token string) string {
	switch {
	case token == "":
		return ""
	case strings.ContainsRune("-0123456789", rune(token[0])):
		return "number"
	case token[0] == '%' && len(token) > 2:
		return token[:2]
	}
	return token[:1]
}

// tryText loads a text and runs what is in it.
func tryText(t *testing.T, text string) (loaded bool) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("%v\n%s\n%s", r, debug.Stack(), text)
		}
	}()
	m, err := Load(text)
	if err != nil {
		return false
	}
	mem := NewMemory(DefaultBase, DefaultSpace)
	a, err := mem.Alloc(1024)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range m.Kernels() {
		k := m.Kernel(name)
		l := Launch{Grid: [3]uint32{2, 1, 1}, Block: [3]uint32{40, 1, 1}, Budget: 1000, Workers: 1}
		for _, p := range k.Params() {
			l.Params = append(l.Params, append(param64(a), make([]byte, p.Size)...))
		}
		for _, l.Checks = range []Checks{0, AllChecks} {
			if err := k.Run(mem, l); err != nil && !strings.HasPrefix(err.Error(), "ptxvm: ") {
				t.Fatal(fmt.Errorf("%w in\n%s", err, text))
			}
		}
	}
	return true
}

package ptxvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const header = ".version 7.8\n.target sm_90\n.address_size 64\n"

// onLoad sees every text that a test expects to be valid.
var onLoad = func(text string) {}

func mustLoad(t testing.TB, text string) *Module {
	t.Helper()
	m, err := Load(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, numbered(text))
	}
	onLoad(text)
	return m
}

func numbered(text string) string {
	var b strings.Builder
	for i, line := range strings.Split(text, "\n") {
		fmt.Fprintf(&b, "%3d %s\n", i+1, line)
	}
	return b.String()
}

// kernelText wraps a body whose registers are %p, %h (b16), %r, %rd, %f, %d and that finds a global thread index in %r0, a
// pointer in %rd0 and the address of its own 4-byte element in %rd1. Its first line is bodyLine.
func kernelText(body string) string {
	return header + `.visible .entry k(.param .u64 ptr, .param .u64 other, .param .u32 n) {
.reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<16>; .reg .b64 %rd<16>; .reg .f32 %f<8>; .reg .f64 %d<8>;
.shared .align 16 .b8 tile[4096];
mov.u32 %r0, %tid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %ctaid.x; mad.lo.u32 %r0, %r1, %r2, %r0;
ld.param.u64 %rd0, [ptr]; mad.wide.u32 %rd1, %r0, 4, %rd0;
` + strings.TrimPrefix(body, "\n") + "\n}\n"
}

const bodyLine = 9

// runner launches kernels over one buffer of words, n of them, at params ptr and other.
type runner struct {
	mem      *Memory
	ptr, oth uint64
	n        int
}

func newRunner(t testing.TB, n int, init func(i int) uint32) *runner {
	t.Helper()
	r := &runner{mem: NewMemory(DefaultBase, DefaultSpace), n: n}
	for _, p := range []*uint64{&r.ptr, &r.oth} {
		var err error
		if *p, err = r.mem.Alloc(uint64(n) * 4); err != nil {
			t.Fatal(err)
		}
	}
	if init != nil {
		b := make([]byte, 4*n)
		for i := range n {
			binary.LittleEndian.PutUint32(b[4*i:], init(i))
		}
		if err := r.mem.Write(r.ptr, b); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *runner) params() [][]byte {
	return [][]byte{param64(r.ptr), param64(r.oth), param64(uint64(r.n))}
}

func param64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// run executes a body with all checks, in the natural order.
func (r *runner) run(t testing.TB, body string, grid, block uint32) error {
	t.Helper()
	k := mustLoad(t, kernelText(body)).Kernel("k")
	l := Launch{Grid: [3]uint32{grid, 1, 1}, Block: [3]uint32{block, 1, 1}, Params: r.params(), Checks: AllChecks, Workers: 1, Budget: 1 << 16}
	return k.Run(r.mem, l)
}

func (r *runner) words(t testing.TB, ptr uint64) []uint32 {
	t.Helper()
	b := make([]byte, 4*r.n)
	if err := r.mem.Read(ptr, b); err != nil {
		t.Fatal(err)
	}
	out := make([]uint32, r.n)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return out
}

// wantWords runs a body over the words 0, 1, 2, … and compares what it leaves.
func wantWords(t *testing.T, body string, grid, block uint32, want func(i int) uint32) {
	t.Helper()
	n := int(grid * block)
	r := newRunner(t, n, func(i int) uint32 { return uint32(i) })
	if err := r.run(t, body, grid, block); err != nil {
		t.Fatalf("%v\n%s", err, numbered(kernelText(body)))
	}
	for i, got := range r.words(t, r.ptr) {
		if got != want(i) {
			t.Fatalf("element %d: got %#x (%d), want %#x (%d)\n%s", i, got, got, want(i), want(i), numbered(kernelText(body)))
		}
	}
}

// wantFault runs a body and checks the fault's kind and line, counted in the body from 1.
func wantFault(t *testing.T, r *runner, body string, grid, block uint32, kind Kind, line int) *Fault {
	t.Helper()
	err := r.run(t, body, grid, block)
	var f *Fault
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a fault: %v\n%s", err, kind, numbered(kernelText(body)))
	}
	if f.Kind != kind || f.Line != line+bodyLine-1 {
		t.Fatalf("got %v\nwant %v at line %d of the body\n%s", f, kind, line, numbered(kernelText(body)))
	}
	return f
}

func wantClean(t *testing.T, r *runner, body string, grid, block uint32) {
	t.Helper()
	if err := r.run(t, body, grid, block); err != nil {
		t.Fatalf("%v\n%s", err, numbered(kernelText(body)))
	}
}

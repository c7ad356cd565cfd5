package ptxvm

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"testing"
)

// adamwText is a kernel as our compiler would emit it: four elements a thread in 16-byte accesses, an element a thread
// behind the last full four, scalars in device memory, moments below the normal range flushed to zero.
func adamwText() string {
	var b strings.Builder
	b.WriteString(header + `
.visible .entry adamw(.param .u64 p, .param .u64 g, .param .u64 m, .param .u64 v, .param .u64 scalars, .param .u64 n)
.maxntid 256, 1, 1
{
.reg .pred %q<4>; .reg .b32 %r<8>; .reg .b64 %rd<16>; .reg .f32 %s<8>; .reg .f32 %t<8>;
.reg .f32 %p<4>; .reg .f32 %g<4>; .reg .f32 %m<4>; .reg .f32 %v<4>;
ld.param.u64 %rd0, [n];
ld.param.u64 %rd1, [scalars]; cvta.to.global.u64 %rd1, %rd1;
ld.global.nc.v4.f32 {%s0, %s1, %s2, %s3}, [%rd1];
ld.global.nc.v4.f32 {%s4, %s5, %s6, %s7}, [%rd1+16];
ld.param.u64 %rd2, [p]; cvta.to.global.u64 %rd2, %rd2;
ld.param.u64 %rd3, [g]; cvta.to.global.u64 %rd3, %rd3;
ld.param.u64 %rd4, [m]; cvta.to.global.u64 %rd4, %rd4;
ld.param.u64 %rd5, [v]; cvta.to.global.u64 %rd5, %rd5;
mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x;
mul.wide.u32 %rd6, %r1, %r2; cvt.u64.u32 %rd7, %r0; add.u64 %rd6, %rd6, %rd7; shl.b64 %rd6, %rd6, 2; // first element
setp.ge.u64 %q0, %rd6, %rd0; @%q0 ret;
shl.b64 %rd7, %rd6, 2;
add.u64 %rd2, %rd2, %rd7; add.u64 %rd3, %rd3, %rd7; add.u64 %rd4, %rd4, %rd7; add.u64 %rd5, %rd5, %rd7;
sub.u64 %rd8, %rd0, %rd6; setp.lt.u64 %q0, %rd8, 4; @%q0 bra TAIL;
`)
	elem := func(i int) {
		n := strconv.Itoa(i)
		r := strings.NewReplacer("P", "%p"+n, "G", "%g"+n, "M", "%m"+n, "V", "%v"+n)
		b.WriteString(r.Replace(`mul.rn.f32 P, P, %s0;
mul.rn.f32 %t0, %s1, M; mul.rn.f32 %t1, %s2, G; add.rn.f32 M, %t0, %t1;
abs.f32 %t2, M; setp.lt.f32 %q1, %t2, 0f00800000; selp.f32 M, 0f00000000, M, %q1;
mul.rn.f32 %t0, %s3, V; mul.rn.f32 %t1, %s4, G; mul.rn.f32 %t1, %t1, G; add.rn.f32 V, %t0, %t1;
abs.f32 %t2, V; setp.lt.f32 %q1, %t2, 0f00800000; selp.f32 V, 0f00000000, V, %q1;
sqrt.rn.f32 %t3, V; mul.rn.f32 %t3, %t3, %s5; add.rn.f32 %t3, %t3, %s6;
div.rn.f32 %t4, M, %t3; mul.rn.f32 %t4, %s7, %t4; sub.rn.f32 P, P, %t4;
`))
	}
	b.WriteString(`ld.global.v4.f32 {%p0, %p1, %p2, %p3}, [%rd2]; ld.global.nc.v4.f32 {%g0, %g1, %g2, %g3}, [%rd3];
ld.global.v4.f32 {%m0, %m1, %m2, %m3}, [%rd4]; ld.global.v4.f32 {%v0, %v1, %v2, %v3}, [%rd5];
`)
	for i := range 4 {
		elem(i)
	}
	b.WriteString(`st.global.v4.f32 [%rd2], {%p0, %p1, %p2, %p3};
st.global.v4.f32 [%rd4], {%m0, %m1, %m2, %m3}; st.global.v4.f32 [%rd5], {%v0, %v1, %v2, %v3};
ret;
TAIL:
ld.global.f32 %p0, [%rd2]; ld.global.nc.f32 %g0, [%rd3]; ld.global.f32 %m0, [%rd4]; ld.global.f32 %v0, [%rd5];
`)
	elem(0)
	b.WriteString(`st.global.f32 [%rd2], %p0; st.global.f32 [%rd4], %m0; st.global.f32 [%rd5], %v0;
add.u64 %rd2, %rd2, 4; add.u64 %rd3, %rd3, 4; add.u64 %rd4, %rd4, 4; add.u64 %rd5, %rd5, 4;
sub.u64 %rd8, %rd8, 1; setp.ne.u64 %q0, %rd8, 0; @%q0 bra TAIL;
}
`)
	return b.String()
}

// adamw is a step over n elements, set up and ready to run.
type adamw struct {
	mem    *Memory
	kernel *Kernel
	launch Launch
	data   [4][]float32 // p, g, m, v
	ptr    [4]uint64
}

var adamwScalars = [8]float32{1 - 1e-5, 0.9, 0.1, 0.999, 0.001, 31.6, 1e-8, 1e-3}

func newAdamW(t testing.TB, n int) *adamw {
	a := &adamw{mem: NewMemory(DefaultBase, DefaultSpace), kernel: mustLoad(t, adamwText()).Kernel("adamw")}
	for k := range 4 {
		a.data[k] = make([]float32, n)
		for i := range n {
			x := float32(math.Sin(float64(i*(k+3)))) * 0.01
			if k == 3 {
				x *= x
			}
			if i%17 == 0 && k > 0 {
				x *= 0x1p-120 // some moments underflow
			}
			a.data[k][i] = x
		}
		a.ptr[k] = a.upload(t, a.data[k])
		a.launch.Params = append(a.launch.Params, param64(a.ptr[k]))
	}
	a.launch.Params = append(a.launch.Params, param64(a.upload(t, adamwScalars[:])), param64(uint64(n)))
	a.launch.Block = [3]uint32{256, 1, 1}
	a.launch.Grid = [3]uint32{uint32(n+1023) / 1024, 1, 1}
	return a
}

func (a *adamw) upload(t testing.TB, f []float32) uint64 {
	ptr, err := a.mem.Alloc(uint64(4 * len(f)))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 0, 4*len(f))
	for _, x := range f {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	if err := a.mem.Write(ptr, b); err != nil {
		t.Fatal(err)
	}
	return ptr
}

// step is the same in Go.
func (a *adamw) step() {
	s := adamwScalars
	flush := func(x float32) float32 {
		if math.Abs(float64(x)) < 0x1p-126 {
			return 0
		}
		return x
	}
	for i := range a.data[0] {
		p, g, m, v := a.data[0][i], a.data[1][i], a.data[2][i], a.data[3][i]
		p = float32(p * s[0])
		m = flush(float32(s[1]*m) + float32(s[2]*g))
		v = flush(float32(s[3]*v) + float32(float32(s[4]*g)*g))
		d := float32(float32(math.Sqrt(float64(v)))*s[5]) + s[6]
		p -= float32(s[7] * (m / d))
		a.data[0][i], a.data[2][i], a.data[3][i] = p, m, v
	}
}

// TestAdamW compares the kernel with Go bit for bit, over lengths with every kind of tail.
func TestAdamW(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 31, 127, 1023, 1024, 4097, 100003} {
		a := newAdamW(t, n)
		for step := range 3 {
			a.launch.Checks, a.launch.Seed = AllChecks, uint64(step)
			if err := a.kernel.Run(a.mem, a.launch); err != nil {
				t.Fatal(err)
			}
			a.step()
		}
		for k, want := range a.data {
			b := make([]byte, 4*n)
			if err := a.mem.Read(a.ptr[k], b); err != nil {
				t.Fatal(err)
			}
			for i, w := range want {
				if got := binary.LittleEndian.Uint32(b[4*i:]); got != math.Float32bits(w) {
					t.Fatalf("n=%d, array %d, element %d: got %#x (%g), want %#x (%g)", n, k, i,
						got, math.Float32frombits(got), math.Float32bits(w), w)
				}
			}
		}
	}
}

// BenchmarkAdamW reports elements a second with and without checks.
func BenchmarkAdamW(b *testing.B) {
	for name, checks := range map[string]Checks{"fast": 0, "checked": AllChecks} {
		b.Run(name, func(b *testing.B) {
			const n = 1 << 20
			a := newAdamW(b, n)
			a.launch.Checks = checks
			b.SetBytes(28 * n)
			for b.Loop() {
				if err := a.kernel.Run(a.mem, a.launch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds()/1e6, "Melem/s")
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	text := adamwText()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Load(text); err != nil {
			b.Fatal(err)
		}
	}
}

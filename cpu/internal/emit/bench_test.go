package emit

import (
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/kernels/ir"
)

// moments is the first pass of LAMB over planes of a type: it stores the moments and the direction, and if it has fills sums the
// squares of the parameter and of the direction.
func moments(t ir.Type, fills bool) Loop {
	var fields []ir.Field
	for i, name := range []string{"e.P", "e.G", "e.M", "e.V"} {
		fields = append(fields, ir.Field{Bank: elements, Index: i, Name: name, Type: t})
	}
	for i, name := range []string{"s.Beta1", "s.OneMinusBeta1", "s.Beta2", "s.OneMinusBeta2", "s.RootCorrection2", "s.Eps", "s.WeightDecay"} {
		fields = append(fields, ir.Field{Bank: scalars, Index: i, Name: name})
	}
	l := Loop{Planes: []int{0, 1, 2, 3}}
	if fills {
		l.Fills = []Fill{{Var: len(fields), Kind: FillSquares}, {Var: len(fields) + 1, Kind: FillSquares}}
		fields = append(fields, ir.Field{Bank: 2, Name: "t.P"}, ir.Field{Bank: 2, Index: 1, Name: "t.U"})
	}
	b := ir.NewBuilder("moments", 32, fields)
	load, store := b.Var, func(x ir.Value) ir.Value { return x }
	if t == ir.U16 {
		load = func(i int) ir.Value { return b.Unary(ir.FromBits, b.Shift(ir.WShl, b.Var(i), 16)) }
		store = func(x ir.Value) ir.Value {
			bits := b.Unary(ir.ToBits, x)
			odd := b.Binary(ir.WAnd, b.Shift(ir.WShr, bits, 16), b.Word(1))
			rounded := b.Binary(ir.WAdd, b.Binary(ir.WOr, bits, odd), b.Word(0x7fff))
			return b.Shift(ir.WShr, b.Select(b.Binary(ir.Ne, x, x), b.Binary(ir.WOr, bits, b.Word(quietBit)), rounded), 16)
		}
	}
	s := func(i int) ir.Value { return b.Var(4 + i) }
	mix := func(x, y ir.Value, i int) ir.Value {
		return b.Binary(ir.Add, b.Binary(ir.Mul, s(i), x), b.Binary(ir.Mul, s(i+1), y))
	}
	p, g := load(0), load(1)
	m, v := mix(load(2), g, 0), mix(load(3), b.Binary(ir.Mul, g, g), 2)
	u := b.Binary(ir.Div, m, b.Binary(ir.Add, b.Binary(ir.Mul, b.Unary(ir.Sqrt, v), s(4)), s(5)))
	u = b.Binary(ir.Add, u, b.Binary(ir.Mul, s(6), p))
	final := []ir.Value{b.Var(0), store(u), store(m), store(v)}
	for i := range fields[4:] {
		final = append(final, b.Var(4+i))
	}
	if fills {
		final[len(fields)-2], final[len(fields)-1] = p, u
	}
	l.Func = b.Func(final)
	l.Uniforms, l.Varying = l.Func.Uniforms(elements), l.Func.Varying(elements)
	return l
}

// BenchmarkFills is that pass over tiles that a second-level cache holds, in turns with the same without fills. Ratio is its time over the other's, at
// the medians.
func BenchmarkFills(b *testing.B) {
	for _, set := range sets(b) {
		for name, t := range map[string]ir.Type{"f32": ir.Float, "bf16": ir.U16} {
			b.Run(set.String()+", "+name, func(b *testing.B) {
				const tile, tiles = 4096, 16
				var loops [2]*exec.Code
				frame := make([]byte, 64<<10)
				for uintptr(unsafe.Pointer(&frame[0]))%64 != 0 {
					frame = frame[1:]
				}
				FillFrame(frame)
				for i := range loops {
					l := moments(t, i == 1)
					l.Set = set
					code, err := Compile(l)
					require.NoError(b, err)
					loops[i], err = exec.New(code.Text)
					require.NoError(b, err)
				}
				block := make([]float32, Head+7)
				for i, bits := range HeadBits {
					block[i] = all[float32](bits)
				}
				for i := range 7 {
					block[Head+i] = 0.5
				}
				memory := make([]byte, 4*tile*tiles*4+1024)
				size := t.Size(32)
				run := func(code *exec.Code) time.Duration {
					began := time.Now()
					for i := range tiles {
						var at [4]*byte
						for k := range at {
							at[k] = &memory[(k*tiles+i)*tile*size+192*k]
						}
						code.Run(&at[0], (*byte)(unsafe.Pointer(&block[0])), &frame[0], tile)
					}
					return time.Since(began)
				}
				var took [2][]time.Duration
				for b.Loop() {
					for i, code := range loops {
						took[i] = append(took[i], run(code))
					}
				}
				for i := range took {
					slices.Sort(took[i])
				}
				with, without := took[1][len(took[1])/2], took[0][len(took[0])/2]
				b.ReportMetric(float64(with)/float64(without), "ratio")
				b.ReportMetric(float64(with.Nanoseconds())/(tile*tiles), "ns/element")
			})
		}
	}
}

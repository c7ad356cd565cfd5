package ptx

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// decode is the number that a word of 16 bits stands for.
func decode(b *ir.Builder, t device.DType, w ir.Value) ir.Value {
	if t == device.Float16 {
		return b.Unary(ir.FromHalf, w)
	}
	return b.Unary(ir.FromBits, b.Shift(ir.WShl, w, 16))
}

// encode is the word of the nearest number.
func encode(b *ir.Builder, t device.DType, x ir.Value) ir.Value {
	if t == device.Float16 {
		return b.Unary(ir.ToHalf, x)
	}
	w := b.Unary(ir.ToBits, x)
	odd := b.Binary(ir.WAnd, b.Shift(ir.WShr, w, 16), b.Word(1))
	w = b.Binary(ir.WAdd, w, b.Binary(ir.WAdd, odd, b.Word(0x7fff)))
	return b.Select(b.Binary(ir.Ne, x, x), b.Word(0x7fc0), b.Shift(ir.WShr, w, 16))
}

// stored is f with what slots hold in memory stored as t.
func stored(f *ir.Func, t device.DType, slots func(name string) bool) *ir.Func {
	vars := slices.Clone(f.Vars)
	narrow := func(i int) bool { return vars[i].Bank == rule.ElemBank && slots(vars[i].Name) }
	for i := range vars {
		if narrow(i) {
			vars[i].Type = ir.U16
		}
	}
	b := ir.NewBuilder(f.Name, f.Width, vars)
	entry := make([]ir.Value, len(vars))
	for i := range vars {
		entry[i] = b.Var(i)
		if narrow(i) {
			entry[i] = decode(b, t, entry[i])
		}
	}
	final := b.Inline(f, entry)
	for i, x := range final {
		if x == entry[i] {
			final[i] = b.Var(i)
		} else if narrow(i) {
			final[i] = encode(b, t, x)
		}
	}
	return b.Func(final)
}

// formats are texts of graphs that store in fewer bits than they compute in, and of one that asks for the element's index.
func formats(t *testing.T) map[string]string {
	all := map[string]string{}
	add := func(name string, p kernels.Program, change func(f *ir.Func) *ir.Func) {
		p.DType = device.Float32
		f, err := p.Graph()
		require.NoError(t, err)
		all[name] = OfGraph(name, change(f), len(p.Rule.Scalars)).Text
	}
	every := func(string) bool { return true }
	given := func(name string) bool { return strings.HasSuffix(name, ".P") || strings.HasSuffix(name, ".G") }
	adam := kernels.AdamRule().With(kernels.AdamHyper{}, kernels.AdamOptions{})
	amsgrad := kernels.AdamRule().With(kernels.AdamHyper{}, kernels.AdamOptions{AMSGrad: true})
	sgd := kernels.SGDRule().With(kernels.SGDHyper{}, kernels.SGDOptions{Momentum: true})
	in := func(t device.DType, slots func(string) bool) func(f *ir.Func) *ir.Func {
		return func(f *ir.Func) *ir.Func { return stored(f, t, slots) }
	}
	add("adam_bf16", kernels.Program{Rule: adam.Rule}, in(device.BFloat16, every))
	add("adam_f32_bf16", kernels.Program{Rule: adam.Rule}, in(device.BFloat16, given))
	add("adam_f16", kernels.Program{Rule: adam.Rule}, in(device.Float16, every))
	add("adam_l1_l2_amsgrad_bf16", kernels.Program{Rule: amsgrad.Rule, Options: amsgrad.Options, Penalties: rule.AllPenalties}, in(device.BFloat16, every))
	add("sgd_momentum_bf16", kernels.Program{Rule: sgd.Rule, Options: sgd.Options}, in(device.BFloat16, every))
	add("sgd_momentum_f32_f16", kernels.Program{Rule: sgd.Rule, Options: sgd.Options}, in(device.Float16, given))
	all["words"] = OfGraph("words", words(), 0).Text
	return all
}

// words is a graph with every operation on words, over planes of every type.
func words() *ir.Func {
	fields := []ir.Field{{Name: "e.Bytes", Type: ir.U8}, {Name: "e.Halves", Type: ir.U16}, {Name: "e.Words", Type: ir.U32}, {Name: "e.Numbers"}, {Name: "e.Constant", Type: ir.U16}, {Name: "e.Read", Type: ir.U8}}
	for i := range fields {
		fields[i].Bank, fields[i].Index = rule.ElemBank, i
	}
	b := ir.NewBuilder("words", 32, fields)
	bytes, halves, whole, x := b.Var(0), b.Var(1), b.Var(2), b.Var(3)
	w := b.Binary(ir.WMulHigh, b.Binary(ir.WXor, b.Element(false), whole), b.Binary(ir.WMul, b.Element(true), b.Word(0x9e3779b9)))
	w = b.Binary(ir.WAdd, w, b.Var(5))
	w = b.Binary(ir.WSub, b.Binary(ir.WOr, w, b.Shift(ir.WShl, bytes, 8)), b.Binary(ir.WAnd, b.Unary(ir.ToBits, x), b.Word(0xff)))
	less := b.Binary(ir.WLt, w, halves)
	y := b.Select(less, b.Unary(ir.FromHalf, halves), b.Unary(ir.FromBits, w))
	return b.Func([]ir.Value{b.Shift(ir.WShr, w, 24), b.Unary(ir.ToHalf, y), b.Select(b.Binary(ir.WEq, w, bytes), w, b.Word(7)),
		b.Binary(ir.Add, y, b.Unary(ir.FromBits, b.Word(0x3f800000))), b.Word(5), b.Var(5)})
}

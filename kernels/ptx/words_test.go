package ptx

import (
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// words is a graph with every operation on words, over planes of every type.
func words() *ir.Func {
	fields := []ir.Field{{Name: "e.Bytes", Type: ir.U8}, {Name: "e.Halves", Type: ir.U16}, {Name: "e.Words", Type: ir.U32}, {Name: "e.Numbers"}, {Name: "e.Constant", Type: ir.U16}, {Name: "e.Read", Type: ir.U8}}
	for i := range fields {
		fields[i].Bank, fields[i].Index = rule.ElemBank, i
	}
	b := ir.NewBuilder("words", 32, fields)
	bytes, halves, whole, x := b.Var(0), b.Var(1), b.Var(2), b.Var(3)
	w := b.Binary(ir.WMulHigh, b.Binary(ir.WXor, b.Element(false), whole), b.Binary(ir.WMul, b.Element(true), b.Word(0x9e3779b9)))
	w = b.Shift(ir.WRotl, b.Binary(ir.WAdd, w, b.Var(5)), 9)
	w = b.Binary(ir.WSub, b.Binary(ir.WOr, w, b.Shift(ir.WShl, bytes, 8)), b.Binary(ir.WAnd, b.Unary(ir.ToBits, x), b.Word(0xff)))
	less := b.Binary(ir.WLt, w, halves)
	y := b.Select(less, b.Unary(ir.FromHalf, halves), b.Unary(ir.FromBits, w))
	return b.Func([]ir.Value{b.Shift(ir.WShr, w, 24), b.Unary(ir.ToHalf, y), b.Select(b.Binary(ir.WEq, w, bytes), w, b.Word(7)),
		b.Binary(ir.Add, y, b.Unary(ir.FromBits, b.Word(0x3f800000))), b.Word(5), b.Var(5)})
}

package syntax

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"math"
	"strconv"

	"github.com/fusestep/fusestep/kernels/ir"
)

// FormatFunction looks up and checks a format function by name. Its banks are its parameters and its results.
func (f *File) FormatFunction(name string) (*Function, error) {
	fn, sig, err := f.function(name, true)
	if err != nil {
		return nil, err
	}
	if sig.Results().Len() == 0 {
		return nil, fn.errorf(fn.decl, "%s returns nothing: a format function returns numbers and words", name)
	}
	fn.Banks = []Bank{{Pos: fn.Pos}, {Pos: fn.Pos}}
	for i, tuple := range []*types.Tuple{sig.Params(), sig.Results()} {
		role := []string{"param", "result"}[i]
		for v := range tuple.Variables() {
			n := len(fn.Banks[i].Fields)
			field := BankField{Name: v.Name(), Pos: f.fset.Position(v.Pos()), Mode: []Mode{Read, Write}[i]}
			if field.Name == "" || field.Name == "_" {
				field.Name = role + strconv.Itoa(n)
			}
			switch {
			case n == maxFields:
				return nil, fn.errorAt(v.Pos(), "%s %s is one too many: a format function has at most %d", role, field.Name, maxFields)
			case fn.isWord(v.Type()):
				field.Type = ir.U32
			case !fn.calculates(v.Type()):
				return nil, fn.errorAt(v.Pos(), "%s %s is a %s: a format function takes and returns words and numbers of one type", role, field.Name, v.Type())
			}
			fn.Banks[i].Fields = append(fn.Banks[i].Fields, field)
		}
	}
	return fn, nil
}

// enter gives a format function's parameters and named results their first values.
func (l *lowerer) enter(st *state) {
	sig := l.file.info.Defs[l.decl.Name].Type().(*types.Signature)
	for i := range sig.Params().Len() {
		st.locals[sig.Params().At(i)] = st.fields[i]
	}
	l.results = sig.Results().Len()
	for p := range sig.Results().Variables() {
		st.locals[p] = l.zero(l.decl, p.Type())
	}
}

func wordOf(c constant.Value) uint32 {
	x, _ := constant.Uint64Val(constant.ToInt(c)) // the checker has seen that it fits
	return uint32(x)
}

func (l *lowerer) word(e ast.Expr, st *state) val {
	v := l.expr(e, st)
	if !l.isWord(l.typeOf(e)) {
		l.fail(e, "a word is needed here: rule.ToBits and rule.ToHalf make one of a number")
	}
	return v
}

func (l *lowerer) wordUnary(e *ast.UnaryExpr, st *state) val {
	switch e.Op {
	case token.XOR:
		return val{Value: l.complement(e.X, st)}
	case token.SUB:
		return val{Value: l.b.Binary(ir.WSub, l.b.Word(0), l.word(e.X, st).Value)}
	}
	return l.word(e.X, st) // +
}

// wordAssign are the assignments that calculate with words.
var wordAssign = map[token.Token]token.Token{
	token.ADD_ASSIGN: token.ADD, token.SUB_ASSIGN: token.SUB, token.MUL_ASSIGN: token.MUL, token.QUO_ASSIGN: token.QUO, token.REM_ASSIGN: token.REM,
	token.AND_ASSIGN: token.AND, token.OR_ASSIGN: token.OR, token.XOR_ASSIGN: token.XOR, token.AND_NOT_ASSIGN: token.AND_NOT,
	token.SHL_ASSIGN: token.SHL, token.SHR_ASSIGN: token.SHR,
}

// wordBinary lowers an operation whose left operand is a word.
func (l *lowerer) wordBinary(e *ast.BinaryExpr, st *state) val {
	compare := func(op ir.Op, a, b ast.Expr, negated bool) val {
		x, y := l.word(a, st), l.word(b, st)
		v := l.b.Binary(op, x.Value, y.Value)
		if negated {
			v = l.b.Unary(ir.Not, v)
		}
		return val{Value: v}
	}
	switch e.Op {
	case token.LSS:
		return compare(ir.WLt, e.X, e.Y, false)
	case token.GEQ:
		return compare(ir.WLt, e.X, e.Y, true)
	case token.GTR:
		return compare(ir.WLt, e.Y, e.X, false)
	case token.LEQ:
		return compare(ir.WLt, e.Y, e.X, true)
	case token.EQL:
		return compare(ir.WEq, e.X, e.Y, false)
	case token.NEQ:
		return compare(ir.WEq, e.X, e.Y, true)
	}
	return l.wordArith(e, e.Op, e.X, e.Y, st)
}

// wordArith makes x op y.
func (l *lowerer) wordArith(at ast.Node, op token.Token, x, y ast.Expr, st *state) val {
	a := l.word(x, st)
	switch op {
	case token.SHL:
		return val{Value: l.b.Shift(ir.WShl, a.Value, l.count(y))}
	case token.SHR:
		return val{Value: l.b.Shift(ir.WShr, a.Value, l.count(y))}
	case token.AND_NOT:
		return val{Value: l.b.Binary(ir.WAnd, a.Value, l.complement(y, st))}
	}
	ops := map[token.Token]ir.Op{token.ADD: ir.WAdd, token.SUB: ir.WSub, token.MUL: ir.WMul, token.AND: ir.WAnd, token.OR: ir.WOr, token.XOR: ir.WXor}
	o, ok := ops[op]
	if !ok {
		l.fail(at, "operator %s is not allowed on words: they have + - * & | ^ &^ << >> and comparisons", op)
	}
	return val{Value: l.b.Binary(o, a.Value, l.word(y, st).Value)}
}

// count is by how much a word is shifted.
func (l *lowerer) count(e ast.Expr) int {
	l.step(e)
	tv := l.typeAndValue(e)
	if tv.Value == nil {
		l.fail(e, "a word is shifted by a constant")
	}
	n, ok := constant.Uint64Val(constant.ToInt(tv.Value))
	if !ok || n > 31 {
		l.fail(e, "a word is shifted by 0 to 31 bits, not by %s", tv.Value)
	}
	return int(n)
}

// complement is ^e.
func (l *lowerer) complement(e ast.Expr, st *state) ir.Value {
	if c := l.typeAndValue(e).Value; c != nil {
		return l.b.Word(^wordOf(c))
	}
	return l.b.Binary(ir.WXor, l.word(e, st).Value, l.b.Word(math.MaxUint32))
}

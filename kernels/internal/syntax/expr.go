package syntax

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"sort"
	"strings"

	"github.com/fusestep/fusestep/kernels/ir"
)

// typeAndValue is what the checker knows of an expression, in the rule's file or in the library.
func (l *lowerer) typeAndValue(e ast.Expr) types.TypeAndValue {
	if tv, ok := l.file.info.Types[e]; ok {
		return tv
	}
	return l.file.lib.info.Types[e]
}

func (l *lowerer) typeOf(e ast.Expr) types.Type {
	if tv := l.typeAndValue(e); tv.Type != nil {
		return tv.Type
	}
	return l.object(e.(*ast.Ident)).Type() // a variable where it is declared
}

// object is what an identifier names.
func (l *lowerer) object(id *ast.Ident) types.Object {
	for _, info := range []*types.Info{l.file.info, l.file.lib.info} {
		if o := info.Defs[id]; o != nil {
			return o
		}
		if o := info.Uses[id]; o != nil {
			return o
		}
	}
	l.fail(id, "%s is not known", id.Name)
	return nil
}

func (l *lowerer) isParam(obj types.Object) bool {
	_, bank := l.banks[obj]
	return bank || obj == l.options
}

func isBool(t types.Type) bool {
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsBoolean != 0
}

// field resolves p.X, where p is a bank: the field, its index among all banks' fields, and its name with the bank's.
func (l *lowerer) field(e *ast.SelectorExpr) (f *BankField, field int, name string) {
	if id, ok := ast.Unparen(e.X).(*ast.Ident); ok {
		if bank, ok := l.banks[l.object(id)]; ok {
			fields := l.Banks[bank].Fields
			for i := range fields {
				if fields[i].Name == e.Sel.Name {
					return &fields[i], l.firstOf[bank] + i, l.Banks[bank].Param + "." + e.Sel.Name
				}
			}
		}
	}
	l.fail(e, "only fields of the rule's parameters can be selected")
	return nil, 0, ""
}

// writable names the parameters whose fields may be stored to.
func (l *lowerer) writable() string {
	var names []string
	for _, b := range l.Banks {
		if slices.ContainsFunc(b.Fields, func(f BankField) bool { return f.Mode != Read }) {
			names = append(names, b.Param)
		}
	}
	return strings.Join(names, " and ")
}

func (l *lowerer) condition(e ast.Expr, st *state) ir.Value {
	v := l.expr(e, st).Value
	if !l.b.IsBool(v) {
		l.fail(e, "a condition is needed here")
	}
	return v
}

func (l *lowerer) number(e ast.Expr, st *state) val {
	v := l.expr(e, st)
	if l.b.IsBool(v.Value) {
		l.fail(e, "a number is needed here")
	}
	if l.isWord(l.typeOf(e)) {
		l.fail(e, "a number is needed here, not a word: rule.FromBits and rule.FromHalf make one of a word")
	}
	return v
}

// expr lowers an expression that has one value.
func (l *lowerer) expr(e ast.Expr, st *state) val {
	l.step(e)
	switch t := l.typeOf(e); {
	case isBool(t):
	case l.isWord(t):
	case !l.isNumber(t):
		l.fail(e, "this is a %s: a rule has %s", t, l.kinds("and"))
	case !l.calculates(t):
		l.fail(e, "this is a %s: a generic rule calculates in its own number type", t)
	}
	if v := l.typeAndValue(e).Value; v != nil {
		if l.isWord(l.typeOf(e)) {
			return val{Value: l.b.Word(wordOf(v))}
		}
		if v.Kind() == constant.Bool {
			return val{Value: l.b.Bool(constant.BoolVal(v))}
		}
		return val{Value: l.constant(e, v)}
	}
	switch e := e.(type) {
	case *ast.ParenExpr:
		return l.expr(e.X, st)
	case *ast.Ident:
		return l.ident(e, st)
	case *ast.SelectorExpr:
		return l.selector(e, st)
	case *ast.UnaryExpr:
		if l.isWord(l.typeOf(e)) {
			return l.wordUnary(e, st)
		}
		switch e.Op {
		case token.SUB:
			x := l.number(e.X, st)
			return val{l.b.Unary(ir.Neg, x.Value), x.unrounded}
		case token.ADD:
			return l.number(e.X, st)
		case token.NOT:
			return val{Value: l.b.Unary(ir.Not, l.condition(e.X, st))}
		}
		l.fail(e, "operator %s is not allowed: a rule has unary -, + and !", e.Op)
	case *ast.BinaryExpr:
		return l.binary(e, st)
	case *ast.CallExpr:
		out := l.call(e, st)
		if len(out) != 1 {
			l.fail(e, "a call with one value is needed here, not %d", len(out))
		}
		return out[0]
	}
	l.fail(e, "this expression is not allowed: a rule has numbers, conditions, operators and calls")
	return val{}
}

// calculates says whether t is the number type that the rule calculates in.
func (fn *Function) calculates(t types.Type) bool {
	_, basic := types.Unalias(t).(*types.Basic)
	return fn.isNumber(t) && !(fn.Generic && basic)
}

// constant rounds a constant expression once to the rule's width, as the Go compiler does.
func (l *lowerer) constant(e ast.Expr, v constant.Value) ir.Value {
	v = constant.ToFloat(v)
	if v.Kind() != constant.Float {
		l.fail(e, "constant %s is not a number", v)
	}
	if l.width == 32 {
		x, _ := constant.Float32Val(v)
		return l.b.Const(float64(x))
	}
	x, _ := constant.Float64Val(v)
	return l.b.Const(x)
}

// converted is a constant that stands alone in a conversion to a type parameter. It is not constant any more, and so an untyped one
// becomes a float64 first, unless it is an integer: F(c) can be rounded twice where c·x, or a variable of type F, rounds c once.
func (l *lowerer) converted(e ast.Expr, tv types.TypeAndValue) ir.Value {
	if b, ok := tv.Type.Underlying().(*types.Basic); ok && b.Info()&types.IsFloat != 0 {
		x, _ := constant.Float64Val(constant.ToFloat(tv.Value))
		return l.constant(e, constant.MakeFloat64(x))
	}
	return l.constant(e, tv.Value)
}

func (l *lowerer) ident(e *ast.Ident, st *state) val {
	obj := l.object(e)
	if v, ok := st.locals[obj]; ok {
		return v
	}
	if l.isParam(obj) {
		l.fail(e, "%s can only be used through its fields", e.Name)
	}
	l.fail(e, "%s is neither a variable nor a constant", e.Name)
	return val{}
}

func (l *lowerer) selector(e *ast.SelectorExpr, st *state) val {
	if id, ok := ast.Unparen(e.X).(*ast.Ident); ok && l.options != nil && l.object(id) == l.options {
		return val{Value: l.b.Bool(l.enabled[e.Sel.Name])}
	}
	f, field, name := l.field(e)
	v := st.fields[field]
	switch {
	case f.Mode == Term:
		l.fail(e, "%s is %s", name, cmp.Or(f.Why, "written and never read"))
	case f.Mode == Write && v.Value == l.b.Var(field):
		l.fail(e, "%s is an output: it has no value before one is stored", name)
	}
	return v
}

func (l *lowerer) binary(e *ast.BinaryExpr, st *state) val {
	switch e.Op {
	case token.LAND:
		return val{Value: l.b.Binary(ir.And, l.condition(e.X, st), l.condition(e.Y, st))}
	case token.LOR:
		return val{Value: l.b.Binary(ir.Or, l.condition(e.X, st), l.condition(e.Y, st))}
	}
	if l.isWord(l.typeOf(e.X)) {
		return l.wordBinary(e, st)
	}
	x, y := l.number(e.X, st), l.number(e.Y, st)
	compare := func(op ir.Op, a, b val) val { return val{Value: l.b.Binary(op, a.Value, b.Value)} }
	switch e.Op {
	case token.LSS:
		return compare(ir.Lt, x, y)
	case token.LEQ:
		return compare(ir.Le, x, y)
	case token.GTR:
		return compare(ir.Lt, y, x)
	case token.GEQ:
		return compare(ir.Le, y, x)
	case token.EQL:
		return compare(ir.Eq, x, y)
	case token.NEQ:
		return compare(ir.Ne, x, y)
	}
	return l.arith(e, e.Op, x, y)
}

// arith makes x op y, and refuses a sum of what is not rounded.
func (l *lowerer) arith(at ast.Node, op token.Token, x, y val) val {
	ops := map[token.Token]ir.Op{token.ADD: ir.Add, token.SUB: ir.Sub, token.MUL: ir.Mul, token.QUO: ir.Div}
	o, ok := ops[op]
	if !ok {
		l.fail(at, "operator %s is not allowed: a rule has + - * /, comparisons, && || and !", op)
	}
	out := val{Value: l.b.Binary(o, x.Value, y.Value)}
	switch {
	case o == ir.Mul:
		out.unrounded = product
	case o == ir.Div && l.b.Fixed(y.Value):
		out.unrounded = quotient
	case o == ir.Div:
	case max(x.unrounded, y.unrounded) == product:
		l.fail(at, "a product is added without a conversion around it: write F(a*b), or the Go compiler may fuse the two")
	case max(x.unrounded, y.unrounded) == quotient:
		l.fail(at, "a quotient by a constant is added without a conversion around it: write F(a/2), or the Go compiler may multiply by the reciprocal and fuse the two")
	}
	return out
}

// ordered lists the variables by position.
func ordered(m map[types.Object]val) []types.Object {
	out := make([]types.Object, 0, len(m))
	for o := range m {
		out = append(out, o)
	}
	sort.Slice(out, func(i, k int) bool { return out[i].Pos() < out[k].Pos() })
	return out
}

// stmtName names a statement for a message.
func stmtName(s ast.Stmt) string {
	switch s.(type) {
	case *ast.ForStmt, *ast.RangeStmt:
		return "a loop"
	case *ast.IncDecStmt:
		return "++ or --"
	case *ast.ExprStmt:
		return "an expression on its own"
	}
	return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", s), "*ast."), "Stmt") + " statement"
}

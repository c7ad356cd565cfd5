package syntax

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"sort"
	"strings"

	"github.com/fusestep/fusestep/kernels/ir"
)

// typeAndValue is what the checker knows of an expression, in the rule's file or in the library.
func (l *lowerer) typeAndValue(e ast.Expr) types.TypeAndValue {
	if tv, ok := l.info.Types[e]; ok {
		return tv
	}
	return l.lib.info.Types[e]
}

func (l *lowerer) typeOf(e ast.Expr) types.Type {
	if id, ok := e.(*ast.Ident); ok {
		return l.object(id).Type()
	}
	return l.typeAndValue(e).Type
}

// object is what an identifier names.
func (l *lowerer) object(id *ast.Ident) types.Object {
	for _, info := range []*types.Info{l.info, l.lib.info} {
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

func isPackageVar(v *types.Var) bool { return v.Pkg() != nil && v.Parent() == v.Pkg().Scope() }

func isBool(t types.Type) bool {
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsBoolean != 0
}

// field resolves p.X, where p is a bank: the bank and the field's index among all banks' fields.
func (l *lowerer) field(e *ast.SelectorExpr) (bank, field int) {
	if id, ok := ast.Unparen(e.X).(*ast.Ident); ok {
		if bank, ok := l.banks[l.object(id)]; ok {
			for i, f := range l.Banks[bank].Fields {
				if f.Name == e.Sel.Name {
					return bank, l.firstOf[bank] + i
				}
			}
		}
	}
	l.fail(e, "only fields of the rule's parameters can be selected")
	return 0, 0
}

// writable names the parameters whose fields may be stored to.
func (l *lowerer) writable() string {
	var names []string
	for _, b := range l.Banks {
		if b.Mode != Read {
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
	return v
}

// expr lowers an expression that has one value.
func (l *lowerer) expr(e ast.Expr, st *state) val {
	if tv := l.typeAndValue(e); tv.Value != nil {
		return val{Value: l.constant(e, tv)}
	}
	if id, ok := e.(*ast.Ident); ok {
		if v, ok := l.object(id).(*types.Var); ok && isPackageVar(v) {
			l.fail(e, "%s is a package variable: a rule depends on its parameters alone", id.Name)
		}
	}
	switch t := l.typeOf(e); {
	case isBool(t):
	case !isNumber(t):
		l.fail(e, "this is a %s: a rule has numbers and conditions", t)
	case l.Generic && t == types.Typ[types.Float64]:
		l.fail(e, "this is a float64: a generic rule calculates in its own number type")
	}
	switch e := e.(type) {
	case *ast.ParenExpr:
		return l.expr(e.X, st)
	case *ast.Ident:
		return l.ident(e, st)
	case *ast.SelectorExpr:
		return l.selector(e, st)
	case *ast.UnaryExpr:
		switch e.Op {
		case token.SUB:
			x := l.number(e.X, st)
			return val{l.b.Unary(ir.Neg, x.Value), x.product}
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

// constant rounds a constant expression once to the rule's width, as the Go compiler does.
func (l *lowerer) constant(e ast.Expr, tv types.TypeAndValue) ir.Value {
	switch v := constant.ToFloat(tv.Value); {
	case tv.Value.Kind() == constant.Bool:
		return l.b.Bool(constant.BoolVal(tv.Value))
	case v.Kind() != constant.Float:
	case l.width == 32:
		x, _ := constant.Float32Val(v)
		return l.b.Const(float64(x))
	default:
		x, _ := constant.Float64Val(v)
		return l.b.Const(x)
	}
	l.fail(e, "constant %s is not a number", tv.Value)
	return 0
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
	bank, field := l.field(e)
	v := st.fields[field]
	if l.Banks[bank].Mode == Write && v.Value == l.b.Var(field) {
		l.fail(e, "%s.%s is an output: it has no value before one is stored", l.Banks[bank].Param, e.Sel.Name)
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

// arith makes x op y, and refuses a sum of an unrounded product.
func (l *lowerer) arith(at ast.Node, op token.Token, x, y val) val {
	ops := map[token.Token]ir.Op{token.ADD: ir.Add, token.SUB: ir.Sub, token.MUL: ir.Mul, token.QUO: ir.Div}
	o, ok := ops[op]
	if !ok {
		l.fail(at, "operator %s is not allowed: a rule has + - * /, comparisons, && || and !", op)
	}
	if (o == ir.Add || o == ir.Sub) && (x.product || y.product) {
		l.fail(at, "a product is added without a conversion around it: write F(a*b), or the Go compiler may fuse the two")
	}
	return val{l.b.Binary(o, x.Value, y.Value), o == ir.Mul}
}

// call lowers a conversion, an intrinsic or a function to inline.
func (l *lowerer) call(e *ast.CallExpr, st *state) []val {
	if tv := l.typeAndValue(e.Fun); tv.IsType() {
		if !isNumber(tv.Type) || l.Generic && tv.Type == types.Typ[types.Float64] {
			l.fail(e, "conversion to %s: a rule calculates in one number type", tv.Type)
		}
		return []val{{Value: l.number(e.Args[0], st).Value}}
	}
	fun := ast.Unparen(e.Fun)
	if ix, ok := fun.(*ast.IndexExpr); ok {
		fun = ix.X
	}
	if sel, ok := fun.(*ast.SelectorExpr); ok {
		fun = sel.Sel
	}
	id, ok := fun.(*ast.Ident)
	if !ok {
		l.fail(e, "only functions can be called in a rule")
	}
	obj := l.object(id)
	if f, ok := obj.(*types.Func); ok {
		obj = f.Origin()
	}
	if obj.Pkg() == l.lib.pkg {
		if op, ok := l.lib.Intrinsics[obj.Name()]; ok {
			return []val{l.intrinsic(op, e, st)}
		}
	}
	decl := l.defs[obj]
	if decl == nil {
		decl = l.lib.defs[obj]
	}
	if decl == nil {
		l.fail(e, "%s cannot be called in a rule: only functions of its own file and of the rule package can, such as rule.Max", id.Name)
	}
	return l.inline(e, decl, obj, st)
}

func (l *lowerer) intrinsic(op Intrinsic, e *ast.CallExpr, st *state) val {
	switch op {
	case Sqrt:
		return val{Value: l.b.Unary(ir.Sqrt, l.number(e.Args[0], st).Value)}
	case Abs:
		x := l.number(e.Args[0], st)
		return val{l.b.Unary(ir.Abs, x.Value), x.product}
	default:
		if l.width == 32 {
			return val{Value: l.b.Const(0x1p-126)}
		}
		return val{Value: l.b.Const(0x1p-1022)}
	}
}

// inline lowers a call of a function of numbers and conditions.
func (l *lowerer) inline(e *ast.CallExpr, decl *ast.FuncDecl, obj types.Object, st *state) []val {
	sig := obj.Type().(*types.Signature)
	if l.depth++; l.depth > maxInlined {
		l.fail(e, "calls of %s nest too deep", decl.Name.Name)
	}
	callee := &state{locals: map[types.Object]val{}, fields: st.fields}
	for i := range sig.Params().Len() {
		p := sig.Params().At(i)
		if !isNumber(p.Type()) && !isBool(p.Type()) {
			l.fail(e, "%s takes a %s: functions that a rule calls take numbers and conditions", decl.Name.Name, p.Type())
		}
		callee.locals[p] = l.expr(e.Args[i], st)
	}
	results := l.results
	l.results = sig.Results().Len()
	end := l.run(decl.Body.List, callee, nil)
	l.results = results
	l.depth--
	return end.values
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

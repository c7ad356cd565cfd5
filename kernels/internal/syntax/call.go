package syntax

import (
	"go/ast"
	"go/types"

	"github.com/fusestep/fusestep/kernels/ir"
)

// call lowers a conversion, an intrinsic or a function to inline.
func (l *lowerer) call(e *ast.CallExpr, st *state) []val {
	if tv := l.typeAndValue(e.Fun); tv.IsType() {
		if l.isWord(tv.Type) {
			return []val{l.word(e.Args[0], st)}
		}
		if !l.calculates(tv.Type) {
			l.fail(e, "conversion to %s: a rule calculates in one number type", tv.Type)
		}
		l.step(e)
		if arg := l.typeAndValue(e.Args[0]); arg.Value != nil {
			return []val{{Value: l.converted(e.Args[0], arg)}}
		}
		return []val{{Value: l.number(e.Args[0], st).Value}}
	}
	fun := ast.Unparen(e.Fun)
	switch ix := fun.(type) {
	case *ast.IndexExpr:
		fun = ix.X
	case *ast.IndexListExpr:
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
		if f.Signature().Recv() != nil {
			l.fail(e, "%s is a method: a rule calls functions", id.Name)
		}
	}
	for _, info := range []*types.Info{l.file.info, l.file.lib.info} {
		for t := range info.Instances[id].TypeArgs.Types() {
			if !l.calculates(t) {
				l.fail(e, "%s is called for %s: a rule calculates in one number type", id.Name, t)
			}
		}
	}
	if obj.Pkg() == l.file.lib.pkg {
		if op, ok := l.file.lib.Intrinsics[obj.Name()]; ok {
			return []val{l.intrinsic(op, e, st)}
		}
	}
	decl := l.file.funcs[obj]
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
		return val{l.b.Unary(ir.Abs, x.Value), x.unrounded}
	case FromBits:
		return val{Value: l.b.Unary(ir.FromBits, l.word(e.Args[0], st).Value)}
	case FromHalf:
		return val{Value: l.b.Unary(ir.FromHalf, l.word(e.Args[0], st).Value)}
	case ToBits:
		return val{Value: l.b.Unary(ir.ToBits, l.number(e.Args[0], st).Value)}
	case ToHalf:
		return val{Value: l.b.Unary(ir.ToHalf, l.number(e.Args[0], st).Value)}
	case MulHigh:
		args := l.values(e.Args, 2, st)
		return val{Value: l.b.Binary(ir.WMulHigh, args[0].Value, args[1].Value)}
	default:
		return val{Value: l.b.SmallestNormal()}
	}
}

// inline lowers a call of a function of numbers and conditions.
func (l *lowerer) inline(e *ast.CallExpr, decl *ast.FuncDecl, obj types.Object, st *state) []val {
	sig := obj.Type().(*types.Signature)
	if l.depth++; l.depth > maxInlined {
		l.fail(e, "calls of %s nest too deep", decl.Name.Name)
	}
	callee := &state{locals: map[types.Object]val{}, fields: st.fields}
	for p := range sig.Params().Variables() {
		if !l.isValue(p.Type()) {
			l.fail(e, "%s takes a %s: functions that a rule calls take %s", decl.Name.Name, p.Type(), l.kinds("and"))
		}
	}
	if n := sig.Params().Len(); n > 0 {
		for i, v := range l.values(e.Args, n, st) {
			callee.locals[sig.Params().At(i)] = v
		}
	}
	for p := range sig.Results().Variables() {
		if p.Name() != "" {
			callee.locals[p] = l.zero(e, p.Type())
		}
	}
	results := l.results
	l.results = sig.Results().Len()
	end := l.run(decl.Body.List, callee, nil)
	l.results = results
	l.depth--
	return end.values
}

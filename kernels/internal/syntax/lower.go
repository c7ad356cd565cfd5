package syntax

import (
	"cmp"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"math/bits"

	"github.com/fusestep/fusestep/kernels/ir"
)

// Limits that no sensible rule meets; they keep a hostile one from growing without end.
const (
	maxSteps   = 1 << 13
	maxInlined = 16
)

// A val is a number, a condition or a word while lowering.
type val struct {
	ir.Value
	unrounded unrounded
}

// unrounded says what a number is that the Go compiler may fuse with an addition, so that it is rounded once, not twice. It may
// go anywhere but into an addition.
type unrounded uint8

const (
	rounded  unrounded = iota
	quotient           // by what depends on no field: by a power of two, the Go compiler multiplies by its reciprocal
	product
)

// state is what the rule's variables hold at a point of it.
type state struct {
	locals map[types.Object]val
	fields []val
}

func (s *state) clone() *state {
	return &state{locals: maps.Clone(s.locals), fields: append([]val(nil), s.fields...)}
}

// rest is what is to run after a block: statements, then what follows those.
type rest struct {
	list []ast.Stmt
	next *rest
}

// result is how a function ends.
type result struct {
	st     *state
	values []val
}

type lowerer struct {
	*Function
	b       *ir.Builder
	width   int
	enabled map[string]bool
	depth   int
	steps   int
	results int // of the function being lowered

	made  map[ast.Node]bool // of the statements that switches become: those in which a return statement stands
	terms map[int]ast.Node  // of the fields with mode Term, among all banks' fields, where one is stored
}

// Lower makes the function's graph for a width of 32 or 64 bits and the options that are on. Bit i of the set is option i.
func (fn *Function) Lower(width int, optionSet uint64) (f *ir.Func, err error) {
	only := 64
	if fn.format {
		only = 32
	}
	if !fn.Generic && width != only {
		return nil, fn.errorf(fn.decl, "%s is a float%d function: it has no %d-bit form", fn.Name, only, width)
	}
	if bits.Len64(optionSet) > len(fn.Options) {
		return nil, fn.errorf(fn.decl, "%s has %d options: the set %#x does not fit", fn.Name, len(fn.Options), optionSet)
	}
	l := &lowerer{Function: fn, width: width, enabled: map[string]bool{}, made: map[ast.Node]bool{}, terms: map[int]ast.Node{}, b: ir.NewBuilder(fn.Name, width, fn.fields())}
	for i, name := range fn.Options {
		l.enabled[name] = optionSet>>i&1 != 0
	}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *Error:
			f, err = nil, e
		default:
			panic(e)
		}
	}()
	st := &state{locals: map[types.Object]val{}}
	for i := range fn.fields() {
		st.fields = append(st.fields, val{Value: l.b.Var(i)})
	}
	if fn.format {
		l.enter(st)
	}
	end := l.run(fn.decl.Body.List, st, nil)
	fields := end.st.fields
	if fn.format {
		fields = append(fields[:len(fn.Banks[0].Fields)], end.values...)
	}
	final := make([]ir.Value, len(fields))
	for i, v := range fields {
		final[i] = v.Value
	}
	f = l.b.Func(final)
	for _, v := range f.Loads() {
		if at := l.terms[v]; at != nil { // what has no other path is nowhere read
			l.fail(at, "%s is not stored on every path: every element has a term, or none has", f.Vars[v].Name)
		}
	}
	return f, nil
}

func (l *lowerer) fail(at ast.Node, format string, args ...any) {
	panic(l.errorf(at, format, args...).(*Error))
}

// step counts what is lowered, so that a rule ends.
func (l *lowerer) step(at ast.Node) {
	if l.steps++; l.steps > maxSteps {
		l.fail(at, "the rule is too large: more than %d statements and expressions once its branches and calls are expanded", maxSteps)
	}
}

const allowed = "a rule has declarations, assignments, if, tagless switch and return"

// run lowers the statements and then what follows them, to the end of the function.
func (l *lowerer) run(list []ast.Stmt, st *state, next *rest) result {
	for i, s := range list {
		l.step(s)
		switch s := s.(type) {
		case *ast.EmptyStmt:
		case *ast.DeclStmt:
			l.declare(s, st)
		case *ast.AssignStmt:
			l.assign(s, st)
		case *ast.BlockStmt:
			return l.run(s.List, st, &rest{list[i+1:], next})
		case *ast.IfStmt:
			if s.Init != nil {
				l.fail(s.Init, "an if of a rule has no statement before its condition")
			}
			var no []ast.Stmt
			if s.Else != nil {
				no = []ast.Stmt{s.Else}
			}
			if end, done := l.branch(s.Cond, s.Body.List, no, st, &rest{list[i+1:], next}); done {
				return end
			}
		case *ast.SwitchStmt:
			if chain := l.switchChain(s); chain != nil {
				return l.run([]ast.Stmt{chain}, st, &rest{list[i+1:], next})
			}
		case *ast.ReturnStmt:
			return result{st, l.returned(s, st)}
		default:
			l.fail(s, "%s is not allowed: %s", stmtName(s), allowed)
		}
	}
	if next != nil {
		return l.run(next.list, st, next.next)
	}
	return result{st: st}
}

func (l *lowerer) returned(s *ast.ReturnStmt, st *state) []val {
	if len(s.Results) != l.results {
		l.fail(s, "return must name its %d values", l.results)
	}
	var out []val
	for _, e := range s.Results {
		out = append(out, l.expr(e, st))
	}
	return out
}

func (l *lowerer) declare(s *ast.DeclStmt, st *state) {
	d := s.Decl.(*ast.GenDecl)
	switch d.Tok {
	case token.CONST: // the checker knows its value
	case token.VAR:
		for _, spec := range d.Specs {
			v := spec.(*ast.ValueSpec)
			lhs := make([]ast.Expr, len(v.Names))
			for i, n := range v.Names {
				lhs[i] = n
			}
			if v.Values != nil {
				l.store(lhs, l.values(v.Values, len(lhs), st), st)
				continue
			}
			for i, n := range v.Names {
				l.store(lhs[i:i+1], []val{l.zero(n, l.typeOf(n))}, st)
			}
		}
	default:
		l.fail(s, "a %s declaration is not allowed inside a rule", d.Tok)
	}
}

// zero is what a variable of the type starts as.
func (l *lowerer) zero(at ast.Node, t types.Type) val {
	switch {
	case isBool(t):
		return val{Value: l.b.Bool(false)}
	case l.isWord(t):
		return val{Value: l.b.Word(0)}
	case !l.isNumber(t):
		l.fail(at, "this is a %s: a rule's variables are %s", t, l.kinds("or"))
	}
	return val{Value: l.b.Const(0)}
}

func (l *lowerer) assign(s *ast.AssignStmt, st *state) {
	ops := map[token.Token]token.Token{token.ADD_ASSIGN: token.ADD, token.SUB_ASSIGN: token.SUB,
		token.MUL_ASSIGN: token.MUL, token.QUO_ASSIGN: token.QUO}
	switch op, ok := ops[s.Tok]; {
	case s.Tok == token.ASSIGN || s.Tok == token.DEFINE:
		l.store(s.Lhs, l.values(s.Rhs, len(s.Lhs), st), st)
	case l.isWord(l.typeOf(s.Lhs[0])) && wordAssign[s.Tok] != token.ILLEGAL:
		l.store(s.Lhs, []val{l.wordArith(s, wordAssign[s.Tok], s.Lhs[0], s.Rhs[0], st)}, st)
	case ok:
		x, y := l.number(s.Lhs[0], st), l.number(s.Rhs[0], st)
		l.store(s.Lhs, []val{l.arith(s, op, x, y)}, st)
	default:
		l.fail(s, "%s is not allowed: a rule assigns with = := += -= *= /=", s.Tok)
	}
}

// values evaluates the right-hand side of an assignment to n variables, all before any is stored.
func (l *lowerer) values(rhs []ast.Expr, n int, st *state) []val {
	if len(rhs) == 1 && n > 1 {
		if call, ok := ast.Unparen(rhs[0]).(*ast.CallExpr); ok {
			return l.call(call, st)
		}
		l.fail(rhs[0], "a call with %d values is needed here", n)
	}
	var out []val
	for _, e := range rhs {
		out = append(out, l.expr(e, st))
	}
	return out
}

func (l *lowerer) store(lhs []ast.Expr, values []val, st *state) {
	for i, e := range lhs {
		switch e := ast.Unparen(e).(type) {
		case *ast.Ident:
			if e.Name == "_" {
				continue
			}
			obj := l.object(e)
			if t := obj.Type(); !l.isValue(t) {
				l.fail(e, "%s is a %s: a rule's variables are %s", e.Name, t, l.kinds("or"))
			}
			st.locals[obj] = values[i]
			l.b.Label(values[i].Value, e.Name)
		case *ast.SelectorExpr:
			f, field, name := l.field(e)
			switch f.Mode {
			case Read:
				l.fail(e, "%s is %s", name, cmp.Or(f.Why, "an input: only the fields of "+l.writable()+" are stored to"))
			case Term:
				l.terms[field] = e
			}
			st.fields[field] = values[i]
			l.b.Label(values[i].Value, name)
		default:
			l.fail(e, "a rule assigns to its variables and to fields, nothing else")
		}
	}
}

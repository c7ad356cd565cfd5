package syntax

import (
	"go/ast"
	"go/types"
	"slices"

	"github.com/fusestep/fusestep/kernels/ir"
)

// branch lowers an if. When neither arm returns, both run and st becomes their merge, and done is false. Otherwise what
// follows the if is lowered once in each arm.
func (l *lowerer) branch(cond ast.Expr, yes, no []ast.Stmt, st *state, next *rest) (end result, done bool) {
	c := l.condition(cond, st)
	if known, ok := l.b.Known(c); ok {
		if !known {
			yes = no
		}
		return l.run(yes, st, next), true
	}
	if !l.returning(yes) && !l.returning(no) {
		a := l.run(yes, st.clone(), nil)
		b := l.run(no, st.clone(), nil)
		*st = *l.merge(c, a, b).st
		return result{}, false
	}
	return l.merge(c, l.run(yes, st.clone(), next), l.run(no, st.clone(), next)), true
}

// merge selects between two ends by a condition. What only one of them knows went out of scope.
func (l *lowerer) merge(c ir.Value, a, b result) result {
	out := result{st: &state{locals: map[types.Object]val{}}}
	pick := func(x, y val) val {
		return val{l.b.Select(c, x.Value, y.Value), max(x.unrounded, y.unrounded)}
	}
	for i := range a.st.fields {
		out.st.fields = append(out.st.fields, pick(a.st.fields[i], b.st.fields[i]))
	}
	for obj, x := range a.st.locals {
		if _, ok := b.st.locals[obj]; ok {
			out.st.locals[obj] = x
		}
	}
	// In a fixed order, so that the graph, and the text made from it, is the same every time.
	for _, obj := range ordered(out.st.locals) {
		out.st.locals[obj] = pick(a.st.locals[obj], b.st.locals[obj])
	}
	for i := range a.values {
		out.values = append(out.values, pick(a.values[i], b.values[i]))
	}
	return out
}

// switchChain rewrites a tagless switch as a chain of ifs.
func (l *lowerer) switchChain(s *ast.SwitchStmt) ast.Stmt {
	if s.Init != nil || s.Tag != nil {
		l.fail(s, "a switch of a rule has no tag and no statement before it")
	}
	var chain ast.Stmt
	for _, c := range s.Body.List {
		if c := c.(*ast.CaseClause); c.List == nil {
			chain = l.block(c)
		}
	}
	for _, c := range slices.Backward(s.Body.List) {
		c := c.(*ast.CaseClause)
		for _, cond := range slices.Backward(c.List) {
			chain = &ast.IfStmt{If: c.Case, Cond: cond, Body: l.block(c), Else: chain}
			l.made[chain] = l.returning(s.Body.List)
		}
	}
	return chain
}

// block is the body of a case.
func (l *lowerer) block(c *ast.CaseClause) *ast.BlockStmt {
	b := &ast.BlockStmt{Lbrace: c.Colon, List: c.Body, Rbrace: c.End()}
	l.made[b] = l.returning(c.Body)
	return b
}

// markReturns marks the nodes in which a return statement stands.
func markReturns(d *ast.FuncDecl, marked map[ast.Node]bool) {
	var around []ast.Node
	ast.Inspect(d, func(n ast.Node) bool {
		if n == nil {
			around = around[:len(around)-1]
			return true
		}
		around = append(around, n)
		if _, ok := n.(*ast.ReturnStmt); ok {
			for i := len(around) - 1; i >= 0 && !marked[around[i]]; i-- {
				marked[around[i]] = true
			}
		}
		return true
	})
}

// returning says whether a return statement stands in the statements.
func (l *lowerer) returning(list []ast.Stmt) bool {
	return slices.ContainsFunc(list, func(s ast.Stmt) bool { return l.file.returns[s] || l.made[s] })
}

package syntax

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// Text is the source of a file's declarations that the function or one of the others reaches, in the file's order, with their comments.
func (fn *Function) Text(others ...*Function) string {
	f := fn.file
	var parts []string
	for _, d := range f.ast.Decls {
		within := func(n ast.Node) bool { return d.Pos() <= n.Pos() && n.End() <= d.End() }
		if slices.ContainsFunc(append(others, fn), func(fn *Function) bool { return slices.ContainsFunc(fn.reached, within) }) {
			parts = append(parts, f.text(d)+"\n")
		}
	}
	return strings.Join(parts, "\n")
}

// text is a declaration with the comment before it and one that follows in its last line.
func (f *File) text(d ast.Decl) string {
	from, doc := d.Pos(), (*ast.CommentGroup)(nil)
	switch d := d.(type) {
	case *ast.FuncDecl:
		doc = d.Doc
	case *ast.GenDecl:
		doc = d.Doc
	}
	if doc != nil {
		from = doc.Pos()
	}
	offset := func(p token.Pos) int { return f.fset.File(p).Offset(p) }
	end := offset(d.End())
	if line, _, _ := strings.Cut(f.src[end:], "\n"); strings.HasPrefix(strings.TrimSpace(line), "//") {
		end += len(line)
	}
	return f.src[offset(from):end]
}

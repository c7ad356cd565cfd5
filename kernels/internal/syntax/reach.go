package syntax

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// declarations finds what declares each package-level name of a file. Where two declare one, both are there, and the checker has
// said so.
func declarations(f *ast.File) map[string][]ast.Node {
	decls := map[string][]ast.Node{}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name != "init" {
				decls[d.Name.Name] = append(decls[d.Name.Name], d)
			}
		case *ast.GenDecl:
			var last *ast.ValueSpec // with values, which those without repeat in a group of constants
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					decls[s.Name.Name] = append(decls[s.Name.Name], s)
				case *ast.ValueSpec:
					nodes := []ast.Node{s}
					if s.Values != nil {
						last = s
					} else if d.Tok == token.CONST && last != nil {
						nodes = append(nodes, last)
					}
					for _, n := range s.Names {
						decls[n.Name] = append(decls[n.Name], nodes...)
					}
				}
			}
		}
	}
	return decls
}

// A reach is what a function reaches, from declaration to declaration, by Go's scopes. What it does not reach is free: the rest of
// the file may use any package and any name.
type reach struct {
	*File
	format bool       // of a format function, which may name the types of its words and numbers
	nodes  []ast.Node // in the order found
	seen   map[ast.Node]bool
}

// reach finds the declarations that the named function reaches, itself among them, and refuses it where that is more than a rule may have.
func (f *File) reach(name string, format bool) (*ast.FuncDecl, []ast.Node, error) {
	entry, ok := f.pkg.Scope().Lookup(name).(*types.Func)
	if !ok {
		return nil, nil, f.errorAt(f.ast.Name.Pos(), "there is no function %s in this source: a rule's functions are named ones, of the one file whose source is given", name)
	}
	r := &reach{File: f, format: format, seen: map[ast.Node]bool{}}
	r.add(name)
	for i := 0; i < len(r.nodes); i++ { // more come while it runs
		if err := r.visit(r.nodes[i]); err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(r.nodes, func(a, b ast.Node) int { return int(a.Pos() - b.Pos()) })
	for _, wrong := range f.wrong {
		after := sort.Search(len(r.nodes), func(i int) bool { return r.nodes[i].Pos() > wrong.Pos })
		if after > 0 && wrong.Pos <= r.nodes[after-1].End() {
			return nil, nil, firstError(f.fset, wrong)
		}
	}
	return f.funcs[entry], r.nodes, nil
}

func (r *reach) add(name string) {
	for _, n := range r.decls[name] {
		if !r.seen[n] {
			r.seen[n] = true
			r.nodes = append(r.nodes, n)
		}
	}
}

// visit adds what a declaration names.
func (r *reach) visit(decl ast.Node) (err error) {
	anyType := map[ast.Node]bool{} // the nodes of constraints, and of structs, whose fields are looked at where they are a rule's
	allow := func(n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool { anyType[n] = true; return true })
	}
	if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body == nil {
		return r.errorAt(fn.Pos(), "%s has no body: a rule calls functions whose source is in its file", fn.Name.Name)
	}
	ast.Inspect(decl, func(n ast.Node) bool {
		if err != nil {
			return false
		}
		switch n := n.(type) {
		case *ast.FuncType:
			if n.TypeParams != nil {
				allow(n.TypeParams)
			}
		case *ast.TypeSpec:
			if n.TypeParams != nil {
				allow(n.TypeParams)
			}
		case *ast.InterfaceType, *ast.StructType:
			allow(n)
		case *ast.SelectorExpr:
			if p := r.packageName(n.X); p != nil && p.Imported() != r.lib.pkg {
				err = r.errorAt(n.Pos(), "%s.%s cannot be used in a rule: %s", p.Name(), n.Sel.Name, r.instead(n.Sel.Name))
				return false
			}
		case *ast.Ident:
			err = r.name(n, anyType[n])
		}
		return err == nil
	})
	return err
}

// name follows an identifier. A predeclared one that a constant or a call could hang on is refused: another file of the package
// may declare it anew, and nobody reads that file. That float64 and bool are Go's own, New sees by the fields of its structs.
func (r *reach) name(id *ast.Ident, anyType bool) error {
	obj := r.info.Uses[id]
	switch {
	case obj == nil:
	case obj.Parent() == types.Universe:
		_, typ := obj.(*types.TypeName)
		_, function := obj.(*types.Builtin)
		switch {
		case typ && (anyType || id.Name == "float64" || id.Name == "bool"):
		case typ && r.format && (id.Name == "uint32" || id.Name == "float32"):
		case typ && r.format:
			return r.errorAt(id.Pos(), "%s cannot be used in a format: it has bool, uint32 and one number type, which its type parameter or float32 names", id.Name)
		case typ:
			return r.errorAt(id.Pos(), "%s cannot be used in a rule: it has bool and one number type, which its type parameter or float64 names", id.Name)
		case function:
			return r.errorAt(id.Pos(), "%s cannot be used in a rule: %s", id.Name, r.instead(id.Name))
		default:
			return r.errorAt(id.Pos(), "%s cannot be used in a rule: another file of the package could declare it anew, and no one would see. A var without a value is false, or 0", id.Name)
		}
	case obj.Parent() == r.pkg.Scope():
		if _, ok := obj.(*types.Var); ok {
			return r.errorAt(id.Pos(), "%s is a package variable: a rule depends on its parameters alone", id.Name)
		}
		r.add(id.Name)
	}
	return nil
}

// packageName is the package that an expression names, or nil.
func (r *reach) packageName(e ast.Expr) *types.PkgName {
	id, _ := e.(*ast.Ident)
	p, _ := r.info.Uses[id].(*types.PkgName)
	return p
}

// instead says what a rule has in place of a function: the library's of the same name, or all that there are.
func (r *reach) instead(name string) string {
	prefix := r.lib.pkg.Name() + "."
	for _, im := range r.ast.Imports {
		if p, _ := strconv.Unquote(im.Path.Value); p == r.lib.Path && im.Name != nil {
			if prefix = im.Name.Name + "."; prefix == ".." {
				prefix = ""
			}
		}
	}
	var all []string
	for _, own := range r.lib.pkg.Scope().Names() {
		if f, ok := r.lib.pkg.Scope().Lookup(own).(*types.Func); ok && f.Exported() && (r.format || !hasWords(f.Signature())) {
			if strings.EqualFold(own, name) {
				return "use " + prefix + own
			}
			all = append(all, prefix+own)
		}
	}
	return "it has the functions of its own file and " + strings.Join(all, ", ")
}

// hasWords says whether a function takes or returns a word.
func hasWords(sig *types.Signature) bool {
	for _, t := range []*types.Tuple{sig.Params(), sig.Results()} {
		for v := range t.Variables() {
			if v.Type() == types.Typ[types.Uint32] {
				return true
			}
		}
	}
	return false
}

func (f *File) errorAt(pos token.Pos, format string, args ...any) error {
	return &Error{Pos: f.fset.Position(pos), Msg: fmt.Sprintf(format, args...)}
}

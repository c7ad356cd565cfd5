// Package syntax reads a rule: a Go function over the fields of structs, in the small part of Go that means the same on every
// device. It checks the function with go/types, needing neither GOROOT nor export data, and lowers it to ir for one set
// of options at one width.
//
// What a rule may say: declarations, assignments (also += -= *= /=), if, tagless switch and return; the operators
// + - * / and unary - on numbers, comparisons, && || ! on conditions; conversions to its own number type; calls of Sqrt
// and Abs, of the rule package's other functions and of functions in its own file, which are inlined. A product that is
// added or subtracted must stand in a conversion, F(a*b): without one the Go compiler may fuse the two and round once
// where every other device rounds twice.
package syntax

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"path"
	"strconv"
	"strings"
)

// Error is a place in a rule's source that is not a rule, and why.
type Error struct {
	Pos token.Position
	Msg string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Pos, e.Msg) }

// Library is a package that rules may import, given as source. Intrinsics names its functions that are operations rather
// than code to inline.
type Library struct {
	Path, File, Source string
	Intrinsics         map[string]Intrinsic
}

// Intrinsic is an operation that a library spells as a function.
type Intrinsic uint8

// The intrinsics: the correctly rounded root, the absolute value and the width's smallest normal number.
const (
	Sqrt Intrinsic = iota + 1
	Abs
	SmallestNormal
)

// File is a parsed source file in which rules are looked up by name.
type File struct {
	fset *token.FileSet
	ast  *ast.File
	lib  *library
}

type library struct {
	Library
	pkg  *types.Package
	defs map[types.Object]*ast.FuncDecl
	info *types.Info
}

// Parse reads a file. The library is what it may import.
func Parse(name, src string, lib Library) (*File, error) {
	fset := token.NewFileSet()
	l, err := loadLibrary(fset, lib)
	if err != nil {
		return nil, err
	}
	f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, firstError(fset, err)
	}
	return &File{fset: fset, ast: f, lib: l}, nil
}

// loadLibrary checks the library's source. Of its imports only package unsafe and two functions of math exist here.
func loadLibrary(fset *token.FileSet, lib Library) (*library, error) {
	f, err := parser.ParseFile(fset, lib.File, lib.Source, parser.SkipObjectResolution)
	if err != nil {
		return nil, firstError(fset, err)
	}
	math := types.NewPackage("math", "math")
	float64s := types.NewTuple(types.NewVar(token.NoPos, math, "", types.Typ[types.Float64]))
	for _, name := range []string{"Sqrt", "Abs"} {
		sig := types.NewSignatureType(nil, nil, nil, float64s, float64s, false)
		math.Scope().Insert(types.NewFunc(token.NoPos, math, name, sig))
	}
	math.MarkComplete()

	l := &library{Library: lib, info: newInfo(), defs: map[types.Object]*ast.FuncDecl{}}
	pkg, err := check(fset, lib.Path, f, l.info, map[string]*types.Package{"math": math, "unsafe": types.Unsafe})
	if err != nil {
		return nil, err
	}
	l.pkg = pkg
	addDefs(l.defs, f, l.info)
	return l, nil
}

func newInfo() *types.Info {
	return &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{},
		Defs:  map[*ast.Ident]types.Object{},
		Uses:  map[*ast.Ident]types.Object{},
	}
}

func addDefs(defs map[types.Object]*ast.FuncDecl, f *ast.File, info *types.Info) {
	for _, d := range f.Decls {
		if fd, ok := d.(*ast.FuncDecl); ok {
			defs[info.Defs[fd.Name]] = fd
		}
	}
}

// imports resolves the import paths that exist for a rule.
type imports map[string]*types.Package

func (m imports) Import(path string) (*types.Package, error) {
	if p := m[path]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("a rule cannot use package %q: it may use the rule package alone", path)
}

func check(fset *token.FileSet, path string, f *ast.File, info *types.Info, known imports) (*types.Package, error) {
	var first error
	conf := types.Config{Importer: known, Error: func(err error) {
		if first == nil {
			first = err
		}
	}}
	pkg, err := conf.Check(path, fset, []*ast.File{f}, info)
	if first == nil {
		first = err
	}
	if first != nil {
		return nil, firstError(fset, first)
	}
	return pkg, nil
}

// slice returns the file with only the declarations that the named function reaches, so that the rest of the file may use
// any package at all, and the imports that they use.
func (f *File) slice(name string) (*ast.File, *ast.FuncDecl, error) {
	funcs, others := map[string]*ast.FuncDecl{}, map[string]ast.Decl{}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				funcs[d.Name.Name] = d
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					others[s.Name.Name] = &ast.GenDecl{TokPos: d.TokPos, Tok: d.Tok, Specs: []ast.Spec{s}}
				case *ast.ValueSpec:
					for _, n := range s.Names {
						others[n.Name] = d // whole: a constant may be an iota of its group
					}
				}
			}
		}
	}
	entry := funcs[name]
	if entry == nil {
		return nil, nil, &Error{Pos: f.fset.Position(f.ast.Name.Pos()), Msg: "there is no function " + name + " in this source: a rule's functions are named ones, of the one file whose source is given"}
	}
	keep := &ast.File{Package: f.ast.Package, Name: f.ast.Name, FileStart: f.ast.FileStart, FileEnd: f.ast.FileEnd}
	taken, used := map[ast.Node]bool{}, map[string]bool{}
	var visit func(d ast.Decl)
	visit = func(d ast.Decl) {
		key := ast.Node(d)
		if g, ok := d.(*ast.GenDecl); ok && len(g.Specs) == 1 {
			key = g.Specs[0]
		}
		if taken[key] {
			return
		}
		taken[key] = true
		keep.Decls = append(keep.Decls, d)
		ast.Inspect(d, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok {
				return true
			}
			used[id.Name] = true
			if fd := funcs[id.Name]; fd != nil {
				visit(fd)
			}
			if gd := others[id.Name]; gd != nil {
				visit(gd)
			}
			return true
		})
	}
	visit(entry)
	var specs []ast.Spec
	for _, im := range f.ast.Imports {
		p, _ := strconv.Unquote(im.Path.Value)
		local := path.Base(p)
		if im.Name != nil {
			local = im.Name.Name
		}
		if local != "_" && used[local] || local == "." {
			specs = append(specs, im)
			keep.Imports = append(keep.Imports, im)
		}
	}
	if specs != nil {
		keep.Decls = append([]ast.Decl{&ast.GenDecl{TokPos: f.ast.Package, Tok: token.IMPORT, Specs: specs}}, keep.Decls...)
	}
	return keep, entry, nil
}

// firstError turns what the parser or the checker said into one Error with a position.
func firstError(fset *token.FileSet, err error) error {
	switch e := err.(type) {
	case types.Error:
		msg := e.Msg
		if strings.HasPrefix(msg, "undefined: ") {
			msg += " (a rule, its types and the functions it calls stand in one file)"
		}
		return &Error{Pos: fset.Position(e.Pos), Msg: msg}
	case scanner.ErrorList: // never empty
		return &Error{Pos: e[0].Pos, Msg: e[0].Msg}
	}
	return &Error{Msg: err.Error()}
}

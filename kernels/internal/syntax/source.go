package syntax

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"maps"
	"path"
	"reflect"
	"regexp"
	"strings"

	"github.com/fusestep/fusestep/kernels/ir"
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

// The intrinsics: the correctly rounded root, the absolute value, the width's smallest normal number, and of words the operations of
// package ir with these names; MulHigh is ir.WMulHigh.
const (
	Sqrt Intrinsic = iota + 1
	Abs
	SmallestNormal
	FromBits
	ToBits
	FromHalf
	ToHalf
	MulHigh
)

// File is a parsed source file in which rules are looked up by name.
type File struct {
	src   string
	fset  *token.FileSet
	ast   *ast.File
	lib   *library
	pkg   *types.Package
	info  *types.Info
	wrong []types.Error         // what the checker says of the whole file, whether a rule reaches it or not
	decls map[string][]ast.Node // by package-level name, what declares it

	funcs   map[types.Object]*ast.FuncDecl // the file's and the library's
	returns map[ast.Node]bool              // the nodes of functions in which a return statement stands
}

type library struct {
	Library
	pkg   *types.Package
	funcs map[types.Object]*ast.FuncDecl
	info  *types.Info
}

// Parse reads a file. The library is what its rules may use. Only syntax errors count here: what else is wrong with the file
// matters where a rule reaches it.
func Parse(name, src string, lib Library) (*File, error) {
	fset := token.NewFileSet()
	l, err := loadLibrary(fset, lib)
	if err != nil {
		return nil, err
	}
	tree, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		return nil, firstError(fset, err)
	}
	if err := checkNesting(fset, tree); err != nil {
		return nil, err
	}
	f := &File{src: src, fset: fset, ast: tree, lib: l, info: newInfo(), decls: declarations(tree)}
	conf := types.Config{Importer: imports{l.Path: l.pkg}, Error: func(err error) { f.wrong = append(f.wrong, err.(types.Error)) }}
	f.pkg, _ = conf.Check(tree.Name.Name, fset, []*ast.File{tree}, f.info) // the errors are in f.wrong
	f.funcs = functions(tree, f.info)
	maps.Copy(f.funcs, l.funcs)
	f.returns = map[ast.Node]bool{}
	for _, d := range f.funcs {
		markReturns(d, f.returns)
	}
	return f, nil
}

// maxNesting is how deep blocks of a file may stand in each other. The checker looks for a name in each of them.
const maxNesting = 500

func checkNesting(fset *token.FileSet, f *ast.File) (err error) {
	var open []bool // whether the nodes around are blocks
	depth := 0
	ast.Inspect(f, func(n ast.Node) bool {
		if n == nil {
			if open[len(open)-1] {
				depth--
			}
			open = open[:len(open)-1]
			return true
		}
		_, block := n.(*ast.BlockStmt)
		_, branch := n.(*ast.IfStmt) // an else is a block in the block of its if
		open = append(open, block || branch)
		if block || branch {
			if depth++; depth > maxNesting && err == nil {
				err = &Error{Pos: fset.Position(n.Pos()), Msg: fmt.Sprintf("blocks nest too deep: more than %d", maxNesting)}
			}
		}
		return true
	})
	return err
}

// stubs are the functions that a library's source may import beside package unsafe.
var stubs = []struct {
	path, name string
	from, to   types.BasicKind
}{
	{"math", "Sqrt", types.Float64, types.Float64},
	{"math", "Abs", types.Float64, types.Float64},
	{"math", "Float32bits", types.Float32, types.Uint32},
	{"math", "Float32frombits", types.Uint32, types.Float32},
	{irPath, "FromFloat16", types.Uint16, types.Float32},
	{irPath, "ToFloat16", types.Float32, types.Uint16},
}

var irPath = reflect.TypeFor[ir.Func]().PkgPath()

// loadLibrary checks the library's source.
func loadLibrary(fset *token.FileSet, lib Library) (*library, error) {
	f, err := parser.ParseFile(fset, lib.File, lib.Source, parser.SkipObjectResolution)
	if err != nil {
		return nil, firstError(fset, err)
	}
	packages := imports{"unsafe": types.Unsafe}
	for _, s := range stubs {
		p, _ := packages.Import(s.path)
		value := func(k types.BasicKind) *types.Tuple {
			return types.NewTuple(types.NewVar(token.NoPos, p, "", types.Typ[k]))
		}
		sig := types.NewSignatureType(nil, nil, nil, value(s.from), value(s.to), false)
		p.Scope().Insert(types.NewFunc(token.NoPos, p, s.name, sig))
	}

	l := &library{Library: lib, info: newInfo()}
	conf := types.Config{Importer: packages}
	if l.pkg, err = conf.Check(lib.Path, fset, []*ast.File{f}, l.info); err != nil {
		return nil, firstError(fset, err)
	}
	l.funcs = functions(f, l.info)
	return l, nil
}

func newInfo() *types.Info {
	return &types.Info{
		Types:     map[ast.Expr]types.TypeAndValue{},
		Instances: map[*ast.Ident]types.Instance{},
		Defs:      map[*ast.Ident]types.Object{},
		Uses:      map[*ast.Ident]types.Object{},
	}
}

// functions are those that a file declares. Methods are none.
func functions(f *ast.File, info *types.Info) map[types.Object]*ast.FuncDecl {
	defs := map[types.Object]*ast.FuncDecl{}
	for _, d := range f.Decls {
		if fd, ok := d.(*ast.FuncDecl); ok && fd.Recv == nil {
			defs[info.Defs[fd.Name]] = fd
		}
	}
	return defs
}

// imports resolves the import paths that exist for a rule. Every other package is empty: nobody reads its source, and that a rule
// uses it is refused where it does.
type imports map[string]*types.Package

func (m imports) Import(path string) (*types.Package, error) {
	if m[path] == nil {
		m[path] = types.NewPackage(path, baseName(path))
		m[path].MarkComplete()
	}
	return m[path], nil
}

var majorVersion = regexp.MustCompile(`/v[0-9]+$`)

// baseName is the name that a package most likely has, from its path: rand of math/rand/v2.
func baseName(p string) string { return path.Base(majorVersion.ReplaceAllString(p, "")) }

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

package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// exact are the functions of package math whose result has one right value, which every architecture gives. The others are
// approximations: they have assembly of their own for some architectures, and Go code that may be fused.
var exact = strings.Fields(`Abs Ceil Copysign Dim Float32bits Float32frombits Float64bits Float64frombits Floor Frexp Inf IsInf IsNaN
	Ldexp Max Min Mod Modf NaN Nextafter Nextafter32 Remainder Round RoundToEven Signbit Sqrt Trunc
	E Pi Phi Sqrt2 Ln2 Ln10 Log2E Log10E MaxFloat32 MaxFloat64 SmallestNonzeroFloat32 SmallestNonzeroFloat64
	MaxInt MinInt MaxInt8 MinInt8 MaxInt16 MinInt16 MaxInt32 MinInt32 MaxInt64 MinInt64 MaxUint MaxUint8 MaxUint16 MaxUint32 MaxUint64`)

// N7: nothing on the way to a step's numbers calls a function whose last bit depends on the machine.
func TestExactFunctions(t *testing.T) {
	found := 0
	for _, dir := range []string{"optim", "kernels", "cpu"} {
		for _, file := range sources(t, dir) {
			ast.Inspect(file.file, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "math" && file.imports("math") {
					found++
					if !slices.Contains(exact, s.Sel.Name) {
						t.Errorf("%s: math.%s has not the same bits everywhere: see optim/internal/elementary", file.set.Position(s.Pos()), s.Sel.Name)
					}
				}
				return true
			})
		}
	}
	require.Greater(t, found, 50, "no use of package math was found")
}

// N7: in what schedules compute every product stands in a conversion, float64(a*b): otherwise the compiler may fuse it with a sum,
// even one in another statement or function.
func TestProductsAreRounded(t *testing.T) {
	found := 0
	for _, pattern := range []string{"optim/schedule.go", "optim/cycle.go", "optim/decay.go", "optim/plateau.go", "optim/internal/elementary"} {
		for _, file := range sources(t, pattern) {
			rounded := map[ast.Node]bool{}
			ast.Inspect(file.file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "float64" {
						rounded[n.Args[0]] = true
					}
				case *ast.BinaryExpr:
					if n.Op == token.MUL {
						found++
						if !rounded[n] {
							t.Errorf("%s: a product that does not stand in float64(…)", file.set.Position(n.Pos()))
						}
					}
				case *ast.AssignStmt:
					if n.Tok == token.MUL_ASSIGN {
						t.Errorf("%s: *= does not round: write x = float64(x * y)", file.set.Position(n.Pos()))
					}
				}
				return true
			})
		}
	}
	require.Greater(t, found, 10, "no products were found")
}

type source struct {
	set  *token.FileSet
	file *ast.File
}

func (s source) imports(path string) bool {
	return slices.ContainsFunc(s.file.Imports, func(i *ast.ImportSpec) bool {
		name, err := strconv.Unquote(i.Path.Value)
		return err == nil && name == path
	})
}

// sources are the Go files of a folder and those below it, or a file, without tests, by name.
func sources(t *testing.T, name string) map[string]source {
	out := map[string]source{}
	err := filepath.WalkDir(filepath.Join("..", "..", name), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		out[path] = source{set, file}
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, out, name)
	return out
}

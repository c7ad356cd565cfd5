package cuda_test

import (
	"go/ast"
	"go/build"
	"go/format"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// exported is what a package's files of one build export: names, signatures and documentation, but no bodies.
func exported(t *testing.T, dir string, cuda bool) map[string]string {
	c := build.Default
	c.GOOS, c.CgoEnabled, c.BuildTags = "linux", cuda, nil
	if cuda {
		c.BuildTags = []string{"cuda"}
	}
	pkg, err := c.ImportDir(dir, 0)
	require.NoError(t, err)
	out := map[string]string{}
	fset := token.NewFileSet()
	text := func(node any) string {
		var b strings.Builder
		require.NoError(t, format.Node(&b, fset, node))
		return b.String()
	}
	for _, name := range append(pkg.GoFiles, pkg.CgoFiles...) {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.ParseComments)
		require.NoError(t, err)
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				receiver := ""
				if d.Recv != nil {
					receiver = text(d.Recv.List[0].Type) + "."
				}
				if ast.IsExported(d.Name.Name) && ast.IsExported(strings.TrimLeft(receiver, "*")) || ast.IsExported(d.Name.Name) && d.Recv == nil {
					out[receiver+d.Name.Name] = d.Doc.Text() + text(&ast.FuncDecl{Recv: d.Recv, Name: d.Name, Type: d.Type})
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() {
							out[s.Name.Name] = text(s)
						}
					case *ast.ValueSpec:
						for _, n := range s.Names {
							if n.IsExported() {
								out[n.Name] = d.Tok.String()
							}
						}
					}
				}
			}
		}
	}
	return out
}

// I18, I20: programs compile with and without the tag, as both builds export the same.
func TestBuildsExportTheSame(t *testing.T) {
	for dir, some := range map[string]string{".": "Open Count Wrap WrapStream Device *Device.Model *Device.Alloc *Device.Compile", "emulated": "Open"} {
		with, without := exported(t, dir, true), exported(t, dir, false)
		require.Equal(t, with, without, "with the tag cuda, and without, in %s", dir)
		for name := range strings.FieldsSeq(some) {
			require.Contains(t, with, name)
		}
	}
}

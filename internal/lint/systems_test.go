package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var allSystems = flag.Bool("systems", false, "check the types on other systems, which takes 20 seconds of a processor")

// systems are those that nothing else compiles all packages for, as go list takes them from its environment.
var systems = [][]string{
	{"GOOS=linux", "GOARCH=arm64"}, {"GOOS=linux", "GOARCH=386"}, {"GOOS=darwin", "GOARCH=arm64"}, {"GOOS=darwin", "GOARCH=amd64"},
	{"GOOS=windows", "GOARCH=amd64"}, {"GOARCH=amd64", "GOFLAGS=-tags=purego"},
}

// TestSystems checks the types of all packages and of their tests on other systems, for make cross. It reads the source of what they
// import, since to compile that takes a minute of a processor for each system.
func TestSystems(t *testing.T) {
	if !*allSystems {
		t.Skip("-systems is not set")
	}
	for _, system := range systems {
		t.Run(strings.Join(system, " "), func(t *testing.T) {
			t.Parallel()
			for _, err := range typeErrors(t, filepath.Join("..", ".."), system) {
				t.Error(err)
			}
		})
	}
}

// A symbol of one system alone, a number that is too large for another, in a test too, and an import for one system are noticed.
func TestSystemsNotices(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":       "module m\n\ngo 1.26\n",
		"a.go":         "package m\n\nimport \"os\"\n\nfunc f() string { return os.DevNull + only }\n",
		"a_linux.go":   "package m\n\nconst only = \"\"\n",
		"a_darwin.go":  "package m\n\nimport _ \"golang.org/no\"\n\nconst only = \"\"\n",
		"a_test.go":    "package m\n\nfunc g() int { return 1 << 40 }\n",
		"ext_test.go":  "package m_test\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) { t.Nothing() }\n",
		"b_purego.go":  "//go:build purego\n\npackage m\n\nvar p int = \"\"\n",
		"s_windows.go": "package m\n\nvar s = (\n",
		"cgo_linux.go": "package m\n\nimport \"C\"\n\nfunc none() { C.none() }\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666))
	}
	require.Len(t, typeErrors(t, dir, systems[0]), 1)
	require.Contains(t, fmt.Sprint(typeErrors(t, dir, systems[4])), "s_windows.go:3:11: expected")
	for i, want := range []string{"t.Nothing undefined", "1 << 40", "golang.org/no", "golang.org/no", "undefined: only", "cannot use \"\" "} {
		require.Contains(t, fmt.Sprint(typeErrors(t, dir, systems[i])), want, systems[i])
	}
}

// typeErrors are those in the packages of a folder and in their tests.
func typeErrors(t *testing.T, dir string, system []string) (found []error) {
	list := exec.Command("go", "list", "-e", "-deps", "-test", "-json=Dir,ImportPath,GoFiles,ImportMap,DepOnly,Error", "./...")
	list.Dir, list.Env, list.Stderr = dir, append(append(os.Environ(), "CGO_ENABLED=0"), system...), os.Stderr
	out, err := list.Output()
	require.NoError(t, err)
	arch := "amd64"
	for _, e := range system {
		if v, ok := strings.CutPrefix(e, "GOARCH="); ok {
			arch = v
		}
	}
	known := map[string]*types.Package{"unsafe": types.Unsafe}
	for decode := json.NewDecoder(bytes.NewReader(out)); ; { // what is imported comes first
		var p struct {
			Dir, ImportPath string
			GoFiles         []string
			ImportMap       map[string]string
			DepOnly         bool
			Error           *struct{ Err string }
		}
		if err := decode.Decode(&p); errors.Is(err, io.EOF) {
			return found
		} else {
			require.NoError(t, err)
		}
		if p.Error != nil {
			found = append(found, errors.New(p.Error.Err))
		}
		if p.ImportPath == "unsafe" || strings.HasSuffix(p.ImportPath, ".test") { // of the latter, go test writes the source
			continue
		}
		set := token.NewFileSet()
		var files []*ast.File
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if files = append(files, file); err != nil {
				found = append(found, err)
			}
		}
		check := types.Config{
			Sizes:            types.SizesFor("gc", arch),
			IgnoreFuncBodies: p.DepOnly,
			Error:            func(err error) { found = append(found, err) },
			Importer: importer(func(path string) (*types.Package, error) {
				if to := p.ImportMap[path]; to != "" {
					path = to
				}
				if known[path] == nil {
					return nil, fmt.Errorf("%s is not known", path)
				}
				return known[path], nil
			}),
		}
		path, _, _ := strings.Cut(p.ImportPath, " ") // of a test it has the test's name behind it
		known[p.ImportPath], _ = check.Check(path, set, files, nil)
	}
}

type importer func(path string) (*types.Package, error)

func (f importer) Import(path string) (*types.Package, error) { return f(path) }

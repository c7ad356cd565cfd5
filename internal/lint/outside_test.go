package lint

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// outside says which packages may import which packages of other modules, apart from tests. A program that uses fusestep
// so gets cpu's alone, and with the tag cuda device/cuda's.
var outside = map[string]string{
	"golang.org/x/sys/":                "cpu cpu/internal/exec device/cuda/",
	"golang.org/x/term":                "internal/cli",
	"gonum.org/v1/gonum/":              "examples/linreg",
	"gonum.org/v1/plot":                "examples/internal/compare bench/picture",
	"gonum.org/v1/plot/":               "examples/internal/compare bench/picture",
	"gorgonia.org/cu":                  "device/cuda device/cuda/",
	"github.com/rogpeppe/go-internal/": "examples/internal/compare/comparetest",
	"github.com/stretchr/testify/":     "kernels/kerneltest examples/internal/compare/comparetest",
}

// TestOutside fails if a package imports another module's that it has no business with.
func TestOutside(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	require.NoError(t, err)
	used := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		pkg := strings.TrimPrefix(f[0], module)
		for _, im := range f[1:] {
			if strings.HasPrefix(im, module) || !strings.Contains(im, ".") {
				continue
			}
			ok := false
			for name, importers := range outside {
				if fits(name, im) {
					used[name] = true
					for importer := range strings.FieldsSeq(importers) {
						ok = ok || fits(importer, pkg)
					}
				}
			}
			if !ok {
				t.Errorf("%s imports %s: outside does not allow it", pkg, im)
			}
		}
	}
	require.True(t, used["gonum.org/v1/plot"], "go list shows no plot: is the module's name right?")
}

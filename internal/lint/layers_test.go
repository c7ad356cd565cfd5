// Package lint holds the house rules as ordinary tests.
package lint

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/fusestep/fusestep/"

// layers says what of this module a package may import: the packages named, and those below a name that ends in a slash.
// The longest name that fits a package counts. Arrows point down only: see ARCHITECTURE.md.
var layers = map[string]string{
	"device":                    "kernels/ir",
	"device/devicetest":         "device",
	"kernels/ir":                "",
	"kernels/internal/syntax":   "kernels/ir",
	"kernels/rule":              "kernels/ir kernels/internal/syntax",
	"kernels/rules":             "kernels/rule",
	"kernels/format":            "device kernels/ir kernels/rule",
	"kernels":                   "device kernels/format kernels/ir kernels/rule",
	"kernels/reference":         "device kernels kernels/ir kernels/rule",
	"kernels/kerneltest":        "device kernels kernels/reference kernels/rule kernels/rules",
	"cpu":                       "device kernels kernels/format kernels/ir kernels/rule cpu/internal/ internal/cpuinfo",
	"cpu/internal/emit":         "kernels/ir internal/x86",
	"cpu/internal/exec":         "",
	"internal/x86":              "",
	"kernels/ptx":               "device kernels kernels/format kernels/ir kernels/rule",
	"device/cuda":               "device device/cuda/internal/driver kernels kernels/format kernels/ptx kernels/rule",
	"device/cuda/":              "device device/cuda device/cuda/ internal/cli",
	"internal/gpu":              "device device/cuda device/cuda/ kernels internal/cli",
	"cmd/":                      "device device/cuda device/cuda/ kernels kernels/ cpu optim optim/checkpoint internal/cli internal/cpuinfo internal/gpu internal/models cmd/",
	"bench/":                    "device kernels kernels/rule cpu optim optim/checkpoint internal/cli internal/cpuinfo internal/models bench/",
	"capi":                      "device cpu device/cuda capi/internal/door",
	"capi/internal/door":        "device kernels kernels/rule cpu device/cuda optim",
	"internal/cpuinfo":          "",
	"internal/cli":              "",
	"internal/models":           "internal/cli",
	"examples/":                 "device device/cuda device/cuda/ kernels kernels/ cpu optim optim/checkpoint internal/cli internal/gpu examples/",
	"internal/lint":             "",
	"optim":                     "device kernels kernels/format kernels/rule kernels/rules optim/internal/elementary",
	"optim/internal/elementary": "",
	"interop/torch":             "", // tests alone
	"docs/":                     "device kernels kernels/ internal/cli",

	"optim/checkpoint":                      "device kernels/format optim optim/checkpoint/internal/safetensors",
	"optim/checkpoint/internal/safetensors": "",
}

func fits(name, pkg string) bool {
	return pkg == name || strings.HasSuffix(name, "/") && strings.HasPrefix(pkg, name)
}

// TestLayers fails if an import goes up a layer, or if a package has no place in the layers.
func TestLayers(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	require.NoError(t, err)
	checked := 0
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		pkg := strings.TrimPrefix(f[0], module)
		best := ""
		for name := range layers {
			if fits(name, pkg) && len(name) > len(best) {
				best = name
			}
		}
		if best == "" {
			t.Errorf("package %s has no place in the layers", pkg)
			continue
		}
		for _, im := range f[1:] {
			im, ours := strings.CutPrefix(im, module)
			if !ours {
				continue
			}
			checked++
			ok := false
			for name := range strings.FieldsSeq(layers[best]) {
				ok = ok || fits(name, im)
			}
			if !ok {
				t.Errorf("%s imports %s: %s may import [%s] of this module", pkg, im, best, layers[best])
			}
		}
	}
	require.Greater(t, checked, 20, "go list shows few imports: is the module's name right?")
}

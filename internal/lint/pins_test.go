package lint

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var pip = regexp.MustCompile(`\bpip3? +(install|download)\b`)

// TestPinned: whatever a script or document has from PyPI is held to its hash. What has --no-index is not from there. S1.
func TestPinned(t *testing.T) {
	found := 0
	for _, name := range files(t, ".sh", ".py", ".go", ".md", ".txt", "Makefile", "run") {
		if strings.HasSuffix(name, "pins_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		joined := strings.ReplaceAll(string(text), "\\\n", " ")
		for line := range strings.Lines(joined) {
			if pip.MatchString(line) {
				found++
				for command := range strings.SplitSeq(line, "&&") {
					if pip.MatchString(command) && !strings.Contains(command, "--require-hashes") && !strings.Contains(command, "--no-index") {
						t.Errorf("%s: without --require-hashes: %s", name, strings.TrimSpace(command))
					}
				}
			}
		}
	}
	require.Greater(t, found, 10)
}

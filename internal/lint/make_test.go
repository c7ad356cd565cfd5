package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMakeHelp: make help lists every target, which is a phony one.
func TestMakeHelp(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	phony := strings.Fields(regexp.MustCompile(`(?m)^\.PHONY:(.*)$`).FindStringSubmatch(string(text))[1])
	var targets []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z][a-z-]*):(.*)$`).FindAllStringSubmatch(string(text), -1) {
		targets = append(targets, m[1])
		require.Contains(t, m[2], "## ", "make help does not show %s", m[1])
	}
	require.ElementsMatch(t, targets, phony)
	require.Contains(t, targets, "help")
}

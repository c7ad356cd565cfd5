package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMakeHelp: make help lists every target. All are phony.
func TestMakeHelp(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	require.Contains(t, string(text), "\n.PHONY: $(shell sed -n 's/^\\([a-z-]*\\):.*/\\1/p' Makefile)\n")
	var targets []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z][a-z-]*):(.*)$`).FindAllStringSubmatch(string(text), -1) {
		targets = append(targets, m[1])
		require.Contains(t, m[2], "## ", "make help does not show %s", m[1])
	}
	require.Contains(t, targets, "help")
}

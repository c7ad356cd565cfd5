package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var block = regexp.MustCompile("(?s)<!-- (\\S+) -->\n```go\n(.*?)```")

// TestReadmeIsCompiled holds every Go block of the README to the example that it names, which the tests run.
func TestReadmeIsCompiled(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	blocks := block.FindAllStringSubmatch(string(text), -1)
	require.Equal(t, strings.Count(string(text), "```go\n"), len(blocks), "a Go block does not name its example")
	require.NotEmpty(t, blocks)
	for _, b := range blocks {
		source, err := os.ReadFile(filepath.Join(root, b[1]))
		require.NoError(t, err)
		require.True(t, strings.Contains(string(source), b[2]), "the README's block is not in %s:\n%s", b[1], b[2])
	}
}

package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const goFence = "```go\n"

var block = regexp.MustCompile("(?s)<!-- (\\S+) -->\n" + goFence + "(.*?)```")

// TestDocumentsAreCompiled holds every Go block of the documents to the file that it names, which the tests compile or run.
func TestDocumentsAreCompiled(t *testing.T) {
	root := filepath.Join("..", "..")
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	found := 0
	for _, file := range append(files, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		blocks := block.FindAllStringSubmatch(string(text), -1)
		require.Equal(t, strings.Count(string(text), goFence), len(blocks), "%s: a Go block does not name its file", file)
		for _, b := range blocks {
			source, err := os.ReadFile(filepath.Join(root, b[1]))
			require.NoError(t, err, file)
			require.True(t, strings.Contains(string(source), b[2]), "%s: the block is not in %s:\n%s", file, b[1], b[2])
			found++
		}
	}
	require.Greater(t, found, 2)
}

// TestReadmeIsShort keeps the README to what fits one reading: 900 words.
func TestReadmeIsShort(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	require.LessOrEqual(t, len(strings.Fields(string(text))), 900, "words of README.md")
}

package gpu_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBundleRefuses: bundle.sh empties no folder that it has not filled. It says so before it fetches anything. D1.
func TestBundleRefuses(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	script, err := filepath.Abs("bundle.sh")
	require.NoError(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "thesis.txt")
	require.NoError(t, os.WriteFile(file, []byte("all of it"), 0o666))
	hidden := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(hidden, ".profile"), nil, 0o666))
	for _, tt := range []struct{ folder, in, want string }{
		{dir, "", "is neither empty nor a bundle"},
		{hidden, "", "is neither empty nor a bundle"},
		{".", dir, "is neither empty nor a bundle"},
		{".", "../..", "is neither empty nor a bundle"},
		{"..", dir, "is neither empty nor a bundle"},
		{"/", "", "is neither empty nor a bundle"},
		{file, "", "is no folder"},
	} {
		c := exec.Command(bash, script, tt.folder)
		c.Dir = tt.in
		c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH"), "PIP_NO_INDEX=1")
		out, err := c.CombinedOutput()
		require.ErrorContains(t, err, "exit status 2", "%s: %s", tt.folder, out)
		require.Contains(t, string(out), tt.want, tt.folder)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "all of it", string(text))
}

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is committed is what asmgen writes.
func TestCommitted(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, run([]string{dir}))
	for _, name := range []string{"loops_amd64.go", "loops_avx2_amd64.s", "loops_avx512_amd64.s"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		want, err := os.ReadFile(filepath.Join("..", name))
		require.NoError(t, err)
		require.True(t, string(want) == string(got), "%s is not what asmgen writes: run go generate ./cpu", name)
	}
}

func TestCommandLine(t *testing.T) {
	require.ErrorContains(t, run(nil), "need the folder to write to")
	require.ErrorContains(t, run([]string{"testdata/is/no/folder"}), "testdata/is/no/folder")
}

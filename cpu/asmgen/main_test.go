package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

var files = []string{"loops_amd64.go", "loops_avx2_amd64.s"}

// What is committed is what asmgen writes.
func TestCommitted(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, run([]string{dir}, io.Discard))
	for _, name := range files {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		want, err := os.ReadFile(filepath.Join("..", name))
		require.NoError(t, err)
		require.True(t, string(want) == string(got), "%s is not what asmgen writes: run go generate ./cpu", name)
	}
}

// TestOverwritesNothing: what somebody has written is not replaced. D3.
func TestOverwritesNothing(t *testing.T) {
	for _, name := range files {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte("package mine\n"), 0o666))
		require.ErrorContains(t, run([]string{dir}, io.Discard), "does not say that it is generated")
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "package mine\n", string(text))
		there, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, there, 1, "nothing is written but what is whole")
	}
}

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"asmgen": main}) }

// TestSessions runs the program as a user does: testdata holds shell sessions.
func TestSessions(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

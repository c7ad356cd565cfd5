package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/internal/cli"
)

// TestCommitted fails when the tables or this program changed and `go generate` was not run.
func TestCommitted(t *testing.T) {
	api, err := load()
	require.NoError(t, err)
	files, err := api.files()
	require.NoError(t, err)
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", "..", name))
		require.NoError(t, err, "libcuda.a is easily lost to a *.a in .gitignore")
		require.True(t, string(want) == string(got), "%s is not what the tables say; run go generate", name)
	}
}

// TestOverwritesNothing: a header of somebody else's is not replaced. D3.
func TestOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	header := filepath.Join(dir, "cuda.h")
	require.NoError(t, os.WriteFile(header, []byte("/* NVIDIA's */\n"), 0o666))
	require.ErrorContains(t, run([]string{"-o", dir}, io.Discard), "does not say that it is generated")
	require.NoError(t, os.Remove(header))
	require.NoError(t, run([]string{"-o", dir}, io.Discard))
	require.NoError(t, run([]string{"-o", dir}, io.Discard), "its own it replaces")
	require.ErrorAs(t, run([]string{"extra"}, io.Discard), new(cli.UsageError))
}

func TestParse(t *testing.T) {
	e, err := parseEntry("cuThing=_v2 : const void **p, U flags, float f")
	require.NoError(t, err)
	require.Equal(t, entry{"cuThing", "_v2", []param{{"const void **", "p"}, {"unsigned int", "flags"}, {"float", "f"}}}, e)
	require.Equal(t, "const void **p, unsigned int flags, float f", e.decl())
	require.Equal(t, "FS_WORD(p), FS_WORD(flags), FS_FLOAT(f)", e.words())
	_, err = parseEntry("cuThing : int")
	require.ErrorContains(t, err, "`type name`")
	_, err = parseEntry("cuThing")
	require.Error(t, err)

	c, err := parseConstants("P_ =3 A B =30 30 C")
	require.NoError(t, err)
	require.Equal(t, []constant{{"P_A", 3}, {"P_B", 4}, {"P_30", 30}, {"P_C", 31}}, c)
	require.Equal(t, []string{"a", "b", "c"}, fields("size_t a, *b; char c[16];"))
	require.Equal(t, "ErrorInvalidPtx", resultName("CUDA_ERROR_INVALID_PTX"))
}

// TestTables checks what a slip of the pen would break and no compiler would find.
func TestTables(t *testing.T) {
	api, err := load()
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, e := range api.entries {
		require.False(t, seen[e.name], "%s stands twice", e.name)
		seen[e.name] = true
	}
	for _, c := range api.constants {
		require.False(t, seen[c.name], "%s stands twice", c.name)
		seen[c.name] = true
	}
	known, err := os.ReadFile("known.txt")
	require.NoError(t, err)
	for _, l := range lines(string(known)) {
		require.Len(t, strings.SplitN(l, " : ", 3), 3, "known.txt: %q has no reason", l)
	}
}

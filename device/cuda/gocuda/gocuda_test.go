package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWithTag(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"no tags", "build ./...", "build ./..."},
		{"two words", "build -tags a ./...", "build -tags a,cuda ./..."},
		{"one word", "vet --tags=a,b ./...", "vet --tags=a,b,cuda ./..."},
		{"already there", "build -tags cuda ./...", "build -tags cuda ./..."},
		{"after a package", "test ./... -tags a", "test ./... -tags a,cuda"},
		{"a test's own", "test . -args -tags a", "test . -args -tags a"},
		{"run", "run -tags=a . -tags b", "run -tags=a,cuda . -tags b"},
		{"last word", "build -tags", "build -tags"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, strings.Fields(c.out), withTag(strings.Fields(c.in)))
		})
	}
}

func TestWithTagInFlags(t *testing.T) {
	for in, out := range map[string]string{
		"":                  "-tags=cuda",
		"-mod=mod":          "-mod=mod -tags=cuda",
		"-tags=a -mod=mod":  "-tags=a,cuda -mod=mod",
		"-tags=cuda":        "-tags=cuda",
		"--tags=a,cuda -v":  "--tags=a,cuda -v",
		"-ldflags=-s -race": "-ldflags=-s -race -tags=cuda",
	} {
		require.Equal(t, out, withTagInFlags(in), "GOFLAGS=%q", in)
	}
}

func TestCppflags(t *testing.T) {
	plain := cppflags("/a/b", []byte("x"), "")
	require.Regexp(t, `^-I/a/b -DFUSESTEP_CUDA_H_REV=0x[0-9a-f]{12}$`, plain)
	require.NotEqual(t, plain, cppflags("/a/b", []byte("y"), ""), "a changed header must change the flags")
	require.Regexp(t, `^'-I/a b' -D\S+ -O3$`, cppflags("/a b", nil, "-O3"))
	require.Regexp(t, `^"-I/a'b" `, cppflags("/a'b", nil, ""))
}

// TestCommand runs gocuda as a user does, on programs of testdata that import gorgonia.org/cu.
func TestCommand(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("CUDA is supported on linux")
	}
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("no C compiler")
	}
	if testing.Short() {
		t.Skip("builds gorgonia.org/cu")
	}
	gocuda := filepath.Join(t.TempDir(), "gocuda")
	build, err := exec.Command("go", "build", "-o", gocuda, ".").CombinedOutput()
	require.NoError(t, err, "%s", build)

	// Where there is a driver, hide it.
	hidden := append(os.Environ(), "LD_LIBRARY_PATH="+noDriver(t))
	start := func(env []string, args ...string) (string, int) {
		c := exec.Command(gocuda, args...)
		c.Env = env
		out, err := c.CombinedOutput()
		if exit, ok := err.(*exec.ExitError); ok {
			return string(out), exit.ExitCode()
		}
		require.NoError(t, err, "%s", out)
		return string(out), 0
	}

	t.Run("cu starts without a driver", func(t *testing.T) {
		out, code := start(hidden, "run", "./testdata/devices")
		require.Equal(t, "devices: SharedObjectInitFailed\nreason given: true\n", out)
		require.Zero(t, code)
	})
	t.Run("the environment's own settings", func(t *testing.T) {
		env := append(os.Environ(), "CGO_ENABLED=0", "CGO_CPPFLAGS=-DMINE", "GOFLAGS=-tags=mine")
		out, code := start(env, "env", "CGO_ENABLED", "CGO_CPPFLAGS", "GOFLAGS")
		require.Zero(t, code)
		require.Regexp(t, `^1\n-I\S+/driver -DFUSESTEP\S+ -DMINE\n-tags=mine,cuda\n$`, out)
	})
	t.Run("the exit status is go's", func(t *testing.T) {
		out, code := start(os.Environ(), "vet", "./testdata/nowhere")
		require.NotZero(t, code)
		require.Contains(t, out, "nowhere")
	})
	t.Run("outside a module", func(t *testing.T) {
		c := exec.Command(gocuda, "build", ".")
		c.Dir = t.TempDir()
		out, err := c.CombinedOutput()
		require.ErrorContains(t, err, "exit status 1")
		require.Regexp(t, `^gocuda: package \S+ is not found from here: .*\n$`, string(out))
	})
	t.Run("no arguments", func(t *testing.T) {
		out, code := start(os.Environ())
		require.Equal(t, 2, code)
		require.Regexp(t, `^gocuda: usage: .*\n$`, out)
	})
}

// noDriver is a directory whose libcuda.so.1 is no library, so that opening the driver fails everywhere.
func noDriver(t *testing.T) string {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "libcuda.so.1"), []byte("not a library"), 0o644))
	return dir
}

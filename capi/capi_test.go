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

// library builds the library into a folder of the test's.
func library(t *testing.T) (folder string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the library is for Linux")
	}
	if testing.Short() {
		t.Skip("it takes half a minute to build the library")
	}
	folder = t.TempDir()
	reads(t, "build.sh", "exports.map")
	out, err := exec.Command("./build.sh", filepath.Join(folder, "libfusestep.so")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return folder
}

// reads makes the test's result one of the files, which commands read.
func reads(t *testing.T, files ...string) {
	for _, file := range files {
		_, err := os.ReadFile(file)
		require.NoError(t, err)
	}
}

// TestPrograms runs C programs that use the library, by themselves and with the address sanitizer.
func TestPrograms(t *testing.T) {
	folder := library(t)
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 1, "the library, and no header")
	symbols, err := exec.Command("nm", "-D", "--defined-only", filepath.Join(folder, "libfusestep.so")).CombinedOutput()
	require.NoError(t, err, "%s", symbols)
	header, err := os.ReadFile("fusestep.h")
	require.NoError(t, err)
	for line := range strings.Lines(string(symbols)) {
		name := strings.Fields(line)[2]
		require.True(t, strings.HasPrefix(name, "fs_"), "%s is exported", name)
		require.True(t, strings.Contains(string(header), name+"("), "%s is not in fusestep.h", name)
	}
	for _, sanitizer := range []string{"", "-fsanitize=address,undefined"} {
		for _, tt := range []struct{ name, source, standard, want string }{
			{"train", "../examples/c/train.c", "-std=c99", "loss 0.0005, weight -2.98 -1.99 -1.00 -0.00 0.99 2.01 2.98 3.96, bias 0.50\ngoes on with the same bits: yes\n"},
			{"check", "testdata/check.c", "-std=gnu11", ""},
			{"late", "testdata/late.c", "-std=gnu11", ""},
		} {
			t.Run(tt.name+sanitizer, func(t *testing.T) {
				reads(t, tt.source)
				program := filepath.Join(folder, tt.name)
				args := []string{tt.standard, "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing", "-g", "-O1", tt.source, "-o", program, "-I.",
					"-lpthread", "-lm", "-ldl"}
				if tt.name != "late" {
					args = append(args, "-L"+folder, "-lfusestep", "-Wl,-rpath,"+folder)
				}
				if sanitizer != "" {
					args = append(args, sanitizer)
				}
				cc := os.Getenv("CC")
				if cc == "" {
					cc = "cc"
				}
				out, err := exec.Command(cc, args...).CombinedOutput()
				require.NoError(t, err, "%s", out)
				run := exec.Command(program, filepath.Join(folder, "libfusestep.so"))
				run.Env = append(os.Environ(), "ASAN_OPTIONS=quarantine_size_mb=1", "GOGC=100") // or freed memory would be kept, and counted as a leak of ours
				out, err = run.CombinedOutput()
				require.Equal(t, tt.want, string(out))
				require.NoError(t, err)
			})
		}
	}
}

// Declarations of the header are C and C++ by themselves.
func TestHeader(t *testing.T) {
	reads(t, "fusestep.h")
	for _, language := range []string{"c", "c++"} {
		cmd := exec.Command("cc", "-x", language, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "fusestep.h")
		if language == "c" {
			cmd.Args = append(cmd.Args, "-std=c99")
		}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", language, out)
	}
}

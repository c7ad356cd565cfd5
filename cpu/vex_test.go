//go:build amd64 && !purego

package cpu

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNoLegacySSE disassembles the package's assembly. One instruction of the legacy SSE encoding between VEX ones costs
// a transition each time, 22 times the loop's own time. The go command's disassembler knows legacy instructions by name
// and their X registers, and VEX ones not at all; those start with the bytes C4 or C5.
func TestNoLegacySSE(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "cpu.a")
	out, err := exec.Command("go", "build", "-o", archive, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = exec.Command("go", "tool", "objdump", "-s", "AVX2", archive).CombinedOutput()
	require.NoError(t, err, string(out))
	functions, vex := checkVEX(t, string(out))
	require.Greater(t, functions, 50)
	require.Greater(t, vex, 1000)
	t.Run("notices", func(t *testing.T) {
		bad := "TEXT github.com/fusestep/fusestep/cpu.fAVX2(SB) avx2_amd64.s\n  avx2_amd64.s:1\t0x1\t0f58c1\t\tADDPS X1, X0\t\n"
		require.NotEmpty(t, legacy(bad))
	})
}

var xRegister = regexp.MustCompile(`\bX([0-9]|1[0-5])\b`)

// legacy are the lines of a disassembly that are legacy SSE, in assembly: the compiler's wrappers around it clear X15.
func legacy(text string) (bad []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "  avx2_amd64.s:") && xRegister.MatchString(line) {
			bad = append(bad, line)
		}
	}
	return bad
}

func checkVEX(t *testing.T, text string) (functions, vex int) {
	for _, line := range legacy(text) {
		t.Errorf("legacy SSE: %s", line)
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "TEXT") && strings.Contains(line, "avx2_amd64.s"):
			functions++
		case len(f) > 2 && (strings.HasPrefix(f[2], "c4") || strings.HasPrefix(f[2], "c5")):
			vex++
		}
	}
	return functions, vex
}

// TestRegisters: AVX2 has 16 registers; the assembler's allocator knows 32 and would fault on machines without AVX-512.
func TestRegisters(t *testing.T) {
	text, err := os.ReadFile("avx2_amd64.s")
	require.NoError(t, err)
	require.Empty(t, regexp.MustCompile(`\bY(1[6-9]|2[0-9]|3[01])\b|\bZ[0-9]+\b|\bK[0-7]\b`).FindAllString(string(text), -1))
}

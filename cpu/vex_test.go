//go:build amd64 && !purego

package cpu

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNoLegacySSE disassembles a program and finds every instruction of the assembly that has a vector register. One of
// the legacy SSE encoding between VEX ones costs a transition each time, 22 times the loop's own time. The go command's
// disassembler does not know VEX, so what counts is an instruction's first byte, C4 or C5.
func TestNoLegacySSE(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "gpubench")
	out, err := exec.Command("go", "build", "-o", binary, "../cmd/gpubench").CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = exec.Command("go", "tool", "objdump", "-s", `AVX2(\.abi0)?$`, binary).CombinedOutput()
	require.NoError(t, err, string(out))
	source, err := os.ReadFile("avx2_amd64.s")
	require.NoError(t, err)
	checked, bad := legacy(string(source), string(out))
	require.Empty(t, bad)
	require.Greater(t, checked, 1000)
}

func TestLegacyNotices(t *testing.T) {
	_, bad := legacy("TEXT\n\tADDPS X1, X0\n", "  avx2_amd64.s:2\t0x1\t0f58c1\t\tADDPS X1, X0\t\n")
	require.Len(t, bad, 1)
}

var (
	vectorRegister = regexp.MustCompile(`\b[XYZ]([0-9]|[12][0-9]|3[01])\b`)
	disassembled   = regexp.MustCompile(`(?m)^  avx2_amd64\.s:(\d+)\t0x[0-9a-f]+\t+([0-9a-f]+)`)
)

// legacy looks up the code of each line of the source that has a vector register, and returns the lines that are not VEX.
func legacy(source, disassembly string) (checked int, bad []string) {
	lines := strings.Split(source, "\n")
	seen := map[int]bool{}
	for _, m := range disassembled.FindAllStringSubmatch(disassembly, -1) {
		n, _ := strconv.Atoi(m[1])
		if seen[n] || !vectorRegister.MatchString(lines[n-1]) {
			continue // a line's first row is its instruction's first byte
		}
		seen[n] = true
		checked++
		if !strings.HasPrefix(m[2], "c4") && !strings.HasPrefix(m[2], "c5") {
			bad = append(bad, m[0]+": "+lines[n-1])
		}
	}
	return checked, bad
}

// TestRegisters: AVX2 has 16 registers; the assembler's allocator knows 32 and would fault on machines without AVX-512.
func TestRegisters(t *testing.T) {
	text, err := os.ReadFile("avx2_amd64.s")
	require.NoError(t, err)
	require.Empty(t, regexp.MustCompile(`\bY(1[6-9]|2[0-9]|3[01])\b|\bZ[0-9]+\b|\bK[0-7]\b`).FindAllString(string(text), -1))
}

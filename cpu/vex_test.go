//go:build amd64 && !purego

package cpu

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	vectorRegister = regexp.MustCompile(`\b[XYZ]([0-9]|[12][0-9]|3[01])\b`)
	beyondAVX2     = regexp.MustCompile(`\b[XY](1[6-9]|2[0-9]|3[01])\b|\bZ[0-9]+\b|\bK[0-7]\b`)
)

// notAVX2 are the instructions of an assembly text that have a vector register and are not AVX2's: those of the legacy SSE
// encoding, which the Go assembler writes for every name without a V, and those with registers or masks of AVX-512.
func notAVX2(text string) (checked int, bad []string) {
	for line := range strings.Lines(text) {
		code, _, _ := strings.Cut(strings.TrimSpace(line), "//")
		if !vectorRegister.MatchString(code) {
			continue
		}
		checked++
		if !strings.HasPrefix(code, "V") || beyondAVX2.MatchString(code) {
			bad = append(bad, code)
		}
	}
	return checked, bad
}

// TestAVX2Alone: one instruction of legacy SSE between those of AVX costs a transition each time, 22 times a loop's own time;
// and the register allocator knows AVX-512's 32 registers, which would fault on a machine with AVX2 alone.
func TestAVX2Alone(t *testing.T) {
	text, err := os.ReadFile("avx2_amd64.s")
	require.NoError(t, err)
	checked, bad := notAVX2(string(text))
	require.Empty(t, bad)
	require.Greater(t, checked, 1000)
	for _, line := range []string{"\tADDPS X1, X0", "\tVADDPS Y16, Y1, Y0", "\tVADDPS Z1, Z2, Z0", "\tVCMPPS $0x11, Y1, Y0, K1"} {
		_, bad := notAVX2(line)
		require.Len(t, bad, 1, line)
	}
	require.Equal(t, strings.Count(string(text), "\nTEXT"), strings.Count(string(text), "\tVZEROUPPER\n"), "a function returns with dirty upper halves")
}

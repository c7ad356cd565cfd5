//go:build amd64 && !purego

package exec

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// protection is what /proc says of the memory at an address, such as r-xp.
func protection(t *testing.T, at *byte) string {
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	for line := range strings.Lines(string(maps)) {
		var lo, hi uintptr
		var p string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &lo, &hi, &p); err == nil && lo <= uintptr(unsafe.Pointer(at)) && uintptr(unsafe.Pointer(at)) < hi {
			return p
		}
	}
	return "unmapped"
}

// Memory is writable first, executable then, and never both.
func TestProtection(t *testing.T) {
	possible(t)
	m, err := mapMemory(1)
	require.NoError(t, err)
	require.Equal(t, "rw-p", protection(t, &m[0]))
	require.NoError(t, seal(m))
	require.Equal(t, "r-xp", protection(t, &m[0]))
	at := &m[0]
	require.NoError(t, unmapMemory(m))
	require.Equal(t, "unmapped", protection(t, at))
}

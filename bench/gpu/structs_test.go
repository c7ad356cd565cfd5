package gpu_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The structures of capi_torch.py have the fields of the header's, as what they lack would be what memory happens to have there.
func TestStructures(t *testing.T) {
	header, err := os.ReadFile("../../capi/fusestep.h")
	require.NoError(t, err)
	script, err := os.ReadFile("capi_torch.py")
	require.NoError(t, err)
	text := regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(string(header), "")
	for class, name := range map[string]string{"Group": "fs_group", "Args": "fs_args"} {
		_, body, found := strings.Cut(string(script), "class "+class+"(ctypes.Structure):")
		require.True(t, found, class)
		body, _, _ = strings.Cut(body, "\n\n\n")
		var got, want []string
		for _, m := range regexp.MustCompile(`"(\w+)"`).FindAllStringSubmatch(body, -1) {
			got = append(got, m[1])
		}
		before, _, found := strings.Cut(text, "} "+name+";")
		require.True(t, found, name)
		before = before[strings.LastIndex(before, "typedef struct {"):]
		for _, m := range regexp.MustCompile(`(\w+)[,;]`).FindAllStringSubmatch(before, -1) {
			want = append(want, m[1])
		}
		require.Equal(t, want, got, name)
	}
}

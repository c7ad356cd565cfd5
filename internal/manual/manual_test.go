package manual

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOf(t *testing.T) {
	require.Equal(t, "Thing does things.\n\n\tthing -v\n", Of("// Thing does things.\n//\n//\tthing -v\npackage main\n\nfunc main() {}\n"))
}

package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestManual(t *testing.T) {
	require.Equal(t, "Thing does things.\n\n\tthing -v\n", Manual("// Thing does things.\n//\n//\tthing -v\npackage main\n\nfunc main() {}\n"))
}

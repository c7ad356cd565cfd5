package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The picture in the repository is the one that the code makes now.
func TestLionIsCurrent(t *testing.T) {
	want, err := lion()
	require.NoError(t, err)
	got, err := os.ReadFile("../lion.svg")
	require.NoError(t, err)
	require.True(t, want == string(got), "docs/lion.svg is not what the code makes: make generate")
}

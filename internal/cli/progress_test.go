package cli

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	var silent Progress
	silent.Show("nothing")
	silent.Clear()
	p := Progress{W: &out}
	p.Clear()
	require.Empty(t, out.String())
	p.Show("%s: round %d", "sgd", 1)
	p.Clear()
	p.Clear()
	require.Equal(t, "\r\x1b[Ksgd: round 1\r\x1b[K", out.String())
}

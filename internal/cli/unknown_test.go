package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestShown(t *testing.T) {
	for _, test := range []struct{ value, want string }{
		{"gpt2", "gpt2"},
		{"größe", "größe"},
		{"", `""`},
		{"a b", `"a b"`},
		{"a\nb", `"a\nb"`},
		{`a"b`, `"a\"b"`},
		{"\x1b[31m", `"\x1b[31m"`},
		{"\xff", `"\xff"`},
		{strings.Repeat("9", 80), strings.Repeat("9", 80)},
		{strings.Repeat("9", 81), strings.Repeat("9", 80) + "..."},
	} {
		assert.Equal(t, test.want, Shown(test.value), "%q", test.value)
	}
}

func TestEdits(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"gpt2", "gpt2", 0},
		{"gpt", "gpt2", 1},
		{"gpt3", "gpt2", 1},
		{"gtp2", "gpt2", 2},
		{"kitten", "sitting", 3},
	} {
		assert.Equal(t, test.want, edits(test.a, test.b), "%q to %q", test.a, test.b)
	}
}

package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/examples/internal/compare/comparetest"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"bigram": main}) }

// TestSessions runs the program as a user does: testdata holds shell sessions.
func TestSessions(t *testing.T) { comparetest.Sessions(t) }

// write makes a file to learn from.
func write(t *testing.T, s string) string {
	name := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(name, []byte(s), 0o666))
	return name
}

func TestLoad(t *testing.T) {
	book, err := load("")
	require.NoError(t, err)
	require.Len(t, book.chars, 248985)
	require.Len(t, book.alphabet, 86)
	require.Equal(t, 224086, book.train)

	x, err := load(write(t, strings.Repeat("böb ", 25)))
	require.NoError(t, err)
	require.Equal(t, []rune(" bö"), x.alphabet)
	require.Equal(t, []int{1, 2, 1, 0, 1}, x.chars[:5])
	require.Equal(t, 90, x.train)
	counts := make([]int, 9)
	x.pairs([]int{0, 1, 2, 3, 4, 0}, counts)
	// After the space a b; after b a space, never b, three times ö; after ö a b.
	require.Equal(t, []int{0, 1, 0, 1, 0, 3, 0, 1, 0}, counts)

	for want, content := range map[string]string{"is not UTF-8": strings.Repeat("\xff", 200), "has fewer than 100 characters": "short"} {
		_, err := load(write(t, content))
		require.ErrorContains(t, err, want)
	}
	// P2: a byte-order mark is no character.
	x, err = load(write(t, "\ufeff"+strings.Repeat("böb ", 25)))
	require.NoError(t, err)
	require.Equal(t, []rune(" bö"), x.alphabet)
	require.Len(t, x.chars, 100)

	// C4: a table of all pairs of 63,000 characters would be 16 GB, and training it a multiple.
	var many strings.Builder
	for r := rune(0); many.Len() < 200_000; r++ {
		if utf8.ValidRune(r) {
			many.WriteRune(r)
		}
	}
	_, err = load(write(t, many.String()))
	require.ErrorContains(t, err, "different characters: the table of all pairs is for at most 4096")
	_, err = load("no/such/file")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestGradient(t *testing.T) {
	x, err := load(write(t, strings.Repeat("the rays of light are not of one kind. ", 10)))
	require.NoError(t, err)
	comparetest.Gradient(t, newBigram[float64](x), []int{0, 1, 2, 3, 3, 100, 200, 300})
}

// TestCount: no model is better than counting on what was counted, and the gradient there is 0.
func TestCount(t *testing.T) {
	x, err := load(write(t, strings.Repeat("abac", 30)))
	require.NoError(t, err)
	rows := make([]int, 80)
	for i := range rows {
		rows[i] = i
	}
	m := count(x, rows, 0)
	// Half of the characters are certain, after a comes b or c: half a bit a character.
	require.InDelta(t, 0.5, m.Loss(rows), 1e-15)
	m.Gradient(rows)
	for i, g := range m.grad {
		require.InDelta(t, 0, g, 1e-15, "pair %d", i)
	}
	smooth := count(x, rows, 1)
	p := func(n, of float64) float64 { return -math.Log2((n + 1) / (of + 3)) }
	require.InDelta(t, (40*p(20, 40)+20*p(20, 20)+20*p(20, 20))/80, smooth.Loss(rows), 1e-14)
}

// TestReferences holds every optimizer against torch and optax.
func TestReferences(t *testing.T) {
	p, err := problem("")
	require.NoError(t, err)
	comparetest.References(t, p, 2)
}

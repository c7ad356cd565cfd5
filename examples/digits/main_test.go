package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/examples/internal/compare/comparetest"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"digits": main}) }

// TestSessions runs the program as a user does: testdata holds shell sessions.
func TestSessions(t *testing.T) { comparetest.Sessions(t) }

func TestLoad(t *testing.T) {
	train, test, err := load()
	require.NoError(t, err)
	require.Len(t, train, 1437)
	require.Len(t, test, 360)
	var count [classes]int
	for _, im := range append(train, test...) {
		count[im.digit]++
		for _, ink := range im.ink {
			require.LessOrEqual(t, ink, uint8(16))
		}
	}
	// UCI's counts of its test set.
	require.Equal(t, [classes]int{178, 182, 177, 183, 181, 182, 181, 179, 174, 180}, count)
	require.Equal(t, 0, train[0].digit)
	require.Equal(t, []uint8{0, 0, 5, 13, 9, 1, 0, 0}, train[0].ink[:side])
}

func TestGradient(t *testing.T) {
	train, test, err := load()
	require.NoError(t, err)
	rows := []int{0, 17, 300, 1436, 17}
	t.Run("softmax", func(t *testing.T) {
		comparetest.Gradient(t, newNetwork[float64](train, test, 1, pixels, classes), rows)
	})
	t.Run("mlp", func(t *testing.T) {
		comparetest.Gradient(t, newNetwork[float64](train, test, 1, pixels, 5, classes), rows)
	})
	t.Run("two hidden layers", func(t *testing.T) {
		comparetest.Gradient(t, newNetwork[float64](train, test, 1, pixels, 5, 4, classes), rows)
	})
}

// TestReferences holds every optimizer against torch and optax.
func TestReferences(t *testing.T) {
	for _, model := range []string{"softmax", "mlp"} {
		t.Run(model, func(t *testing.T) {
			p, err := problem(model)
			require.NoError(t, err)
			comparetest.References(t, p, 5)
		})
	}
}

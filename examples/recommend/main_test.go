package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/examples/internal/compare/comparetest"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"recommend": main}) }

// TestSessions runs the program as a user does: testdata holds shell sessions.
func TestSessions(t *testing.T) { comparetest.Sessions(t) }

func TestLoad(t *testing.T) {
	r, err := load()
	require.NoError(t, err)
	require.Equal(t, 1276, r.people)
	require.Len(t, r.cuisines, 40)
	require.Len(t, r.train, 21549)
	require.Len(t, r.test, 2394)
	var count [6]int
	for _, x := range append(r.train, r.test...) {
		count[int(x.points)]++
	}
	require.Equal(t, [6]int{0, 521, 2083, 9121, 8149, 4069}, count)
	require.InDelta(t, 3.5, r.mean, 0.1)
	require.Equal(t, rating{0, 1, 3}, r.train[0], "Argentina")
	require.Equal(t, rating{0, 19, 5}, r.test[0], "the tenth: Italy")
}

func TestGradient(t *testing.T) {
	r := &ratings{cuisines: []string{"A", "B", "C"}, people: 2, mean: 3.25,
		train: []rating{{0, 0, 5}, {0, 1, 2}, {1, 1, 4}, {1, 2, 1}, {0, 2, 3}}}
	comparetest.Gradient(t, newFactorisation[float64](r, 1), []int{0, 1, 2, 3, 4, 2})
}

// TestReferences holds every optimizer against torch and optax.
func TestReferences(t *testing.T) {
	p, err := problem()
	require.NoError(t, err)
	comparetest.References(t, p, 10)
}

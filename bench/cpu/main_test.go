package main

import (
	"bytes"
	"errors"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// fixed is a contender whose step always takes so long.
func fixed(name string, d time.Duration) contender {
	return contender{name, 1e6, func(n int) (time.Duration, error) { return time.Duration(n) * d, nil }}
}

func TestCompare(t *testing.T) {
	m, err := compare([]contender{fixed("fusestep", 2*time.Millisecond), fixed("other", 3*time.Millisecond)}, time.Second)
	require.NoError(t, err)
	require.Len(t, m.seconds["other"], rounds)
	require.InDelta(t, 1.5, m.ratio("other", "fusestep"), 1e-9)
	_, err = compare([]contender{{"broken", 0, func(int) (time.Duration, error) { return 0, errors.New("no") }}}, time.Second)
	require.EqualError(t, err, "no")
}

func TestGoals(t *testing.T) {
	m, err := compare([]contender{fixed("fusestep", 2*time.Millisecond), fixed("other", 3*time.Millisecond)}, time.Second)
	require.NoError(t, err)
	m.missing["lost"] = "it is gone"
	for _, tt := range []struct {
		goal goal
		want string
	}{
		{goal{other: "other", least: 1.5}, "g: against other  ≥ 1.50  1.50  yes  2ms (0.5 GB/s)  3ms (0.3 GB/s)\n"},
		{goal{other: "other", least: 1.6}, "g: against other  ≥ 1.60  1.50  no  2ms (0.5 GB/s)  3ms (0.3 GB/s)\n"},
		{goal{other: "other", most: 0.6}, "g: against other  ≤ 0.60  0.67  no  2ms (0.5 GB/s)  3ms (0.3 GB/s)\n"},
		{goal{other: "other", ours: "other", what: "itself"}, "g: itself    1.00    3ms (0.3 GB/s)  3ms (0.3 GB/s)\n"},
		{goal{other: "other", most: 1, difference: true}, "g: against other  ≤ 1.00  -1000.00  yes  2ms (0.5 GB/s)  3ms (0.3 GB/s)\n"},
		{goal{other: "lost", least: 1}, "g: against lost  ≥ 1.00  not measured: it is gone      \n"},
	} {
		var b bytes.Buffer
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		tt.goal.print(w, "g", m)
		require.NoError(t, w.Flush())
		require.Equal(t, tt.want, b.String())
	}
}

// Every group has a name of its own and goals, and one of ours runs as they all do.
func TestGroups(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range groups() {
		require.NotEmpty(t, g.goals, g.name)
		require.False(t, seen[g.name], g.name)
		seen[g.name] = true
		if g.name != "adamw, one tensor of 1,024" {
			continue
		}
		m, err := g.measure(nil, 10*time.Millisecond)
		require.NoError(t, err)
		require.Len(t, m.seconds["fusestep"], rounds)
		require.NotZero(t, m.ratio("fusestep", "kernel"))
	}
	require.True(t, seen["adamw, one tensor of 1,024"])
}

func TestPeersMissing(t *testing.T) {
	_, err := startPeers("no-such-python", "")
	require.ErrorContains(t, err, "no-such-python")
	var none *peers
	_, _, err = none.contender("fused", "adamw", []int{1}, 1, 1)
	require.EqualError(t, err, "no -python")
	require.Contains(t, none.about(), "none")
}

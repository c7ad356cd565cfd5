package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/bench/internal/results"
	"github.com/fusestep/fusestep/internal/cli"
)

// fixed is a contender whose step always takes so long.
func fixed(name string, d time.Duration) contender {
	return contender{name: name, bytes: 1e6, setting: "1 thread", run: func(n int) (time.Duration, error) { return time.Duration(n) * d, nil }}
}

func TestCompare(t *testing.T) {
	m, err := compare([]contender{fixed("fusestep", 2*time.Millisecond), fixed("other", 3*time.Millisecond)}, time.Second, rounds)
	require.NoError(t, err)
	require.Len(t, m.seconds["other"], rounds)
	require.InDelta(t, 1.5, m.ratio("other", "fusestep"), 1e-9)
	_, err = compare([]contender{{name: "broken", run: func(int) (time.Duration, error) { return 0, errors.New("no") }}}, time.Second, 2)
	require.EqualError(t, err, "no")
}

func TestGoals(t *testing.T) {
	m, err := compare([]contender{fixed("fusestep", 2*time.Millisecond), fixed("other", 3*time.Millisecond)}, time.Second, rounds)
	require.NoError(t, err)
	m.missing["lost"] = "it is gone"
	for _, tt := range []struct {
		goal goal
		want string
	}{
		{goal{other: "other", least: 1.5}, "g: against other  ≥ 1.50  1.50  yes  1 thread: 2ms (0.5 GB/s)  1 thread: 3ms (0.3 GB/s)\n"},
		{goal{other: "other", least: 1.6}, "g: against other  ≥ 1.60  1.50  no  1 thread: 2ms (0.5 GB/s)  1 thread: 3ms (0.3 GB/s)\n"},
		{goal{other: "other", most: 0.6}, "g: against other  ≤ 0.60  0.67  no  1 thread: 2ms (0.5 GB/s)  1 thread: 3ms (0.3 GB/s)\n"},
		{goal{other: "other", ours: "other", what: "itself"}, "g: itself    1.00    1 thread: 3ms (0.3 GB/s)  1 thread: 3ms (0.3 GB/s)\n"},
		{goal{other: "other", most: 1, difference: true}, "g: against other  ≤ 1.00  -1000.00  yes  1 thread: 2ms (0.5 GB/s)  1 thread: 3ms (0.3 GB/s)\n"},
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
	seen, readme := map[string]bool{}, 0
	for _, g := range groups(rehearsal, "") {
		require.NotEmpty(t, g.goals, g.name)
		require.False(t, seen[g.name], g.name)
		seen[g.name] = true
		if g.readme {
			readme++
		}
		if g.name != "adamw, one tensor of 1,024" {
			continue
		}
		m, err := g.measure(nil, 10*time.Millisecond)
		require.NoError(t, err)
		require.Len(t, m.seconds["fusestep"], rounds)
		require.NotZero(t, m.ratio("fusestep", "kernel"))
	}
	require.True(t, seen["adamw, one tensor of 1,024"])
	require.Equal(t, 6, readme)
}

// sleeper is a place where a step takes as long as a table says for the threads.
func sleeper(waiting string, open *int, took map[int]time.Duration) place {
	p := place{waiting: waiting, open: func() (func(threads, steps int) (time.Duration, error), func() error, error) {
		*open++
		return func(threads, steps int) (time.Duration, error) { return time.Duration(steps) * took[threads], nil },
			func() error { *open--; return nil }, nil
	}}
	for _, n := range []int{1, 2, 4} {
		if took[n] > 0 {
			p.threads = append(p.threads, n)
		}
	}
	return p
}

// TestBest: the setting with the shortest step is taken and named, and nothing else stays open. M6.
func TestBest(t *testing.T) {
	open := 0
	ms := func(x int) time.Duration { return time.Duration(x) * time.Millisecond }
	c, drop, err := best("fused", 7, []place{
		sleeper("waiting as by default", &open, map[int]time.Duration{1: ms(9), 2: ms(600), 4: ms(300)}),
		sleeper("waiting actively", &open, map[int]time.Duration{2: ms(8), 4: ms(10)}),
	})
	require.NoError(t, err)
	require.Equal(t, 1, open)
	require.Equal(t, "2 threads, waiting actively", c.setting)
	require.Equal(t, []results.Trial{
		{Setting: "1 thread", Seconds: 9e-3}, {Setting: "2 threads, waiting as by default", Seconds: 0.6}, {Setting: "4 threads, waiting as by default", Seconds: 0.3},
		{Setting: "2 threads, waiting actively", Seconds: 8e-3}, {Setting: "4 threads, waiting actively", Seconds: 10e-3},
	}, c.tried)
	took, err := c.run(3)
	require.NoError(t, err)
	require.Equal(t, ms(24), took)
	require.NoError(t, drop())
	require.Zero(t, open)

	c, _, err = best("fused", 7, []place{sleeper("", &open, map[int]time.Duration{1: ms(9), 2: ms(600)})})
	require.NoError(t, err)
	require.Equal(t, "1 thread", c.setting)
	c, _, err = best("fused", 7, []place{sleeper("", &open, map[int]time.Duration{1: ms(9)})})
	require.NoError(t, err)
	require.Equal(t, "1 thread", c.setting)
	require.Empty(t, c.tried, "there is no choice")
}

func TestThreadCounts(t *testing.T) {
	require.Equal(t, []int{1}, threadCounts(1))
	require.Equal(t, []int{1, 2}, threadCounts(2))
	require.Equal(t, []int{1, 2, 4, 6}, threadCounts(6))
	require.Equal(t, []int{1, 2, 4, 8}, threadCounts(8))
}

// TestFile: what is measured without peers is written, and a file that cannot be written is refused before.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	var out bytes.Buffer
	require.NoError(t, run([]string{"-rehearse", "-run", "^adamw, 100 tensors of 1,024, (up|1 thread)", "-time", "1ms", "-o", path}, &out))
	require.Contains(t, out.String(), "A rehearsal")
	require.Contains(t, out.String(), "not measured: no -python")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var f results.File
	require.NoError(t, json.Unmarshal(text, &f))
	require.True(t, f.Rehearsal)
	require.Len(t, f.Groups, 1)
	require.Equal(t, 100, f.Groups[0].Tensors)
	require.Equal(t, 102400, f.Groups[0].Elements)
	require.Equal(t, "no -python", f.Groups[0].Missing["fused"])
	ours, ok := f.Groups[0].Find("fusestep")
	require.True(t, ok)
	require.Len(t, ours.Rounds, rounds)
	require.Equal(t, 1.0, ours.Ratio)
	require.Contains(t, ours.Setting, "thread")

	require.ErrorAs(t, run([]string{"-o", "r.txt"}, io.Discard), new(cli.UsageError))
	require.ErrorAs(t, run([]string{"-run", "("}, io.Discard), new(cli.UsageError))
	require.ErrorAs(t, run([]string{"extra"}, io.Discard), new(cli.UsageError))
}

func TestPeersMissing(t *testing.T) {
	_, err := startPeers("no-such-python", "")
	require.ErrorContains(t, err, "no-such-python")
	var none *peers
	_, err = none.places("fused", "adamw", [][]int{{1}}, 1)
	require.EqualError(t, err, "no -python")
	require.Contains(t, none.about(), "none")
}

// What bench/peers/cpu.py imports, beside Python's own, is what its user is told to install.
func TestPeersAreListed(t *testing.T) {
	source, err := os.ReadFile("../peers/cpu.py")
	require.NoError(t, err)
	var listed []byte
	for _, name := range []string{"requirements.txt", "others.txt"} {
		text, err := os.ReadFile(filepath.Join("../peers", name))
		require.NoError(t, err)
		listed = append(listed, text...)
	}
	own := regexp.MustCompile(`(?m)^import (argparse|json|os|sys|time)$`).ReplaceAll(source, nil)
	imports := regexp.MustCompile(`(?m)^\s*import (\w+)`).FindAllSubmatch(own, -1)
	require.GreaterOrEqual(t, len(imports), 4)
	for _, m := range imports {
		require.Regexp(t, `(?m)^`+string(m[1])+`==`, string(listed))
	}
}

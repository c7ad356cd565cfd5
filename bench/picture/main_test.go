package main

import (
	"encoding/json"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/bench/internal/results"
	"github.com/fusestep/fusestep/internal/cli"
)

func group(tensors, elements int, seconds ...float64) results.Group {
	g := results.Group{Optimizer: "adamw", Tensors: tensors, Elements: elements}
	for i, s := range seconds {
		g.Contenders = append(g.Contenders, results.Contender{Name: []string{"fusestep", "fused", "foreach"}[i], Setting: "1 thread", Seconds: s})
	}
	return g
}

// TestPicture: the picture fits into a README, and has bars of our colour and of the others'.
func TestPicture(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.png")
	write := func(f results.File) {
		text, err := json.Marshal(f)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(in, text, 0o666))
	}
	write(results.File{Processor: "p", Peers: "q", Groups: []results.Group{group(1, 64<<20, 0.04, 0.04, 0.3), group(10_000, 10_240_000, 0.02, 0.08, 0.25)}})
	require.NoError(t, run([]string{in, out}, io.Discard))
	f, err := os.Open(out)
	require.NoError(t, err)
	defer f.Close()
	picture, err := png.Decode(f)
	require.NoError(t, err)
	require.Equal(t, width, picture.Bounds().Dx())
	require.Equal(t, height, picture.Bounds().Dy())
	ours, others := [2]int{}, [2]int{} // pixels in each half
	for y := range height {
		for x := range width {
			switch r, g, b, _ := picture.At(x, y).RGBA(); [3]uint32{r >> 8, g >> 8, b >> 8} {
			case [3]uint32{0, 120, 190}:
				ours[2*x/width]++
			case [3]uint32{150, 160, 172}:
				others[2*x/width]++
			}
		}
	}
	require.InDelta(t, (0.08+0.25)/0.02, float64(others[0])/float64(ours[0]), 2, "a bar is as long as its time")
	require.InDelta(t, (0.04+0.3)/0.04, float64(others[1])/float64(ours[1]), 0.5)

	write(results.File{Groups: []results.Group{group(1, 64<<20, 0.04, 0.04)}})
	require.ErrorContains(t, run([]string{in, out}, io.Discard), "run bench/cpu -readme")
	for _, args := range [][]string{{}, {in}, {in, "r.svg"}, {in, out, "more"}} {
		require.ErrorAs(t, run(args, io.Discard), new(cli.UsageError))
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{7: "7", 999: "999", 1000: "1,000", 10000: "10,000", 67108864: "67,108,864"} {
		require.Equal(t, want, thousands(n))
	}
}

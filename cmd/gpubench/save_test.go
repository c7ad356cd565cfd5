package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/internal/cli"
)

// TestSave: the optimizer is what it was, a terminal has seen what was done, and nothing is left in the folder.
func TestSave(t *testing.T) {
	cfg, err := parseFlags([]string{"-n", "1000", "-optimizer", "adamw", "-scale", "2", "-save", t.TempDir()}, nil)
	require.NoError(t, err)
	dev := cpu.NewThreads(1)
	defer dev.Close()
	w, err := newWork(cfg, dev, cfg.optimizers[0])
	require.NoError(t, err)
	require.NoError(t, w.start())
	require.NoError(t, w.opt.Step(nil))
	before, err := w.opt.StateDict(nil)
	require.NoError(t, err)

	var out bytes.Buffer
	p := cli.Progress{W: &out}
	s, err := w.save(cfg.save, &p, "adamw")
	require.NoError(t, err)
	require.Greater(t, s.Bytes, int64(3*4*1000))
	for _, speed := range s.speeds() {
		require.Positive(t, speed)
	}
	after, err := w.opt.StateDict(nil)
	require.NoError(t, err)
	apart, err := before.Differences(after)
	require.NoError(t, err)
	require.Empty(t, apart)
	for _, text := range []string{"adamw: copying", "adamw: saving 12.0 KB, 100 %", "adamw: loading 12.0 KB, 100 %", "adamw: comparing"} {
		require.Contains(t, out.String(), text)
	}
	left, err := os.ReadDir(cfg.save)
	require.NoError(t, err)
	require.Empty(t, left)

	_, err = w.save(filepath.Join(cfg.save, "gone"), &p, "adamw")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, w.Close())
}

// TestSnapshotFits: on a CPU the copy takes memory too.
func TestSnapshotFits(t *testing.T) {
	for _, tt := range []struct {
		args []string
		more int64
	}{
		{[]string{"-n", "1024", "-optimizer", "adamw"}, 3 * 4 * 1024},
		{[]string{"-n", "1024", "-optimizer", "adamw", "-dtype", "bf16", "-master", "f32"}, (2 + 4 + 4 + 4) * 1024},
		{[]string{"-n", "1024", "-optimizer", "sgd"}, 4 * 1024},
		{[]string{"-n", "1024", "-optimizer", "adamw", "-device", "emu"}, 0},
	} {
		without, err := parseFlags(tt.args, nil)
		require.NoError(t, err)
		with, err := parseFlags(append(tt.args, "-save", t.TempDir()), nil)
		require.NoError(t, err)
		p, err := with.optimizers[0].plan(with.dtype)
		require.NoError(t, err)
		require.Equal(t, tt.more, with.need(p)-without.need(p), "%v", tt.args)
	}
}

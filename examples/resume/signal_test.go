//go:build unix

package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInterrupted: Ctrl-C and the signal that schedulers send finish the step and save it.
func TestInterrupted(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			dir := t.TempDir()
			p := start(t, dir, append(short, "-steps", "1000000")...)
			require.True(t, p.read("step 20:"))
			require.NoError(t, p.Process.Signal(signal))
			require.Equal(t, 130, p.end(t), p.stderr.String())
			last := p.lines[len(p.lines)-1]
			require.Regexp(t, `^stopped behind step \d+, which is saved: to go on, run resume -dir \S+ -steps 150 -every 5 -width 24 -steps 1000000$`, last)
			require.Empty(t, p.stderr.String())
			as := append(short, "-steps", strings.TrimSuffix(strings.Fields(last)[3], ","))
			want, _ := complete(t, t.TempDir(), as...)
			digest, p := complete(t, dir, as...)
			require.Contains(t, p.output(), "on from step "+as[len(as)-1]+", ")
			require.Equal(t, want, digest)
		})
	}
}

// TestFileTooLarge: where the file system takes only so many bytes, the error says what is there, and the run goes on once there is room.
func TestFileTooLarge(t *testing.T) {
	dir, want := half(t)
	limited := exec.Command("sh", append([]string{"-c", `ulimit -f 2 && exec resume "$@"`, "sh", "-dir", dir}, short...)...)
	out, err := limited.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 1, limited.ProcessState.ExitCode())
	require.Contains(t, string(out), "on from step 75, ")
	require.Contains(t, string(out), "file too large: what was there before is there as it was")
	require.Empty(t, unfinished(t, dir))
	digest, p := complete(t, dir, short...)
	require.Contains(t, p.output(), "on from step 75, ")
	require.Equal(t, want, digest)
}

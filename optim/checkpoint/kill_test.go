//go:build unix

package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/optim"
)

// victim is the environment's variable that makes of the test's program one that trains and saves until it is killed: into the folder that it names.
const victim = "FUSESTEP_CHECKPOINT_VICTIM"

// TestVictim is run by TestKilled.
func TestVictim(t *testing.T) {
	folder := os.Getenv(victim)
	if folder == "" {
		t.Skip("TestKilled runs it")
	}
	x := newTraining(t, 50)
	dir := Dir{Path: filepath.Join(folder, "run"), Keep: 2}
	_, _, err := dir.Load(x.Optimizer, nil, optim.LoadOptions{})
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
	_, err = dir.Save(x.Optimizer, nil)
	require.NoError(t, err)
	saver := Saver{Dir: dir}
	for {
		x.step(t, 1)
		require.NoError(t, Save(filepath.Join(folder, "x.safetensors"), x.Optimizer, nil))
		require.NoError(t, saver.Save(x.Optimizer, nil))
		fmt.Println("saved", x.Steps())
	}
}

// A process that saves all the time and is killed at any moment leaves a whole checkpoint under each path, not older than the last whose save was over, and the next
// process goes on from it with the bits of a training that nobody killed. What it did not finish is removed.
func TestKilled(t *testing.T) {
	kills := 4
	if *thorough {
		kills = 200
	}
	folder := t.TempDir()
	path, dir := filepath.Join(folder, "x.safetensors"), Dir{Path: filepath.Join(folder, "run"), Keep: 2}
	x := newTraining(t, 50) // that nobody kills
	leftovers, last := 0, 0
	for range kills {
		c := exec.Command(os.Args[0], "-test.run=^TestVictim$")
		c.Env = append(os.Environ(), victim+"="+folder)
		out, err := c.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		lines := bufio.NewScanner(out)
		ok := lines.Scan() && strings.HasPrefix(lines.Text(), "saved ")
		require.True(t, ok, lines.Text())
		time.AfterFunc(time.Duration(rand.IntN(30_000))*time.Microsecond, func() { c.Process.Kill() })
		var saved int
		for text := lines.Text(); ok; ok, text = lines.Scan(), lines.Text() {
			if n, _ := fmt.Sscanf(text, "saved %d\n", &last); n == 1 {
				saved = last
			}
		}
		c.Wait()
		left, err := filepath.Glob(filepath.Join(folder, "*", "*"+suffix))
		require.NoError(t, err)
		more, err := filepath.Glob(path + ".*")
		require.NoError(t, err)
		leftovers += len(left) + len(more)
		require.NoError(t, Verify(path))
		latest, damaged, err := dir.Latest()
		require.NoError(t, err)
		require.Empty(t, damaged)
		for file, least := range map[string]int{path: saved, latest: saved - 1} {
			d, f, err := Read(file)
			require.NoError(t, err)
			require.GreaterOrEqual(t, d.Steps, least, file)
			require.NoError(t, f.Close())
		}
		d, f, err := Read(latest)
		require.NoError(t, err)
		x.step(t, d.Steps-x.Steps())
		require.Equal(t, x.state(t), text(t, d))
		require.NoError(t, f.Close())
	}
	t.Logf("%d kills at up to step %d: %d unfinished files, no checkpoint that is not whole", kills, last, leftovers)
	require.NoError(t, Save(path, x.Optimizer, nil))
	_, err := dir.Save(x.Optimizer, nil)
	require.NoError(t, err)
	names(t, folder, "x.safetensors", "run")
	left, err := filepath.Glob(filepath.Join(folder, "*", "*"+suffix))
	require.NoError(t, err)
	require.Empty(t, left)
}

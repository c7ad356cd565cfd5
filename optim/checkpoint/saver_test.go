package checkpoint

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/optim"
)

// What is saved beside training is the state of the step at which Save was called, and one save follows another.
func TestSaver(t *testing.T) {
	x := newTraining(t, 1)
	saved := make(chan int64, 100)
	v := Saver{Dir: Dir{Path: t.TempDir()}, Progress: func(done, total int64) {
		if done == total {
			saved <- done
		}
	}}
	require.NoError(t, v.Wait())
	want := []map[string]string{x.state(t)}
	for range 3 {
		require.NoError(t, v.Save(x.step(t, 1).Optimizer, nil))
		want = append(want, x.state(t))
		x.step(t, 1)
		want = append(want, nil)
	}
	require.NoError(t, v.Wait())
	require.Len(t, saved, 3)
	for i := 1; i < 6; i += 2 {
		require.Equal(t, want[i], stored(t, v.Dir.file(i)))
	}
}

// The error of a save is returned by the next, once, and by Wait if there is no next one.
func TestSaverErrors(t *testing.T) {
	const create = 4 // the call that does: after those that list the folder, for Dir twice, and for sweep
	x := newTraining(t, 1)
	v := Saver{Dir: Dir{Path: t.TempDir(), system: &failing{at: create}}}
	require.NoError(t, v.Save(x.Optimizer, nil))
	require.ErrorIs(t, v.Save(x.Optimizer, nil), syscall.EIO)
	require.NoError(t, v.Wait())
	require.NoError(t, Verify(v.Dir.file(0)))
	v.Dir.system = &failing{at: create}
	require.NoError(t, v.Save(x.Optimizer, nil))
	require.ErrorIs(t, v.Wait(), syscall.EIO)
	require.NoError(t, v.Wait())

	v.Dir.system = &failing{at: create}
	require.NoError(t, v.Save(x.Optimizer, nil))
	var closed optim.Optimizer
	err := v.Save(&closed, nil)
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorContains(t, err, "was not made by New")
	require.NoError(t, v.Wait())
}

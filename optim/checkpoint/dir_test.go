package checkpoint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/optim"
)

// flip changes a bit of a file's last byte.
func flip(t *testing.T, path string) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[len(b)-1] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o666))
}

func TestDir(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "b")
	d := Dir{Path: folder, Keep: 2}
	x := newTraining(t, 1)
	_, _, err := d.Latest()
	require.ErrorIs(t, err, fs.ErrNotExist)
	for range 3 {
		path, err := d.Save(x.step(t, 1).Optimizer, nil)
		require.NoError(t, err)
		require.Equal(t, filepath.Join(folder, fileName(x.Steps())), path)
	}
	names(t, folder, "step-00000002.safetensors", "step-00000003.safetensors")
	want := x.state(t)
	path, damaged, err := d.Latest()
	require.NoError(t, err)
	require.Equal(t, d.file(3), path)
	require.Empty(t, damaged)
	path, damaged, err = d.Load(newTraining(t, 1).Optimizer, nil, optim.LoadOptions{})
	require.NoError(t, err)
	require.Equal(t, d.file(3), path)
	require.Empty(t, damaged)

	// Saved again at the same step, and others' files, change nothing.
	require.NoError(t, os.WriteFile(filepath.Join(folder, "step-9.safetensors"), nil, 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "model.tmp"), nil, 0o666))
	_, err = d.Save(x.Optimizer, nil)
	require.NoError(t, err)
	names(t, folder, "step-00000002.safetensors", "step-00000003.safetensors", "step-9.safetensors", "model.tmp")

	// A damaged one is passed over, and said.
	flip(t, d.file(3))
	y := newTraining(t, 1)
	path, damaged, err = d.Load(y.Optimizer, nil, optim.LoadOptions{})
	require.NoError(t, err)
	require.Equal(t, d.file(2), path)
	require.Len(t, damaged, 1)
	require.Equal(t, d.file(3), damaged[0].Path)
	require.Equal(t, 2, y.Steps())
	require.Equal(t, want, y.step(t, 1).state(t))

	// From there the training goes on: what is damaged and later is kept under another name, and is not in the way.
	y = newTraining(t, 1)
	_, _, err = d.Load(y.Optimizer, nil, optim.LoadOptions{})
	require.NoError(t, err)
	_, err = d.Save(y.Optimizer, nil)
	require.NoError(t, err)
	names(t, folder, "step-00000002.safetensors", "step-00000003.safetensors.damaged", "step-9.safetensors", "model.tmp")

	// What is later and whole is in the way.
	_, err = d.Save(x.Optimizer, nil)
	require.NoError(t, err)
	_, err = d.Save(y.Optimizer, nil)
	later, ok := errors.AsType[*LaterError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, LaterError{d.file(3), 2}, *later)

	// If all are damaged, that is no first start.
	flip(t, d.file(2))
	flip(t, d.file(3))
	_, damaged, err = d.Latest()
	require.NotErrorIs(t, err, fs.ErrNotExist)
	require.Len(t, damaged, 2)
	_, ok = errors.AsType[*FileError](err)
	require.True(t, ok)
}

// What does not fit the optimizer is an error, and no reason to take an older checkpoint.
func TestDirMismatch(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	x := newTraining(t, 1)
	for range 2 {
		_, err := d.Save(x.step(t, 1).Optimizer, nil)
		require.NoError(t, err)
	}
	require.NoError(t, x.RemoveGroup(1))
	path, damaged, err := d.Load(x.Optimizer, nil, optim.LoadOptions{})
	_, ok := errors.AsType[*optim.MismatchError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, d.file(2), path)
	require.Empty(t, damaged)
	for _, bad := range []Dir{{Path: d.Path, Keep: -1}} {
		_, err := bad.Save(x.Optimizer, nil)
		require.ErrorContains(t, err, "must be at least 0")
	}
}

// TestDirNotFirst: a folder that has a checkpoint by its name is no first start, whatever that is, and a save puts it aside.
func TestDirNotFirst(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		what string
	}{
		"a link to nothing": {func(path string) error { return os.Symlink("nowhere", path) }, "is a link to nothing, or was removed a moment ago"},
		"a folder":          {func(path string) error { return os.Mkdir(path, 0o777) }, "it is a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			d := Dir{Path: t.TempDir()}
			require.NoError(t, c.make(d.file(5)))
			x := newTraining(t, 1)
			_, damaged, err := d.Load(x.Optimizer, nil, optim.LoadOptions{})
			require.NotErrorIs(t, err, fs.ErrNotExist)
			require.Equal(t, []*FileError{{d.file(5), []Fault{{What: c.what}}}}, damaged)
			_, err = d.Save(x.step(t, 1).Optimizer, nil)
			require.NoError(t, err)
			path, damaged, err := d.Latest()
			require.NoError(t, err)
			require.Equal(t, d.file(1), path)
			require.Empty(t, damaged)
			names(t, d.Path, "step-00000001.safetensors", "step-00000005.safetensors.damaged")
		})
	}
	_, _, err := Dir{}.Load(newTraining(t, 1).Optimizer, nil, optim.LoadOptions{})
	require.EqualError(t, err, "checkpoint: latest: the folder's Path is empty")
}

// What a killed writer has left is removed. What another writer, in this process or another, is writing stays.
func TestLeftovers(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	left, live := d.file(1)+".0123456789abcdef"+suffix, d.file(7)+".fedcba9876543210"+suffix
	for _, path := range []string{left, live} {
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o666))
	}
	lock, err := disk{}.lock(live)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this system has no locks of files")
	}
	require.NoError(t, err)
	_, err = disk{}.lock(live)
	require.ErrorIs(t, err, errBusy)
	x := newTraining(t, 1)
	_, err = d.Save(x.Optimizer, nil)
	require.NoError(t, err)
	names(t, d.Path, fileName(0), filepath.Base(live))
	require.NoError(t, lock.Close())
	_, err = d.Save(x.Optimizer, nil)
	require.NoError(t, err)
	names(t, d.Path, fileName(0))
}

// Many writers of one path, some of which find each other's unfinished files, do not harm each other.
func TestWritersOfOnePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	d, err := newTraining(t, 1).StateDict(nil)
	require.NoError(t, err)
	errs := make(chan error)
	for range 4 {
		go func() {
			var all []error
			for range 10 {
				all = append(all, SaveDict(path, d))
			}
			errs <- errors.Join(all...)
		}()
	}
	for range 4 {
		require.NoError(t, <-errs)
	}
	require.NoError(t, Verify(path))
	names(t, filepath.Dir(path), "x.safetensors")
}

// Whichever call of a save into a folder fails, the latest is the old or the new one, and the error says which.
func TestDirFails(t *testing.T) {
	d, err := newTraining(t, 1).StateDict(nil)
	require.NoError(t, err)
	var before [2][]byte // the checkpoints of steps 0 and 1
	for n := range before {
		d.Steps = n
		path, err := Dir{Path: t.TempDir()}.SaveDict(d)
		require.NoError(t, err)
		before[n], err = os.ReadFile(path)
		require.NoError(t, err)
	}
	d.Steps = 2
	for how := range ways {
		count, outcomes := 0, map[int]int{}
		for at := 1; ; at++ {
			folder := t.TempDir()
			for n, b := range before {
				require.NoError(t, os.WriteFile(Dir{Path: folder}.file(n), b, 0o666))
			}
			require.NoError(t, os.WriteFile(Dir{Path: folder}.file(3), []byte("damaged"), 0o666))
			sys := &failing{at: at, how: how}
			_, err = Dir{Path: folder, Keep: 2, system: sys}.SaveDict(d)
			if sys.failed == "" {
				require.NoError(t, err)
				names(t, folder, fileName(1), fileName(2), fileName(3)+damagedSuffix)
				break
			}
			count++
			want := 2
			if err != nil {
				e, ok := errors.AsType[*SaveError](err)
				require.True(t, ok, "%s: %v", sys.failed, err)
				if !e.New {
					want = 1
				}
				require.True(t, errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENOSPC), err)
			}
			outcomes[want]++
			path, _, err := Dir{Path: folder}.Latest()
			require.NoError(t, err, sys.failed)
			require.Equal(t, Dir{Path: folder}.file(want), path, sys.failed)
		}
		t.Logf("%s at each of %d calls: %v", wayNames[how], count, outcomes)
		require.Greater(t, count, 15)
	}
}

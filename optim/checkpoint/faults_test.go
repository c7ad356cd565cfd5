package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/optim"
)

// failing is a disk whose call number at fails, and in what way. It counts calls.
type failing struct {
	disk
	at, calls int
	how       way
	failed    string // the call that did
}

// way is what a call that fails does.
type way int

const (
	noEffect way = iota // nothing
	half                // a write writes a half and says that the disk is full, another call does nothing
	whole               // what it should
	forever             // nothing, and neither does any later call
	ways
)

var wayNames = [ways]string{"an error", "a full disk", "an error afterwards", "a dead disk"}

// call does something, unless it is to fail.
func (d *failing) call(name string, do func() error) error {
	d.calls++
	if d.at == 0 || d.calls < d.at || d.calls > d.at && d.how != forever {
		return do()
	}
	if d.failed == "" {
		d.failed = name
	}
	if d.how == whole {
		if err := do(); err != nil {
			return err
		}
	}
	if d.how == half {
		return &os.PathError{Op: name, Path: "x", Err: syscall.ENOSPC}
	}
	return &os.PathError{Op: name, Path: "x", Err: syscall.EIO}
}

func (d *failing) file(name string, open func() (file, error)) (f file, err error) {
	err = d.call(name, func() error {
		f, err = open()
		return err
	})
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	return &failingFile{f, d}, nil
}

func (d *failing) create(path string) (file, error) {
	return d.file("create", func() (file, error) { return d.disk.create(path) })
}

func (d *failing) open(path string) (file, error) {
	return d.file("open", func() (file, error) { return d.disk.open(path) })
}

func (d *failing) rename(from, to string) error {
	return d.call("rename", func() error { return d.disk.rename(from, to) })
}

func (d *failing) remove(path string) error {
	return d.call("remove", func() error { return d.disk.remove(path) })
}

func (d *failing) makeFolder(path string) error {
	return d.call("make folder", func() error { return d.disk.makeFolder(path) })
}

func (d *failing) syncFolder(path string) error {
	return d.call("sync folder", func() error { return d.disk.syncFolder(path) })
}

func (d *failing) names(folder string) (out []string, err error) {
	err = d.call("list", func() error {
		out, err = d.disk.names(folder)
		return err
	})
	return out, err
}

// lock's Close gives the lock back whatever it says.
func (d *failing) lock(path string) (io.Closer, error) {
	var held io.Closer
	err := d.call("lock", func() (err error) {
		held, err = d.disk.lock(path)
		return err
	})
	if err != nil {
		if held != nil {
			held.Close()
		}
		return nil, err
	}
	return closer(func() error {
		return errors.Join(d.call("unlock", func() error { return nil }), held.Close())
	}), nil
}

type closer func() error

func (c closer) Close() error { return c() }

type failingFile struct {
	file
	disk *failing
}

func (f *failingFile) ReadAt(b []byte, at int64) (n int, err error) {
	err = f.disk.call("read", func() error {
		n, err = f.file.ReadAt(b, at)
		return err
	})
	if err != nil {
		n = 0
	}
	return n, err
}

func (f *failingFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.disk.call("write", func() error {
		n, err = f.file.WriteAt(b, at)
		return err
	})
	if errors.Is(err, syscall.ENOSPC) {
		n, _ = f.file.WriteAt(b[:len(b)/2], at)
	}
	return n, err
}

func (f *failingFile) Sync() error { return f.disk.call("sync", f.file.Sync) }

func (f *failingFile) Stat() (info os.FileInfo, err error) {
	err = f.disk.call("stat", func() error {
		info, err = f.file.Stat()
		return err
	})
	return info, err
}

// Close gives the file back whatever it says.
func (f *failingFile) Close() error {
	closed := false
	err := f.disk.call("close", func() error {
		closed = true
		return f.file.Close()
	})
	if !closed {
		f.file.Close()
	}
	return err
}

// Whichever call of a save fails, and in whatever way, the path has the old or the new checkpoint, whole, and the error says which.
func TestSaveFails(t *testing.T) {
	setChunk(t, 16<<10)
	x := newTraining(t, 1).step(t, 1)
	first := x.state(t)
	before := filepath.Join(t.TempDir(), "before.safetensors")
	require.NoError(t, Save(before, x.Optimizer, nil))
	content, err := os.ReadFile(before)
	require.NoError(t, err)
	second := x.step(t, 1).state(t)
	d, err := x.StateDict(nil)
	require.NoError(t, err)
	for _, old := range []bool{true, false} {
		for how := range ways {
			count, outcomes := 0, map[string]int{}
			for at := 1; ; at++ {
				folder := t.TempDir()
				path := filepath.Join(folder, "x.safetensors")
				if old {
					require.NoError(t, os.WriteFile(path, content, 0o666))
					require.NoError(t, os.WriteFile(path+".0123456789abcdef"+suffix, nil, 0o666)) // a leftover
				}
				sys := &failing{at: at, how: how}
				err := save(sys, path, d, nil)
				if sys.failed == "" {
					require.NoError(t, err)
					names(t, folder, "x.safetensors")
					break
				}
				count++
				what := fmt.Sprintf("call %d, %s, fails with %s: %v", at, sys.failed, wayNames[how], err)
				e, isSave := errors.AsType[*SaveError](err)
				require.Equal(t, err != nil, isSave, what)
				if err != nil {
					require.True(t, errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENOSPC), what)
				}
				switch {
				case err == nil || e.New:
					require.Equal(t, second, stored(t, path), what)
					outcomes["new"]++
				case old:
					require.Equal(t, first, stored(t, path), what)
					outcomes["old"]++
				default:
					require.NoFileExists(t, path, what)
					outcomes["old"]++
				}
				require.True(t, err != nil || strings.Contains("list lock unlock remove", sys.failed), "nothing is said of it: %s", what)
				leftovers, _ := filepath.Glob(path + ".*")
				require.True(t, len(leftovers) == 0 || how == forever || strings.Contains("list lock remove create", sys.failed), "%s: left: %q", what, leftovers)
				require.NoError(t, SaveDict(path, d), what) // which removes what is left
				names(t, folder, "x.safetensors")
			}
			require.Greater(t, count, 10)
			t.Logf("old file %v, %s at each of %d calls: %v", old, wayNames[how], count, outcomes)
		}
	}
}

// Whichever call of a load fails, the optimizer is as it was or, where it says so, half loaded.
func TestLoadFails(t *testing.T) {
	setChunk(t, 16<<10)
	path := filepath.Join(t.TempDir(), "x.safetensors")
	x := newTraining(t, 1).step(t, 2)
	require.NoError(t, Save(path, x.Optimizer, nil))
	want := x.state(t)
	unchanged, halfs, closed := 0, 0, 0
	for at := 1; ; at++ {
		y := newTraining(t, 1).step(t, 1)
		before := y.state(t)
		sys := &failing{at: at}
		err := load(sys, path, y.Optimizer, nil, optim.LoadOptions{}, nil)
		if sys.failed == "" {
			require.NoError(t, err)
			require.Equal(t, want, y.state(t))
			break
		}
		what := fmt.Sprintf("call %d, %s: %v", at, sys.failed, err)
		require.Error(t, err, what)
		switch {
		case errors.Is(err, optim.ErrHalfLoaded):
			halfs++
			require.ErrorIs(t, y.Step(nil), optim.ErrHalfLoaded)
			require.NoError(t, Load(path, y.Optimizer, nil, optim.LoadOptions{}), what)
			require.Equal(t, want, y.state(t))
		case sys.failed == "close":
			closed++
			require.Equal(t, want, y.state(t), what)
		default:
			unchanged++
			require.Equal(t, before, y.state(t), what)
		}
	}
	t.Logf("unchanged %d times, half loaded %d, closed with an error %d", unchanged, halfs, closed)
	require.Equal(t, 1, closed)
	require.Greater(t, unchanged, 4)
}

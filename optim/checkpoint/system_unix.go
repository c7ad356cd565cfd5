//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

func (disk) syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) { // a file system without it
		return err
	}
	return nil
}

func (disk) lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0) // to read is not enough on NFS
	if err != nil {
		return nil, err
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(errBusy, f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w: %w", path, err, errors.ErrUnsupported), f.Close())
	}
	locked, err := f.Stat()
	now, err2 := os.Stat(path)
	if err := errors.Join(err, err2); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !os.SameFile(locked, now) { // who held the lock before has removed it
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, fs.ErrNotExist), f.Close())
	}
	return f, nil
}

package checkpoint

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// replace makes the file at a path another one, which write fills. It is written beside, under a name of its own, synced and renamed, and the
// folder is synced. So whatever happens, the path has the file of before or the new one, whole. What fails is a SaveError, which says which.
func replace(sys system, path string, write func(file) error) error {
	sweep(sys, filepath.Dir(path))
	fail := func(op string, isNew bool, err ...error) error {
		return &SaveError{Path: path, Op: op, New: isNew, Err: errors.Join(err...)}
	}
	beside, f, lock, err := begin(sys, path)
	if err != nil {
		return fail("create", false, err)
	}
	op, info := "write", fs.FileInfo(nil)
	if err = write(f); err == nil {
		op = "sync"
		err = f.Sync()
	}
	if err == nil {
		op = "stat"
		info, err = f.Stat()
	}
	if e := f.Close(); err == nil && e != nil {
		op, err = "close", e
	}
	if err != nil {
		return fail(op, false, err, sys.remove(beside), lock.Close())
	}
	if err := sys.rename(beside, path); err != nil {
		if is(sys, path, info) {
			return fail("rename", true, err, sys.syncFolder(filepath.Dir(path)), lock.Close())
		}
		return fail("rename", false, err, sys.remove(beside), lock.Close())
	}
	if err := sys.syncFolder(filepath.Dir(path)); err != nil {
		return fail("sync the folder", true, err, lock.Close())
	}
	if err := lock.Close(); err != nil {
		return fail("unlock", true, err)
	}
	return nil
}

// suffix ends the name of a file that is being written. Before it are the name that it will have, a dot and random digits.
const suffix = ".fusestep-tmp"

// begin creates the file beside a path, and holds a lock on it, by which sweep knows that somebody writes it.
func begin(sys system, path string) (beside string, f file, lock io.Closer, err error) {
	for range 10 {
		var random [8]byte
		rand.Read(random[:])
		beside = path + "." + hex.EncodeToString(random[:]) + suffix
		if f, err = sys.create(beside); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return "", nil, nil, err
		}
		lock, err = sys.lock(beside)
		switch {
		case err == nil:
			return beside, f, lock, nil
		case errors.Is(err, errors.ErrUnsupported): // nor can sweep lock it then
			return beside, f, noLock{}, nil
		case errors.Is(err, errBusy), errors.Is(err, fs.ErrNotExist): // sweep was between create and lock, and takes it for a leftover
			err = errors.Join(err, f.Close())
		default:
			return "", nil, nil, errors.Join(err, f.Close(), sys.remove(beside))
		}
	}
	return "", nil, nil, err
}

type noLock struct{}

func (noLock) Close() error { return nil }

// is says whether the file at a path is the one of info.
func is(sys system, path string, info fs.FileInfo) bool {
	f, err := sys.open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	now, err := f.Stat()
	return err == nil && os.SameFile(info, now)
}

// sweep removes what writers have left in a folder that were killed. A file whose writer lives is locked and stays. What cannot be removed stays too: it
// harms nobody.
func sweep(sys system, folder string) {
	names, _ := sys.names(folder)
	for _, name := range names {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		path := filepath.Join(folder, name)
		if lock, err := sys.lock(path); err == nil {
			sys.remove(path)
			lock.Close()
		}
	}
}

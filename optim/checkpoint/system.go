package checkpoint

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// system is what saves and loads ask of the operating system. Programs have disk; tests have one that fails where they want.
type system interface {
	create(path string) (file, error) // a new file; fails where there is one
	open(path string) (file, error)   // to read
	rename(from, to string) error
	remove(path string) error
	names(folder string) ([]string, error)
	makeFolder(path string) error
	syncFolder(path string) error        // what was renamed in it stays so
	lock(path string) (io.Closer, error) // until Close or the process's end; fails with errBusy, and with errors.ErrUnsupported where it cannot be told
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Stat() (fs.FileInfo, error)
}

var errBusy = errors.New("is locked by another")

// disk is the operating system's files.
type disk struct{}

func (disk) create(path string) (file, error) {
	return opened(os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666))
}

func (disk) open(path string) (file, error) { return opened(os.Open(path)) }

// opened makes no file of a nil one.
func opened(f *os.File, err error) (file, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (disk) rename(from, to string) error { return os.Rename(from, to) }

func (disk) remove(path string) error { return os.Remove(path) }

func (disk) makeFolder(path string) error { return os.MkdirAll(path, 0o777) }

func (disk) names(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out, err
}

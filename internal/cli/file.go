package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// OutputFile is a file that a program will write when its work is done. Until then what stands under its name stays as it is.
type OutputFile struct {
	path string      // with symbolic links resolved
	mode fs.FileMode // of the file that it replaces; 0 if there is none
}

// NewOutputFile checks, before the work begins, that a file can be written. It refuses a name that ends in none of the extensions, as a
// UsageError, and so a name of one of the inputs. It refuses what is there and is no regular file, what may not be written to, and a folder
// in which no file can be made.
func NewOutputFile(flag, path string, extensions, inputs []string) (*OutputFile, error) {
	if err := CheckExtension(flag, path, extensions...); err != nil {
		return nil, err
	}
	o := &OutputFile{path: path}
	there, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !there.Mode().IsRegular():
		return nil, fmt.Errorf("%s %s: not a regular file", flag, path)
	default:
		for _, input := range inputs {
			if in, err := os.Stat(input); err == nil && os.SameFile(in, there) {
				return nil, Usagef("%s %s: that is an input, %s", flag, Shown(path), Shown(input))
			}
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		o.mode = there.Mode().Perm()
		if o.path, err = filepath.EvalSymlinks(path); err != nil {
			return nil, err
		}
	}
	beside, err := o.create()
	if err != nil {
		return nil, err
	}
	return o, errors.Join(beside.Close(), os.Remove(beside.Name()))
}

// CheckExtension is the UsageError of a file name that ends in none of the extensions.
func CheckExtension(flag, path string, extensions ...string) error {
	if slices.Contains(extensions, strings.ToLower(filepath.Ext(path))) {
		return nil
	}
	return Usagef("%s %s: must end in %s", flag, Shown(path), strings.Join(extensions, " or "))
}

// create makes a file beside the one to write.
func (o *OutputFile) create() (*os.File, error) {
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s.%d-%d.tmp", o.path, os.Getpid(), i)
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) && i < 100 {
			continue
		}
		if err, ok := errors.AsType[*fs.PathError](err); ok {
			err.Path = o.path // which is the name that the user knows
		}
		return f, err
	}
}

// Write writes the file beside its name and gives it that name when all of it is there. If it fails, the old file is still there.
func (o *OutputFile) Write(content []byte) error {
	f, err := o.create()
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if o.mode != 0 {
		err = errors.Join(err, f.Chmod(o.mode))
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), o.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

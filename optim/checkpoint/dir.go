package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// Dir is a folder of checkpoints of one optimizer, a file each, named by Optimizer.Steps: step-00000100.safetensors. Two optimizers of one training need two
// folders.
type Dir struct {
	Path string // made if it is not there
	Keep int    // how many of the latest a save keeps; 0 keeps all

	system system // nil is disk
}

// LaterError is a save into a folder with a whole checkpoint of a later step, which the next load would take for the latest. Nothing was written. A program
// that went back to an earlier step on purpose removes those that are later.
type LaterError struct {
	Path  string // of the later one
	Steps int    // that were to be saved
}

func (e *LaterError) Error() string {
	return fmt.Sprintf("checkpoint: save step %d: %s is of a later step, and whole: nothing was written", e.Steps, e.Path)
}

// damagedSuffix is put behind the name of a damaged file that is later than a checkpoint that is saved.
const damagedSuffix = ".damaged"

// Save writes the optimizer as the checkpoint of its step, removes what is older than the latest Keep, and returns the file's path. It fails as the function
// Save does, and with a LaterError. A later checkpoint that is damaged gets a name that ends in ".damaged".
func (d Dir) Save(o *optim.Optimizer, s *device.Stream, progress ...func(done, total int64)) (string, error) {
	dict, err := o.LiveStateDict(s)
	if err != nil {
		return "", err
	}
	return d.SaveDict(dict, progress...)
}

// SaveDict is Save for a state dict.
func (d Dir) SaveDict(dict *optim.StateDict, progress ...func(done, total int64)) (string, error) {
	sys, path := d.sys(), d.file(dict.Steps)
	fail := func(op string, isNew bool, err error) error {
		return &SaveError{Path: path, Op: op, New: isNew, Err: err}
	}
	if dict.Steps < 0 || d.Keep < 0 {
		return "", fmt.Errorf("checkpoint: save %s: step %d, keep %d: must be at least 0: nothing was written", path, dict.Steps, d.Keep)
	}
	if err := d.make(); err != nil {
		return "", fail("make the folder", false, err)
	}
	all, err := d.list()
	if err != nil {
		return "", fail("list the folder", false, err)
	}
	for _, n := range all {
		if n <= dict.Steps {
			continue
		}
		later := d.file(n)
		err := there(later, verify(sys, later, nil))
		if err == nil {
			return "", &LaterError{later, dict.Steps}
		}
		if _, ok := errors.AsType[*FileError](err); ok {
			err = sys.rename(later, later+damagedSuffix)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fail("look at "+later, false, err)
		}
	}
	if err := save(sys, path, dict, progress); err != nil {
		return "", err
	}
	if all, err = d.list(); err != nil {
		return path, fail("list the folder", true, err)
	}
	for i := 0; d.Keep > 0 && i < len(all)-d.Keep; i++ {
		if err := sys.remove(d.file(all[i])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return path, fail("remove an old one", true, err)
		}
	}
	return path, nil
}

// Latest finds the latest checkpoint that is whole. Those later than it, which it passes over, are damaged. It fails with fs.ErrNotExist where the folder
// has no checkpoint at all, and with the FileErrors where all are damaged.
func (d Dir) Latest() (path string, damaged []*FileError, err error) {
	return d.latest(func(path string) error { return verify(d.sys(), path, nil) })
}

// Load loads the latest checkpoint that is whole, and says which. It fails as Latest and as the function Load do.
func (d Dir) Load(o *optim.Optimizer, s *device.Stream, how optim.LoadOptions, progress ...func(done, total int64)) (path string, damaged []*FileError, err error) {
	return d.latest(func(path string) error { return load(d.sys(), path, o, s, how, progress) })
}

// latest tries files, from the latest on, until one is whole.
func (d Dir) latest(try func(path string) error) (path string, damaged []*FileError, err error) {
	all, err := d.list()
	if err != nil {
		return "", nil, fmt.Errorf("checkpoint: latest: %w", err)
	}
	var errs []error
	for _, n := range slices.Backward(all) {
		path := d.file(n)
		err := there(path, try(path))
		e, bad := errors.AsType[*FileError](err)
		if !bad {
			return path, damaged, err
		}
		damaged, errs = append(damaged, e), append(errs, err)
	}
	if errs == nil {
		return "", nil, fmt.Errorf("checkpoint: %s has no checkpoint: %w", d.Path, fs.ErrNotExist)
	}
	return "", damaged, fmt.Errorf("checkpoint: %s has no checkpoint that is whole: %w", d.Path, errors.Join(errs...))
}

// there is an error of a file that was listed. That it does not exist is not for a caller to see, for whom it would be the first time.
func there(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &FileError{path, []Fault{{What: "is a link to nothing, or was removed a moment ago"}}}
	}
	return err
}

func (d Dir) sys() system {
	if d.system == nil {
		return disk{}
	}
	return d.system
}

// make makes the folder, and syncs the one that it is in.
func (d Dir) make() error {
	if _, err := d.sys().names(d.Path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.sys().makeFolder(d.Path); err != nil {
		return err
	}
	return d.sys().syncFolder(filepath.Dir(filepath.Clean(d.Path)))
}

const stepPrefix, stepSuffix = "step-", ".safetensors"

func fileName(steps int) string { return fmt.Sprintf(stepPrefix+"%08d"+stepSuffix, steps) }

func (d Dir) file(steps int) string { return filepath.Join(d.Path, fileName(steps)) }

// stepOf is the step that a file's name says, -1 for another name.
func stepOf(name string) int {
	digits, ok := strings.CutSuffix(strings.TrimPrefix(name, stepPrefix), stepSuffix)
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || fileName(n) != name {
		return -1
	}
	return n
}

// list is the steps of all checkpoints, in order.
func (d Dir) list() (steps []int, err error) {
	if d.Path == "" {
		return nil, errors.New("the folder's Path is empty")
	}
	names, err := d.sys().names(d.Path)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if n := stepOf(name); n >= 0 {
			steps = append(steps, n)
		}
	}
	slices.SortFunc(steps, cmp.Compare[int])
	return steps, nil
}

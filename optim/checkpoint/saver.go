package checkpoint

import (
	"errors"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// Saver saves beside training: the optimizer's state is copied to the host's memory, and a goroutine writes the copy. There is one copy, whose memory each save
// takes again, and one goroutine at a time. Its methods must not be called at the same time.
type Saver struct {
	Dir      Dir
	Progress func(done, total int64) // called in the goroutine that writes; may be nil

	copy optim.StateDict
	done chan error // of the save that is under way; nil where there is none
}

// Save copies the optimizer's state, waiting for the stream, nil for the default one, and begins to write the copy, after the save before it. It returns the error
// of the save before it, if that failed, and the new one is under way all the same. The error of the last save is Wait's.
func (v *Saver) Save(o *optim.Optimizer, s *device.Stream) error {
	before := v.Wait()
	if err := o.StateDictInto(s, &v.copy); err != nil {
		return errors.Join(before, err)
	}
	return errors.Join(before, v.SaveDict(&v.copy))
}

// SaveDict is Save for a snapshot of the caller's, which must not change. It and the one before it are in memory until the save before is over.
func (v *Saver) SaveDict(d *optim.StateDict) error {
	before := v.Wait()
	done := make(chan error, 1)
	v.done = done
	dir := v.Dir
	var progress progress
	if v.Progress != nil {
		progress = append(progress, v.Progress)
	}
	go func() {
		_, err := dir.SaveDict(d, progress...)
		done <- err
	}()
	return before
}

// Wait waits for the save that is under way, and returns its error, once. A program calls it before it ends, else the last save may be cut off.
func (v *Saver) Wait() error {
	if v.done == nil {
		return nil
	}
	err := <-v.done
	v.done = nil
	return err
}

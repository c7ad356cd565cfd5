package checkpoint

import (
	"errors"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// Saver saves beside training: the optimizer's state is copied to the host's memory, and a goroutine writes the copy. There is one copy at a time, and one
// goroutine. Its methods must not be called at the same time.
type Saver struct {
	Dir      Dir
	Progress func(done, total int64) // called in the goroutine that writes; may be nil

	done chan error // of the save that is under way; nil where there is none
}

// Save waits for the save before it, copies the optimizer's state, waiting for the stream, nil for the default one, and begins to write the copy. It
// returns the error of the save before it, if that failed, and the new one is under way all the same. The error of the last save is Wait's.
func (v *Saver) Save(o *optim.Optimizer, s *device.Stream) error {
	before := v.Wait()
	d, err := o.StateDict(s)
	if err != nil {
		return errors.Join(before, err)
	}
	done := make(chan error, 1)
	v.done = done
	dir, progress := v.Dir, func(done, total int64) {}
	if v.Progress != nil {
		progress = v.Progress
	}
	go func() {
		_, err := dir.SaveDict(d, progress)
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

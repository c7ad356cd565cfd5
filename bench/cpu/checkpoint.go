package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint"
)

// checkpointGroup holds saving to what dd writes and syncs in the same folder, loading to what it reads, the latter of a file that the system has in
// memory, and a snapshot into the memory of an older one, as a Saver takes it, to a copy of the same buffers.
func checkpointGroup(name string, alg optim.Algorithm, lengths []int, threads int, dir string, least float64) group {
	goals := []goal{{ours: "save", other: "dd, writing", least: least}, {ours: "load", other: "dd, reading"}, {ours: "snapshot", other: "copy", least: least}}
	for i := range goals {
		goals[i].what = goals[i].ours + " against " + goals[i].other
		if goals[i].least == 0 {
			goals[i].what += " (no goal)"
		}
	}
	return group{name: name, lengths: lengths, goals: goals, rounds: 5, make: func(_ *peers, m *match) error {
		s, err := newStep(float32Form, alg, lengths, threads, "")
		if err != nil {
			return err
		}
		m.closers = append(m.closers, s.close)
		own, err := os.MkdirTemp(dir, "bench-")
		if err != nil {
			return err
		}
		m.closers = append(m.closers, func() error { return os.RemoveAll(own) })
		saved := filepath.Join(own, "saved")
		if err := checkpoint.Save(saved, s.opt, nil); err != nil {
			return err
		}
		info, err := os.Stat(saved)
		if err != nil {
			return err
		}
		all, err := newCopies(s)
		if err != nil {
			return err
		}
		written := filepath.Join(own, "written")
		gone := func() error { return os.Remove(written) }
		var snapshot optim.StateDict
		if err := s.opt.StateDictInto(nil, &snapshot); err != nil {
			return err
		}
		for _, c := range []struct {
			name      string
			do, after func() error
		}{
			{"save", func() error { return checkpoint.Save(written, s.opt, nil) }, gone},
			{"dd, writing", func() error {
				return dd("if=/dev/zero", "of="+written, "bs=8388608", "iflag=count_bytes", fmt.Sprintf("count=%d", info.Size()), "conv=fsync")
			}, gone},
			{"load", func() error { return checkpoint.Load(saved, s.opt, nil, optim.LoadOptions{}) }, nil},
			{"dd, reading", func() error { return dd("if="+saved, "of=/dev/null", "bs=8388608") }, nil},
			{"snapshot", func() error { return s.opt.StateDictInto(nil, &snapshot) }, nil},
			{"copy", all.copy, nil},
		} {
			m.contenders = append(m.contenders, contender{name: c.name, bytes: float64(info.Size()), setting: plural(threads, "thread"), run: func(n int) (took time.Duration, err error) {
				for range n {
					began := time.Now()
					err = c.do()
					took += time.Since(began)
					if err == nil && c.after != nil {
						err = c.after()
					}
					if err != nil {
						return 0, fmt.Errorf("%s: %w", c.name, err)
					}
				}
				return took, nil
			}})
		}
		return nil
	}}
}

func dd(args ...string) error {
	if out, err := exec.Command("dd", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("dd: %w: %s", err, out)
	}
	return nil
}

// copies are all buffers that a snapshot has, and memory for them.
type copies struct {
	stream   *device.Stream
	from, to []*device.Buffer
}

func newCopies(s *step) (*copies, error) {
	c := &copies{stream: s.dev.DefaultStream()}
	for i, p := range s.params {
		states, err := s.opt.States(fmt.Sprintf("0.%d", i))
		if err != nil {
			return nil, err
		}
		c.from = append(c.from, p.Value)
		for _, b := range states {
			c.from = append(c.from, b)
		}
	}
	n := 0
	for _, b := range c.from {
		n += b.Len()
	}
	all, err := s.dev.Alloc(device.Float32, n)
	if err != nil {
		return nil, err
	}
	at := 0
	for _, b := range c.from {
		to, err := all.Slice(at, at+b.Len())
		if err != nil {
			return nil, err
		}
		c.to = append(c.to, to)
		at += b.Len()
	}
	return c, nil
}

func (c *copies) copy() error {
	var errs []error
	for i, b := range c.from {
		errs = append(errs, c.stream.Copy(c.to[i], b))
	}
	return errors.Join(append(errs, c.stream.Synchronize())...)
}

// Resume trains a small network, saves as it goes, and when it was killed goes on where it was.
//
//	resume -dir folder [-every n] [-keep n] [-steps n] [-width n] [-device cpu|cuda|cuda:N|emu]
//
// Start it, kill it in whatever way and as often as you like, with Ctrl-C, kill -9 or the power switch, and start it again: the last line that it
// prints, a SHA-256 of parameters and of all state of the optimizer, is the same as of a run that was never killed. It is also the same on every
// device.
//
// What later steps depend on is all that training in 16 bits has: three groups with two algorithms, remainders beside weights of bfloat16, an average,
// stochastic rounding, a schedule that counts steps, clipping, a loss scale, steps that overflow and are skipped, and gradients summed over two
// micro-batches (training.go). All of it is in one checkpoint, a file in the folder, which checkpoint.Saver writes beside the next steps; the latest
// ones stay. The data follow from the number of the step (network.go), so there is no position in them to save. A damaged checkpoint is named, and
// the run goes on from the one before it.
//
// Ctrl-C finishes the step, saves, and ends with exit status 130; once more, and it ends at once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/fusestep/fusestep/examples/internal/host"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint"
)

func main() { cli.Main("resume", run) }

// options are the flags.
type options struct {
	dir                       string
	every, keep, steps, width int
	device                    string
}

func parse(args []string, stdout io.Writer) (*options, error) {
	o := &options{}
	fs := cli.Flags("resume")
	fs.StringVar(&o.dir, "dir", "", "`folder` of the run's checkpoints, which is made if it is not there")
	fs.IntVar(&o.every, "every", 100, "steps from one checkpoint to the next")
	fs.IntVar(&o.keep, "keep", 3, "how many of the latest checkpoints stay")
	fs.IntVar(&o.steps, "steps", 2000, "steps that the run has; with more it goes further")
	fs.IntVar(&o.width, "width", 192, "neurons of each of two layers, which say how large a checkpoint is")
	fs.StringVar(&o.device, "device", "cpu", gpu.Help)
	if err := cli.Parse(fs, args, func() { cli.PrintDefaults(fs, stdout) }); err != nil {
		return nil, err
	}
	if o.dir == "" {
		return nil, cli.Usagef("-dir is missing: the folder of the run's checkpoints")
	}
	for _, f := range []struct {
		name      string
		is, least int
	}{{"every", o.every, 1}, {"keep", o.keep, 1}, {"steps", o.steps, 0}, {"width", o.width, 1}} {
		if f.is < f.least {
			return nil, cli.Usagef("-%s %d is not at least %d", f.name, f.is, f.least)
		}
	}
	return o, gpu.CheckFlag(o.device)
}

func run(args []string, stdout io.Writer) (err error) {
	o, err := parse(args, stdout)
	if err != nil {
		return err
	}
	stopped, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(stopped, stop) // a second one ends the program
	backend, err := host.Open(o.device)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Device().Close()) }()
	t, err := newTraining(backend, o.width)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()

	dir := checkpoint.Dir{Path: o.dir, Keep: o.keep}
	if err := t.resume(dir, stdout); err != nil {
		return err
	}
	if err := t.train(stopped, dir, o, stdout); err != nil {
		return err
	}
	if stopped.Err() != nil && t.opt.Steps() < o.steps {
		fmt.Fprintf(stdout, "stopped behind step %d, which is saved: to go on, run resume %s\n", t.opt.Steps(), strings.Join(args, " "))
		return cli.ErrInterrupted
	}
	d, err := t.opt.StateDict(t.stream)
	if err != nil {
		return err
	}
	sum, err := digest(d)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "step %d: loss %.5f on rows that it has not seen; %d steps were skipped\n", d.Steps, t.net.loss(rows(-1, 0, 1024)), d.SkippedSteps)
	_, err = fmt.Fprintf(stdout, "SHA-256 of parameters and state:\n%s\n", sum)
	return err
}

// resume goes on from the latest checkpoint that is whole, if there is one.
func (t *training) resume(dir checkpoint.Dir, stdout io.Writer) error {
	path, damaged, err := dir.Load(t.opt, t.stream, optim.LoadOptions{})
	for _, d := range damaged {
		fmt.Fprintf(stdout, "passed over: %v\n", d)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err = fmt.Fprintf(stdout, "%s has no checkpoint: from the beginning\n", dir.Path)
		return err
	case err != nil:
		return err
	}
	fmt.Fprintf(stdout, "on from step %d, %s\n", t.opt.Steps(), path)
	return t.download()
}

// train takes the steps that are left, and saves. Where it is stopped, it saves the last one.
func (t *training) train(stopped context.Context, dir checkpoint.Dir, o *options, stdout io.Writer) error {
	progress := cli.StderrProgress()
	defer progress.Clear()
	var written atomic.Int64 // percent of the checkpoint of step saved
	written.Store(100)
	saver := checkpoint.Saver{Dir: dir, Progress: func(done, total int64) { written.Store(100 * done / max(total, 1)) }}
	saved := t.opt.Steps()
	save := func() error {
		if saved == t.opt.Steps() {
			return nil
		}
		saved = t.opt.Steps()
		written.Store(0)
		return saver.Save(t.opt, t.stream)
	}
	for t.opt.Steps() < o.steps && stopped.Err() == nil {
		if err := t.step(); err != nil {
			return errors.Join(err, saver.Wait())
		}
		saving := ""
		if percent := written.Load(); percent < 100 {
			saving = fmt.Sprintf("; %d %% of the checkpoint of step %d is written", percent, saved)
		}
		progress.Show("step %d of %d: loss %.4f%s", t.opt.Steps(), o.steps, t.loss, saving)
		if t.opt.Steps()%o.every == 0 {
			if err := save(); err != nil {
				return errors.Join(err, saver.Wait())
			}
			progress.Clear()
			fmt.Fprintf(stdout, "step %d: loss %.4f\n", t.opt.Steps(), t.loss)
		}
	}
	return errors.Join(save(), saver.Wait())
}

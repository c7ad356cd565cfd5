// Gpubench measures fused optimizer steps on the parameters of real models, and says how close they come to what the
// machine's memory allows.
//
// Usage:
//
//	gpubench [-device cpu|cuda|cuda:N|emu] [-optimizer names] [-model name | -shape shapes | -n count] [-dtype f32] [-grad f32] [-state f32]
//	         [-master none] [-rounding nearest|stochastic] [-clip norm] [-clip-tensor norm] [-clip-adaptive part] [-scale factor]
//	         [-threads count] [-time duration] [-verify] [-save folder] [-format text|json]
//	gpubench -list [-format text|json]
//	gpubench -plan [-optimizer names] [-model name | -shape shapes | -n count] [-format text|json]
//	gpubench -dump all|go|graph|code|ptx [-optimizer names] [-dtype f32] [-grad f32] [-state f32] [-master none]
//	         [-rounding nearest|stochastic]
//
// An optimizer step does little arithmetic on much memory: AdamW reads a parameter, its gradient and two moments, and writes
// the parameter and the moments, 28 bytes in float32, and a perfect step costs the time of moving these bytes and nothing
// else. So each result is held to a ceiling: the same loads and stores on the same buffers by the same threads, without
// the arithmetic, by the fastest of several loops on a CPU, measured in turns with the step in the same run. A ratio of 1.00
// means that only faster memory can help.
//
// Without flags, gpubench runs a few optimizers on ResNet-50's parameters, in well under a minute.
//
// # What is measured
//
//	-optimizer adamw     one name, several separated by commas, or all; gpubench -list names them
//	-model gpt2          the parameters of a known model; gpubench -list names them
//	-shape 10000x1024    instead of a model, one tensor of this shape; several are separated by commas: 768x768,768. Optimizers with
//	                     numbers of rows and columns, as adafactor, take the last axis for the columns, and of one axis there are neither
//	-n 1e8               instead of a model, one flat tensor of so many elements: 100000000, 1e8, 100M
//	-dtype f32           type of parameters: f32, f64, bf16 or f16; a step calculates in f64 for f64, and in f32 for the others
//	-grad f32            type of gradients, where it is not that of -dtype: f32, bf16 or f16
//	-state f32           type of all state but masters: f32, bf16 or f16; without it, the type that a step calculates in
//	-master none         what is kept beside parameters of bf16, so that a step calculates with more bits: f32, also beside f16; remainder,
//	                     the 16 bits that an f32 has more; remainder8, 8 of them
//	-rounding nearest    how parameters without a master and state are rounded to 16 bits: nearest, ties to even, or stochastic
//	-clip 1              clip gradients to this global norm. A step reads them once more, which its bytes count. The ceiling does
//	                     not: its rate is that of the update's loads and stores
//	-clip-tensor 1       clip each tensor's gradient to this norm by itself, after -clip; for both, gradients are read once more
//	-clip-adaptive 0.01  clip the gradient of each row of a matrix, and of each vector, to so much of its parameter's norm, behind the others, with an
//	                     eps of 1e-3. All axes but the last are rows. Parameters and gradients are read once more
//	-scale 65536         gradients are multiplied by this loss scale. A step divides by it, and is skipped where a gradient is not finite, with an
//	                     optim.GradScaler that starts at it and does not grow while steps are measured. It reads gradients once more, as
//	                     with -clip; with all, they are read once more for all
//	-device cpu          where the step runs: cpu; cuda, the first NVIDIA GPU, or cuda:1, the second, and so on; emu, an
//	                     emulated GPU, whose bits are a GPU's and whose times mean nothing
//	-threads 0           processors that -device cpu uses; 0 is all that Go uses (see GOMAXPROCS)
//	-time 1s             time to measure for, for each result. Large models take longer: three steps at the least.
//
// A step is optim.Optimizer.Step on tensors in memory, learning rates and weight decay at the optimizer's defaults. Steps and
// passes of the ceiling take turns, in rounds; the times are the medians over the rounds, between events on the device. What
// does not fit into memory is refused before anything is allocated.
//
// The devices cuda and emu need a build with CUDA, for which make cuda is enough: no toolkit, and for emu no GPU. Another
// build, or a machine without driver or GPU, says so, with exit status 1.
//
// # Verification
//
// With -verify, before anything is measured, three steps are compared with an independent computation of the same rule: its
// graph in static single assignment form, evaluated an element at a time. The data is ordinary numbers mixed with special
// ones: infinities, NaNs, zeros of both signs, subnormals, any bit patterns; with -clip and -clip-tensor, gradients are ordinary in all
// steps but the last. With -scale, gradients are finite in all steps but the second, which must be skipped: it leaves everything as it was but the scale,
// by half of which the third divides. Parameters, gradients and all state must agree
// bit for bit after each step, where any NaN equals any other. Tensors of up to 4,096 elements are compared whole; of
// larger ones the head, the tail and runs at a prime stride between them. The result says how many parameters were
// compared and the largest distance in units in the last place, which is 0 where all is well; if it is not, gpubench
// says where the first difference is and exits with status 1. Where an optimizer sums over a tensor, as lamb does, no number is special, and the
// elements of a tensor repeat, so that it is known what they add up to: of a vector every 65,537, of a matrix with numbers of rows and columns every 67
// rows and 257 columns. All of these are compared. What cannot be compared is refused: more elements than that which are rounded stochastically.
//
// # Saving
//
// With -save, each optimizer is saved to a file in the folder when it has been measured: parameters and all state, written, synced and renamed,
// as optim/checkpoint does. Then it takes a step, is loaded from the file, and must be what it was, bit for bit. Gpubench prints the bytes a second
// of that, and of a snapshot into the memory of one before, which is what a training waits for that saves beside its steps. The file is removed. On a CPU that takes memory for the
// snapshot. The speed of a disk says much about the disk: make bench-checkpoint holds it to what dd writes there.
//
// # What fits into memory
//
// With -plan nothing is measured and nothing allocated. For each form in which a step of the optimizer, AdamW if none is given, can hold
// parameter, gradient and state, gpubench prints the bytes that stay resident and the bytes that a step moves, those that -clip, -scale or both
// add, and what is left of 24, 40, 80 and 141 GB. For AdamW, what other libraries take stands below. Parameters, gradients and the optimizer's state count, the
// latter as it is allocated; activations and all else do not. Bf16+f32 is a bfloat16 with a float32 master beside it, bf16+i16 and
// bf16+i8 one with the integer that makes it a number of 32 and of 24 bits; bf16/sr is rounded stochastically.
//
// # What a program is
//
// With -dump nothing is measured. Gpubench prints what the optimizers' steps are made of and made into:
//
//	-dump go       the rule's Go source: the element function, the prologue, and what of their file they reach
//	-dump graph    the bytes that a step moves, and its stages as graphs, an operation a line
//	-dump code     the machine code that runs on this machine's processors: address, bytes, instruction, and what it computes.
//	               The environment variable FUSESTEP_CPU chooses another implementation.
//	-dump ptx      the PTX text of its kernels on a GPU, which needs no GPU to be written
//	-dump all      the four, one below the other
//
// An optimizer with numbers of rows and columns has two programs, one of matrices and one of vectors, and both are printed.
// All of them name the rule's variables in comments, and number a graph's nodes alike. In a graph, uniform is what all
// elements share. Where no machine code runs, -dump code fails and says why; -dump all says why and goes on.
//
// # Output
//
// With -format text, the default, the output is in Go's benchmark format, which benchstat reads, and ends with a table for
// people, which benchstat skips. To compare two versions, run each several times:
//
//	for i in 1 2 3 4 5 6; do gpubench -optimizer adamw -model gpt2; done >> new.txt
//	benchstat old.txt new.txt
//
// A line's units are ns/op, the time of a step; MB/s, bytes that the step must move by this time; B/param, these bytes for one
// parameter, on average, as adafactor moves 24 of a matrix, 40 of a vector, and beside them what rows and columns have, once for each pass that
// loads or stores it; ceiling-GB/s, the same of the ceiling; copy-GB/s, what a plain copy of a large buffer within the device moved,
// once in this run, each byte counted as read and as written; and ratio, the step's rate over the ceiling's.
//
// With -format json, standard output is one object and nothing else:
//
//	{"machine": {"goos", "goarch", "cpu", "processors", "gpu", "memory_bytes", "go"},
//	 "results": [{"device", "optimizer", "model", "params", "tensors", "dtype", "grad", "state", "master", "rounding", "threads", "clip",
//	              "clip_tensor", "scale", "bytes_per_param", "seconds_per_step", "gb_per_s", "ceiling_gb_per_s", "copy_gb_per_s", "ratio_to_ceiling",
//	              "steps", "traffic", "verified", "max_ulp", "verified_params", "note",
//	              "saved": {"bytes", "save_seconds", "save_gb_per_s", "load_seconds", "load_gb_per_s", "snapshot_seconds", "snapshot_gb_per_s"}}]}
//
// Traffic says what the ceiling moves bytes with; note, what must be known of the times, and is empty where nothing must.
// Verified and the two after it are null without -verify, saved without -save. Memory_bytes is the device's. A GB is 10⁹ bytes.
//
// With -list and -format json, it is {"models": [{"name", "doc", "params", "shapes"}], "optimizers": [{"name", "doc",
// "f32_bytes_per_param", "state"}]}, a line for each. With -plan it is, likewise,
//
//	{"model", "params", "tensors",
//	 "forms": [{"optimizer", "param", "grad", "state", "resident_bytes_per_param", "read_bytes_per_param", "written_bytes_per_param",
//	            "norm_bytes_per_param", "resident_bytes", "moved_bytes", "norm_bytes", "fits_gb",
//	            "buffers": [{"name", "dtype", "owned", "bytes_per_param", "bytes"}]}],
//	 "peers": [{"optimizer", "who", "source", "resident_bytes_per_param", "moved_bytes_per_param", "resident_bytes", "moved_bytes", "fits_gb"}]}
//
// Moved is read and written. Norm is what clipping by the norm, a loss scale or both read beside that. Owned buffers are the optimizer's own.
//
// The exit status is 0 if all went well, 2 if the command line was wrong, and 1 if something else was.
package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io"

	"github.com/fusestep/fusestep/internal/cli"
)

//go:embed main.go
var source string

func main() {
	c := command{open: openDevice, progress: cli.StderrProgress()}
	cli.Main("gpubench", c.main)
}

// command is gpubench and what it works with, so that a test can give it something else.
type command struct {
	open     func(name string, threads int) (*target, error)
	progress cli.Progress
}

// main runs the command.
func (c *command) main(args []string, stdout io.Writer) error {
	defer c.progress.Clear()
	return c.run(args, stdout)
}

func (c *command) run(args []string, stdout io.Writer) error {
	cfg, err := parseFlags(args, stdout)
	if err != nil {
		return err
	}
	if cfg.list {
		return printList(stdout, cfg.format)
	}
	if cfg.plan {
		return cfg.printPlan(stdout)
	}
	if cfg.dump != "" {
		return cfg.printDump(stdout)
	}
	t, err := c.open(cfg.device, cfg.threads)
	if err != nil {
		return err
	}
	defer t.backend.Device().Close()
	if err := cfg.fits(t.backend.Device()); err != nil {
		return err
	}
	out := newReport(cfg.format, stdout)
	if err := out.begin(describeMachine(t), t); err != nil {
		return err
	}
	peak, err := copyPeak(t.backend.Device(), t.copyBytes, cfg.time/4, &c.progress)
	if err != nil {
		return fmt.Errorf("copy peak: %w", err)
	}
	var wrong []error
	for _, o := range cfg.optimizers {
		r, err := cfg.bench(t, o, &c.progress)
		if mismatch := (*mismatchError)(nil); errors.As(err, &mismatch) {
			wrong = append(wrong, err) // the others are still worth knowing
		} else if err != nil {
			return err
		}
		r.CopyGBPerS = peak / 1e9
		c.progress.Clear()
		if err := out.add(r); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	return errors.Join(wrong...)
}

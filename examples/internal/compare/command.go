package compare

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/examples/internal/host"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// Command is an example's command line.
type Command struct {
	Name    string
	Flags   func(*flag.FlagSet)      // defines the flags that this example alone has
	Problem func() (*Problem, error) // what they ask for, once they are parsed
}

// UsageError is a command line that makes no sense.
type UsageError string

func (e UsageError) Error() string { return string(e) }

// errMismatch is a run whose table says what is wrong.
var errMismatch = errors.New("not what other libraries reach")

// Main runs the command and exits: 0 if all is well, 1 if not, or if a run is not what another library's is, 2 for wrong flags.
func (c Command) Main() {
	err := c.run(os.Args[1:], os.Stdout)
	var usage UsageError
	var unknown host.UnknownError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case errors.Is(err, errMismatch):
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", c.Name, strings.ReplaceAll(err.Error(), "\n", "; "))
	if errors.As(err, &usage) || errors.As(err, &unknown) {
		os.Exit(2)
	}
	os.Exit(1)
}

// options are the flags that all these examples have.
type options struct {
	cases  []optim.Case
	device string
	seed   uint64
	epochs int     // 0: the problem's
	lr     float64 // 0: the problem's
	plot   string
	tune   bool
}

func (c Command) parse(args []string, stdout io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	names := fs.String("optimizer", "adam", "optimizers, with commas between them, or all")
	fs.StringVar(&o.device, "device", "cpu", host.Devices)
	fs.Uint64Var(&o.seed, "seed", 1, "seed of the initial weights and the batches")
	fs.IntVar(&o.epochs, "epochs", 0, "times that all rows are learned from; 0 is the default")
	fs.Float64Var(&o.lr, "lr", 0, "learning rate; 0 is the table's for the optimizer")
	fs.StringVar(&o.plot, "plot", "", "`file` for a picture of the losses, a PNG")
	fs.BoolVar(&o.tune, "tune", false, "print each optimizer's best learning rate of a grid, as a line of the table")
	c.Flags(fs)
	if err := fs.Parse(args); err == flag.ErrHelp {
		fmt.Fprintf(stdout, "usage: %s [flags]\n", c.Name)
		fs.SetOutput(stdout)
		fs.PrintDefaults()
		return nil, err
	} else if err != nil {
		return nil, UsageError(err.Error())
	}
	for _, check := range []struct {
		ok   bool
		text string
	}{
		{fs.NArg() == 0, fmt.Sprintf("unexpected argument %q", strings.Join(fs.Args(), " "))},
		{o.epochs >= 0, fmt.Sprintf("-epochs %d is negative", o.epochs)},
		{o.lr >= 0 && o.lr <= math.MaxFloat64, fmt.Sprintf("-lr %v is not at least 0 and finite", o.lr)},
		{!o.tune || o.lr == 0 && o.plot == "", "-tune takes neither -lr nor -plot"},
	} {
		if !check.ok {
			return nil, UsageError(check.text)
		}
	}
	var err error
	o.cases, err = casesOf(*names)
	return o, err
}

// casesOf finds the cases of optim.Cases that -optimizer names.
func casesOf(names string) (out []optim.Case, err error) {
	all := optim.Cases()
	if names == "all" {
		return all, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(c optim.Case) bool { return c.Name == name })
		if i < 0 {
			var known []string
			for _, c := range all {
				known = append(known, c.Name)
			}
			return nil, UsageError(fmt.Sprintf("-optimizer %q is not all, nor any of %s", name, strings.Join(known, ", ")))
		}
		out = append(out, all[i])
	}
	return out, nil
}

func (c Command) run(args []string, stdout io.Writer) (err error) {
	o, err := c.parse(args, stdout)
	if err != nil {
		return err
	}
	backend, err := host.Open(o.device)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Device().Close()) }()
	p, err := c.Problem()
	if err != nil {
		return err
	}
	if o.epochs == 0 {
		o.epochs = p.Epochs
	}
	if o.tune {
		return p.tune(stdout, backend, o.cases, o.seed, o.epochs)
	}
	if o.plot == "" {
		_, err = p.compare(stdout, backend, o)
		return err
	}
	picture, err := os.Create(o.plot) // first, as training may take minutes
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, picture.Close()) }()
	runs, err := p.compare(stdout, backend, o)
	if err != nil && !errors.Is(err, errMismatch) {
		return err
	}
	return errors.Join(err, p.draw(picture, runs))
}

// compare trains with each optimizer, and prints what comes of it.
func (p *Problem) compare(w io.Writer, backend kernels.Backend, o *options) (runs []*Run, err error) {
	r := &report{w: w, p: p, o: o}
	r.begin()
	for _, c := range o.cases {
		run, err := p.Train(backend, c, o.lr, o.seed, o.epochs, r.epoch)
		if err != nil {
			return nil, err
		}
		r.row(run)
		runs = append(runs, run)
	}
	return runs, r.end(runs)
}

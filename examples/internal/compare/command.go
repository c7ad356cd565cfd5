package compare

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/examples/internal/host"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// Command is an example's command line.
type Command struct {
	Name    string
	Flags   func(*flag.FlagSet)      // defines the flags that this example alone has
	Problem func() (*Problem, error) // what they ask for, once they are parsed
}

// Main runs the command and exits: 0 if all is well, 1 if not, or if a run is not what another library's is, 2 for wrong flags.
func (c Command) Main() { cli.Main(c.Name, c.run) }

// options are the flags that all these examples have.
type options struct {
	cases  []optim.Case
	held   []Precision
	device string
	seed   uint64
	epochs int     // 0: the problem's
	lr     float64 // 0: the problem's
	plot   string
	tune   bool
}

func (c Command) parse(args []string, stdout io.Writer) (*options, error) {
	o := &options{}
	fs := cli.Flags(c.Name)
	names := fs.String("optimizer", "adam", "optimizers, with commas between them, or all")
	held := fs.String("precision", precisions[0].Name, "how memory holds what is trained, with commas between them, or all")
	fs.StringVar(&o.device, "device", "cpu", gpu.Help)
	fs.Uint64Var(&o.seed, "seed", 1, "seed of the initial weights and the batches")
	fs.IntVar(&o.epochs, "epochs", 0, "times that all rows are learned from; 0 is the default")
	fs.Float64Var(&o.lr, "lr", 0, "learning rate; 0 is the table's for the optimizer")
	fs.StringVar(&o.plot, "plot", "", "`file.png` for a picture of the losses; a file that is there stays as it is until the picture is whole")
	fs.BoolVar(&o.tune, "tune", false, "print each optimizer's best learning rate of a grid, as a line of the table")
	c.Flags(fs)
	if err := cli.Parse(fs, args, func() { cli.PrintDefaults(fs, stdout) }); err != nil {
		return nil, err
	}
	for _, check := range []struct {
		ok   bool
		text string
	}{
		{o.epochs >= 0, fmt.Sprintf("-epochs %d is negative", o.epochs)},
		{o.lr >= 0 && o.lr <= math.MaxFloat64, fmt.Sprintf("-lr %v is not at least 0 and finite", o.lr)},
		{!o.tune || o.lr == 0 && o.plot == "", "-tune takes neither -lr nor -plot"},
	} {
		if !check.ok {
			return nil, cli.Usagef("%s", check.text)
		}
	}
	if o.plot != "" {
		if err := cli.CheckExtension("-plot", o.plot, pictures...); err != nil {
			return nil, err
		}
	}
	if err := gpu.CheckFlag(o.device); err != nil {
		return nil, err
	}
	var err error
	if o.cases, err = casesOf(*names); err != nil {
		return nil, err
	}
	if o.held, err = precisionsOf(*held); err != nil {
		return nil, err
	}
	if o.tune && *held != precisions[0].Name {
		return nil, cli.Usagef("-tune takes no -precision")
	}
	return o, nil
}

// several says whether there is more than one run.
func (o *options) several() bool { return len(o.cases)*len(o.held) > 1 }

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
			return nil, cli.Unknown("-optimizer", name, "optimizer", append(known, "all"))
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
	file, err := cli.NewOutputFile("-plot", o.plot, pictures, p.Inputs) // first, as training may take minutes
	if err != nil {
		return err
	}
	runs, err := p.compare(stdout, backend, o)
	if err != nil && !errors.Is(err, cli.ErrReported) {
		return err
	}
	var picture bytes.Buffer
	if err := p.draw(&picture, runs); err != nil {
		return err
	}
	return errors.Join(err, file.Write(picture.Bytes()))
}

// pictures are the file names' extensions of what draw makes.
var pictures = []string{".png"}

// compare trains with each optimizer, and prints what comes of it.
func (p *Problem) compare(w io.Writer, backend kernels.Backend, o *options) (runs []*Run, err error) {
	r := &report{w: w, p: p, o: o}
	r.begin()
	for _, c := range o.cases {
		for _, held := range o.held {
			run, err := p.Train(backend, c, held, o.lr, o.seed, o.epochs, r.epoch)
			if err != nil {
				return nil, err
			}
			r.row(run)
			runs = append(runs, run)
		}
	}
	return runs, r.end(runs)
}

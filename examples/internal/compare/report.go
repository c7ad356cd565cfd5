package compare

import (
	"fmt"
	"io"
	"strings"

	"github.com/fusestep/fusestep/internal/cli"
)

// report prints a comparison as it comes about.
type report struct {
	w          io.Writer
	p          *Problem
	o          *options
	agree      int
	alone      []string // without a reference
	mismatches []error
}

func (r *report) printf(format string, args ...any) { fmt.Fprintf(r.w, format, args...) }

// figure is wide enough for a loss that has run away.
func figure(x float64) string { return fmt.Sprintf("%#12.5g", x) }

func (r *report) begin() {
	r.printf("%s\n%d epochs, batches of %d of %d, seed %d, on %s\n", r.p.Title, r.o.epochs, r.p.Batch, r.p.Rows, r.o.seed, r.o.device)
	r.printf("loss: %s, %s; quality: %s, held out\n\n", r.p.Loss, r.p.Unit, r.p.Quality)
	if r.o.several() {
		r.head()
	} else {
		r.printf("%5s %12s %12s\n", "epoch", "loss", "quality")
	}
}

func (r *report) head() {
	r.printf("%-24s %6s %12s %12s   %12s %12s  %s\n", "", "lr", "loss", "quality", "loss", "quality", "by")
}

// epoch is the progress of a run.
func (r *report) epoch(run *Run) {
	if i := len(run.Loss) - 1; !r.o.several() {
		r.printf("%5d %s %s\n", i, figure(run.Loss[i]), figure(run.Quality[i]))
	}
}

// row is how a run ended, beside the other library's.
func (r *report) row(run *Run) {
	if !r.o.several() {
		r.printf("\n")
		r.head()
	}
	i := len(run.Loss) - 1
	r.printf("%-24s %6v %s %s", run.name(), run.LR, figure(run.Loss[i]), figure(run.Quality[i]))
	defer r.printf("\n")
	c := r.p.expected(run, r.o.seed)
	if c == nil {
		r.alone = append(r.alone, run.name())
		return
	}
	r.printf("   %s %s  %s", figure(c.Loss[i]), figure(c.Quality[i]), c.Library)
	if err := c.Check(run); err != nil {
		r.mismatches = append(r.mismatches, err)
		r.printf(" !")
	} else {
		r.agree++
	}
}

// end prints what the table lacks. It fails with cli.ErrReported.
func (r *report) end(runs []*Run) error {
	for _, b := range r.p.Beside {
		r.printf("%-31s %s %s\n", b.Name, figure(b.Loss), figure(b.Quality))
	}
	if len(runs) == 1 {
		r.printf("\n")
		runs[0].Model.Show(r.w)
	}
	r.printf("\n")
	if r.agree > 0 {
		r.printf("at every epoch within what rounding can do of the other library: %d of %d\n", r.agree, len(runs))
	}
	if len(r.alone) > 0 {
		r.printf("with nothing to compare with: %s\n", strings.Join(r.alone, ", "))
	}
	for _, err := range r.mismatches {
		r.printf("differs: %v\n", err)
	}
	if len(r.mismatches) > 0 {
		return cli.ErrReported
	}
	return nil
}

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/models"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// printList prints what -model, -optimizer and -device may be.
func printList(w io.Writer, format string) error {
	if format == "json" {
		return printListJSON(w)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "-model\tparameters\ttensors\twhat it is")
	for _, m := range models.List() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", m.Name, thousands(m.Params()), thousands(int64(len(m.Tensors))), m.Doc)
	}
	fmt.Fprintln(t)
	t.Flush()

	fmt.Fprintln(t, "-optimizer\tf32 bytes/step\tf32 bytes of state\tstate\twhat it is")
	for _, o := range optimizers() {
		p, err := o.plan(plain(device.Float32))
		if err != nil {
			return err
		}
		names := strings.Join(p.matrix.State(), ", ")
		if names == "" {
			names = "none"
		}
		if p.lines() {
			o.Doc += fmt.Sprintf("; a vector has %s, and takes %d bytes", strings.Join(p.program.State(), ", "), p.program.Bytes)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\n", o.Name, p.matrix.Bytes, stateBytes(p.matrix), names, o.Doc)
	}
	fmt.Fprintln(t, "Both are per parameter; with -dtype f64 they are twice as much, and with -dtype bf16 -state bf16 half as much. See -plan for more,")
	fmt.Fprintln(t, "and for what rows and columns of a matrix take beside that.")
	fmt.Fprintln(t)
	t.Flush()

	fmt.Fprintln(t, "-device\twhat it is")
	for _, d := range deviceDocs() {
		fmt.Fprintf(t, "%s\t%s\n", d[0], d[1])
	}
	return t.Flush()
}

// stateBytes is what an element has as state.
func stateBytes(p *kernels.Program) (n int) {
	for k, plane := range p.Planes {
		if role := p.Of(k).Role; plane.Domain == rule.OfElements && (role == kernels.State || role == kernels.Input) {
			n += plane.DType.Size()
		}
	}
	return n
}

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ptx"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A view is a way to look at a program.
type view struct {
	name, title string
	text        func(*kernels.Program) (string, error)
}

// views are the values of -dump, in the order of all.
var views = []view{
	{"go", "the rule, in Go", func(p *kernels.Program) (string, error) { return p.Rule.Source(), nil }},
	{"graph", "its graph", func(p *kernels.Program) (string, error) { return graphText(p), nil }},
	{"code", "its machine code", codeText},
	{"ptx", "its PTX", func(p *kernels.Program) (string, error) { return ptx.New(p).Text, nil }},
}

func checkDump(s string) error {
	known := []string{"all"}
	for _, v := range views {
		known = append(known, v.name)
	}
	if !slices.Contains(known, s) {
		return cli.Unknown("-dump", s, "view", known)
	}
	return nil
}

// printDump prints what cfg.dump names of each optimizer, or nothing if one of them has none. Several texts have headings, which are
// comments in Go and in PTX.
func (cfg *config) printDump(w io.Writer) error {
	var out strings.Builder
	for _, o := range cfg.optimizers {
		p, err := o.plan(cfg.dtype)
		if err != nil {
			return err
		}
		for _, v := range views {
			if cfg.dump != v.name && cfg.dump != "all" {
				continue
			}
			programs := []*kernels.Program{p.matrix}
			if p.lines() && v.name != "go" {
				programs = append(programs, p.program)
			}
			for i, program := range programs {
				text, err := v.text(program)
				if missing := (*noCodeError)(nil); cfg.dump == "all" && errors.As(err, &missing) {
					text = fmt.Sprintf("; %v\n", missing)
				} else if err != nil {
					return fmt.Errorf("-dump %s: %s: %w", cfg.dump, o.Name, err)
				}
				if out.Len() > 0 {
					fmt.Fprintln(&out)
				}
				if cfg.dump == "all" || len(cfg.optimizers) > 1 || len(programs) > 1 {
					of := ""
					if len(programs) > 1 {
						of = []string{", of a matrix", ", of a vector"}[i]
					}
					fmt.Fprintf(&out, "// ==== %s, %s: %s%s ====\n\n", o.Name, cfg.dtype, v.title, of)
				}
				out.WriteString(text)
			}
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// graphText is what a program moves, and its stages.
func graphText(p *kernels.Program) string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "field\tslot\trole\ttype\tbytes loaded\tstored")
	for k, plane := range p.Planes {
		loaded, stored := 0, 0
		for i := range p.Passes {
			if slices.Contains(p.Passes[i].Loads, k) {
				loaded += plane.DType.Size()
			}
			filled := func(f kernels.Fill) bool { return f.Domain != rule.OfTensor && f.Plane == k }
			if slices.Contains(p.Passes[i].Stores, k) || slices.ContainsFunc(p.Passes[i].Fills, filled) {
				stored += plane.DType.Size()
			}
			for _, f := range p.Passes[i].Folds {
				if f.From == k {
					loaded += plane.DType.Size()
				}
				if f.To == k {
					stored += plane.DType.Size()
				}
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\n", p.Passes[0].Graph.Vars[k].Name, p.Of(k).Name, p.Of(k).Role, plane.DType, loaded, stored)
	}
	t.Flush()
	fmt.Fprintf(&b, "%d bytes in all for each element\n", p.Bytes)
	passes := p.Passes
	for i, s := range p.Stages {
		of, varying := map[kernels.Scope]string{kernels.Group: "once for each group", kernels.OneTensor: "once for each tensor",
			kernels.OneRow: "once for each row", kernels.OneColumn: "once for each column", kernels.OneMatrix: "once for each matrix"}[s.Over], []bool(nil)
		switch s.Kind {
		case kernels.Reduce:
			var text string
			if s.Over == kernels.OneMatrix {
				text = foldText(p, s.Fold)
			} else {
				text = fillText(p.Rule, s.Fill)
			}
			fmt.Fprintf(&b, "\n// stage %d: %s, %s, in float64\n%s\n", i+1, s.Kind, of, text)
			continue
		case kernels.Map:
			of, varying, passes = "for each "+s.Domain.String(), passes[0].Varying, passes[1:]
		}
		fmt.Fprintf(&b, "\n// stage %d: %s, %s, in float%d\n%s", i+1, s.Kind, of, s.Graph.Width, s.Graph.Text(varying))
	}
	return b.String()
}

// foldText says what columns have of their matrix's rows.
func foldText(p *kernels.Program, f kernels.Fold) string {
	return fmt.Sprintf("column.%s = %s of row.%s", p.Rule.Column[p.Of(f.To).Index].Name, f.Kind, p.Rule.Row[p.Of(f.From).Index].Name)
}

// fillText says what a tensor, a row or a column is filled with.
func fillText(r *rule.Rule, f kernels.Fill) string {
	var name string
	if f.Domain == rule.OfTensor {
		name = r.Tensor[f.Field].Name
	} else {
		name = r.Fields(f.Domain)[f.Field].Name
	}
	return fmt.Sprintf("%s.%s = %s of %s.%s", f.Domain, name, f.Kind, f.Domain.String()[:1], name)
}

// noCodeError is an implementation that runs a program without machine code of its own.
type noCodeError struct{ implementation, reason string }

func (e *noCodeError) Error() string {
	return fmt.Sprintf("there is no machine code: %s runs, %s", e.implementation, e.reason)
}

// codeText is the machine code of the implementation that runs here.
func codeText(p *kernels.Program) (string, error) {
	d := cpu.NewThreads(1)
	defer d.Close()
	text, err := d.Listing(p)
	name := d.Implementation()
	switch {
	case err == nil:
		return fmt.Sprintf("; %s\n%s", name, text), nil
	case name == "" || !errors.Is(err, device.ErrUnsupported):
		return "", err
	case os.Getenv(cpu.Environment) != "":
		return "", &noCodeError{name, "which " + cpu.Environment + " chooses"}
	case cpu.MachineCode() != nil:
		return "", &noCodeError{name, fmt.Sprintf("as %v", cpu.MachineCode())}
	}
	return "", &noCodeError{name, "as this processor or this build has no AVX2"}
}

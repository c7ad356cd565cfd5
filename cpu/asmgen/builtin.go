package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// programs are those that have a loop of their own: what the table of cases has, and each rule without options and with each alone,
// and those of penalized with an L2 penalty; each graph once. The tile interpreter runs the rest.
func programs() (out []kernels.Program, err error) {
	var sets []kernels.Program
	for _, c := range optim.Cases() {
		p, err := c.Program(device.Float32)
		if err != nil {
			return nil, err
		}
		sets = append(sets, p)
	}
	for _, r := range optim.Rules() {
		sets = append(sets, kernels.Program{Rule: r})
		for i := range r.Options {
			sets = append(sets, kernels.Program{Rule: r, Options: 1 << i})
		}
	}
	for _, r := range penalized() {
		sets = append(sets, kernels.Program{Rule: r, Penalties: rule.L2})
	}
	known := map[string]bool{}
	for _, p := range sets {
		for _, p.DType = range []device.DType{device.Float32, device.Float64} {
			f, err := p.Graph()
			if err != nil {
				return nil, err
			}
			if print := f.Fingerprint(); !known[print] {
				known[print] = true
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// penalized are the rules whose PyTorch optimizer has weight_decay as an L2 penalty, but for those that have cases with one.
func penalized() []*rule.Rule {
	return []*rule.Rule{kernels.AdaBeliefRule().Rule, kernels.AdadeltaRule().Rule, kernels.AdagradRule().Rule, kernels.AdamaxRule().Rule,
		kernels.ASGDRule().Rule, kernels.NAdamRule().Rule, kernels.RAdamRule().Rule, kernels.RMSpropRule().Rule}
}

// builtin writes package cpu's loops into a folder.
func builtin(dir string) error {
	all, err := programs()
	if err != nil {
		return err
	}
	out := output{}
	var stubs, tables strings.Builder
	for _, set := range isas {
		text, err := out.assemble(set, assemblyFile(dir, "loops", set), func(w *writer) {
			for _, p := range all {
				w.update(w.updateName(p), p)
			}
			w.operations()
			w.norms()
			w.traffics()
			fmt.Fprintf(&tables, "\nvar %s = &instructions{\nvector: %d,\nupdates: map[string]Loop{\n%s},\n%s}\n",
				strings.ToLower(set.name), set.vector, w.fingerprints(all), w.tables())
		})
		if err != nil {
			return err
		}
		stubs.WriteString(text)
	}
	err = out.goFile(filepath.Join(dir, "loops_amd64.go"), constraint, "cpu", "import \"github.com/fusestep/fusestep/kernels/ir\"\n\n"+
		tables.String()+stubs.String())
	if err != nil {
		return err
	}
	return out.write()
}

// tables are the fields of cpu's instructions beside the fused loops.
func (w *writer) tables() string {
	var b strings.Builder
	b.WriteString("operations: map[int]map[tileOp]operationLoop{\n")
	for _, width := range []int{32, 64} {
		fmt.Fprintf(&b, "%d: {\n", width)
		for op := ir.Add; op <= ir.Select; op++ {
			fmt.Fprintf(&b, "tileOp(ir.%s): %s,\n", strings.ToUpper(op.String()[:1])+op.String()[1:], w.operationName(op.String(), width))
		}
		for _, c := range compounds {
			fmt.Fprintf(&b, "%s: %s,\n", c.name, w.operationName(c.name, width))
		}
		b.WriteString("},\n")
	}
	b.WriteString("},\ntraffics: map[traffics]Loop{\n")
	for read := 1; read <= maxRead; read++ {
		for written := 0; written <= maxWritten; written++ {
			fmt.Fprintf(&b, "{%d, %d}: %s,\n", read, written, w.trafficName(read, written))
		}
	}
	fmt.Fprintf(&b, "},\nsquares: map[int]squaresLoop{4: sumSquaresF32%s, 8: sumSquaresF64%s},\nhalve: halve%s,\n", w.name, w.name, w.name)
	return b.String()
}

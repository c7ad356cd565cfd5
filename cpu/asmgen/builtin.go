package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/fusestep/fusestep/kernels/ir"
)

// builtin writes package cpu's loops into a folder.
func builtin(dir string) error {
	out := output{}
	var stubs, tables strings.Builder
	for _, set := range isas {
		text, err := out.assemble(set, assemblyFile(dir, "loops", set), func(w *writer) {
			w.operations()
			w.norms()
			w.traffics()
			fmt.Fprintf(&tables, "\nvar %s = &instructions{\nvector: %d,\n%s}\n", strings.ToLower(set.name), set.vector, w.tables())
		})
		if err != nil {
			return err
		}
		stubs.WriteString(text)
	}
	err := out.goFile(filepath.Join(dir, "loops_amd64.go"), constraint, "cpu", "import \"github.com/fusestep/fusestep/kernels/ir\"\n\n"+
		tables.String()+stubs.String())
	if err != nil {
		return err
	}
	return out.write()
}

// tables are the fields of cpu's instructions.
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
	b.WriteString("},\ntraffics: map[traffics]trafficLoop{\n")
	for read := 1; read <= maxRead; read++ {
		for written := 0; written <= maxWritten; written++ {
			fmt.Fprintf(&b, "{%d, %d}: %s,\n", read, written, w.trafficName(read, written))
		}
	}
	fmt.Fprintf(&b, "},\nsquares: map[int]squaresLoop{4: sumSquaresF32%s, 8: sumSquaresF64%s},\nhalve: halve%s,\n", w.name, w.name, w.name)
	return b.String()
}

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
	tables := ""
	stubs, err := out.assemble(filepath.Join(dir, "loops_avx2_amd64.s"), func(w *writer) {
		w.operations()
		w.squares(4)
		w.squares(8)
		tables = fmt.Sprintf("var avx2 = &instructions{\nvector: %d,\n%s}\n", vector, w.tables())
	})
	if err != nil {
		return err
	}
	err = out.goFile(filepath.Join(dir, "loops_amd64.go"), constraint, "cpu", "import \"github.com/fusestep/fusestep/kernels/ir\"\n\n"+tables+stubs)
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
	fmt.Fprintf(&b, "},\nsquares: map[int]squaresLoop{4: %s, 8: %s},\n", squaresName(4), squaresName(8))
	return b.String()
}

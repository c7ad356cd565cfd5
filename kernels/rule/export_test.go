package rule

import "strings"

// ReadStaged reads a rule of NewStaged's: each function by its name, with "tensors ", "matrix ", "rows " or "columns " before it if it is such a one.
func ReadStaged(file, source, prologue string, functions ...string) (*Rule, error) {
	kinds := map[string]stageFunc{"tensors": {domain: OfTensor, banks: tensorBanks}, "matrix": {banks: matrixBanks}, "rows": {domain: OfRows, banks: rowBanks},
		"columns": {domain: OfColumns, banks: columnBanks}}
	var all []stageFunc
	for _, name := range functions {
		f := stageFunc{banks: elementBanks}
		if kind, rest, ok := strings.Cut(name, " "); ok {
			f, name = kinds[kind], rest
		}
		f.name, f.file = name, file
		all = append(all, f)
	}
	return read(source, prologue, all)
}

package rule

import "strings"

// ReadStaged reads a rule of NewStaged's: each function by its name, a tensor function with "tensors " before it.
func ReadStaged(file, source, prologue string, functions ...string) (*Rule, error) {
	var all []stageFunc
	for _, name := range functions {
		name, tensors := strings.CutPrefix(name, "tensors ")
		all = append(all, stageFunc{name: name, file: file, tensors: tensors})
	}
	return read(source, prologue, all)
}

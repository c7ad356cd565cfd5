package rule

import "strings"

// Read reads a rule of New's.
func Read(file, source, elem, prologue string) (*Rule, error) {
	return read(source, prologue, []stageFunc{{name: elem, file: file, bare: true}})
}

// ReadStaged reads a rule of NewStaged's: each function by its name, a tensor function with "tensors " before it.
func ReadStaged(file, source, prologue string, functions ...string) (*Rule, error) {
	var all []stageFunc
	for _, name := range functions {
		name, tensors := strings.CutPrefix(name, "tensors ")
		all = append(all, stageFunc{name: name, file: file, tensors: tensors})
	}
	return read(source, prologue, all)
}

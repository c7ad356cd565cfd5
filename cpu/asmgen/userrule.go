package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// userRule writes the loops of a rule beside its source file.
func userRule(path, name, prologue, options string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	r, err := rule.Read(filepath.Base(path), string(text), name, prologue)
	if err != nil {
		return err
	}
	sets, err := optionSets(r, options)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.PackageClauseOnly)
	if err != nil {
		return err
	}
	var all []kernels.Program
	for _, set := range sets {
		for _, t := range []device.DType{device.Float32, device.Float64} {
			p := kernels.Program{Rule: r, Options: set, DType: t}
			if _, err := p.Graph(); err != nil {
				return err
			}
			all = append(all, p)
		}
	}
	if err := apart(all); err != nil {
		return err
	}
	dir, prefix := filepath.Dir(path), strings.ToLower(name)
	out := output{}
	var stubs, tables strings.Builder
	for _, set := range isas {
		text, err := out.assemble(set, assemblyFile(dir, prefix, set), func(w *writer) {
			for _, p := range all {
				w.update(w.updateName(p), p)
			}
			fmt.Fprintf(&tables, "%s: map[string]cpu.Loop{\n%s},\n", set.name, w.fingerprints(all))
		})
		if err != nil {
			return err
		}
		stubs.WriteString(text)
	}
	const header = "import \"github.com/fusestep/fusestep/cpu\"\n\n"
	doc := fmt.Sprintf("// %sLoops are the loops that were generated for %s: hand them to cpu.New.\n", name, name)
	guard := fmt.Sprintf("\n// Where this does not compile, another version of package cpu hands loops other things: run asmgen again.\nvar _ = [1]struct{}{}[cpu.LoopLayout-%d]\n", loopLayout)
	err = out.goFile(filepath.Join(dir, prefix+"_amd64.go"), constraint, file.Name.Name,
		header+doc+"var "+name+"Loops = cpu.Loops{\n"+tables.String()+"}\n"+guard+stubs.String())
	if err != nil {
		return err
	}
	err = out.goFile(filepath.Join(dir, prefix+"_noasm.go"), "!amd64 || purego", file.Name.Name,
		header+doc+"var "+name+"Loops cpu.Loops\n")
	if err != nil {
		return err
	}
	return out.write()
}

// apart refuses two sets of options whose loops would have one name, as A and BC, and AB and C.
func apart(programs []kernels.Program) error {
	w, named := &writer{}, map[string]kernels.Program{}
	for _, p := range programs {
		name := w.updateName(p)
		if other, ok := named[name]; ok {
			return fmt.Errorf("the loops of %s and %s would have the same name: rename an option, or make loops for one of the two", other, p)
		}
		named[name] = p
	}
	return nil
}

// optionSets reads the value of -options.
func optionSets(r *rule.Rule, s string) (sets []uint64, err error) {
	if s == "" {
		sets = []uint64{0}
		for i := range r.Options {
			sets = append(sets, 1<<i)
		}
		return sets, nil
	}
	for _, names := range strings.Split(s, ",") {
		set := uint64(0)
		for _, name := range strings.Split(names, "+") {
			i := slices.Index(r.Options, name)
			if i >= 0 {
				set |= 1 << i
			} else if names != "none" {
				return nil, fmt.Errorf("-options %s: %s has no option %q, only %q", s, r.Name, name, r.Options)
			}
		}
		if slices.Contains(sets, set) {
			return nil, fmt.Errorf("-options %s: %s is there twice", s, names)
		}
		sets = append(sets, set)
	}
	return sets, nil
}

//go:build cuda && cgo && linux

package cuda

import (
	"bytes"
	"errors"
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ptx"
	"github.com/fusestep/fusestep/kernels/rule"
)

// module is a program's kernels on the device. It stays loaded until the device is closed.
type module struct {
	*ptx.Module
	mod       cu.Module
	prologue  kernel
	passes    []pass
	sums, max kernel
	lines     kernel
	rows      [rule.FillMax + 1]kernel // by kind of kernels.Fold
}

// pass is the kernels of a ptx.Pass.
type pass struct{ update, columns, traffic, tensors, spread kernel }

// kernel is a function, and how many of its blocks a multiprocessor holds at once.
type kernel struct {
	driver.Function
	resident int
}

// normModule is a norm's.
type normModule struct {
	mod    cu.Module
	passes []normPass
}

// normPass is the kernels of a ptx.NormPass.
type normPass struct {
	ptx.NormPass
	squares             []kernel // by ptx.NormGradients
	tensors, sums, root kernel
}

// load compiles PTX. What the driver's compiler says of an error is in the error.
func (g *gpu) load(text string, kernels map[string]*kernel) (mod cu.Module, err error) {
	log := make([]byte, 8<<10)
	err = g.make(func() error {
		if mod, err = cu.LoadDataEx(text, &cu.JITErrorLogBuffer{Buffer: log}); err != nil {
			err = failure(driver.CuModuleLoadDataEx, err)
			if said, _, _ := bytes.Cut(log, []byte{0}); len(said) > 0 {
				err = fmt.Errorf("%w: %s", err, said)
			}
			return err
		}
		for name, to := range kernels {
			f, err := mod.Function(name)
			if err = failure(driver.CuModuleGetFunction, err); err == nil {
				to.Function = *(*driver.Function)(unsafe.Pointer(&f)) // one handle, in a struct of its own
				to.resident, err = f.MaxActiveBlocksPerMultiProcessor(ptx.Block, 0)
				err = failure(driver.CuOccupancyMaxActiveBlocksPerMultiprocessor, err)
			}
			if err != nil {
				return errors.Join(fmt.Errorf("%s: %w", name, err), failure(driver.CuModuleUnload, mod.Unload()))
			}
		}
		return nil
	})
	return mod, err
}

// module returns a program's kernels, compiled once.
func (g *gpu) module(p *kernels.Program) (*module, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.modules[p.Spec]; m != nil {
		return m, nil
	}
	text := g.geometry.hints.New(p)
	m := &module{Module: text}
	var err error
	names := map[string]*kernel{text.Prologue: &m.prologue, text.Sums: &m.sums, text.Max: &m.max, text.Lines: &m.lines}
	for kind, name := range text.Rows {
		names[name] = &m.rows[kind]
	}
	m.passes = make([]pass, len(text.Passes))
	for i, p := range text.Passes {
		to := &m.passes[i]
		names[p.Update], names[p.Columns], names[p.Traffic], names[p.Tensors], names[p.Spread] = &to.update, &to.columns, &to.traffic, &to.tensors, &to.spread
	}
	delete(names, "") // kernels that the program does not have
	m.mod, err = g.load(text.Text, names)
	if err != nil {
		return nil, fmt.Errorf("cuda: %s: %w", p, err)
	}
	g.modules[p.Spec] = m
	return m, nil
}

// norm returns the kernels of kernels.Norm or kernels.NormOfTensors, compiled once.
func (g *gpu) norm(program *kernels.Program) (*normModule, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.norms[program]; m != nil {
		return m, nil
	}
	m := &normModule{}
	names := map[string]*kernel{}
	for _, of := range ptx.NormPasses(program) {
		m.passes = append(m.passes, normPass{NormPass: of, squares: make([]kernel, len(of.Squares))})
	}
	for i := range m.passes {
		p := &m.passes[i]
		for k, name := range p.Squares {
			names[name] = &p.squares[k]
		}
		names[p.Sums], names[p.Root] = &p.sums, &p.root
		if p.Tensors != "" {
			names[p.Tensors] = &p.tensors
		}
	}
	var err error
	m.mod, err = g.load(ptx.Norm(program), names)
	if err != nil {
		return nil, fmt.Errorf("cuda: norm: %w", err)
	}
	g.norms[program] = m
	return m, nil
}

func (m *module) unload(g *gpu) error     { return g.unload(m.mod) }
func (m *normModule) unload(g *gpu) error { return g.unload(m.mod) }

func (g *gpu) unload(m cu.Module) error {
	return g.make(func() error { return failure(driver.CuModuleUnload, m.Unload()) })
}

package main

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/internal/models"
	"github.com/fusestep/fusestep/kernels/rule"
)

const (
	// overhead is what the program takes beside tensors: patterns, tables of chunks, the Go runtime.
	overhead = 64 << 20
	// unknownMemory stands for a machine's memory where the system does not tell: more than any has.
	unknownMemory = 1 << 47
)

// need is the bytes that measuring an optimizer takes: its slots, partial sums of what it adds up, with -verify what they should be, and with -save a
// copy. The ceiling takes nothing, as it passes over the step's own buffers. What no int64 holds is the largest int64.
func (cfg *config) need(p plan) int64 {
	align, total := uint64(p.align()), uint64(0)
	for _, t := range cfg.model.Tensors {
		size := map[rule.Domain]uint64{} // of an element in all planes, of a row, of a column
		for _, plane := range p.of(t).Planes {
			size[plane.Domain] += uint64(plane.DType.Size())
		}
		if cfg.save != "" && cfg.device == "cpu" { // where the copy is in the same memory
			size[rule.OfElements] += uint64(snapshot(p.of(t)))
		}
		for d, size := range size {
			hi, n := bits.Mul64((uint64(numbers(d, t))+align-1)/align*align, size)
			if total += n; hi != 0 || n > math.MaxInt64/2 || total > math.MaxInt64/2 {
				return math.MaxInt64
			}
		}
		total += 8 * uint64(p.of(t).Partials(int(t.Len()), int(t.Rows()), int(t.Matrices())))
	}
	if cfg.verify {
		planes := max(len(p.program.Planes), len(p.matrix.Planes))
		total += uint64(sampled(chooseRuns(lengths(cfg.model)))) * uint64(planes+2) * 8
	}
	return int64(total + overhead)
}

// align is the elements to which tensors are aligned in one allocation, as optim aligns their state: a line of the smallest ones.
func (p plan) align() (elements int64) {
	for _, plane := range slices.Concat(p.program.Planes, p.matrix.Planes) {
		elements = max(elements, int64(128/plane.DType.Size()))
	}
	return elements
}

func lengths(m models.Model) []int64 {
	out := make([]int64, len(m.Tensors))
	for i, t := range m.Tensors {
		out[i] = t.Len()
	}
	return out
}

// fits refuses what the device's memory cannot hold, before anything is allocated. A size typed by hand that never will fit is a
// mistake of the command line; a model, or a machine that is full, is not.
func (cfg *config) fits(dev *device.Device) error {
	free, total, err := dev.MemInfo()
	if errors.Is(err, device.ErrUnavailable) {
		free, total = unknownMemory, unknownMemory
	} else if err != nil {
		return err
	}
	for _, o := range cfg.optimizers {
		p, err := cfg.planned(o)
		if err != nil {
			return err
		}
		n := cfg.need(p)
		switch {
		case n <= free:
		case n > total && !cfg.named:
			return cli.Usagef("%s: %s on %s elements needs %s of memory, this machine has %s", cfg.asked, o.Name,
				thousands(cfg.model.Params()), formatBytes(n), formatBytes(total))
		default:
			return fmt.Errorf("%s on %s needs %s of memory: %s of %s are free", o.Name, cfg.model.Name,
				formatBytes(n), formatBytes(free), formatBytes(total))
		}
	}
	return nil
}

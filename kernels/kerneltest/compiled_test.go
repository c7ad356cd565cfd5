package kerneltest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
)

// compiled is a backend that runs a rule's functions and the formats as the Go compiler made them. It may be wrong on purpose.
type compiled struct {
	kernels.Backend
	wrong string
}

func (b compiled) Compile(w kernels.Work) (kernels.Update, error) {
	if w.Program.Reduces() {
		return b.Backend.Compile(w)
	}
	return &compiledUpdate{b, w}, nil
}

type compiledUpdate struct {
	compiled
	w kernels.Work
}

func (u *compiledUpdate) Close() error { return nil }

func (u *compiledUpdate) Enqueue(s *device.Stream, step kernels.Step) error {
	p := u.w.Program
	norm, unscale, skip := 0.0, 1.0, false
	if step.Control != nil {
		words := make([]float64, kernels.ControlWords)
		if err := errors.Join(device.Download(s, words, step.Control), s.Synchronize()); err != nil {
			return err
		}
		norm, unscale, skip = words[kernels.ControlNorm], words[kernels.ControlUnscale], words[kernels.ControlSkip] == 1
	}
	scalars := make([][]float64, len(step.Groups))
	for g := range step.Groups {
		counters := make([]float64, len(p.Counters))
		scalars[g] = make([]float64, p.NumScalars())
		if err := errors.Join(device.Download(s, counters, u.w.Counters[g]), s.Synchronize()); err != nil {
			return err
		}
		if p.RunScalars(&step.Groups[g], norm, unscale, counters, scalars[g]); skip {
			continue
		}
		if err := device.Upload(s, u.w.Counters[g], counters); err != nil {
			return err
		}
	}
	for i := range u.w.Tensors {
		t := &u.w.Tensors[i]
		if skip {
			for _, k := range p.Zeroed() {
				if err := s.Zero(t.Planes[k]); err != nil {
					return err
				}
			}
			continue
		}
		sums := make([]float64, p.SumWords())
		if t.Sums != nil {
			if err := errors.Join(device.Download(s, sums, t.Sums), s.Synchronize()); err != nil {
				return err
			}
		}
		g := &step.Groups[t.Group]
		if p.Compute == device.Float32 {
			runCompiled[float32](u, s, t, g, norm, unscale, scalars[t.Group], sums)
		} else {
			runCompiled[float64](u, s, t, g, norm, unscale, scalars[t.Group], sums)
		}
		if t.Sums != nil {
			if err := device.Upload(s, t.Sums, sums); err != nil {
				return err
			}
		}
	}
	return s.Synchronize()
}

// runCompiled is all passes over a tensor.
func runCompiled[F rule.Float](u *compiledUpdate, s *device.Stream, t *kernels.Tensor, g *kernels.GroupStep, norm, unscale float64, scalars, sums []float64) {
	p, n := u.w.Program, t.Len()
	memory := make([][]byte, len(p.Planes))
	for k, b := range t.Planes {
		memory[k] = bytesOf(downloadBits(panics{}, s, b), b.DType().Size())
	}
	rounded, wide := make([]F, len(scalars)), make([]float64, len(scalars))
	for i, x := range scalars {
		rounded[i] = F(x)
		wide[i] = float64(rounded[i])
	}
	own := make([]float64, p.NumTensorScalars())
	for i := range p.Passes {
		q := &p.Passes[i]
		if q.Tensor != nil {
			switch u.wrong {
			case "scalars":
				wide = scalars
			case "mean":
				for k, f := range p.Rule.Tensor {
					if f.Fill == rule.FillMean {
						sums[len(sums)-len(p.Rule.Tensor)+k] *= float64(n)
					}
				}
			case "sums":
				clear(sums[len(sums)-len(p.Rule.Tensor):])
			}
			p.RunTensorScalars(i, g, norm, unscale, wide, sums, own)
		}
		pass := kernels.RulePass(p, i, rounded, own)
		for _, slot := range p.Slots {
			pass.Slots[slot.Index] = make([]F, n)
			format.Load(slot.Format, pass.Slots[slot.Index], memory[slot.Plane:][:slot.Format.NumPlanes()])
		}
		for _, f := range q.Fills {
			pass.Terms[f.Field] = make([]F, n)
		}
		rule.Apply(p.Rule, pass)
		for _, slot := range p.Slots {
			if !slices.Contains(pass.Stores, slot.Index) {
				continue
			}
			noise := make([]uint32, n)
			if slot.Format.Noisy() {
				draws := make(format.Draws, n)
				format.Draw(draws, rounded[len(rounded)-p.NumNoise():], slot.Index, t.Index())
				draws.Of(slot.Index, noise)
			}
			format.Store(slot.Format, memory[slot.Plane:][:slot.Format.NumPlanes()], pass.Slots[slot.Index], noise)
		}
		for _, f := range q.Fills {
			sums[f.Word] = fillTerms(u.wrong, f.Kind, pass.Terms[f.Field])
		}
	}
	for k, b := range t.Planes {
		uploadBits(panics{}, s, b, planeOf(memory[k], b.DType().Size()))
	}
}

// fillTerms is what becomes of terms, by the tree, or in another order, or otherwise wrong.
func fillTerms[F rule.Float](wrong string, kind rule.Fill, terms []F) float64 {
	terms = slices.Clone(terms)
	switch wrong {
	case "order":
		slices.Reverse(terms)
	case "zeros":
		if kind == rule.FillMax {
			terms = append(terms, 0)
		}
	case "squares":
		if kind == rule.FillSquares {
			kind = rule.FillSum
			for i, x := range terms {
				terms[i] = x * x // rounded
			}
		}
	}
	var tiles []float64
	size := kernels.NormTile
	if wrong == "tiles" {
		size /= 2
	}
	for tile := range slices.Chunk(terms, size) {
		tiles = append(tiles, kernels.FillTile(kind, tile))
	}
	return kernels.FillTree(kind, tiles)
}

func bytesOf(x reference.Plane, size int) (out []byte) {
	for _, bits := range x {
		out = append(out, binary.LittleEndian.AppendUint64(nil, bits)[:size]...)
	}
	return out
}

func planeOf(x []byte, size int) (out reference.Plane) {
	for element := range slices.Chunk(x, size) {
		out = append(out, binary.LittleEndian.Uint64(append(slices.Clone(element), make([]byte, 8-size)...)))
	}
	return out
}

// panics is a T that stops.
type panics struct{}

func (panics) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (panics) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (panics) FailNow()                          { panic("failed") }

// fails is a T that keeps the first failure, and stops there.
type fails struct{ first string }

func (f *fails) Errorf(format string, args ...any) { f.first = fmt.Sprintf(format, args...) }
func (f *fails) Fatalf(format string, args ...any) { f.Errorf(format, args...); f.FailNow() }
func (f *fails) FailNow()                          { panic(f) }

// TestStaged: the reference has the bits of the compiled functions, in every kind of program of rules of several element functions.
func TestStaged(t *testing.T) {
	for _, r := range Staged(t) {
		for _, dtype := range []device.DType{device.Float32, device.Float64} {
			for k, s := range Programs(r, dtype) {
				if testing.Short() && k%3 != 0 {
					continue
				}
				t.Run(s.String(), func(t *testing.T) {
					b := compiled{Backend: cpu.NewThreads(1)}
					defer b.Device().Close()
					program(t, b, newProgram(t, s), []int{0, 1, 33, 1023, 4097}, k%5 == 0)
				})
			}
		}
	}
}

// What a backend of such rules may do wrong is found.
func TestStagedWrong(t *testing.T) {
	for _, tt := range []struct {
		wrong string
		spec  kernels.Spec
	}{
		{"order", kernels.Spec{}}, {"tiles", kernels.Spec{}}, {"zeros", kernels.Spec{}}, {"squares", kernels.Spec{}}, {"mean", kernels.Spec{}},
		{"sums", kernels.Spec{Options: 1}}, {"scalars", kernels.Spec{}},
	} {
		s := tt.spec
		s.Rule, s.Compute = Staged(t)[0], device.Float32
		b := compiled{cpu.NewThreads(1), tt.wrong}
		f := &fails{}
		func() {
			defer func() { require.Equal(t, any(f), recover(), tt.wrong) }()
			Program(f, b, newProgram(t, s))
		}()
		require.True(t, strings.Contains(f.first, "tensor"), "%s: %s", tt.wrong, f.first)
		require.NoError(t, b.Device().Close())
	}
}

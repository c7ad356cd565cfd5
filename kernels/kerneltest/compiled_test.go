package kerneltest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
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
		memory[k] = downloadBytes(s, b)
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
		if p.Matrix() {
			runLines(u.wrong, p, i, t, rounded, own, sums, memory)
			continue
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
		uploadBytes(s, b, memory[k])
	}
}

// runLines is a pass of a program with rows, over the rows, over the columns, or over the elements of one row after the other.
func runLines[F rule.Float](wrong string, p *kernels.Program, i int, t *kernels.Tensor, rounded []F, own, sums []float64, memory [][]byte) {
	q := &p.Passes[i]
	lines, length, size := 1, t.Numbers(q.Domain), p.Compute.Size()
	if q.Domain == rule.OfElements {
		lines, length = t.Rows, t.Columns()
	}
	matrices := max(t.Matrices, 1)
	if wrong == "one matrix" {
		matrices = 1
	}
	number, _ := format.Plain(p.Compute, p.Compute)
	for _, f := range q.Folds {
		rows, columns := make([]F, t.Rows), make([]F, t.Numbers(rule.OfColumns))
		format.Load(number, rows, memory[f.From:][:1])
		for m := range matrices {
			of := rows[m*(t.Rows/matrices):][:t.Rows/matrices]
			x := kernels.FillTile(f.Kind, of)
			switch wrong {
			case "order of rows":
				x = kernels.FillTile(f.Kind, slices.Concat(of[min(1, len(of)):], of[:min(1, len(of))])) // reversed, few rows would make the same pairs
			case "tiles of rows":
				x = fillTerms("", f.Kind, of)
			}
			if f.Kind == rule.FillMean && wrong != "mean of rows" {
				x /= float64(len(of))
			}
			for i := range len(columns) / matrices {
				columns[m*(len(columns)/matrices)+i] = F(x)
			}
		}
		format.Store(number, memory[f.To:][:1], columns, nil)
	}
	terms := make([][][]F, len(q.Fills)) // of each line
	for line := range lines {
		part := func(plane int) []byte {
			if p.Planes[plane].Domain != q.Domain {
				return memory[plane]
			}
			size := p.Planes[plane].DType.Size()
			return memory[plane][line*length*size:][:length*size]
		}
		pass := kernels.RulePass(p, i, rounded, own)
		for _, slot := range p.Slots {
			var planes [][]byte
			for k := range slot.Format.NumPlanes() {
				planes = append(planes, part(slot.Plane+k))
			}
			switch {
			case slot.Domain == q.Domain:
				pass.Slots[slot.Index] = make([]F, length)
				format.Load(slot.Format, pass.Slots[slot.Index], planes)
			case slot.Domain == rule.OfRows && q.Domain == rule.OfElements:
				format.Load(slot.Format, pass.Row[slot.Index:][:1], [][]byte{planes[0][line*size:]})
			case slot.Domain == rule.OfColumns && q.Domain == rule.OfElements:
				pass.Columns[slot.Index] = make([]F, length)
				if wrong != "columns of the first" {
					planes[0] = planes[0][line/t.RowsOfMatrix()*length*size:]
				}
				format.Load(slot.Format, pass.Columns[slot.Index], planes)
			}
		}
		for k, f := range q.Fills {
			terms[k] = append(terms[k], make([]F, length))
			map[rule.Domain][][]F{rule.OfTensor: pass.Terms, rule.OfRows: pass.RowTerms, rule.OfColumns: pass.ColumnTerms}[f.Domain][f.Field] = terms[k][line]
		}
		rule.Apply(p.Rule, pass)
		for _, slot := range p.Slots {
			if slot.Domain != q.Domain || !slices.Contains(pass.Stores, slot.Index) {
				continue
			}
			noise := make([]uint32, length)
			if slot.Format.Noisy() {
				draws := make(format.Draws, length)
				format.Draw(draws, rounded[len(rounded)-p.NumNoise():], slot.Index, t.Index()+uint64(line*length))
				draws.Of(slot.Index, noise)
			}
			var planes [][]byte
			for k := range slot.Format.NumPlanes() {
				planes = append(planes, part(slot.Plane+k))
			}
			format.Store(slot.Format, planes, pass.Slots[slot.Index], noise)
		}
	}
	for k, f := range q.Fills {
		fillLines(wrong, p, f, t, terms[k], sums, memory)
	}
}

// fillLines is what becomes of the terms of lines.
func fillLines[F rule.Float](wrong string, p *kernels.Program, f kernels.Fill, t *kernels.Tensor, terms [][]F, sums []float64, memory [][]byte) {
	number, _ := format.Plain(p.Compute, p.Compute)
	set := func(i int, x float64, of int) {
		if f.Kind == rule.FillMean && wrong != "mean of a line" {
			if x /= float64(of); wrong == "mean rounded twice" {
				x = float64(F(x*float64(of))) / float64(of)
			}
		}
		format.Store(number, [][]byte{memory[f.Plane][i*p.Compute.Size():]}, []F{F(x)}, nil)
	}
	switch f.Domain {
	case rule.OfTensor:
		if wrong == "lines" {
			terms = [][]F{slices.Concat(terms...)}
		}
		var tiles []float64
		for _, line := range terms {
			for tile := range slices.Chunk(line, kernels.NormTile) {
				tiles = append(tiles, fillTerms(wrong, f.Kind, tile))
			}
		}
		sums[f.Word] = kernels.FillTree(f.Kind, tiles)
	case rule.OfRows:
		for i, line := range terms {
			set(i, fillTerms(wrong, f.Kind, line), len(line))
		}
	case rule.OfColumns:
		size, columns, matrix := kernels.ColumnRows, t.Columns(), t.RowsOfMatrix()
		switch wrong {
		case "blocks":
			size++
		case "one block":
			size = t.Rows
		}
		for i := range t.Numbers(rule.OfColumns) {
			var blocks []float64
			first := i / columns * matrix
			for row := first; row < first+matrix; {
				end := row + size - (row-first)%size
				if wrong == "blocks of all" {
					end = row + size - row%size
				}
				block := terms[row:min(end, first+matrix)]
				row += len(block)
				x := 0.0
				if f.Kind == rule.FillMax {
					x = math.Inf(-1)
				}
				for k, line := range block {
					switch y := float64(line[i%columns]); {
					case f.Kind == rule.FillMax && (y > x || y != y):
						x = y
					case f.Kind == rule.FillMax:
					case f.Kind == rule.FillSquares:
						x += float64(y * y)
					case k == 0 && wrong == "zero":
						x = y
					default:
						x += y
					}
				}
				blocks = append(blocks, x)
			}
			set(i, kernels.FillTree(f.Kind, blocks), matrix)
		}
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

// downloadBytes is a buffer's memory.
func downloadBytes(s *device.Stream, b *device.Buffer) []byte {
	switch b.DType().Size() {
	case 1:
		return raw(download[int8](panics{}, s, b))
	case 2:
		if b.DType() == device.Int16 {
			return raw(download[int16](panics{}, s, b))
		}
		return raw(download[uint16](panics{}, s, b))
	case 4:
		return raw(download[float32](panics{}, s, b))
	}
	return raw(download[float64](panics{}, s, b))
}

func raw[E device.Element](x []E) []byte {
	var e E
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(e)))
}

// uploadBytes puts memory of downloadBytes back.
func uploadBytes(s *device.Stream, b *device.Buffer, x []byte) {
	at := unsafe.Pointer(unsafe.SliceData(x))
	switch b.DType().Size() {
	case 1:
		upload(panics{}, s, b, unsafe.Slice((*int8)(at), b.Len()))
	case 2:
		if b.DType() == device.Int16 {
			upload(panics{}, s, b, unsafe.Slice((*int16)(at), b.Len()))
			return
		}
		upload(panics{}, s, b, unsafe.Slice((*uint16)(at), b.Len()))
	case 4:
		upload(panics{}, s, b, unsafe.Slice((*float32)(at), b.Len()))
	default:
		upload(panics{}, s, b, unsafe.Slice((*float64)(at), b.Len()))
	}
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
	for _, r := range slices.Concat(Staged(t), Matrices(t)) {
		if r.Everything {
			continue // compiled goes from tensor to tensor: package cpu's scalar implementation runs these functions
		}
		for _, dtype := range []device.DType{device.Float32, device.Float64} {
			for k, s := range Programs(r, dtype) {
				if testing.Short() && (k%3 != 0 || s.Matrix() && k%2 != 0) {
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
	fold, grid := Staged(t)[0], Matrices(t)[0]
	for _, tt := range []struct {
		wrong   string
		rule    *rule.Rule
		options uint64
	}{
		{"order", fold, 0}, {"tiles", fold, 0}, {"zeros", fold, 0}, {"squares", fold, 0}, {"mean", fold, 0}, {"sums", fold, 1}, {"scalars", fold, 0},
		{"order", grid, 2}, {"tiles", grid, 2}, {"zeros", grid, 2}, {"squares", grid, 2}, {"lines", grid, 2}, {"blocks", grid, 2}, {"one block", grid, 2},
		{"mean of a line", grid, 2}, {"mean rounded twice", grid, 2}, {"zero", grid, 2}, {"one matrix", grid, 2}, {"order of rows", grid, 2}, {"tiles of rows", grid, 2},
		{"mean of rows", grid, 3}, {"columns of the first", grid, 2}, {"blocks of all", grid, 2},
	} {
		s := kernels.Spec{Rule: tt.rule, Options: tt.options, Compute: device.Float32}
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

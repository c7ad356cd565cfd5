// Package reference runs a step by the evaluator of graphs: nothing that executors make of a graph has a part in it, not even the
// compiled rule. Executors are held to its bits.
package reference

import (
	"iter"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Tensor is a kernels.Tensor in the host's memory.
type Tensor struct {
	Group int    // kernels.Tensor.Group
	Index uint64 // kernels.Tensor.Index
	Rows  int    // kernels.Tensor.Rows
	// Matrices is kernels.Tensor.Matrices.
	Matrices int
	Planes   []Plane   // one a plane of the program
	Sums     []float64 // kernels.Tensor.Sums, where the program has a use for it; with rule.Rule.Everything all tensors have the same
	// Len is the elements, where they are more than Planes has: they repeat, so that Planes tell what all become, and add up to. A program of
	// matrices has Whole in its place: a matrix's rows and columns, where there are more than Planes has of each, and the matrices. Planes have the first
	// ones, which the others repeat.
	Len   int
	Whole struct{ Rows, Columns, Matrices int }
}

// Plane holds an element's bits in each of its numbers, in the lowest ones: as many as the plane's type has.
type Plane []uint64

// Scalars is the scalars stage of a step for one group: it advances counters, and returns the scalars, in the order of kernels.OutputsBank.
func Scalars(p *kernels.Program, g kernels.GroupStep, norm, unscale float64, counters []float64) []float64 {
	return newNumbers(p.Scalars).scalars(p, g, norm, unscale, counters)
}

func (n *numbers) scalars(p *kernels.Program, g kernels.GroupStep, norm, unscale float64, counters []float64) []float64 {
	out := make([]float64, p.NumScalars())
	n.run(banks{kernels.InputBank: inputs(p, g), kernels.CounterBank: counters, kernels.ControlBank: control(norm, unscale), kernels.OutputsBank: out})
	return out
}

// Update is a step of one group, of these tensors: it advances counters, and changes tensors' planes and sums. Each scalar is rounded once to the
// program's type.
func Update(p *kernels.Program, g kernels.GroupStep, norm, unscale float64, counters []float64, tensors []Tensor) {
	Step(p, []kernels.GroupStep{g}, norm, unscale, [][]float64{counters}, tensors)
}

// Step is Update of several groups.
func Step(p *kernels.Program, groups []kernels.GroupStep, norm, unscale float64, counters [][]float64, tensors []Tensor) {
	scalars, rounded := make([][]float64, len(groups)), make([][]float64, len(groups))
	prologue := newNumbers(p.Scalars)
	for i, g := range groups {
		if g.Off {
			continue
		}
		scalars[i] = prologue.scalars(p, g, norm, unscale, counters[i])
		for _, x := range scalars[i] {
			rounded[i] = append(rounded[i], p.Compute.Round(x))
		}
	}
	tensors = slices.DeleteFunc(slices.Clone(tensors), func(t Tensor) bool { return groups[t.Group].Off })
	own := make([][]float64, len(tensors))
	for k := range own {
		if own[k] = own[0]; k == 0 || !p.Rule.Everything {
			own[k] = make([]float64, p.NumTensorScalars())
		}
	}
	for i := range p.Passes {
		q := &p.Passes[i]
		all := make([][]float64, len(q.Fills)) // tiles of everything
		var before *numbers
		if q.Tensor != nil {
			before = newNumbers(q.Tensor)
		}
		map32, map64 := mapping[float32]{p: p, q: q}, mapping[float64]{p: p, q: q}
		for k, t := range tensors {
			group := t.Group
			if p.Rule.Everything {
				group = tensors[0].Group
			}
			if q.Tensor != nil && (k == 0 || !p.Rule.Everything) {
				before.run(banks{kernels.InputBank: inputs(p, groups[group]), rule.ScalarsBank: rounded[group],
					kernels.ControlBank: control(norm, unscale), kernels.SumsBank: t.Sums, kernels.OutputsBank: own[k]})
			}
			if p.Compute == device.Float32 {
				map32.pass(scalars[t.Group], own[k], t, all)
			} else {
				map64.pass(scalars[t.Group], own[k], t, all)
			}
		}
		for k, f := range q.Fills {
			if p.Rule.Everything && len(tensors) > 0 {
				tensors[0].Sums[f.Word] = kernels.FillTree(f.Kind, all[k])
			}
		}
	}
}

func inputs(p *kernels.Program, g kernels.GroupStep) []float64 {
	in := make([]float64, p.Inputs())
	p.WriteInputs(&g, in)
	return in
}

func control(norm, unscale float64) []float64 {
	return []float64{kernels.ControlNorm: norm, kernels.ControlUnscale: unscale}
}

// numbers evaluates a graph of numbers, which are in banks.
type numbers struct {
	f    *ir.Func
	eval *ir.Evaluator[float64]
	vars []float64
}

// banks are the numbers of each bank.
type banks [kernels.SumsBank + 1][]float64

func newNumbers(f *ir.Func) *numbers {
	return &numbers{f: f, eval: ir.NewEvaluator[float64](f), vars: make([]float64, len(f.Vars))}
}

func (n *numbers) run(in banks) {
	for i, v := range n.f.Vars {
		n.vars[i] = in[v.Bank][v.Index]
	}
	n.eval.Run(n.vars)
	for _, s := range n.f.Stores {
		v := n.f.Vars[s.Var]
		in[v.Bank][v.Index] = n.vars[s.Var]
	}
}

// numbers is how many elements, rows or columns the tensor has.
func (t *Tensor) numbers(d rule.Domain) int {
	return kernels.Numbers(d, len(t.Planes[0]), t.Rows, t.Matrices)
}

// matrices are those that Planes have.
func (t *Tensor) matrices() int { return max(t.Matrices, 1) }

// lines are the rows or columns of a matrix that Planes have.
func (t *Tensor) lines(d rule.Domain) int { return t.numbers(d) / t.matrices() }

// whole is how many matrices there are, and how many rows or columns each of them has, where Planes have the first of them.
func (t *Tensor) whole(d rule.Domain) (matrices, lines int) {
	lines = t.Whole.Rows
	if d == rule.OfColumns {
		lines = t.Whole.Columns
	}
	return max(t.Whole.Matrices, t.matrices()), max(lines, t.lines(d))
}

// all are the rows or columns of all matrices there are, in order, each by its place among those of Planes.
func (t *Tensor) all(d rule.Domain) iter.Seq[int] {
	matrices, lines := t.whole(d)
	of := t.lines(d)
	return func(yield func(int) bool) {
		for i := range matrices * lines {
			if !yield(i/lines%t.matrices()*of + i%lines%of) {
				return
			}
		}
	}
}

// fold is kernels.FoldRows for each matrix.
func fold[F rule.Float](f kernels.Fold, t Tensor) {
	_, rows := t.whole(rule.OfRows)
	own, columns := t.lines(rule.OfRows), t.lines(rule.OfColumns)
	for i := 0; i < t.matrices() && rows > 0; i++ {
		var of []F
		for k := range rows {
			of = append(of, number[F](t.Planes[f.From][i*own+k%own]))
		}
		to := make([]F, columns)
		kernels.FoldRows(f.Kind, to, of)
		copy(t.Planes[f.To][i*columns:], PlaneOf(to))
	}
}

// mapping is a pass over tensors.
type mapping[F rule.Float] struct {
	p     *kernels.Program
	q     *kernels.Pass
	lanes []*lanes[F] // one a goroutine
	terms [][]F       // of each fill, for all elements of a tensor
}

// lanes evaluates a pass's graph on up to block elements, rows or columns at a time.
type lanes[F rule.Float] struct {
	eval  *ir.Evaluator[F]
	vars  [][]F // of each that is a number; of scalars one
	words [][]uint32
}

func newLanes[F rule.Float](f *ir.Func) *lanes[F] {
	each := make([]bool, len(f.Vars)) // the terms of fills
	for _, s := range f.Stores {
		each[s.Var] = true
	}
	l := &lanes[F]{eval: ir.NewEvaluator[F](f), vars: make([][]F, len(f.Vars)), words: make([][]uint32, len(f.Vars))}
	for i, v := range f.Vars {
		switch {
		case !each[i] && (v.Bank == rule.ScalarsBank || v.Bank == rule.SharedBank || v.Bank == rule.TensorBank):
			l.vars[i] = make([]F, 1)
		case v.Type == ir.Float:
			l.vars[i] = make([]F, block)
		default:
			l.words[i] = make([]uint32, block)
		}
	}
	return l
}

// pass runs the pass over a tensor, by the group's scalars and those that it has to itself. With rule.Rule.Everything everything gets the tiles of each fill.
func (m *mapping[F]) pass(scalars, own []float64, t Tensor, everything [][]float64) {
	p, q := m.p, m.q
	for _, f := range q.Folds {
		fold[F](f, t)
	}
	n := t.numbers(q.Domain)
	if m.terms == nil {
		m.terms = make([][]F, len(q.Fills))
	}
	terms := m.terms
	for i := range terms {
		terms[i] = slices.Grow(terms[i][:0], n)[:n]
	}
	row := max(n, 1) // elements that have the same number of their row
	if p.Matrix() && q.Domain == rule.OfElements && n > 0 {
		row = t.lines(rule.OfColumns)
	}
	share := max((n+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0), least)
	var wait sync.WaitGroup
	for i, lo := 0, 0; i == 0 || lo < n; i, lo = i+1, lo+share {
		if i == len(m.lanes) {
			m.lanes = append(m.lanes, newLanes[F](q.Graph))
		}
		l := m.lanes[i]
		for k, v := range q.Graph.Vars {
			switch v.Bank {
			case rule.ScalarsBank:
				l.vars[k][0] = F(scalars[v.Index])
			case rule.SharedBank:
				l.vars[k][0] = F(scalars[len(p.Rule.Scalars)+v.Index])
			case rule.TensorBank:
				l.vars[k][0] = F(own[v.Index])
			}
		}
		if hi := min(lo+share, n); hi < n {
			wait.Go(func() { l.elements(p, q, t, row, terms, lo, hi) })
		} else {
			l.elements(p, q, t, row, terms, lo, hi)
		}
	}
	wait.Wait()
	_, rows := t.whole(rule.OfRows) // of a matrix
	_, columns := t.whole(rule.OfColumns)
	for k, f := range q.Fills {
		line := func(i int) []F { return terms[k][i*row:][:row] } // of a matrix
		switch {
		case f.Domain == rule.OfRows:
			for i := range t.Planes[f.Plane] {
				setFill[F](&t.Planes[f.Plane][i], f, kernels.FillTree(f.Kind, tilesOf(f.Kind, line(i), columns)), columns)
			}
		case f.Domain == rule.OfColumns:
			for first := 0; first < t.Rows; first += t.lines(rule.OfRows) { // of each matrix
				blocks := make([][]float64, row) // of each column
				for lo := 0; lo < rows; lo += kernels.ColumnRows {
					sums := slices.Repeat([]float64{kernels.EmptyFill(f.Kind)}, row)
					for i := lo; i < min(lo+kernels.ColumnRows, rows); i++ {
						kernels.FillColumns(f.Kind, sums, line(first+i%t.lines(rule.OfRows)))
					}
					for i, x := range sums {
						blocks[i] = append(blocks[i], x)
					}
				}
				to := t.Planes[f.Plane][first/t.lines(rule.OfRows)*row:]
				for i, of := range blocks {
					setFill[F](&to[i], f, kernels.FillTree(f.Kind, of), rows)
				}
			}
		case p.Matrix() && q.Domain == rule.OfElements:
			var own [][]float64 // tiles of each row that there is
			for i := range t.Rows {
				own = append(own, tilesOf(f.Kind, line(i), columns))
			}
			var tiles []float64
			for i := range t.all(rule.OfRows) {
				tiles = append(tiles, own[i]...)
			}
			t.Sums[f.Word] = kernels.FillTree(f.Kind, tiles)
		default:
			all, n := terms[k], max(t.Len, n)
			if q.Domain != rule.OfElements {
				all = nil
				for i := range t.all(q.Domain) {
					all = append(all, terms[k][i])
				}
				n = len(all)
			}
			tiles := tilesOf(f.Kind, all, n)
			if everything[k] = append(everything[k], tiles...); !p.Rule.Everything {
				t.Sums[f.Word] = kernels.FillTree(f.Kind, tiles)
			}
		}
	}
}

// tilesOf are the sums of the tiles of n terms, of which the first stand in terms and the others repeat them.
func tilesOf[F rule.Float](kind rule.Fill, terms []F, n int) (tiles []float64) {
	for tile := range repeat(terms, n, kernels.NormTile) {
		tiles = append(tiles, kernels.FillTile(kind, tile))
	}
	return tiles
}

// setFill stores what a row or a column is filled with, by so many terms.
func setFill[F rule.Float](to *uint64, f kernels.Fill, sum float64, terms int) {
	if f.Kind == rule.FillMean {
		sum /= float64(terms)
	}
	*to = BitsOf(F(sum))
}

// repeat is n numbers, of which the first stand in x and the others repeat them, size at a time. What it yields is good until the next.
func repeat[F rule.Float](x []F, n, size int) iter.Seq[[]F] {
	return func(yield func([]F) bool) {
		var some []F
		for at := 0; at < n; {
			if hi := min(at+size, n); hi <= len(x) {
				some = x[at:hi:hi]
			} else {
				for some = make([]F, 0, hi-at); len(some) < hi-at; {
					from := (at + len(some)) % len(x)
					some = append(some, x[from:min(len(x), from+hi-at-len(some))]...)
				}
			}
			if at += len(some); !yield(some) {
				return
			}
		}
	}
}

// least is the elements that are worth a goroutine.
const least = 1 << 12

// block is the elements that are brought to the evaluator at a time.
const block = 1 << 10

// elements runs the graph on elements, rows or columns lo to hi, whose terms it keeps. Of elements so many have the same row.
func (l *lanes[F]) elements(p *kernels.Program, q *kernels.Pass, t Tensor, row int, terms [][]F, lo, hi int) {
	for n := 0; lo < hi; lo += n {
		n = min(block, hi-lo, row-lo%row)
		for k, plane := range t.Planes { // field k of the graph
			switch of := p.Planes[k].Domain; {
			case of == q.Domain:
				l.load(k, plane[lo:lo+n])
			case of == rule.OfColumns && q.Domain == rule.OfElements:
				l.load(k, plane[lo/row/t.lines(rule.OfRows)*row+lo%row:][:n])
			case of == rule.OfRows && q.Domain == rule.OfElements:
				l.load(k, slices.Repeat(plane[lo/row:][:1], n))
			}
		}
		l.eval.Index = t.Index + uint64(lo)
		l.eval.RunEach(n, l.vars, l.words)
		for i, fill := range q.Fills {
			copy(terms[i][lo:lo+n], l.vars[fill.Var])
		}
		for _, k := range q.Stores {
			if words := l.words[k]; words != nil {
				for i, x := range words[:n] {
					t.Planes[k][lo+i] = uint64(x)
				}
				continue
			}
			for i, x := range l.vars[k][:n] {
				t.Planes[k][lo+i] = BitsOf(x)
			}
		}
	}
}

// load brings elements to field k.
func (l *lanes[F]) load(k int, from Plane) {
	if words := l.words[k]; words != nil {
		for i, x := range from {
			words[i] = uint32(x)
		}
		return
	}
	vars := l.vars[k]
	for i, x := range from {
		vars[i] = number[F](x)
	}
}

func number[F rule.Float](x uint64) (f F) {
	if unsafe.Sizeof(f) == 4 {
		*(*uint32)(unsafe.Pointer(&f)) = uint32(x)
	} else {
		*(*uint64)(unsafe.Pointer(&f)) = x
	}
	return f
}

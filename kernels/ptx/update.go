package ptx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// The device memory that an update walks, all 64-bit words:
//
//	chunk   tensor, first element, number of elements
//	tensor  group, then the address of each plane: the fields of bank rule.ElemBank; and then, if the graph asks for an element's
//	        index, the tensor's: kernels.Tensor.Index; and then, of a program with kernels.Spec.Matrix, how many elements a row has, and how many
//	        rows a matrix; and then, if tensors have scalars to themselves, the address of kernels.Tensor.Sums, and room for these, a word each, where the tensors'
//	        kernel writes them, rounded to the graph's width
//	scalars per group: what kernels.Program.Scalars computes, each rounded to the graph's width
//
// A pass over the elements of matrices has chunks of its own, each some rows of some columns:
//
//	chunk   tensor, first row, number of rows, first column, number of columns, the place where the first sum goes that the chunk makes, how many
//	        places further on the next row's sum goes or, of Pass.Columns, the next column's, MatrixShare of the number of columns, and MatrixInverse
//	        of a matrix's rows or blocks
//
// For Pass.Update the columns are a tile of a row: they begin at a multiple of kernels.NormTile, and are that many or the row's last ones. For
// Pass.Columns they are MatrixStrip or fewer, and in place of rows there are blocks of kernels.ColumnRows of them, of all matrices, where each begins with
// a block: as many as the warp's threads can share, or the last ones. There the place is that of the tensor's first sum.
//
//	line    the address of sums, float64, how many there are, the address of the numbers that Module.Lines makes of them, and what they are divided by,
//	        float64
//	rows    the address of numbers of rows, how many a matrix has, the address of numbers of columns, how many a matrix has, how many matrices there
//	        are, and what Module.Rows divides what it makes of rows by, float64
const (
	ChunkWords  = 3
	MatrixWords = 9
	LineWords   = 4
	RowsWords   = 6
	word        = 8
)

// GraphParams are the parameters of the kernels of a graph alone. Behind them, an update's has the words of kernels.Step.Control, which say
// whether it is skipped; then one with fills has where their sums of chunks go, each of which is a tile, those of a fill behind those of the one before,
// float64. That of a matrix with several fills has how many there are of each behind these. The traffic kernel of a graph that reads a plane and does not write it has "never", 0, which the compiler cannot know: see trafficStores.
var GraphParams = []string{"u64 chunks", "u64 chunk_count", "u64 tensors", "u64 scalars"}

// Module is the text of a program's kernels and their names.
type Module struct {
	Text     string
	Prologue string
	Passes   []Pass // one a kernels.Program.Passes
	// Sums and Max fold what passes make of tiles, as NormPass.Tensors does: they add up, or take the largest. "" where no pass fills anything
	// like that.
	Sums, Max string
	Lines     string // makes numbers of what rows and columns are filled with: see LineWords; "" where nothing is
	// Rows make numbers of columns of rows', one for each kind of kernels.Fold: see RowsWords; "" where there is none.
	Rows    [rule.FillMax + 1]string
	Indexed bool // a tensor's word behind its planes is its index
}

// Pass is the names of a pass's kernels.
type Pass struct {
	Update  string // "" where Columns is all there is
	Columns string // of a matrix, before Update: what columns are filled with; "" where they are not
	Traffic string // "" where Update has no plane. Of a matrix it goes by elements, which it loads once.
	Tensors string // the kernel before Update; "" where no scalars of tensors are computed. With rule.Rule.Everything the first tensor's are.
	Spread  string // with rule.Rule.Everything: the kernel behind Tensors; "" where no elements see what that has computed
	Never   bool   // Traffic has the parameter
}

// Hints are cache operators of PTX for the loads and stores of elements, such as cs: streaming. Where one is empty, the GPU chooses. They change
// no bit.
type Hints struct{ Load, Store string }

// The hints that there are. For what they mean see PTX's ld and st.
var (
	LoadHints  = []string{"", "ca", "cg", "cs"}
	StoreHints = []string{"", "wb", "cg", "cs", "wt"}
)

// hinted is an operation with its hint.
func hinted(op, hint string) string {
	if hint == "" {
		return op
	}
	return op + "." + hint
}

// New writes a program.
func New(p *kernels.Program) *Module { return Hints{}.New(p) }

// New writes a program with the hints.
func (h Hints) New(p *kernels.Program) *Module {
	name := strings.ToLower(strings.Join(append([]string{p.Rule.Name}, p.Variant()...), "_"))
	name = fmt.Sprintf("%s_f%d", name, 8*p.Compute.Size())
	if p.Formats != "" {
		name += "_" + strings.NewReplacer("=", "_", " ", "_", "/", "_", "+", "_").Replace(p.Formats)
	}
	name = mangle(name)
	l := layout{planes: len(p.Planes), matrix: p.Matrix(), tensors: p.NumTensorScalars(), rules: len(p.Rule.Scalars), scalars: p.NumScalars()}
	for i := range p.Passes {
		l.index = l.index || indexed(p.Passes[i].Graph)
	}
	m := &Module{Prologue: name + "_prologue", Indexed: l.index}
	var updates, traffics, own, folds string
	for i := range p.Passes {
		q, of := &p.Passes[i], name
		if len(p.Passes) > 1 {
			of = fmt.Sprintf("%s_%d", name, i)
		}
		always := slices.DeleteFunc(p.Zeroed(), func(k int) bool { return !slices.Contains(q.Stores, k) })
		update, traffic := "", ""
		if p.Matrix() && q.Domain == rule.OfElements {
			update, traffic = m.addMatrix(of, q, l, h, always)
		} else {
			update, traffic = m.add(of, q.Graph, l, h, q.Fills, always, "u64 control")
		}
		updates, traffics = updates+update, traffics+traffic
		if q.Tensor != nil {
			m.Passes[i].Tensors = of + "_tensors"
			own += tensors(m.Passes[i].Tensors, p, q.Tensor, l)
			if p.Rule.Everything && slices.ContainsFunc(q.Tensor.Stores, func(s ir.Store) bool { return q.Tensor.Vars[s.Var].Bank == kernels.OutputsBank }) {
				m.Passes[i].Spread = of + "_spread"
				own += spread(m.Passes[i].Spread, p, q.Tensor, l)
			}
		}
		folds += m.folds(name, q.Fills, "u64 control")
		for _, f := range q.Folds {
			if to := &m.Rows[f.Kind]; *to == "" {
				*to = name + "_rows_" + f.Kind.String()
				folds += rowsFold(*to, f.Kind, p.Compute.Size())
			}
		}
		if m.Lines == "" && slices.ContainsFunc(q.Fills, func(f kernels.Fill) bool { return f.Domain != rule.OfTensor }) {
			m.Lines = name + "_lines"
			folds += lines(m.Lines, p.Compute.Size())
		}
	}
	m.Text = fmt.Sprintf("// %s: written by fusestep from the rule's Go source.\n", ascii(p.String())) + header +
		updates + prologue(m.Prologue, p) + traffics + own + folds
	return m
}

// OfGraph writes the kernels of a graph alone, which has no prologue: a group has so many scalars in all, of which the first are the rule's
// and the others are of bank rule.SharedBank.
func OfGraph(name string, f *ir.Func, rules, all int, fills ...kernels.Fill) *Module {
	l := layout{index: indexed(f), rules: rules, scalars: all}
	for _, v := range f.Vars {
		switch v.Bank {
		case rule.ElemBank:
			l.planes++
		case rule.TensorBank:
			l.tensors++
		}
	}
	m := &Module{Text: fmt.Sprintf("// %s: written by fusestep.\n", ascii(name)) + header, Indexed: l.index}
	update, traffic := m.add(name, f, l, Hints{}, fills, nil)
	m.Text += update + traffic + m.folds(name, fills)
	return m
}

// add adds a pass, whose update has parameters of its own behind those of the graph, and returns the texts of its kernels.
func (m *Module) add(name string, f *ir.Func, l layout, h Hints, fills []kernels.Fill, always []int, params ...string) (update, traffic string) {
	p := Pass{Update: name + "_update", Never: onlyReads(f)}
	u := newPass(f, l, h, fills...)
	if u.always = always; len(fills) > 0 {
		params = append(params, "u64 sums")
	}
	update = u.write(p.Update, slices.Concat(GraphParams, params)...)
	traffic = p.traffic(name, f, l, h)
	m.Passes = append(m.Passes, p)
	return update, traffic
}

// addMatrix adds a pass over the elements of a matrix.
func (m *Module) addMatrix(name string, q *kernels.Pass, l layout, h Hints, always []int) (update, traffic string) {
	p := Pass{Never: onlyReads(q.Graph)}
	params := func(fills []kernels.Fill) []string {
		all := append(slices.Clone(GraphParams), "u64 control")
		if len(fills) > 0 {
			all = append(all, "u64 sums")
		}
		if len(fills) > 1 {
			all = append(all, "u64 place_count")
		}
		return all
	}
	if f, fills := byColumns(q); len(fills) > 0 {
		w := newMatrixPass(f, l, h, fills)
		w.walk, p.Columns = (*passWriter).blocks, name+"_columns"
		update += w.write(p.Columns, params(fills)...)
	}
	if f, fills := byRows(q); len(f.Stores) > 0 {
		w := newMatrixPass(f, l, h, fills)
		w.walk, w.always, p.Update = (*passWriter).rows, always, name+"_update"
		update += w.write(p.Update, params(fills)...)
	}
	traffic = p.traffic(name, q.Graph, l, h)
	m.Passes = append(m.Passes, p)
	return update, traffic
}

// traffic is the text of a pass's traffic kernel, if it has a plane.
func (p *Pass) traffic(name string, f *ir.Func, l layout, h Hints) string {
	w := newPass(f, l, h)
	if len(w.planes) == 0 {
		return ""
	}
	w.traffic, p.Traffic = true, name+"_traffic"
	params := GraphParams
	if p.Never {
		params = append(slices.Clone(params), "u64 never")
	}
	return w.write(p.Traffic, params...)
}

// folds adds the kernels that fold the fills' tiles, and returns their text. They have the parameters behind those of NormTensorsParams.
func (m *Module) folds(name string, fills []kernels.Fill, params ...string) (text string) {
	of := func(kernel *string, suffix string, max bool) {
		if *kernel != "" || !slices.ContainsFunc(fills, func(f kernels.Fill) bool { return max == (f.Kind == rule.FillMax) }) {
			return
		}
		*kernel = name + suffix
		w := &writer{}
		params := slices.Concat(NormTensorsParams, params)
		w.params(params...)
		skipped(w, params)
		ownSums(w, max)
		text += w.entry(*kernel, params...)
	}
	of(&m.Sums, "_sums", false)
	of(&m.Max, "_max", true)
	return text
}

// indexed says whether a graph asks for an element's index.
func indexed(f *ir.Func) bool {
	return slices.ContainsFunc(f.Nodes, func(n ir.Node) bool { return n.Op == ir.Element })
}

// A layout is what the tables have of each tensor and of each group.
type layout struct {
	planes  int
	index   bool // a tensor has its index
	matrix  bool // and the elements of a row, and the rows of a matrix
	tensors int  // scalars that a tensor has to itself
	rules   int  // scalars of a group that are the rule's, before those of bank rule.SharedBank
	scalars int  // of a group, all
}

// indexAt is which of a tensor's words is its index.
func (l *layout) indexAt() int { return 1 + l.planes }

// columnsAt is which is the elements of a row. The rows of a matrix are behind it.
func (l *layout) columnsAt() int {
	if l.index {
		return l.indexAt() + 1
	}
	return l.indexAt()
}

// sumsAt is which is the address of its sums, and ownAt which the first of its own scalars.
func (l *layout) sumsAt() int {
	if l.matrix {
		return l.columnsAt() + 2
	}
	return l.columnsAt()
}

func (l *layout) ownAt() int { return l.sumsAt() + 1 }

// words is how many a tensor has.
func (l *layout) words() int {
	if l.tensors > 0 {
		return l.ownAt() + l.tensors
	}
	return l.sumsAt()
}

package cpu

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unsafe"
	"weak"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// loop is a program's machine code, which is made when the program is compiled and shared by all of a device's updates that
// compute the same. Its memory is given back once no update has it.
type loop struct {
	code  *exec.Code
	frame int // bytes that each thread lends it
	index int // where in them the index of a run's first element belongs; -1: nowhere
	lanes int // and those of the fills; -1: nowhere
	rows  int // and what the rows of a matrix are; -1: nowhere
}

// emitLoop makes the machine code of a pass. Next is what it prefetches besides: an emit.Loop's.
func emitLoop(set *emit.Set, q *kernels.Pass, ahead prefetching, next ...emit.Next) (*emit.Code, error) {
	return emit.Compile(emit.Loop{Func: q.Graph, Planes: touches(q), Fills: emitFills(q), Uniforms: q.Uniforms, Varying: q.Varying, Set: set,
		Near: ahead.near, Far: ahead.far, Next: next, Matrix: emitMatrix(q)})
}

// touches are the planes that a pass reads or writes, in order, but for those of which it has one number at a time: a row's.
func touches(q *kernels.Pass) []int {
	planes := slices.DeleteFunc(slices.Concat(q.Loads, q.Stores), func(k int) bool { return q.Graph.Vars[k].Bank == rule.RowBank })
	slices.Sort(planes)
	return slices.Compact(planes)
}

// emitFills are a pass's fills.
func emitFills(q *kernels.Pass) (fills []emit.Fill) {
	for _, f := range q.Fills {
		kind := map[rule.Fill]emit.FillKind{rule.FillSum: emit.FillSum, rule.FillMean: emit.FillSum, rule.FillSquares: emit.FillSquares,
			rule.FillMax: emit.FillMax}[f.Kind]
		fills = append(fills, emit.Fill{Var: f.Var, Kind: kind, Columns: f.Domain == rule.OfColumns})
	}
	return fills
}

// emitMatrix is what a pass by rows has of rows and columns.
func emitMatrix(q *kernels.Pass) *emit.Matrix {
	if !q.ByRows {
		return nil
	}
	m := &emit.Matrix{}
	for _, k := range touches(q) {
		if q.Graph.Vars[k].Bank == rule.ColumnBank {
			m.Columns = append(m.Columns, k)
		}
	}
	for _, u := range q.Uniforms {
		if _, ok := rowOf(q, u); ok {
			m.Numbers = append(m.Numbers, u)
		}
	}
	return m
}

// rowOf is the plane that a uniform is in, if that is a number of a row.
func rowOf(q *kernels.Pass, u ir.Value) (plane int, ok bool) {
	n := &q.Graph.Nodes[u]
	if n.Op != ir.Var {
		return 0, false
	}
	return n.Index, q.Graph.Vars[n.Index].Bank == rule.RowBank
}

// loopKey is what a loop depends on, for one instruction set.
type loopKey struct {
	graph string // its fingerprint
	more  string // its fills, whether it goes by rows, and what it prefetches of the next tensor, as text
	ahead prefetching
}

func keyOf(f *ir.Func, fills []emit.Fill, byRows bool, ahead prefetching, next ...emit.Next) loopKey {
	return loopKey{f.Fingerprint(), fmt.Sprint(fills, byRows, next), ahead}
}

// machineCode is the loop of a pass, from the device's or new.
func (d *processor) machineCode(q *kernels.Pass, ahead prefetching, next ...emit.Next) (*loop, error) {
	return d.shared(keyOf(q.Graph, emitFills(q), q.ByRows, ahead, next...), func() (*emit.Code, error) { return emitLoop(d.choice.loops, q, ahead, next...) })
}

// shared is the loop of a key, from the device's or what compile makes.
func (d *processor) shared(key loopKey, compile func() (*emit.Code, error)) (*loop, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.code[key].Value(); l != nil {
		return l, nil
	}
	c, err := compile()
	if err != nil {
		return nil, err
	}
	code, err := exec.New(c.Text)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(d.code, func(_ loopKey, l weak.Pointer[loop]) bool { return l.Value() == nil })
	l := &loop{code, c.Frame, c.Index, c.Lanes, c.Rows}
	d.code[key] = weak.Make(l)
	return l, nil
}

// newFrame is memory for frames of so many bytes.
func newFrame(n int) []byte {
	f := aligned(make([]byte, n+cacheLine), n, cacheLine)
	emit.FillFrame(f)
	return f
}

// fill is where a run leaves the result of a fill.
func (l *loop) fill(frame []byte, k int) *float64 {
	return (*float64)(unsafe.Pointer(&frame[l.lanes+k*emit.Lanes*int(unsafe.Sizeof(float64(0)))]))
}

// run runs the loop over n elements, whose planes' addresses are in order. The first has the index.
func (l *loop) run(planes []*byte, uniforms *byte, frame []byte, index uint64, n int) {
	if l.index >= 0 {
		binary.LittleEndian.PutUint64(frame[l.index:], index)
	}
	l.code.Run(unsafe.SliceData(planes), uniforms, unsafe.SliceData(frame), n)
}

// setRows says what rows a loop over a matrix is run on: how many, the elements from one to the next, and the float64s from one's results to the next's.
func (l *loop) setRows(frame []byte, rows, step, results int) {
	for i, x := range [emit.RowWords]int{rows, step, results * int(unsafe.Sizeof(float64(0)))} {
		binary.LittleEndian.PutUint64(frame[l.rows+8*i:], uint64(x))
	}
}

// Listing is the machine code of a program as text, pass after pass: where each instruction is, its bytes, the instruction in Intel's syntax, and
// the name that the rule gives its result. It is the code for tensors that no cache holds; for others it prefetches differently. Listing
// fails with device.ErrUnsupported where the implementation makes no machine code.
func (d *Device) Listing(p *kernels.Program) (string, error) {
	c := d.processor.choice
	if c.err != nil {
		return "", c.err
	}
	if c.loops == nil {
		return "", fmt.Errorf("cpu: %s: %s makes no machine code: %w", p, c.name, device.ErrUnsupported)
	}
	var passes []string
	for i := range p.Passes {
		code, err := emitLoop(c.loops, &p.Passes[i], d.processor.prefetching(math.MaxInt, len(p.Planes)))
		if err != nil {
			return "", err
		}
		text, err := code.Listing()
		if err != nil {
			return "", err
		}
		passes = append(passes, text)
	}
	return strings.Join(passes, "\n"), nil
}

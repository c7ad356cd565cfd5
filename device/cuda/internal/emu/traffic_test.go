//go:build cuda && cgo && linux

package emu_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// accesses counts how often kernels of one name load and store each byte of some memory.
type accesses struct {
	mu      sync.Mutex
	suffix  string    // of the kernels' names
	tracked []counted // by address
	outside int       // bytes stored elsewhere
}

// counted is a piece of memory, and how often each of its bytes is loaded and stored.
type counted struct {
	from          uint64
	loads, stores []int
}

func (a *accesses) note(kernel string, addr, bytes uint64, write bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !strings.HasSuffix(kernel, a.suffix) {
		return
	}
	c := a.at(addr)
	switch {
	case c == nil && write:
		a.outside += int(bytes)
	case c == nil:
	case write:
		count(c.stores[addr-c.from:], bytes)
	default:
		count(c.loads[addr-c.from:], bytes)
	}
}

func count(at []int, bytes uint64) {
	for i := range min(bytes, uint64(len(at))) {
		at[i]++
	}
}

// at is the piece that an address is in, or nil.
func (a *accesses) at(addr uint64) *counted {
	i, exact := slices.BinarySearchFunc(a.tracked, addr, func(c counted, addr uint64) int { return cmp.Compare(c.from, addr) })
	if !exact {
		i--
	}
	if i < 0 || addr-a.tracked[i].from >= uint64(len(a.tracked[i].loads)) {
		return nil
	}
	return &a.tracked[i]
}

// begin counts anew, of kernels whose names end so.
func (a *accesses) begin(suffix string, tracked []*device.Buffer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.suffix, a.tracked, a.outside = suffix, nil, 0
	for _, b := range tracked {
		if n := b.Len() * b.DType().Size(); n > 0 {
			a.tracked = append(a.tracked, counted{b.Addr(), make([]int, n), make([]int, n)})
		}
	}
	slices.SortFunc(a.tracked, func(x, y counted) int { return cmp.Compare(x.from, y.from) })
}

// of is how often the bytes of a buffer have been loaded and stored.
func (a *accesses) of(b *device.Buffer) (loads, stores []int) {
	if c := a.at(b.Addr()); c != nil && b.Len() > 0 {
		return c.loads, c.stores
	}
	return nil, nil
}

// each says whether all bytes have been counted so often.
func each(counts []int, want int) bool {
	return !slices.ContainsFunc(counts, func(n int) bool { return n != want })
}

// TestTraffic, M2: each pass of the update of every rule loads and stores each byte of its slots once, if at all. So does its traffic, which
// leaves every byte as it is: what a pass writes and does not read lies elsewhere. A pass over the elements of a matrix that fills columns loads what it takes
// for that once more, before.
func TestTraffic(t *testing.T) {
	var a accesses
	install(t, emu.Config{Checks: ptxvm.AllChecks, Trace: a.note})
	dev := open(t)
	aside := 0
	written, err := newWritten()
	require.NoError(t, err)
	rules := optim.Rules()
	if testing.Short() { // which is for the race detector
		rules = rules[:5]
	}
	matrices := kerneltest.Matrices(t)
	for _, r := range slices.Concat(rules, kerneltest.Staged(t), matrices, written, []*rule.Rule{kerneltest.Names(t)}) {
		for _, dtype := range []device.DType{device.Float32, device.Float64} {
			for _, s := range kerneltest.Programs(r, dtype) {
				if slices.Contains(matrices, r) && (s.Options != r.MatrixOption() || s.Formats != "") {
					continue // what else there is, the rules of Staged have
				}
				p, err := kernels.New(s)
				require.NoError(t, err)
				aside += traffic(t, dev, &a, p)
			}
		}
	}
	require.Positive(t, aside, "no program has a slot that is written and not read")
	require.NoError(t, dev.Close())
}

// traffic runs a program's update and its traffic, and returns how many slots are written and not read.
func traffic(t *testing.T, dev *cuda.Device, a *accesses, p *kernels.Program) (aside int) {
	const guard = 8
	s := dev.DefaultStream()
	rng := rand.New(rand.NewPCG(1, 2))
	counters, err := dev.Alloc(device.Float64, len(p.Counters))
	require.NoError(t, err)
	w := kernels.Work{Program: p, Counters: []*device.Buffer{counters}}
	var whole, tracked []*device.Buffer
	for i, n := range []int{0, 1, 37, 300, 300} {
		var planes []*device.Buffer
		tensor := kernels.Tensor{}
		if p.Matrix() {
			tensor.Rows = []int{0, 1, 1, 75, 6}[i]
		}
		for k, plane := range p.Planes {
			n := kernels.Numbers(plane.Domain, n, tensor.Rows, tensor.Matrices)
			b, err := dev.Alloc(device.Float64, guard+n) // room for either type
			require.NoError(t, err)
			whole = append(whole, b)
			from := guard/2 + i
			if i == 4 {
				from = guard/2 + k%2 // planes apart
			}
			x, err := cuda.Wrap(dev, plane.DType, n, b.Addr()+uint64(from*plane.DType.Size()))
			require.NoError(t, err)
			planes = append(planes, x)
			tracked = append(tracked, x)
		}
		tensor.Planes = planes
		if words := p.SumWords(); words > 0 {
			tensor.Sums, err = dev.Alloc(device.Float64, words)
			require.NoError(t, err)
			require.NoError(t, s.Zero(tensor.Sums))
			defer tensor.Sums.Close()
		}
		w.Tensors = append(w.Tensors, tensor)
	}
	fill := func() (all [][]byte) {
		for _, b := range whole {
			x := make([]byte, 8*b.Len())
			for i := range x {
				x[i] = byte(rng.Uint32())
			}
			require.NoError(t, device.Upload(s, b, unsafe.Slice((*float64)(unsafe.Pointer(&x[0])), b.Len())))
			all = append(all, x)
		}
		require.NoError(t, s.Synchronize())
		return all
	}
	expect := func(update string, of func(k int) passes) {
		for i, tensor := range w.Tensors {
			for k, b := range tensor.Planes {
				want := of(k)
				loads, stores := a.of(b)
				loaded := each(loads, want.load) || want.more && !slices.ContainsFunc(loads, func(n int) bool { return n < want.load })
				require.True(t, loaded, "%s of %s: tensor %d: loads of %s", update, p, i, p.Of(k).Name)
				require.True(t, each(stores, want.store), "%s of %s: tensor %d: stores of %s", update, p, i, p.Of(k).Name)
			}
		}
	}
	of := func(k int) passes { return passesOf(p, k) }

	fill()
	require.NoError(t, device.Upload(s, counters, p.InitialCounters()))
	u, err := dev.Compile(w)
	require.NoError(t, err)
	hyper := slices.Repeat([]float64{0.5}, len(p.Rule.Hyper))
	for _, kernel := range []string{"_update", "_columns"} {
		columns := kernel == "_columns"
		if columns && !p.Matrix() {
			continue
		}
		a.begin(kernel, tracked)
		require.NoError(t, u.Enqueue(s, kernels.Step{Groups: []kernels.GroupStep{{Hyper: hyper, Scale: 1}}}))
		require.NoError(t, s.Synchronize())
		expect(kernel, func(k int) passes { return loadsOf(p, k, columns) })
		folded := 0
		for _, q := range p.Passes {
			for _, f := range q.Fills {
				for _, tensor := range w.Tensors {
					if (f.Domain == rule.OfColumns) == columns {
						folded += 8 * sumsOf(p, &q, f.Domain, &tensor)
					}
				}
			}
		}
		require.Equal(t, folded, a.outside, "%s of %s: stores elsewhere", kernel, p)
	}
	require.NoError(t, u.Close())

	before := fill()
	all, err := dev.CompileTraffic(w)
	require.NoError(t, err)
	require.Len(t, all, 1)
	u = all[0]
	a.begin("_traffic", tracked)
	require.NoError(t, u.Enqueue(s, kernels.Step{}))
	require.NoError(t, s.Synchronize())
	expect("traffic", func(k int) passes {
		if of(k).alone {
			return passes{}
		}
		return of(k)
	})
	for i, b := range whole {
		x := make([]byte, 8*b.Len())
		require.NoError(t, device.Download(s, unsafe.Slice((*float64)(unsafe.Pointer(&x[0])), b.Len()), b))
		require.NoError(t, s.Synchronize())
		require.Equal(t, before[i], x, "traffic of %s", p)
	}
	want := 0
	for k := range p.Planes {
		if of(k).alone {
			aside++
			for _, tensor := range w.Tensors {
				want += of(k).store * tensor.Planes[k].Len() * p.Planes[k].DType.Size()
			}
		}
	}
	require.Equal(t, want, a.outside, "traffic of %s: stores elsewhere", p)
	for _, b := range slices.Concat(tracked, whole, []*device.Buffer{counters}) {
		require.NoError(t, b.Close())
	}
	require.NoError(t, u.Close())
	return aside
}

// sumsOf is how many sums the chunks of a pass make of a fill.
func sumsOf(p *kernels.Program, q *kernels.Pass, d rule.Domain, t *kernels.Tensor) int {
	by := func(n, of int) int { return (n + of - 1) / of }
	switch {
	case !p.Matrix() || q.Domain != rule.OfElements:
		return by(t.Numbers(q.Domain), kernels.NormTile)
	case d == rule.OfColumns:
		return t.Columns() * by(t.Rows, kernels.ColumnRows)
	}
	return t.Rows * by(t.Columns(), kernels.NormTile)
}

// passes are how many passes load and store a plane, and whether one of them stores it and does not load it.
type passes struct {
	load, store int
	alone       bool
	more        bool // some load it more often
}

// passesOf is of a plane of the traffic: passes over elements leave rows and columns alone.
func passesOf(p *kernels.Program, k int) (out passes) {
	for _, q := range p.Passes {
		load, store := slices.Contains(q.Loads, k), slices.Contains(q.Stores, k)
		if p.Planes[k].Domain != q.Domain {
			continue
		}
		if load {
			out.load++
		}
		if store {
			out.store++
		}
		out.alone = out.alone || store && !load
	}
	return out
}

// loadsOf is of a plane of the updates, or of what makes the sums of columns.
func loadsOf(p *kernels.Program, k int, columns bool) (out passes) {
	for i := range p.Passes {
		q := &p.Passes[i]
		ofColumns := func(s ir.Store) bool { return q.Graph.Vars[s.Var].Bank == rule.ColumnBank }
		needed := make([]bool, len(q.Graph.Nodes))
		for _, s := range q.Graph.Stores {
			needed[s.Value] = needed[s.Value] || ofColumns(s) == columns
		}
		for v := len(needed) - 1; v >= 0; v-- {
			n := &q.Graph.Nodes[v]
			for _, a := range n.Args() {
				needed[a] = needed[a] || needed[v]
			}
			if needed[v] && n.Op == ir.Var && n.Index == k {
				out.load++
				out.more = out.more || p.Planes[k].Domain != q.Domain
			}
		}
		if slices.Contains(q.Stores, k) && !columns {
			out.store++
		}
	}
	if out.more {
		out.load = 1
	}
	return out
}

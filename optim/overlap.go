package optim

import (
	"cmp"
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// use is a buffer of a tensor, and whether it is written.
type use struct {
	p     *param
	what  string
	b     *device.Buffer
	write bool
}

// trained is how a step uses the tensor's own buffers.
func (p *param) trained() []use {
	out := []use{{p, "value", p.Value, true}}
	if p.Grad != nil {
		out = append(out, use{p, "grad", p.Grad, p.group.common.zeroGrad})
	}
	return out
}

// stored is the tensor's state.
func (p *param) stored() (out []use) {
	names := p.group.slots()
	for k, b := range p.slots {
		if b != nil {
			out = append(out, use{p, names[k], b, true})
		}
	}
	if p.master != nil {
		out = append(out, use{p, p.masterName, p.master, true})
	}
	for _, x := range p.whole() {
		// what all tensors have together is written, too, but no tensor keeps it from another
		out = append(out, use{p, x.name, x.b, x.domain != rule.OfTensor || !p.group.setting.Rule.Everything})
	}
	return out
}

// overlap is the error that u shares memory with v.
func overlap(u, v *use) error {
	return u.p.errorf("%s %w %s of group %d, tensor %q", u.what, device.ErrOverlap, v.what, v.p.group.index, v.p.Name)
}

// apart checks that what is written shares memory with nothing else. What is only read may, as two gradients that are one.
func apart(uses []use) error {
	uses = sorted(uses)
	// In order of address, a buffer that reaches into u is one of those that reach furthest: of all, or of those written.
	var far, farWritten *use
	for i := range uses {
		u := &uses[i]
		for _, v := range []*use{farWritten, far} {
			if v != nil && (u.write || v.write) && v.b.Overlaps(u.b) {
				return overlap(u, v)
			}
		}
		if far == nil || end(u.b) > end(far.b) {
			far = u
		}
		if u.write && (farWritten == nil || end(u.b) > end(farWritten.b)) {
			farWritten = u
		}
	}
	return nil
}

// apart checks that of all that the optimizer's tensors have.
func (o *Optimizer) apart() error {
	var uses []use
	for _, g := range o.all() {
		for _, p := range g.params {
			uses = append(append(uses, p.trained()...), p.stored()...)
		}
	}
	return apart(uses)
}

// sorted is the uses of memory in order of address.
func sorted(uses []use) []use {
	uses = slices.DeleteFunc(slices.Clone(uses), func(u use) bool { return u.b.Len() == 0 })
	slices.SortStableFunc(uses, func(a, b use) int { return cmp.Compare(a.b.Addr(), b.b.Addr()) })
	return uses
}

func end(b *device.Buffer) uint64 { return b.Addr() + uint64(b.Span().N) }

// memory is what an optimizer's tensors use, such that one more is checked against ten thousand without a look at each.
type memory struct {
	written, read index // values and state, and gradients, which are written too where SetZeroGrad is on
	unread        bool  // read is to be made anew
	unmade        bool  // both are
}

// index finds buffers by address. Its runs are sorted, each at most half as long as the one before it.
type index struct{ runs []run }

type run struct {
	uses  []use
	begin []uint64 // of uses[i]
	far   []int    // which of uses[:i+1] ends last
	reach []uint64 // where that ends
	near  int      // how many of uses began before the end of what was looked for last
}

func newRun(uses []use) run {
	n := len(uses)
	r := run{uses: uses, begin: make([]uint64, n), far: make([]int, n), reach: make([]uint64, n)}
	for i := range uses {
		r.begin[i], r.far[i], r.reach[i] = uses[i].b.Addr(), i, end(uses[i].b)
		if i > 0 && r.reach[i-1] > r.reach[i] {
			r.far[i], r.reach[i] = r.far[i-1], r.reach[i-1]
		}
	}
	return r
}

// hit is a use that shares memory with the bytes from lo to hi, if any does. What is asked for in turn often lies between the same two uses.
func (r *run) hit(lo, hi uint64) *use {
	if n := r.near; n > 0 && r.begin[n-1] >= hi || n < len(r.begin) && r.begin[n] < hi {
		r.near, _ = slices.BinarySearch(r.begin, hi)
	}
	if n := r.near; n > 0 && r.reach[n-1] > lo {
		return &r.uses[r.far[n-1]]
	}
	return nil
}

func (x *index) add(uses []use) {
	uses = sorted(uses)
	for n := len(x.runs); n > 0 && len(x.runs[n-1].uses) < 2*len(uses); n-- {
		uses = sorted(append(uses, x.runs[n-1].uses...))
		x.runs = x.runs[:n-1]
	}
	if len(uses) > 0 {
		x.runs = append(x.runs, newRun(uses))
	}
}

// hit is one that shares memory with b, if any does.
func (x *index) hit(b *device.Buffer) *use {
	return x.hitBytes(b.Addr(), end(b))
}

// hitBytes is hit of the bytes from lo to hi.
func (x *index) hitBytes(lo, hi uint64) *use {
	for i := range x.runs {
		if u := x.runs[i].hit(lo, hi); lo < hi && u != nil {
			return u
		}
	}
	return nil
}

// gap is the bytes around what hitBytes has looked for last in which there is no use. It has found none.
func (x *index) gap() (lo, hi uint64) {
	hi = math.MaxUint64
	for i := range x.runs {
		r := &x.runs[i]
		if n := r.near; n > 0 {
			lo = max(lo, r.reach[n-1])
		}
		if n := r.near; n < len(r.begin) {
			hi = min(hi, r.begin[n])
		}
	}
	return lo, hi
}

// writes is the values and state, up to date.
func (m *memory) writes(o *Optimizer) *index {
	if m.unmade {
		m.written, m.unmade, m.unread = index{}, false, true
		for _, g := range o.all() {
			written, _ := usesOf(g.params)
			m.written.add(written)
		}
	}
	return &m.written
}

// reads is the gradients, up to date.
func (m *memory) reads(o *Optimizer) *index {
	if m.unmade || m.unread {
		m.read, m.unread = index{}, false
		for _, g := range o.all() {
			_, read := usesOf(g.params)
			m.read.add(read)
		}
	}
	return &m.read
}

// usesOf is the values and state of tensors, and their gradients.
func usesOf(params []*param) (written, read []use) {
	for _, p := range params {
		for _, u := range append(p.trained(), p.stored()...) {
			if u.b == p.Grad {
				read = append(read, u)
			} else {
				written = append(written, u)
			}
		}
	}
	return written, read
}

// check says whether more uses are apart from each other and from those there are.
func (m *memory) check(o *Optimizer, uses []use) error {
	if err := apart(uses); err != nil {
		return err
	}
	for i := range uses {
		u := &uses[i]
		if v := m.writes(o).hit(u.b); v != nil {
			return overlap(u, v)
		}
		if !u.write {
			continue
		}
		if v := m.reads(o).hit(u.b); v != nil {
			return overlap(u, v)
		}
	}
	return nil
}

// add takes in new tensors.
func (m *memory) add(params []*param) {
	written, read := usesOf(params)
	m.written.add(written)
	m.read.add(read)
}

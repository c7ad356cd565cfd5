package door

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// Optimizer is an fs_new.
type Optimizer struct {
	mu     sync.Mutex
	dev    *Device
	kind   *kind
	o      *optim.Optimizer // nil before the first group
	groups []*group

	clipNorm, clipTensorNorm, clipValue float64
	adaptiveClip, adaptiveEps           float64
	stream                              *device.Stream // on a GPU the caller's
	handle                              uintptr        // of that
	streams                             map[uintptr]*device.Stream

	scale float32 // of the gradients, that the GradScaler has; 0: there is none
	rows  []optim.Row
}

// group is a parameter group.
type group struct {
	options options
	rows    []string
	names   []string
	lengths []int
	hyper   []float64          // as it was given last
	around  arounds            // what state depends on
	types   []types            // of the tensors
	given   map[types][]string // where the caller gives state: what each type of tensor has
	grads   []unsafe.Pointer   // as given last, whatever the mask is
	masked  []unsafe.Pointer   // those that the mask leaves
}

// types are what a tensor's state depends on.
type types struct {
	value, gradient device.DType
	matrix          bool // the algorithm has numbers of rows or columns, and the tensor has these
}

type arounds struct {
	options uint64
	around  rule.Around
}

// New makes an optimizer without groups.
func New(dev *Device, algorithm string) (*Optimizer, error) {
	k, err := kindOf(algorithm)
	if err != nil {
		return nil, err
	}
	d := &Optimizer{dev: dev, kind: k}
	if dev.gpu != nil {
		d.stream = cuda.WrapStream(dev.gpu, 0)
		d.streams = map[uintptr]*device.Stream{0: d.stream}
		return d, nil
	}
	d.stream, err = dev.Device().NewStream() // its own, so that its work runs on the thread that calls, whatever others do
	return d, err
}

// Group is an fs_group.
type Group struct {
	Lengths  []int
	Rows     []int // of each tensor's matrix view, 0: there is none; or nil
	Matrices []int // that these are of, 0: one; or nil
	Values   []unsafe.Pointer
	Hyper    []float64
	Options  string
	Value    []device.DType
	Grad     []device.DType
	State    [][]unsafe.Pointer // rows from 2 on; nil or of rows that are nil
}

// Hyper is how many hyperparameters a group has.
func (d *Optimizer) Hyper() int { return len(d.kind.Hyper) }

// Rows is how many rows a group's table has.
func (d *Optimizer) Rows(index int) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g, err := d.group(index)
	if err != nil {
		return 0, err
	}
	return len(g.rows), nil
}

// RowsOf is how many rows a group with the options will have.
func (d *Optimizer) RowsOf(text string) (int, error) {
	o, err := parseOptions(text)
	if err != nil {
		return 0, err
	}
	return len(o.rows(d.kind)), nil
}

func (d *Optimizer) group(index int) (*group, error) {
	if index < 0 || index >= len(d.groups) {
		return nil, argumentf("there is no group %d, only %d", index, len(d.groups))
	}
	return d.groups[index], nil
}

// algorithm is a group's with hyperparameters.
func (d *Optimizer) algorithm(o *options, hyper []float64) (optim.Algorithm, arounds, error) {
	a, err := d.kind.with(hyper)
	if err == nil {
		a, err = o.wrap(a)
	}
	if err != nil {
		return nil, arounds{}, err
	}
	s, err := a.Setting()
	return a, arounds{s.Options, s.Around()}, err
}

// AddGroup is fs_add_group.
func (d *Optimizer) AddGroup(in Group) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(in.Lengths)
	g := &group{lengths: slices.Clone(in.Lengths), hyper: slices.Clone(in.Hyper)}
	var err error
	if g.options, err = parseOptions(in.Options); err != nil {
		return err
	}
	if g.hyper == nil {
		g.hyper = d.kind.defaults()
	}
	if names := g.options.Names; names != nil && len(names) != n {
		return argumentf("options: there are %d names of %d tensors", len(names), n)
	}
	g.rows = g.options.rows(d.kind)
	a, around, err := d.algorithm(&g.options, g.hyper)
	if err != nil {
		return err
	}
	g.around = around
	owns := slices.ContainsFunc(in.State, func(row []unsafe.Pointer) bool { return row != nil })
	needed := map[types]map[string]device.DType{}
	params := make([]optim.Param, n)
	for i := range params {
		p := &params[i]
		p.Name = fmt.Sprintf("%d.%d", len(d.groups), i)
		if g.options.Names != nil {
			p.Name = g.options.Names[i]
		}
		if in.Rows != nil {
			p.Rows = in.Rows[i]
		}
		if in.Matrices != nil && p.Rows != 0 {
			p.Matrices = in.Matrices[i]
		}
		t := types{in.Value[i], in.Grad[i], d.kind.Matrix && p.Rows != 0}
		g.names, g.types = append(g.names, p.Name), append(g.types, t)
		if needed[t] == nil {
			if needed[t], err = state(a, t); err != nil {
				return err
			}
		}
		if p.Value, err = d.wrap(p.Name, "value", t.value, in.Lengths[i], in.Values[i]); err != nil {
			return err
		}
		if in.Lengths[i] > 0 && d.dev.cpu != nil { // on a GPU it comes with the first step
			if p.Grad, err = d.dev.wrap(t.gradient, in.Lengths[i], nil); err != nil {
				return err
			}
		}
		if !owns {
			continue
		}
		p.State = map[string]*device.Buffer{}
		for k, name := range g.rows[2:] {
			held, needs := needed[t][name]
			var at unsafe.Pointer
			if in.State[k] != nil {
				at = in.State[k][i]
			}
			if !needs && at == nil {
				continue
			}
			n := in.Lengths[i]
			if n > 0 {
				n = kernels.Numbers(d.kind.domain(name), n, p.Rows, p.Matrices)
			}
			if !needs || at == nil && n > 0 {
				return d.stateError(p.Name, name, needs)
			}
			if p.State[name], err = d.wrap(p.Name, "state "+name, held, n, at); err != nil {
				return err
			}
		}
	}
	if owns {
		g.given = map[types][]string{}
		for t, has := range needed {
			for name := range has {
				g.given[t] = append(g.given[t], name)
			}
		}
	}
	if d.o == nil {
		d.o, err = optim.New(d.dev.Backend, a, params)
	} else {
		err = d.o.AddGroup(a, params)
	}
	if err != nil {
		return err
	}
	g.grads, g.masked = make([]unsafe.Pointer, n), make([]unsafe.Pointer, n)
	d.groups = append(d.groups, g)
	return nil
}

func (d *Optimizer) stateError(tensor, name string, needs bool) error {
	if needs {
		return &Error{State, fmt.Sprintf("tensor %q: state %s is needed, and not given", tensor, name)}
	}
	return argumentf("tensor %q: state %s is given, and there is none with these types and hyperparameters", tensor, name)
}

// wrap makes a buffer of the caller's memory.
func (d *Optimizer) wrap(tensor, what string, t device.DType, n int, at unsafe.Pointer) (*device.Buffer, error) {
	switch size := t.Size(); {
	case at == nil && n > 0:
		return nil, &Error{Tensor, fmt.Sprintf("tensor %q: %s: the address is NULL", tensor, what)}
	case uintptr(at)%uintptr(size) != 0:
		return nil, &Error{Tensor, fmt.Sprintf("tensor %q: %s: address %p is no multiple of %d, the bytes of a %s", tensor, what, at, size, t)}
	}
	return d.dev.wrap(t, n, at)
}

// Row is fs_row.
func (d *Optimizer) Row(index, row int, out []unsafe.Pointer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	g, err := d.group(index)
	if err != nil {
		return err
	}
	if row < 0 || row >= len(g.rows) {
		return argumentf("there is no row %d, only %d", row, len(g.rows))
	}
	clear(out)
	if row == 1 {
		copy(out, g.grads)
		return nil
	}
	i := 0
	for of, p := range d.o.Params() {
		if of != index {
			continue
		}
		b := p.Value
		if row > 1 {
			if b, err = d.o.State(p.Name, g.rows[row]); err != nil {
				b = nil // it has none
			}
		}
		*(*uintptr)(unsafe.Pointer(&out[i])) = uintptr(b.Addr())
		i++
	}
	return nil
}

// Tensors is how many tensors a group has.
func (d *Optimizer) Tensors(index int) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g, err := d.group(index)
	if err != nil {
		return 0, err
	}
	return len(g.lengths), nil
}

// Shape is the tensors and the rows of each group.
func (d *Optimizer) Shape() (tensors, rows []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.groups {
		tensors, rows = append(tensors, len(g.lengths)), append(rows, len(g.rows))
	}
	return tensors, rows
}

// Eval is fs_eval.
func (d *Optimizer) Eval(index int, to []unsafe.Pointer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	g, err := d.group(index)
	if err != nil {
		return err
	}
	buffers := map[string]*device.Buffer{}
	for i, at := range to {
		if at == nil {
			continue
		}
		if buffers[g.names[i]], err = d.wrap(g.names[i], "eval", g.types[i].value, g.lengths[i], at); err != nil {
			return err
		}
	}
	if err := d.free(); err != nil {
		return err
	}
	if err := d.o.EvalParams(d.stream, buffers); err != nil {
		return err
	}
	return d.done()
}

// done waits for the host's work. A GPU's is enqueued.
func (d *Optimizer) done() error {
	if d.dev.gpu != nil {
		return nil
	}
	return d.stream.Synchronize()
}

// Close gives the optimizer's memory back.
func (d *Optimizer) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if d.o != nil {
		err = d.o.Close()
	}
	if d.dev.gpu == nil {
		err = errors.Join(err, d.stream.Close())
	}
	return err
}

// needs says which state tensors of a group need with other hyperparameters, and the caller has not given.
func (g *group) needs(a optim.Algorithm) error {
	for t, has := range g.given {
		want, err := state(a, t)
		if err != nil {
			return err
		}
		var missing []string
		for _, name := range g.rows {
			if _, needed := want[name]; needed && !slices.Contains(has, name) {
				missing = append(missing, name)
			}
		}
		if missing != nil {
			return &Error{State, fmt.Sprintf("the hyperparameters now need state %s, which was not given", strings.Join(missing, ", "))}
		}
	}
	return nil
}

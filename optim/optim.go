// Package optim trains: it holds optimizers, parameter groups, schedules and gradient clipping, and runs on a CPU (package cpu)
// and on a GPU (package device/cuda) with the same bits.
//
// A training program whose gradients are made in the host's memory needs this much:
//
//	model, err := optim.Place(dev, map[string][]float32{"weight": w, "bias": b}, nil)
//	opt, err := optim.New(dev, optim.DefaultAdamW(), model.Params("weight"))
//	noDecay := optim.DefaultAdamW()
//	noDecay.WeightDecay = 0
//	err = opt.AddGroup(noDecay, model.Params("bias"))
//	err = opt.SetSchedule(optim.Warmup{Steps: 100, Then: optim.Cosine{Steps: 900}})
//	err = opt.SetClipNorm(1)
//	for range 1000 {
//		gradient(model.Grad("weight"), model.Grad("bias")) // yours
//		err = model.Step(opt)
//	}
//
// A program whose tensors are on a device already makes a Param of each tensor's buffers, and calls Optimizer.Step with a stream.
// Step enqueues one pass over all tensors and returns. The pass reads and writes each element of parameters, gradients and state
// once; an algorithm that needs sums over a tensor, as LAMB does, has more than one. Stream.Synchronize waits for it.
//
// An algorithm is a struct of hyperparameters, such as AdamW: start from its Default function. Any hyperparameter can be changed
// between steps, or follow a Schedule, by the name that PyTorch has for it: Optimizer.SetHyperparameter.
//
// # Sixteen bits
//
// Values and gradients may be bfloat16 or float16, as their buffers say: a step calculates in float32. Stored says what state is held as, what
// is kept beside values so that small changes are not lost, and how numbers are rounded. Averaged keeps an average of the values. What else a
// training in 16 bits does around a step is the step's own pass, with any algorithm:
//
//	alg := optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterFloat32}
//	opt, err := optim.New(dev, alg, params)
//	scaler := optim.DefaultGradScaler()
//	err = opt.SetGradScaler(stream, &scaler) // a loss scale, for float16: steps that overflow are skipped
//	err = opt.SetAccumulate(true)            // Accumulate after each micro-batch, then Step
//	err = opt.SetZeroGrad(true)              // what was read is set to 0
//
// Optimizer.Outcome says what became of a step. NewPlan says what memory a group will take. Optimizer.Capture records a step, which a GPU
// repeats with one launch.
//
// # To go on later
//
// Optimizer.StateDict is all that a training goes on from: values and state, each group's hyperparameters, schedules and rates, counts, the loss scale, sums
// of gradients between micro-batches. The next program makes the same groups with the same names of tensors, and makes one call:
//
//	err = opt.LoadStateDict(stream, saved, optim.LoadOptions{})
//
// The training goes on with the same bits. What does not fit is a MismatchError, which lists all of it, and nothing has changed. LoadOptions lets
// tensors be in other groups, be made of slices of others, or be held in other types. Package optim/checkpoint keeps dicts in files.
package optim

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// Backend is a device that runs steps: a *cpu.Device or a *cuda.Device.
type Backend = kernels.Backend

// Param is a tensor to train: its values, and where its gradients are found at each step. A Value of float64 has a Grad of float64. Of
// float32, bfloat16 and float16 each may be any: steps calculate in float32, and Stored says what state is held as. No other tensor may
// share memory with Value, in this optimizer or in another: two optimizers of one Value overwrite each other's steps, and no error says so.
// Gradients are only read and may be shared, unless SetZeroGrad is on. Whoever writes to Value between steps, where it has a master, calls
// Optimizer.AdoptValues.
type Param struct {
	// Name is for State and in errors, and unique in the optimizer. An empty name becomes a free one, such as "0.3": group, index. Stochastic
	// rounding depends on it: under the same name a tensor has the same bits in any group and place.
	Name  string
	Value *device.Buffer
	Grad  *device.Buffer // as many elements as Value. Nil leaves the tensor out of steps: see SetGrad.
	// Shape is the tensor's, whose elements are one behind the other, the last axis' next to each other. Nil is one axis. Rows are those of the
	// matrices that an algorithm with numbers of rows and columns, as Adafactor, sees: Len/Rows elements each. 0 is the product of all axes but
	// the last, and none where there is one axis. For other algorithms they are the units of SetAdaptiveClip, of which 0 is the first axis.
	// Matrices is how many matrices the Rows are of, as many rows each, one behind the other; each has columns of its own. 0 is one where Rows are
	// given, and else one for each place on the axes before the last two, as PyTorch's Adafactor has it.
	Shape          []int
	Rows, Matrices int
	// State are buffers of the caller's for the tensor's state, each as long as Value, or as many numbers as there are rows or columns, by PyTorch's
	// names such as "exp_avg", which NewPlan lists with their types. The tensor goes on from what they hold: the caller has set it to 0, or to what the algorithm says that state starts with.
	// State that is not here is the optimizer's own, and so is always what a tensor has once, as NovoGrad's exp_avg_sq.
	State map[string]*device.Buffer

	host *hostValue // of Placed.Params
}

// Optimizer trains parameters in place. Make one with New.
//
// Its methods must not be called at the same time. Its steps must be ordered: all on one stream, or on streams that wait for each
// other. Steps are enqueued, and as many may be under way as the device takes before Step waits. Several optimizers may work on
// one device at the same time, on different tensors.
//
// An optimizer owns its state and nothing else. Close frees it; so does the garbage collector, later, when nothing refers to the
// optimizer any more. Values and gradients are the caller's, and so is the device, which is closed last.
type Optimizer struct {
	backend   Backend
	mover     kernels.Mover     // backend, if it is one
	groups    []*group          // by index; nil where it was removed
	names     map[string]*param // of all groups
	launches  []*launch
	stale     bool        // launches are not those of the parts
	elsewhere bool        // launches are still to follow buffers
	followed  int         // how often they have
	toggled   bool        // tensors have got a gradient, or have none any more, since parts were made
	moving    []*movedRow // of Move
	memory    memory
	norm      norm
	control   control
	common    common
	sums      sums // of gradients
	eval      evaluation
	schedule  Schedule // of groups to come
	steps     int
	checked   uint64 // device.Device.Closings when all buffers were open
	closed    bool
	half      error          // a load has failed half way
	last      *device.Stream // of the last step or sum of gradients; nil before
	records   []*record      // of Record
	calls     uint64         // of methods, by which a LiveStateDict sees that it is over
}

// New returns an optimizer of one parameter group; AddGroup adds more. State starts at zero, or as the algorithm says. The
// algorithm is copied. What is wrong with a hyperparameter is a HyperparameterError, with a tensor a TensorError.
//
// The device must stay open as long as the optimizer is used, and so must the tensors' buffers. Close the optimizer before them.
func New(b Backend, alg Algorithm, params []Param) (*Optimizer, error) {
	if isNil(b) || b.Device() == nil {
		return nil, errors.New("optim: new: the backend is nil")
	}
	o := &Optimizer{backend: b, names: map[string]*param{}, checked: b.Device().Closings()}
	o.mover, _ = b.(kernels.Mover)
	if err := o.AddGroup(alg, params); err != nil {
		return nil, err
	}
	return o, nil
}

// AddGroup adds a group of parameters with hyperparameters of their own. Its index is the number of groups added before it, those
// removed included. It follows the schedule that SetSchedule gave to all groups. On an error the optimizer is as it was.
func (o *Optimizer) AddGroup(alg Algorithm, params []Param) error {
	if err := o.open("add group"); err != nil {
		return err
	}
	g, err := newGroup(len(o.groups), alg)
	if err != nil {
		return err
	}
	g.rate, g.common = o.schedule, &o.common
	o.name(g, params)
	var uses []use
	names := map[string]*param{}
	for _, p := range g.params {
		if err := p.check(o.backend, nil); err != nil {
			return err
		}
		if err := p.setView(); err != nil {
			return err
		}
		if names[p.Name] != nil || o.names[p.Name] != nil {
			return p.errorf("another tensor has this name")
		}
		names[p.Name] = p
		p.slots = make([]*device.Buffer, len(g.slots()))
		p.lines = newLines(g.setting.Rule)
		if err := p.give(o.backend.Device()); err != nil {
			return err
		}
		uses = append(append(uses, p.trained()...), p.stored()...)
	}
	if err := o.memory.check(o, uses); err != nil {
		return err
	}
	launches, err := o.equip(g)
	if err != nil {
		return errors.Join(err, closeLaunches(launches), g.free())
	}
	o.groups = append(o.groups, g)
	maps.Copy(o.names, names)
	o.memory.add(g.params)
	for _, l := range launches { // two launches of one program become one at the next step
		o.stale = o.stale || o.launched(l.program)
	}
	o.launches = append(o.launches, launches...)
	o.norm.moved()
	o.sums.moved()
	o.eval.moved()
	return nil
}

// equip allocates a group's state and compiles its steps, by themselves: what cannot be compiled is AddGroup's error.
func (o *Optimizer) equip(g *group) ([]*launch, error) {
	for _, p := range g.params {
		q, err := g.partOf(p)
		if err != nil {
			return nil, err
		}
		q.params = append(q.params, p)
		p.part = q
	}
	for _, q := range g.parts {
		if err := q.check(o.backend); err != nil {
			return nil, err
		}
	}
	if err := together(plan(append(o.all(), g), o.mover != nil)); err != nil {
		return nil, err
	}
	for _, q := range g.parts {
		if err := q.start(o.backend.Device()); err != nil {
			return nil, fmt.Errorf("optim: group %d: %w", g.index, err)
		}
	}
	launches := plan([]*group{g}, o.mover != nil)
	for _, l := range launches {
		if err := l.compile(o.backend); err != nil {
			return launches, fmt.Errorf("optim: group %d: %w", g.index, err)
		}
	}
	return launches, nil
}

// name gives the group its tensors, and those without a name one that is free.
func (o *Optimizer) name(g *group, params []Param) {
	own := map[string]bool{}
	for _, p := range params {
		own[p.Name] = true
	}
	for i, p := range params {
		if p.Name == "" {
			p.Name = fmt.Sprintf("%d.%d", g.index, i)
			for n := 2; own[p.Name] || o.names[p.Name] != nil; n++ {
				p.Name = fmt.Sprintf("%d.%d#%d", g.index, i, n)
			}
			own[p.Name] = true
		}
		g.params = append(g.params, &param{Param: p, group: g, id: identity(p.Name), n: p.Value.Len()})
	}
}

// identity is a tensor's kernels.Tensor.ID: the first 8 bytes of its name's SHA-256, the lowest first.
func identity(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.LittleEndian.Uint64(sum[:])
}

// open says why the optimizer cannot be used, if it cannot.
func (o *Optimizer) open(what string) error {
	switch {
	case o == nil || o.backend == nil:
		return fmt.Errorf("optim: %s: the optimizer was not made by New", what)
	case o.closed:
		return fmt.Errorf("optim: %s: optimizer is %w", what, device.ErrClosed)
	}
	o.calls++
	return nil
}

// on is the stream, the default one for nil, if it and the optimizer can be used now.
func (o *Optimizer) on(what string, s *device.Stream) (*device.Stream, error) {
	if err := o.open(what); err != nil {
		return nil, err
	}
	dev := o.backend.Device()
	if s == nil {
		s = dev.DefaultStream()
	}
	if err := s.Check(dev); err != nil {
		return nil, fmt.Errorf("optim: %s: %w", what, err)
	}
	return s, nil
}

// use is on, and checks that all tensors can be used now.
func (o *Optimizer) use(what string, s *device.Stream) (*device.Stream, error) {
	s, err := o.on(what, s)
	if err != nil {
		return nil, err
	}
	if o.half != nil {
		return nil, fmt.Errorf("optim: %s: %w", what, o.half)
	}
	return s, o.usable()
}

// settle waits for the stream of the last step, if that is another one: a state that it has half changed is none.
func (o *Optimizer) settle(what string, s *device.Stream) error {
	if o.last == nil || o.last == s || o.last.Check(o.backend.Device()) != nil { // which has waited as it was closed
		return nil
	}
	if err := o.last.Synchronize(); err != nil {
		return fmt.Errorf("optim: %s: %w", what, err)
	}
	return nil
}

// usable checks that all tensors can be used now.
func (o *Optimizer) usable() error {
	dev := o.backend.Device()
	closings := dev.Closings()
	if closings == o.checked { // nothing was closed since all were open, and others were when they came
		return nil
	}
	for _, g := range o.all() {
		for _, p := range g.params {
			if err := p.usable(dev); err != nil {
				return err
			}
		}
	}
	o.checked = closings
	return nil
}

// ZeroGrad enqueues setting all gradients to 0. Tensors without one are passed over. SetZeroGrad does it in the pass of a step. What
// Accumulate has added up stays.
func (o *Optimizer) ZeroGrad(s *device.Stream) error {
	s, err := o.use("zero grad", s)
	if err != nil {
		return err
	}
	for _, p := range o.where(func(p *param) bool { return p.Grad != nil }) {
		if err := s.Zero(p.Grad); err != nil {
			return fmt.Errorf("optim: zero grad: %w", err)
		}
	}
	return nil
}

// where are the tensors of which something is true.
func (o *Optimizer) where(is func(*param) bool) (out []*param) {
	for _, g := range o.all() {
		for _, p := range g.params {
			if is(p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// Close waits for the steps enqueued so far and frees the state. Values and gradients stay: they are the caller's. All later
// calls but Steps, Groups and Params fail with device.ErrClosed.
func (o *Optimizer) Close() error {
	if err := o.open("close"); err != nil {
		return err
	}
	o.closed = true
	errs := []error{closeLaunches(o.launches), o.norm.close(), o.control.close(), o.sums.close(), o.eval.close()}
	for _, r := range o.records {
		errs = append(errs, r.close())
	}
	for _, g := range o.groups {
		if g != nil {
			errs = append(errs, g.free())
		}
	}
	return errors.Join(errs...)
}

// Package optim is the part of fusestep that a training program uses: hyperparameters, parameter groups, learning-rate
// schedules and Optimizer.Step, on whichever device the buffers live.
//
//	dev := cpu.New()
//	w, err := dev.Alloc(device.Float32, n) // and g
//	opt, err := optim.New(dev, optim.DefaultAdamW(), []optim.Param{{Name: "wte", Value: w, Grad: g}})
//	err = opt.Step(stream)
//
// A step is enqueued on a stream and runs in one pass over all tensors: each parameter, gradient and state element is read
// and written once. Nothing waits for it but Stream.Synchronize.
package optim

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Param is a tensor to train: its values, and where its gradients are found at each step.
type Param struct {
	Name  string // for State and in errors; unique in the optimizer. An empty name becomes "group.index", such as "0.3".
	Value *device.Buffer
	Grad  *device.Buffer // as many elements as Value, of its type
}

// Optimizer trains parameters in place. Its methods must not be called at the same time, and its steps must be ordered: all on one
// stream, or on streams that wait for each other.
type Optimizer struct {
	backend  kernels.Backend
	groups   []*group
	names    map[string]*param
	parts    []*part
	updates  []*launch
	norm     kernels.Norm
	measured bool // norm has been that of a step
	maxNorm  float64
	schedule Schedule
	steps    int
	closed   bool
}

// group is a parameter group: what shares hyperparameters.
type group struct {
	setting rule.Setting
	lr      float64 // before the schedule
	lrAt    int     // its index in setting.Hyper
	params  []*param
}

type param struct {
	Param
	group int
	slots []*device.Buffer // by slot of the rule; nil where its program has no use for it
}

// part is the params of a group that have one element type, and so one program.
type part struct {
	group   int
	program kernels.Program
	params  []*param
	state   *device.Buffer   // of the prologue
	arenas  []*device.Buffer // of the slots, to close
}

// launch is one update and the parts that it steps, in the order of its groups.
type launch struct {
	kernels.Update
	parts []*part
	step  kernels.Step // reused from step to step, as hyper is
	hyper []float64    // of all groups
}

// New returns an optimizer of one parameter group; AddGroup adds more. State starts at zero. What is wrong with a
// hyperparameter is a HyperparameterError, with a tensor a TensorError.
func New(b kernels.Backend, alg Algorithm, params []Param) (*Optimizer, error) {
	o := &Optimizer{backend: b, names: map[string]*param{}}
	if err := o.AddGroup(alg, params); err != nil {
		return nil, err
	}
	return o, nil
}

// AddGroup adds a group of parameters with hyperparameters of their own. On an error the optimizer is as it was.
func (o *Optimizer) AddGroup(alg Algorithm, params []Param) error {
	if o.closed {
		return fmt.Errorf("optim: add group: optimizer is %w", device.ErrClosed)
	}
	setting, err := settingOf(alg, fmt.Sprintf("group %d", len(o.groups)))
	if err != nil {
		return err
	}
	if err := checkEval(setting); err != nil {
		return fmt.Errorf("optim: group %d: algorithm %T: %w", len(o.groups), alg, err)
	}
	g := &group{setting: setting, lrAt: setting.Rule.HyperIndex("LR")}
	g.lr = setting.Hyper[g.lrAt]
	for i, p := range params {
		if p.Name == "" {
			p.Name = fmt.Sprintf("%d.%d", len(o.groups), i)
		}
		g.params = append(g.params, &param{Param: p, group: len(o.groups)})
	}
	if err := o.check(g); err != nil {
		return err
	}
	parts, err := o.partition(g)
	var retire func() error
	if err == nil {
		retire, err = o.compile(append(slices.Clone(o.groups), g), append(slices.Clone(o.parts), parts...))
	}
	if err != nil {
		return errors.Join(err, closeParts(parts))
	}
	for _, p := range g.params {
		o.names[p.Name] = p
	}
	if err := retire(); err != nil {
		return fmt.Errorf("optim: group %d was added, but what it replaces could not be freed: %w", len(o.groups)-1, err)
	}
	return nil
}

// partition splits a group by element type and allocates its state.
func (o *Optimizer) partition(g *group) (parts []*part, err error) {
	for _, p := range g.params {
		i := slices.IndexFunc(parts, func(q *part) bool { return q.program.DType == p.Value.DType() })
		if i < 0 {
			i = len(parts)
			if err := checkPrecision(g.setting, p.Value.DType()); err != nil {
				return nil, err
			}
			parts = append(parts, &part{group: p.group, program: kernels.ProgramOf(g.setting, p.Value.DType())})
		}
		parts[i].params = append(parts[i].params, p)
	}
	for _, q := range parts {
		if err := q.allocate(o.backend.Device(), g.setting); err != nil {
			return parts, fmt.Errorf("optim: group %d: %w", q.group, err)
		}
	}
	return parts, nil
}

// compile makes the updates of all parts, one for each program, and puts them in place of the old, which retire frees. On an
// error the optimizer is as it was.
func (o *Optimizer) compile(groups []*group, parts []*part) (retire func() error, err error) {
	var updates []*launch
	var norm kernels.Norm
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(updates, norm))
		}
	}()
	for _, q := range parts {
		i := slices.IndexFunc(updates, func(l *launch) bool { return l.parts[0].program == q.program })
		if i < 0 {
			i = len(updates)
			updates = append(updates, &launch{})
		}
		updates[i].parts = append(updates[i].parts, q)
	}
	for _, l := range updates {
		w := kernels.Work{Program: l.parts[0].program}
		for i, q := range l.parts {
			w.State = append(w.State, q.state)
			for _, p := range q.params {
				w.Tensors = append(w.Tensors, kernels.Tensor{Group: i, Slots: p.slots})
			}
		}
		if l.Update, err = o.backend.Compile(w); err != nil {
			return nil, fmt.Errorf("optim: %w", err)
		}
	}
	if o.clips() {
		if norm, err = o.backend.CompileNorm(grads(groups)); err != nil {
			return nil, fmt.Errorf("optim: gradient norm: %w", err)
		}
	}
	old, oldNorm := o.updates, o.norm
	o.groups, o.parts, o.updates, o.norm, o.measured = groups, parts, updates, norm, false
	return func() error { return closeAll(old, oldNorm) }, nil
}

func grads(groups []*group) (out []*device.Buffer) {
	for _, g := range groups {
		for _, p := range g.params {
			out = append(out, p.Grad)
		}
	}
	return out
}

func closeAll(updates []*launch, norm kernels.Norm) error {
	var errs []error
	for _, l := range updates {
		if l.Update != nil {
			errs = append(errs, l.Update.Close())
		}
	}
	if norm != nil {
		errs = append(errs, norm.Close())
	}
	return errors.Join(errs...)
}

// Step enqueues one step on the stream; nil is the device's default stream. What is wrong with a tensor is found before
// anything is enqueued.
func (o *Optimizer) Step(s *device.Stream) error {
	s, err := o.use(s)
	if err != nil {
		return err
	}
	factor := factorOf(o.schedule, o.steps)
	for _, l := range o.updates {
		l.step.Groups, l.hyper = l.step.Groups[:0], l.hyper[:0]
		l.step.Norm, l.step.MaxNorm = o.norm, o.maxNorm
		for _, q := range l.parts {
			g := o.groups[q.group]
			n := len(l.hyper)
			l.hyper = append(l.hyper, g.setting.Hyper...)
			lr := &l.hyper[n+g.lrAt]
			if *lr = g.lr * factor; !(*lr >= 0 && *lr <= math.MaxFloat64) {
				return &HyperparameterError{Algorithm: g.setting.Name, Name: "lr", Value: *lr, Want: "at least 0, and finite, after its schedule"}
			}
			l.step.Groups = append(l.step.Groups, kernels.GroupStepOf(g.setting, l.hyper[n:]))
		}
	}
	if o.norm != nil {
		if err := o.norm.Enqueue(s); err != nil {
			return fmt.Errorf("optim: step: nothing was updated: gradient norm: %w", err)
		}
		o.measured = true
	}
	for i, l := range o.updates {
		if err := l.Enqueue(s, l.step); err != nil {
			return fmt.Errorf("optim: step: groups %v were updated, groups %v were not: %w", groupsOf(o.updates[:i]), groupsOf(o.updates[i:]), err)
		}
	}
	o.steps++
	return nil
}

func groupsOf(updates []*launch) (out []int) {
	for _, l := range updates {
		for _, q := range l.parts {
			out = append(out, q.group)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// use checks that the optimizer, the stream and all tensors can be used now.
func (o *Optimizer) use(s *device.Stream) (*device.Stream, error) {
	if o.closed {
		return nil, fmt.Errorf("optim: optimizer is %w", device.ErrClosed)
	}
	dev := o.backend.Device()
	if s == nil {
		s = dev.DefaultStream()
	}
	if err := s.Check(dev); err != nil {
		return nil, fmt.Errorf("optim: %w", err)
	}
	for _, g := range o.groups {
		for _, p := range g.params {
			if err := p.usable(dev); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// ZeroGrad enqueues setting all gradients to 0.
func (o *Optimizer) ZeroGrad(s *device.Stream) error {
	s, err := o.use(s)
	if err != nil {
		return err
	}
	for _, g := range grads(o.groups) {
		if err := s.Zero(g); err != nil {
			return fmt.Errorf("optim: zero grad: %w", err)
		}
	}
	return nil
}

// Steps is the number of steps enqueued so far; the schedule's next step.
func (o *Optimizer) Steps() int { return o.steps }

// SetSteps makes the next step the schedule's step n, as where training goes on that was saved after Steps() = n. What the
// groups count by themselves is in their GroupState.
func (o *Optimizer) SetSteps(n int) error {
	if n < 0 {
		return fmt.Errorf("optim: set steps: %d is below 0: %w", n, device.ErrRange)
	}
	o.steps = n
	return nil
}

// SetSchedule makes learning rates follow s from the next step on, which is step Steps() of it; nil leaves them as they are. A field
// that is out of range is a HyperparameterError, and the schedule the one before.
func (o *Optimizer) SetSchedule(s Schedule) error {
	if err := checkSchedule(s); err != nil {
		return err
	}
	o.schedule = s
	return nil
}

// LR is a group's learning rate, before the schedule. It panics if there is no such group, as a slice does.
func (o *Optimizer) LR(group int) float64 { return o.groups[group].lr }

// SetLR changes the learning rate of the groups, of all if none is named, from the next step on.
func (o *Optimizer) SetLR(lr float64, groups ...int) error {
	if !(lr >= 0 && lr <= math.MaxFloat64) {
		return &HyperparameterError{Algorithm: o.groups[0].setting.Name, Name: "lr", Value: lr, Want: "at least 0, and finite"}
	}
	for _, i := range groups {
		if i < 0 || i >= len(o.groups) {
			return fmt.Errorf("optim: set lr: there is no group %d, only %d of them: %w", i, len(o.groups), device.ErrRange)
		}
	}
	for i, g := range o.groups {
		if len(groups) == 0 || slices.Contains(groups, i) {
			g.lr = lr
		}
	}
	return nil
}

// Close waits for the steps enqueued so far and frees the state. Parameters and gradients stay: they are the caller's.
func (o *Optimizer) Close() error {
	if o.closed {
		return fmt.Errorf("optim: close: optimizer is %w", device.ErrClosed)
	}
	o.closed = true
	return errors.Join(closeAll(o.updates, o.norm), closeParts(o.parts))
}

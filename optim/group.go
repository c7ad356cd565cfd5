package optim

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/rule"
)

// group is a parameter group: what shares hyperparameters.
type group struct {
	index     int
	algorithm Algorithm    // our copy
	setting   rule.Setting // that the algorithm gives, before schedules
	lr        float64      // before its schedule: setting.Hyper's, or what SetLR has put in its place
	lrAt      int          // the learning rate's index in setting.Hyper
	params    []*param
	parts     []*part

	rate      Schedule // of the learning rate
	schedules []scheduled

	common *common // what the optimizer does around all groups' rules

	now    rule.Setting         // of the step that is being made, or was made last
	hyper  []float64            // its Hyper
	moves  map[string]*movedRow // that Move was told of, by name
	lastLR float64              // of the last step
	rateAt *device.Buffer       // a learning rate on the device, of the step that is being recorded; or nil
	taken  bool                 // a step was taken
}

// param is a tensor.
type param struct {
	Param
	group  *group
	part   *part
	id     uint64              // see identity
	n      int                 // elements
	view                       // the matrix view
	matrix bool                // there is one
	lines  [2][]*device.Buffer // of rows and of columns: what each has, by rule.Rule.Fields; nil where no program so far had a use for it
	slots  []*device.Buffer    // state, by group.slots; nil where no program so far had a use for it
	arenas []*arena            // that they lie in
	given  []*device.Buffer    // those of the caller's
	held   *device.Buffer      // what Grad was, and will be again: wrapped memory that is nowhere now; or nil
	summed bool                // gradients have been accumulated since the last step

	tensorSums  *device.Buffer // its kernels.Tensor.Sums; nil where no program so far had a use for it
	tensorState []tensorState  // which lies there

	master     *device.Buffer // the master or remainder beside the value; nil where its format has none
	masterName string
	adopted    bool // a step was taken since the counters were set, so that the master is the tensor's, and not its value
}

// tensorState is state of a tensor, or of its rows or columns, and not of each of its elements.
type tensorState struct {
	domain rule.Domain
	name   string
	b      *device.Buffer
}

func newGroup(index int, alg Algorithm) (*group, error) {
	g := &group{index: index, algorithm: copied(alg)}
	var err error
	if g.setting, err = settingOf(g.algorithm, fmt.Sprintf("group %d", index)); err != nil {
		return nil, err
	}
	if err := g.setting.Check(); err != nil {
		return nil, fmt.Errorf("optim: group %d: algorithm %T: %w", index, alg, err)
	}
	g.setting.Hyper = slices.Clone(g.setting.Hyper)
	g.lrAt = g.setting.Rule.HyperIndex("LR")
	g.lr = g.setting.Hyper[g.lrAt]
	if err := g.checkLR(g.lr, ""); err != nil {
		return nil, err
	}
	g.now, g.hyper = g.setting, slices.Clone(g.setting.Hyper)
	g.now.Hyper = g.hyper
	return g, nil
}

// slots names what the group's tensors may have as state: what a program has, and behind that the sum of gradients.
func (g *group) slots() []string {
	names := kernels.Spec{Rule: g.setting.Rule, Around: g.setting.Around()}.SlotNames()
	return append(slices.Clip(names), accumulator)
}

// gradient is the type of what a step of the tensor takes for its gradient: where there is none, that of the one before, or of the value.
func (p *param) gradient() device.DType {
	switch {
	case p.group.common.accumulate:
		return format.Compute(p.Value.DType())
	case p.Grad != nil:
		return p.Grad.DType()
	case p.held != nil:
		return p.held.DType()
	}
	return p.Value.DType()
}

// grad is what a step takes for the tensor's gradient.
func (p *param) grad() *device.Buffer {
	if p.group.common.accumulate {
		return p.slots[len(p.slots)-1]
	}
	return p.Grad
}

// active says whether the tensor takes the next step.
func (p *param) active() bool {
	if p.group.common.accumulate {
		return p.summed
	}
	return p.Grad != nil
}

// spec is what a step of the tensor runs with a setting.
func (p *param) spec(s rule.Setting) kernels.Spec {
	spec := kernels.SpecOfTypes(s, p.Value.DType(), p.gradient())
	spec.Around |= p.group.common.around()
	return spec.WithMatrix(p.matrix)
}

// partOf is the part of a new tensor: that of tensors with its types which have a gradient, or have none, as it.
func (g *group) partOf(p *param) (*part, error) {
	program, err := kernels.New(p.spec(g.setting))
	if none, ok := errors.AsType[*format.Error](err); ok && none.Slot == rule.Param {
		return nil, p.fail(none)
	}
	if err != nil {
		return nil, fmt.Errorf("optim: group %d: %w", g.index, err)
	}
	for _, q := range g.parts {
		if q.program == program && q.active() == p.active() {
			return q, nil
		}
	}
	q := newPart(g, program)
	g.parts = append(g.parts, q)
	return q, nil
}

// free gives the state of all of the group's tensors back.
func (g *group) free() error {
	var errs []error
	for _, q := range g.parts {
		errs = append(errs, q.close())
	}
	for _, p := range g.params {
		errs = append(errs, p.free())
	}
	return errors.Join(errs...)
}

// group finds one by its index.
func (o *Optimizer) group(what string, index int) (*group, error) {
	if err := o.open(what); err != nil {
		return nil, err
	}
	if index < 0 || index >= len(o.groups) {
		return nil, fmt.Errorf("optim: %s: there is no group %d, only %d of them: %w", what, index, len(o.groups), device.ErrRange)
	}
	if o.groups[index] == nil {
		return nil, fmt.Errorf("optim: %s: group %d %w", what, index, ErrRemoved)
	}
	return o.groups[index], nil
}

// named are the groups of the indices, each once, all there are if there is no index.
func (o *Optimizer) named(what string, indices []int) (out []*group, err error) {
	if err := o.open(what); err != nil {
		return nil, err
	}
	for _, i := range indices {
		g, err := o.group(what, i)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	for _, g := range o.groups {
		if len(indices) == 0 && g != nil {
			out = append(out, g)
		}
	}
	return out, nil
}

// tensor finds one by its name.
func (o *Optimizer) tensor(what, name string) (*param, error) {
	if err := o.open(what); err != nil {
		return nil, err
	}
	p := o.names[name]
	if p == nil {
		return nil, fmt.Errorf("optim: %s: there is no tensor %q", what, name)
	}
	return p, nil
}

// Groups are the groups, by index, and copies of their algorithms as they are now, before schedules.
func (o *Optimizer) Groups() iter.Seq2[int, Algorithm] {
	return func(yield func(int, Algorithm) bool) {
		for _, g := range o.all() {
			if !yield(g.index, copied(g.algorithm)) {
				return
			}
		}
	}
}

// Params are the tensors, each with the index of its group: group by group, in the order in which they were added.
func (o *Optimizer) Params() iter.Seq2[int, Param] {
	return func(yield func(int, Param) bool) {
		for _, g := range o.all() {
			for _, p := range g.params {
				if !yield(g.index, p.Param) {
					return
				}
			}
		}
	}
}

// all are the groups there are.
func (o *Optimizer) all() (out []*group) {
	if o == nil {
		return nil
	}
	for _, g := range o.groups {
		if g != nil {
			out = append(out, g)
		}
	}
	return out
}

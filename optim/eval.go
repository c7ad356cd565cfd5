package optim

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// EvalParams enqueues writing what tensors are to be evaluated with, and given out, to buffers of the caller's, by the tensors'
// names: as many elements, of the value's type. Of a schedule-free optimizer that is the average, of any other the value. Nil
// is the device's default stream. Wrong names are errors, wrong buffers TensorErrors, before anything is written. A GPU's
// stream is waited for.
//
// Values and state stay as they are. The authors of schedule-free optimizers turn the values into averages and back, in place,
// which rounds; here training goes on as if there had been no evaluation, to the last bit. Where a model must be evaluated
// in place, copy its values elsewhere first, and back afterwards. No gradient is read, so their memory may be the buffers.
func (o *Optimizer) EvalParams(s *device.Stream, to map[string]*device.Buffer) error {
	s, err := o.use(s)
	if err != nil {
		return err
	}
	if err := o.checkEvalParams(to); err != nil {
		return err
	}
	for _, q := range o.parts {
		if err := o.evalPart(s, q, to); err != nil {
			return fmt.Errorf("optim: eval params: group %d: %w", q.group, err)
		}
	}
	return nil
}

func (o *Optimizer) evalPart(s *device.Stream, q *part, to map[string]*device.Buffer) error {
	setting := o.groups[q.group].setting
	w := kernels.Work{Program: kernels.Program{Rule: setting.Eval, DType: q.program.DType}, State: []*device.Buffer{q.state}}
	for _, p := range q.params {
		b := to[p.Name]
		if b == nil {
			continue
		}
		if setting.Eval == nil {
			if err := s.Copy(b, p.Value); err != nil {
				return err
			}
			continue
		}
		t := kernels.Tensor{}
		for _, name := range setting.Eval.Slots {
			switch name {
			case rule.Param:
				t.Slots = append(t.Slots, b)
			case rule.Grad:
				t.Slots = append(t.Slots, p.Value)
			default:
				t.Slots = append(t.Slots, p.slots[setting.Rule.Slot(name)])
			}
		}
		w.Tensors = append(w.Tensors, t)
	}
	if len(w.Tensors) == 0 {
		return nil
	}
	u, err := o.backend.Compile(w)
	if err != nil {
		return err
	}
	return errors.Join(u.Enqueue(s, kernels.Step{Groups: []kernels.GroupStep{{Hyper: setting.Hyper, Scale: 1}}}), u.Close())
}

// checkEvalParams finds what is wrong with the buffers, by themselves and beside what is read.
func (o *Optimizer) checkEvalParams(to map[string]*device.Buffer) error {
	var uses []use
	for _, g := range o.groups {
		for _, p := range g.params {
			uses = append(uses, use{p, "value", p.Value, false})
			for k, name := range g.setting.Rule.Slots {
				if b := p.slots[k]; b != nil && name != rule.Param && name != rule.Grad {
					uses = append(uses, use{p, name, b, false})
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(to)) {
		p, b := o.names[name], to[name]
		if p == nil {
			return fmt.Errorf("optim: eval params: there is no tensor %q", name)
		}
		if err := b.Check(o.backend.Device()); err != nil {
			return p.errorf("eval: %w", err)
		}
		if b.DType() != p.Value.DType() {
			return p.fail(&device.DTypeError{What: "eval", Got: b.DType(), Ref: "value", Want: p.Value.DType()})
		}
		if b.Len() != p.Value.Len() {
			return p.fail(&device.LengthError{What: "eval", Got: b.Len(), Ref: "value", Want: p.Value.Len()})
		}
		uses = append(uses, use{p, "eval", b, true})
	}
	return apart(uses)
}

// checkEval says whether a setting's rule for evaluation can be given what its rule for training has.
func checkEval(s rule.Setting) error {
	e := s.Eval
	if e == nil {
		return nil
	}
	state, err := kernels.ProgramOf(s, device.Float32).State()
	if err != nil {
		return err
	}
	if !slices.Equal(e.Hyper, s.Rule.Hyper) || !slices.Equal(e.State, s.Rule.State) || len(e.Options) != 0 {
		return fmt.Errorf("rule %s for evaluation must have no options, and the hyperparameters and state of rule %s", e.Name, s.Rule.Name)
	}
	for _, name := range e.Slots {
		if name != rule.Param && name != rule.Grad && !slices.Contains(state, name) {
			return fmt.Errorf("rule %s for evaluation has a slot %q, rule %s has only %q", e.Name, name, s.Rule.Name, state)
		}
	}
	return nil
}

package optim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// evaluation is what EvalParams was asked for last, compiled.
type evaluation struct {
	to      map[string]*device.Buffer
	of      []*part
	updates []evalUpdate
	copies  []*param
}

// evalUpdate is what makes averages of parts' values.
type evalUpdate struct {
	update kernels.Update
	parts  []*part
}

// moved says that tensors or targets are elsewhere, or others.
func (e *evaluation) moved() { e.to = nil }

func (e *evaluation) close() error {
	var errs []error
	for _, u := range e.updates {
		errs = append(errs, u.update.Close())
	}
	*e = evaluation{}
	return errors.Join(errs...)
}

// EvalParams enqueues writing tensors as they are to be evaluated, and given out, to buffers of the caller's. For a schedule-free
// optimizer and for Averaged that is the average, for any other the value. A buffer is found under its tensor's name in to; it has as many elements
// as the value, and its type. Tensors that to does not name are passed over. A nil stream is the device's default stream. A wrong
// name is an error, a wrong buffer a TensorError; then nothing is written. What is compiled is kept for the next call with the same
// buffers.
//
// Values and state stay as they are. The authors of schedule-free optimizers turn the values into averages and back, in place,
// which rounds; here training goes on as if there had been no evaluation, to the last bit. Where a model must be evaluated
// in place, copy its values elsewhere first, and back afterwards. No gradient is read, so their memory may be the buffers.
func (o *Optimizer) EvalParams(s *device.Stream, to map[string]*device.Buffer) error {
	s, err := o.use("eval params", s)
	if err != nil {
		return err
	}
	var parts []*part
	for _, g := range o.all() {
		parts = append(parts, g.parts...)
		if !g.taken && o.steps > 0 { // the last step was another optimizer's, from which this one goes on
			if err := g.follow(o.steps - 1); err != nil {
				return err
			}
		}
	}
	if err := o.checkEvalParams(to); err != nil {
		return err
	}
	if o.eval.to == nil || !maps.Equal(o.eval.to, to) || !slices.Equal(o.eval.of, parts) {
		if err := o.eval.close(); err != nil {
			return fmt.Errorf("optim: eval params: what was compiled before could not be freed: %w", err)
		}
		if err := o.eval.compile(o.backend, parts, to); err != nil {
			return errors.Join(fmt.Errorf("optim: eval params: %w", err), o.eval.close())
		}
	}
	for _, p := range o.eval.copies {
		if err := s.Copy(to[p.Name], p.Value); err != nil {
			return fmt.Errorf("optim: eval params: group %d: %w", p.group.index, err)
		}
	}
	for _, u := range o.eval.updates {
		var step kernels.Step
		for _, q := range u.parts {
			if err := q.adoptFirst(s); err != nil {
				return err
			}
			step.Groups = append(step.Groups, kernels.GroupStep{Hyper: q.evalHyper(), Scale: 1})
		}
		if err := u.update.Enqueue(s, step); err != nil {
			return fmt.Errorf("optim: eval params: %w", err)
		}
	}
	return nil
}

// evaluator is the rule for evaluation, or nil: the value is what is evaluated.
func (q *part) evaluator() *rule.Rule {
	if q.group.setting.EMA {
		return rules.AverageRule().Rule
	}
	return q.group.setting.Eval
}

// evalHyper is what it is given: the hyperparameters of the rule that trains, of an average none but the learning rate.
func (q *part) evalHyper() []float64 {
	if at := q.group.lrAt; q.group.setting.EMA {
		return q.group.now.Hyper[at : at+1]
	}
	return q.group.now.Hyper
}

// evalCounters are its counters: those of the rule that trains, of an average the step.
func (q *part) evalCounters() (*device.Buffer, error) {
	if q.group.setting.EMA {
		at := q.program.StepCounter()
		return q.counters.Slice(at, at+1)
	}
	return q.counters.Slice(0, len(q.group.setting.Rule.Counters))
}

// evalSpec is a rule for evaluation on what the part's tensors are held in. The average is held as the value is, without a master.
func (q *part) evalSpec(r *rule.Rule) kernels.Spec {
	var formats []string
	for _, name := range r.Slots {
		var held string
		switch name {
		case rule.Param:
			held = q.params[0].Value.DType().Short()
		case rule.Grad: // the value
			held = q.program.Slots[q.program.Slot(rule.Param)].Format.String()
		default:
			held = q.program.Slots[q.program.Slot(name)].Format.String()
		}
		formats = append(formats, name+"="+held)
	}
	return kernels.Spec{Rule: r, Compute: q.program.Compute, Formats: strings.Join(formats, " "), Eval: true}
}

// compile makes one update for each rule for evaluation and what it runs on is held in.
func (e *evaluation) compile(b Backend, parts []*part, to map[string]*device.Buffer) (err error) {
	works := map[*kernels.Program]*kernels.Work{}
	of := map[*kernels.Program][]*part{}
	var programs []*kernels.Program
	for _, q := range parts {
		evaluator := q.evaluator()
		var program *kernels.Program
		if evaluator != nil && len(q.params) > 0 {
			if program, err = kernels.New(q.evalSpec(evaluator)); err != nil {
				return err
			}
		}
		at := -1
		for _, p := range q.params {
			target := to[p.Name]
			if target == nil {
				continue
			}
			if evaluator == nil {
				e.copies = append(e.copies, p)
				continue
			}
			w := works[program]
			if w == nil {
				w = &kernels.Work{Program: program}
				works[program] = w
				programs = append(programs, program)
			}
			if at < 0 {
				counters, err := q.evalCounters()
				if err != nil {
					return err
				}
				at = len(w.Counters)
				w.Counters, of[program] = append(w.Counters, counters), append(of[program], q)
			}
			t := kernels.Tensor{Group: at, ID: p.id, Shape: p.shape()}
			for k, plane := range program.Planes {
				switch slot := program.Of(k); {
				case slot.Role == kernels.Evaluated:
					t.Planes = append(t.Planes, target)
				case plane.Name != "":
					t.Planes = append(t.Planes, p.master)
				case slot.Role == kernels.Parameter:
					t.Planes = append(t.Planes, p.Value)
				default:
					t.Planes = append(t.Planes, p.slots[slices.Index(q.group.slots(), slot.Name)])
				}
			}
			w.Tensors = append(w.Tensors, t)
		}
	}
	for _, program := range programs {
		u, err := b.Compile(*works[program])
		if err != nil {
			return err
		}
		e.updates = append(e.updates, evalUpdate{u, of[program]})
	}
	e.to, e.of = maps.Clone(to), slices.Clone(parts)
	if e.to == nil {
		e.to = map[string]*device.Buffer{}
	}
	return nil
}

// checkEvalParams finds what is wrong with the buffers, by themselves and beside what is read.
func (o *Optimizer) checkEvalParams(to map[string]*device.Buffer) error {
	var uses []use
	for _, name := range slices.Sorted(maps.Keys(to)) {
		p, err := o.tensor("eval params", name)
		if err != nil {
			return err
		}
		b := to[name]
		if err := b.Check(o.backend.Device()); err != nil {
			return p.errorf("eval: %w", err)
		}
		if err := p.same("eval", b, "value", p.Value); err != nil {
			return err
		}
		u := use{p, "eval", b, true}
		if v := o.memory.writes(o).hit(b); v != nil {
			return overlap(&u, v)
		}
		uses = append(uses, u)
	}
	return apart(uses)
}

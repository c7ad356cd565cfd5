package rule

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/fusestep/fusestep/kernels/ir"
)

// Check says what is wrong with a setting. One that was made by a Definition's With can be wrong in its numbers alone. No
// hyperparameter may be NaN, and LR must be finite. What else hyperparameters must be is checked by their algorithm.
func (s Setting) Check() error {
	r := s.Rule
	if r == nil {
		return fmt.Errorf("setting %q has no rule", s.Name)
	}
	if err := r.runs(); err != nil {
		return err
	}
	if len(s.Hyper) != len(r.Hyper) {
		return fmt.Errorf("rule %s: there are %d hyperparameters, must be %d: %q", r.Name, len(s.Hyper), len(r.Hyper), r.Hyper)
	}
	for i, x := range s.Hyper {
		if math.IsNaN(x) || math.IsInf(x, 0) && i == r.HyperIndex("LR") {
			return fmt.Errorf("rule %s: hyperparameter %s is %v, must be a number", r.Name, r.Hyper[i], x)
		}
	}
	if bits.Len64(s.Options) > len(r.Options) {
		return fmt.Errorf("rule %s: the options are %#b, must be of %d bits: %q", r.Name, s.Options, len(r.Options), r.Options)
	}
	if s.EMA && (s.Eval != nil || r.Keeps(Average)) {
		return fmt.Errorf("rule %s: there is an average already, of Eval or called %q: the setting must be without EMA", r.Name, Average)
	}
	if s.Eval != nil {
		return s.checkEval()
	}
	return nil
}

// runs says whether a rule has functions to run.
func (r *Rule) runs() error {
	if r.runPrologue == nil {
		return fmt.Errorf("rule %s has no functions: it was not made by New, NewStaged or Read", r.Name)
	}
	return nil
}

// checkEval says whether the rule for evaluation can be given what the rule for training has, and changes nothing of it.
func (s Setting) checkEval() error {
	r, e := s.Rule, s.Eval
	if err := e.runs(); err != nil {
		return err
	}
	if len(e.Options) != 0 {
		return fmt.Errorf("rule %s for evaluation has the options %q, must have none", e.Name, e.Options)
	}
	if !slices.Equal(e.Hyper, r.Hyper) {
		return fmt.Errorf("rule %s for evaluation has the hyperparameters %q, must have those of rule %s: %q", e.Name, e.Hyper, r.Name, r.Hyper)
	}
	if !slices.Equal(e.Counters, r.Counters) {
		return fmt.Errorf("rule %s for evaluation has the counters %v, must have those of rule %s: %v", e.Name, e.Counters, r.Name, r.Counters)
	}
	if e.Stages != 1 || e.Tensor != nil || e.Row != nil || e.Column != nil {
		return fmt.Errorf("rule %s for evaluation has tensor functions or fields, must be one element function alone", e.Name)
	}
	uses := make([]bool, len(r.Slots))
	for stage := range r.Stages {
		trained, err := r.Element(stage, 64, s.Options)
		if err != nil {
			return err
		}
		for i := range uses {
			uses[i] = uses[i] || slices.Contains(trained.Loads(), i) || slices.ContainsFunc(trained.Stores, func(s ir.Store) bool { return s.Var == i })
		}
	}
	var used []string
	for i, slot := range r.Slots {
		if uses[i] {
			used = append(used, slot)
		}
	}
	for _, slot := range e.Slots {
		if slot != Param && slot != Grad && !slices.Contains(used, slot) {
			return fmt.Errorf("rule %s for evaluation has the slot %q, but rule %s has %q with these options", e.Name, slot, r.Name, used)
		}
	}
	elem, err := e.Element(0, 64, 0)
	if err != nil {
		return err
	}
	for _, st := range elem.Stores {
		if slot := e.Slots[st.Var]; slot != Param {
			return fmt.Errorf("rule %s for evaluation stores slot %q, may store %q alone", e.Name, slot, Param)
		}
	}
	pro, err := e.Prologue(0)
	if err != nil {
		return err
	}
	for _, st := range pro.Stores {
		if f := pro.Vars[st.Var]; f.Bank == CounterBank {
			return fmt.Errorf("rule %s for evaluation changes the counter %q: evaluating is no step", e.Name, e.Counters[f.Index].Name)
		}
	}
	return nil
}

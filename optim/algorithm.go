package optim

import (
	"fmt"
	"math"

	"github.com/fusestep/fusestep/kernels/rule"
)

// Algorithm is an optimizer's hyperparameters: one of this package's structs, or a type of the user's own for a rule of the
// user's own. Fields of a user's struct are hyperparameters as those of this package are: see Optimizer.Hyperparameters. Fields with
// the tag `hyper:"-"` are none.
type Algorithm interface {
	// Setting checks the hyperparameters and gives them to the rule.
	Setting() (rule.Setting, error)
}

// settingOf is an algorithm's setting, or an error where there is none to ask. Of says whose algorithm it is.
func settingOf(a Algorithm, of string) (rule.Setting, error) {
	if isNil(a) {
		return rule.Setting{}, fmt.Errorf("optim: %s: the algorithm is nil", of)
	}
	s, err := a.Setting()
	if err == nil && s.Rule == nil {
		err = fmt.Errorf("optim: %s: algorithm %T gives no rule", of, a)
	}
	return s, err
}

// fromDefault is in the struct of every algorithm here. Only the struct's Default function sets it, and Setting refuses a value
// without it, such as Adam{LR: 0.1}: its betas and eps would be 0, which nobody meant. A field that is 0 in a value that has it
// was set to 0, or is 0 by default.
type fromDefault bool

// ranges starts to check a value of the algorithm. Start is the function that such a value must start from.
func (f fromDefault) ranges(algorithm, start string) ranges {
	r := ranges{algorithm: algorithm}
	if !f {
		r.err = &DefaultError{Algorithm: algorithm, Default: start}
	}
	return r
}

// decay is weight_decay as a rule has it: coupled, a term of the gradient, or decoupled, a factor of the parameter.
func decay(weightDecay float64, decouple bool) (coupled, decoupled float64) {
	if decouple {
		return 0, weightDecay
	}
	return weightDecay, 0
}

// flag is an option that changes scalars alone, which a prologue reads as a number.
func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// ranges collects the first hyperparameter, or field of a schedule, that is out of range. All must be finite.
type ranges struct {
	algorithm string
	err       error
}

func (r *ranges) require(name string, x float64, ok bool, want string) {
	if r.err == nil && (!ok || math.IsNaN(x) || math.IsInf(x, 0)) {
		r.err = &HyperparameterError{Algorithm: r.algorithm, Name: name, Value: x, Want: want}
	}
}

// needs refuses a flag that is on without what it needs.
func (r *ranges) needs(name string, on, has bool, what string) {
	if r.err == nil && on && !has {
		r.err = &HyperparameterError{Algorithm: r.algorithm, Name: name, Value: 1, Want: what, Flag: true}
	}
}

func (r *ranges) atLeast0(name string, x float64) {
	r.require(name, x, x >= 0, "at least 0, and finite")
}

func (r *ranges) count(name string, n, least int) {
	r.require(name, float64(n), n >= least, fmt.Sprintf("at least %d", least))
}

func (r *ranges) beta(name string, x float64) {
	r.require(name, x, x >= 0 && x < 1, "at least 0 and below 1")
}

package optim

import "github.com/fusestep/fusestep/kernels/rule"

// Regularized is any algorithm with penalties beside its own: one of this package's, or one with a rule of the user's own. The
// program around the rule applies them, so that they cost no further pass. State and name are the algorithm's.
//
// A penalty that the algorithm has already is a HyperparameterError. What a rule solves for by itself, as FTRL and the proximal
// algorithms do with theirs and Adan with its decay, is another penalty and stays beside these.
//
// In the order of PyTorch's AdamW the parameter is multiplied by 1 - lr·weight_decay, and then the step is subtracted. Where
// lr·weight_decay is too small for the type, that product is the parameter: see AdamW.
type Regularized struct {
	Algorithm   Algorithm
	L1          float64 // at least 0: l1·sign(p) is added to the gradient, 0 where p is 0
	WeightDecay float64 // at least 0: weight_decay·p is added to the gradient; with Decoupled p is multiplied by 1 - lr·weight_decay
	Decoupled   bool
}

// Setting implements Algorithm.
func (c Regularized) Setting() (rule.Setting, error) {
	s, err := settingOf(c.Algorithm, "regularized")
	if err != nil {
		return rule.Setting{}, err
	}
	r := ranges{algorithm: "regularized " + s.Name}
	r.atLeast0("l1", c.L1)
	r.atLeast0("weight_decay", c.WeightDecay)
	coupled, decoupled := decay(c.WeightDecay, c.Decoupled)
	r.once("l1", c.L1, &s.L1)
	r.once("weight_decay", coupled, &s.WeightDecay)
	r.once("weight_decay", decoupled, &s.DecoupledDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	return s, nil
}

// once sets a penalty that is not set yet.
func (r *ranges) once(name string, x float64, to *float64) {
	if x == 0 {
		return
	}
	r.require(name, x, *to == 0, "0, as the algorithm has this penalty already")
	*to = x
}

package optim

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// checkPrecision finds a hyperparameter that tensors of the type cannot have: one that the type turns into 0 or an infinity. An eps
// of 1e-46 is 0 in float32, and then 0/0 is where a gradient is 0. It also checks the penalties, which an Algorithm of the user's
// own may set to anything. The error is a HyperparameterError.
func checkPrecision(s rule.Setting, t device.DType) error {
	r := ranges{algorithm: s.Name}
	for _, p := range []struct {
		name string
		x    float64
	}{{"l1", s.L1}, {"weight_decay", s.WeightDecay}, {"weight_decay", s.DecoupledDecay}} {
		r.atLeast0(p.name, p.x)
		r.holds(p.name, p.x, t)
	}
	for i, field := range s.Rule.Hyper {
		if !inProloguesOnly[s.Rule.Name+"."+field] {
			r.holds(hyperName(s, field), s.Hyper[i], t)
		}
	}
	return r.err
}

// inProloguesOnly are the hyperparameters that no number of an element's type is made of directly: a prologue uses them in float64.
var inProloguesOnly = map[string]bool{
	"NAdam.MomentumFactor": true, // its powers are factors of betas[0]
	"AdEMAMix.LogRatio":    true, // an exponent
}

// holds refuses a number that the type turns into 0 or an infinity.
func (r *ranges) holds(name string, x float64, t device.DType) {
	if t != device.Float32 || r.err != nil {
		return
	}
	switch y := float64(float32(x)); {
	case x != 0 && y == 0:
		r.err = &HyperparameterError{Algorithm: r.algorithm, Name: name, Value: x, Want: "0, or at least 2^-149, which is the least that float32 has"}
	case !math.IsInf(x, 0) && math.IsInf(y, 0):
		r.err = &HyperparameterError{Algorithm: r.algorithm, Name: name, Value: x, Want: "below 2^128, which float32 takes for infinity"}
	}
}

// otherNames are the PyTorch names that are not those of the fields of rules' hyperparameters.
var otherNames = map[string]string{
	"DecayAtY": "weight_decay", "ProximalDecay": "weight_decay", "PostDecay": "norm_coefficient_post", "EtaMinus": "etas[0]",
	"EtaPlus": "etas[1]", "StepMin": "step_sizes[0]", "StepMax": "step_sizes[1]", "EpsOutside": "eps", "Clip": "clip_threshold",
	"BiasBeta1": "beta1",
}

// hyperName is a rule's hyperparameter as PyTorch spells it: betas[0] where a rule has more than one, else in snake case.
func hyperName(s rule.Setting, field string) string {
	if name, ok := otherNames[field]; ok {
		return name
	}
	if s.Name == "schedulefreesgd" && field == "Beta1" {
		return "momentum"
	}
	if n, ok := strings.CutPrefix(field, "Beta"); ok {
		if k, err := strconv.Atoi(n); err == nil && slices.Contains(s.Rule.Hyper, "Beta2") {
			return "betas[" + strconv.Itoa(k-1) + "]"
		}
	}
	return snake(field)
}

package optim

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/rule"
)

// checkPrecision finds a hyperparameter that a program of these types cannot have: one that the type that it calculates with turns into 0 or an
// infinity, or that is what state starts with, of a type that does. An eps of 1e-46 is 0 in float32, and then 0/0 is where a gradient is 0. It also
// checks the penalties, which an Algorithm of the user's own may set to anything. The error is a HyperparameterError.
func checkPrecision(s rule.Setting, of kernels.Spec) error {
	r, t := ranges{algorithm: s.Name}, of.Compute
	for _, p := range []struct {
		name string
		x    float64
	}{{"l1", s.L1}, {"weight_decay", s.WeightDecay}, {"weight_decay", s.DecoupledDecay}} {
		r.atLeast0(p.name, p.x)
		r.holds(p.name, p.x, t)
	}
	if s.EMA {
		r.require("ema_decay", s.EMADecay, s.EMADecay >= 0 && s.EMADecay <= 1, "at least 0, at most 1")
		r.holds("ema_decay", s.EMADecay, t)
	}
	for i, field := range s.Rule.Hyper {
		if !inProloguesOnly[s.Rule.Name+"."+field] {
			r.holds(hyperName(s, field), s.Hyper[i], t)
		}
	}
	if r.err == nil && slices.ContainsFunc(s.Rule.Start, func(h int) bool { return h >= 0 }) {
		formats, err := format.ParseSpec(of.Formats, of.SlotNames(), t)
		if err != nil {
			return err
		}
		for k, h := range s.Rule.Start {
			if h >= 0 {
				r.holds(hyperName(s, s.Rule.Hyper[h]), s.Hyper[h], formats[k].Planes()[0].DType)
			}
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
	if t == device.Float64 || r.err != nil {
		return
	}
	switch y := t.Round(x); {
	case x != 0 && y == 0:
		r.require(name, x, false, fmt.Sprintf("0, or at least 2^%d, which is the least that %s has", extent[t].least, t))
	case !math.IsInf(x, 0) && math.IsInf(y, 0):
		r.require(name, x, false, fmt.Sprintf("below 2^%d, which %s takes for infinity", extent[t].beyond, t))
	}
}

// extent are the powers of 2 that are a type's least number, and the first beyond its largest.
var extent = map[device.DType]struct{ least, beyond int }{device.Float32: {-149, 128}, device.BFloat16: {-133, 128}, device.Float16: {-24, 16}}

// otherNames are the PyTorch names that are not those of the fields of rules' hyperparameters.
var otherNames = map[string]string{
	"DecayAtY": "weight_decay", "ProximalDecay": "weight_decay", "PostDecay": "norm_coefficient_post", "EtaMinus": "etas[0]",
	"EtaPlus": "etas[1]", "StepMin": "step_sizes[0]", "StepMax": "step_sizes[1]", "EpsOutside": "eps", "Clip": "clip_threshold",
	"BiasBeta1": "beta1", "Eps1": "eps[0]", "Eps2": "eps[1]", "InitialAccumulator": "initial_accumulator_value",
}

// hyperName is a rule's hyperparameter as PyTorch spells it: betas[0] where a rule has more than one, else in snake case.
func hyperName(s rule.Setting, field string) string {
	if name, ok := otherNames[field]; ok {
		return name
	}
	switch {
	case s.Name == "schedulefreesgd" && field == "Beta1":
		return "momentum"
	case s.Name == "prodigy" && field == "Beta3":
		return "beta3"
	}
	if n, ok := strings.CutPrefix(field, "Beta"); ok {
		if k, err := strconv.Atoi(n); err == nil && slices.Contains(s.Rule.Hyper, "Beta2") {
			return "betas[" + strconv.Itoa(k-1) + "]"
		}
	}
	return snake(field)
}

package optim

import "github.com/fusestep/fusestep/kernels/rule"

// Averaged is any algorithm whose steps also keep an exponential moving average of the values, which EvalParams gives: one of this
// package's, or one with a rule of the user's own. Name and hyperparameters are the algorithm's, and "ema_decay" beside them. It and Stored
// may be around each other.
//
// The average is state "ema". In a tensor's first step it becomes the value, and in each later one
//
//	ema = ema_decay·ema + (1 - ema_decay)·value
//
// as torch.optim.swa_utils.AveragedModel computes it with get_ema_avg_fn, to the last bit, but that what is smaller than the smallest normal number
// becomes 0. The value is the one that the step has computed: where memory holds it in 16 bits, it is not rounded to them first. The average is of
// the type that is calculated with, unless the State of a Stored around it names "ema".
//
// A group has an average from its beginning, or never: SetAlgorithm does not change that. An algorithm that evaluates an average of its
// own is a HyperparameterError.
type Averaged struct {
	Algorithm Algorithm
	Decay     float64 `hyper:"ema_decay"` // above 0, at most 1
}

// Setting implements Algorithm.
func (c Averaged) Setting() (rule.Setting, error) {
	s, err := settingOf(c.Algorithm, "averaged")
	if err != nil {
		return rule.Setting{}, err
	}
	r := ranges{algorithm: "averaged " + s.Name}
	r.require("ema_decay", c.Decay, c.Decay > 0 && c.Decay <= 1, "above 0, at most 1")
	r.require("ema_decay", c.Decay, s.Eval == nil && !s.EMA, "left out, as the algorithm has an average already")
	r.require("ema_decay", c.Decay, s.Rule.Slot(rule.Average) < 0, `left out, as the rule has state "ema" of its own`)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s.EMA, s.EMADecay = true, c.Decay
	return s, nil
}

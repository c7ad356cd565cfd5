package main

import (
	"fmt"

	"github.com/fusestep/fusestep/kernels/rule"
)

// Settings are Concord's hyperparameters. They implement optim.Algorithm, which is all that optim.New asks for.
type Settings struct {
	LR          float64
	Beta        float64 // of the running mean, below 1
	Limit       float64 // of an element's step, before LR
	Doubt       float64 // part of the step that is taken against the newest gradient
	WeightDecay float64 // decoupled, as AdamW's
}

// Setting implements optim.Algorithm.
func (c Settings) Setting() (rule.Setting, error) {
	if !(c.LR >= 0 && c.Beta >= 0 && c.Beta < 1 && c.Limit > 0) {
		return rule.Setting{}, fmt.Errorf("concord: %+v: LR must be at least 0, Beta at least 0 and below 1, Limit above 0", c)
	}
	def, err := concordRule()
	if err != nil {
		return rule.Setting{}, err
	}
	return def.With(ConcordHyper(c), ConcordOptions{Decay: c.WeightDecay != 0}), nil
}

package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed prodigy.go
var prodigySource string

// ProdigyRule is Prodigy.
var ProdigyRule = defineStaged(ProdigyPrologue, prodigySource,
	rule.Elements(ProdigyMoments[float32], ProdigyMoments[float64]), rule.All(ProdigyDistance), rule.Elements(Prodigy[float32], Prodigy[float64]))

// ProdigyElem is one element of a parameter under Prodigy. S is the average of the gradients, and P0 the parameter before the first step.
type ProdigyElem[F rule.Float] struct {
	P  F `slot:"param"`
	G  F `slot:"grad"`
	M  F `slot:"exp_avg"`
	V  F `slot:"exp_avg_sq"`
	S  F `slot:"s"`
	P0 F `slot:"p0"`
}

// ProdigyScalars are what Prodigy's prologue computes. First is 1 in the first step, and Safeguard is 1 where S is without the learning rate. Rate is the
// learning rate with Adam's bias corrections, and MaxGrowth 0 where nothing limits it.
type ProdigyScalars[F rule.Float] struct {
	First, Rate, Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, Beta3, Eps, Decay, D0, DCoef, MaxGrowth, Safeguard F
}

// ProdigyTensor is what all tensors have together under Prodigy. D is the estimate of the distance to the solution: 0 before the first step, which
// has D0. Rate is that times the learning rate, before the step has changed it. Moves is 0 where parameters stay.
type ProdigyTensor[F rule.Float] struct {
	Dot        F `all:"sum"`
	Sum        F `all:"sum"`
	D          F `state:"d"`
	DMax       F `state:"d_max"`
	DNumerator F `state:"d_numerator"`
	Rate       F
	Moves      F
}

// ProdigyOptions is empty.
type ProdigyOptions struct{}

// ProdigyMoments is the first half of Prodigy: it makes the moments, of gradients multiplied by d, and what the estimate is made of. Without a learning rate
// the step changes nothing. P0 is stored in each step: a choice between numbers stores one of them.
func ProdigyMoments[F rule.Float](e *ProdigyElem[F], s *ProdigyScalars[F], t *ProdigyTensor[F], o ProdigyOptions) {
	p0 := e.P0
	if s.First != 0 {
		p0 = e.P
	}
	e.P0 = rule.Flush(p0)
	if s.Rate == 0 {
		t.Dot, t.Sum = 0, 0
		return
	}
	d := t.D
	if d == 0 {
		d = s.D0
	}
	weight := F(d * s.Rate)
	if s.Safeguard != 0 {
		weight = d
	}
	weight = F(weight * (d / s.D0))
	m := rule.Flush(F(s.Beta1*e.M) + F(F(s.OneMinusBeta1*d)*e.G))
	sum := rule.Flush(F(s.Beta3*e.S) + F(weight*e.G))
	t.Dot, t.Sum = e.G*(p0-e.P), rule.Abs(sum)
	e.V = rule.FlushWith(F(s.Beta2*e.V)+F(F(F(F(s.OneMinusBeta2*d)*d)*e.G)*e.G), m)
	e.M, e.S = m, sum
}

// ProdigyDistance makes the next estimate, which no step makes smaller, of the gradients' way along the parameters' so far. Where there is no gradient all stays.
func ProdigyDistance(t *ProdigyTensor[float64], s *ProdigyScalars[float64], o ProdigyOptions) {
	d, most := t.D, t.DMax
	if d == 0 {
		d, most = s.D0, s.D0
	}
	t.Rate, t.Moves = d*s.Rate, 0
	if t.Sum != 0 {
		t.Moves = 1
		t.DNumerator = float64(s.Beta3*t.DNumerator) + float64(d/s.D0*float64(t.Rate)*t.Dot)
		hat := s.DCoef * t.DNumerator / t.Sum
		if d == s.D0 {
			d = rule.Max(d, hat)
		}
		most = rule.Max(most, hat)
		if s.MaxGrowth != 0 {
			d = rule.Min(most, d*s.MaxGrowth)
		} else {
			d = most
		}
	}
	t.D, t.DMax = d, most
}

// Prodigy: Mishchenko & Defazio 2023, in the order of the authors' package prodigyopt: Adam whose learning rate is multiplied by an estimate of the distance to
// the solution. The step has the estimate before it, and the one behind it in eps.
func Prodigy[F rule.Float](e *ProdigyElem[F], s *ProdigyScalars[F], t *ProdigyTensor[F], o ProdigyOptions) {
	if t.Moves == 0 {
		return
	}
	e.P = F(e.P*(1-F(s.Decay*t.Rate))) - F(t.Rate*(e.M/(rule.Sqrt(e.V)+F(t.D*s.Eps))))
}

// ProdigyHyper are Prodigy's hyperparameters. BiasCorrection and Safeguard are off when 0.
type ProdigyHyper struct {
	LR, Beta1, Beta2, Beta3, Eps, WeightDecay, D0, DCoef, GrowthRate, BiasCorrection, Safeguard float64
}

// ProdigyCounters are what Prodigy keeps for a group: the powers as running products, which every device computes alike.
type ProdigyCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
}

// ProdigyPrologue computes the scalars of a step.
func ProdigyPrologue(h *ProdigyHyper, t *ProdigyCounters, s *ProdigyScalars[float64], o ProdigyOptions) {
	s.First = 0
	if t.Step == 0 {
		s.First = 1
	}
	t.Step += 1
	t.Beta1Power *= h.Beta1
	t.Beta2Power *= h.Beta2
	s.Rate = h.LR
	if h.BiasCorrection != 0 {
		s.Rate = h.LR * rule.Sqrt(1-float64(t.Beta2Power)) / (1 - float64(t.Beta1Power))
	}
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	s.Beta3, s.Eps, s.Decay = h.Beta3, h.Eps, h.WeightDecay
	s.D0, s.DCoef, s.MaxGrowth, s.Safeguard = h.D0, h.DCoef, h.GrowthRate, h.Safeguard
}

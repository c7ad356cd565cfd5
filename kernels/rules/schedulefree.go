package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed schedulefree.go
var scheduleFreeSource string

// ScheduleFreeRule is schedule-free SGD, and with the option Adam schedule-free AdamW.
var ScheduleFreeRule = define(ScheduleFree[float32], ScheduleFree[float64], ScheduleFreePrologue, scheduleFreeSource)

// ScheduleFreeAverageRule makes of what ScheduleFreeRule trains what is to be evaluated.
var ScheduleFreeAverageRule = define(ScheduleFreeAverage[float32], ScheduleFreeAverage[float64], ScheduleFreeAveragePrologue,
	scheduleFreeSource)

// ScheduleFreeElem is one element of a parameter under a schedule-free optimizer. The parameter is the paper's y, where gradients
// are taken.
type ScheduleFreeElem[F rule.Float] struct {
	Y F `slot:"param"`
	G F `slot:"grad"`
	Z F `slot:"z"`
	V F `slot:"exp_avg_sq"`
}

// ScheduleFreeScalars are what the prologue computes. First is 1 in the first step, 0 after it. Average is the paper's c.
type ScheduleFreeScalars[F rule.Float] struct {
	First, Average, GradStep, LR, DecayAtY, Beta2, OneMinusBeta2, InvSqrtBias2, Eps F
}

// ScheduleFreeOptions says whether steps are SGD's or Adam's, and whether Adam's have their decay at y.
type ScheduleFreeOptions struct{ Adam, DecayAtY bool }

// ScheduleFree: Defazio et al. 2024, in the order of the authors' package schedulefree: z takes the steps, x is the average of
// where it was, and y = (1-β1)·z + β1·x moves without x being stored. In the first step z is y. Adam's decay is at y, and does
// not enter the second moment. Theirs interpolates from z where c is at least a half, which it is in the first steps alone;
// this does from y always. Its denominator is √(v/(1-β2^t)) + eps, this one's has a reciprocal, as Adam's has here.
func ScheduleFree[F rule.Float](e *ScheduleFreeElem[F], s *ScheduleFreeScalars[F], o ScheduleFreeOptions) {
	y, z, g := e.Y, e.Z, e.G
	if s.First != 0 {
		z = y
	}
	if o.Adam {
		v := rule.FlushWith(F(s.Beta2*e.V)+F(F(s.OneMinusBeta2*g)*g), g)
		e.V = v
		g /= F(rule.Sqrt(v)*s.InvSqrtBias2) + s.Eps
		if o.DecayAtY {
			g += F(s.DecayAtY * y)
		}
	}
	e.Y = y + F(s.Average*(z-y)) + F(s.GradStep*g)
	e.Z = rule.Flush(z - F(s.LR*g))
}

// ScheduleFreeHyper are the hyperparameters of schedule-free optimizers. Beta1 is SGD's momentum.
type ScheduleFreeHyper struct{ LR, Beta1, Beta2, Eps, DecayAtY, WarmupSteps, R, WeightLRPower float64 }

// ScheduleFreeCounters are what a schedule-free optimizer keeps for a group. Without Adam the power is 0.
type ScheduleFreeCounters struct {
	Step       float64 `counter:"step"`
	LRMax      float64 `counter:"lr_max"`
	WeightSum  float64 `counter:"weight_sum"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
}

// ScheduleFreePrologue computes the scalars of a step.
func ScheduleFreePrologue(h *ScheduleFreeHyper, t *ScheduleFreeCounters, s *ScheduleFreeScalars[float64], o ScheduleFreeOptions) {
	s.First = 0
	if t.Step == 0 {
		s.First = 1
	}
	t.Step += 1
	t.Beta2Power *= h.Beta2
	lr := h.LR
	if t.Step < h.WarmupSteps {
		lr = float64(h.LR * (t.Step / h.WarmupSteps))
	}
	t.LRMax = rule.Max(lr, t.LRMax)
	weight := float64(rule.Pow(t.Step, h.R) * rule.Pow(t.LRMax, h.WeightLRPower))
	t.WeightSum += weight
	s.Average = 0
	if t.WeightSum != 0 {
		s.Average = weight / t.WeightSum
	}
	s.GradStep = lr * (float64(h.Beta1*(1-s.Average)) - 1)
	s.LR, s.DecayAtY, s.Eps = lr, h.DecayAtY, h.Eps
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	s.InvSqrtBias2 = 1 / rule.Sqrt(1-float64(t.Beta2Power))
}

// ScheduleFreeAverageElem is one element of the average: X is written, Y and Z are those of ScheduleFreeElem.
type ScheduleFreeAverageElem[F rule.Float] struct {
	X F `slot:"param"`
	Y F `slot:"grad"`
	Z F `slot:"z"`
}

// ScheduleFreeAverageScalars are what ScheduleFreeAveragePrologue computes.
type ScheduleFreeAverageScalars[F rule.Float] struct{ Beyond F }

// ScheduleFreeAverage solves y = (1-β1)·z + β1·x for x, as the authors' eval does, but not in place.
func ScheduleFreeAverage[F rule.Float](e *ScheduleFreeAverageElem[F], s *ScheduleFreeAverageScalars[F], _ struct{}) {
	e.X = e.Y + F(s.Beyond*(e.Z-e.Y))
}

// ScheduleFreeAveragePrologue computes the scalars. Before the first step there is no z, and x is y.
func ScheduleFreeAveragePrologue(h *ScheduleFreeHyper, t *ScheduleFreeCounters, s *ScheduleFreeAverageScalars[float64], _ struct{}) {
	s.Beyond = 1 - 1/h.Beta1
	if t.Step == 0 {
		s.Beyond = 0
	}
}

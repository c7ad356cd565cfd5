package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed novograd.go
var novogradSource string

// NovoGradRule is NovoGrad.
var NovoGradRule = defineStaged(NovoGradPrologue, novogradSource,
	rule.Elements(NovoGradNorm[float32], NovoGradNorm[float64]), rule.Tensors(NovoGradSquares), rule.Elements(NovoGrad[float32], NovoGrad[float64]))

// NovoGradElem is one element of a parameter under NovoGrad.
type NovoGradElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
}

// NovoGradScalars are what NovoGrad's prologue computes. First is 1 in the step whose squares are taken whole, and 0 in others. Inside is 1 where
// the momentum is of gradients that are divided.
type NovoGradScalars[F rule.Float] struct {
	First, Inside, Beta1, GradShare, Beta2, OneMinusBeta2, InvSqrtBias2, Eps, WeightDecay, StepSize F
}

// NovoGradTensor is what a tensor has to itself under NovoGrad: the squares of the gradient and their average, what the gradient is multiplied by
// before it enters the momentum, and what the momentum is multiplied by.
type NovoGradTensor[F rule.Float] struct {
	G    F `fill:"squares"`
	V    F `state:"exp_avg_sq"`
	In   F
	Step F
}

// NovoGradOptions is empty.
type NovoGradOptions struct{}

// NovoGradNorm is the first half of NovoGrad.
func NovoGradNorm[F rule.Float](e *NovoGradElem[F], s *NovoGradScalars[F], t *NovoGradTensor[F], o NovoGradOptions) {
	t.G = e.G
}

// NovoGradSquares averages the gradient's squared norm, and makes of it what elements are multiplied by.
func NovoGradSquares(t *NovoGradTensor[float64], s *NovoGradScalars[float64], o NovoGradOptions) {
	t.V = float64(s.Beta2*t.V) + float64(s.OneMinusBeta2*t.G)
	if s.First != 0 {
		t.V = t.G
	}
	inverse := 1 / (float64(rule.Sqrt(t.V)*s.InvSqrtBias2) + s.Eps)
	t.In, t.Step = 1, s.StepSize*inverse
	if s.Inside != 0 {
		t.In, t.Step = inverse, s.StepSize
	}
}

// NovoGrad: Ginsburg et al. 2019, algorithm 1, as apex' FusedNovoGrad has it: Adam with one second moment for a tensor, the average of its
// squared norm. The paper divides the gradient and adds the weight decay before both enter the momentum. Else the momentum is divided, and the
// decay is the program's.
func NovoGrad[F rule.Float](e *NovoGradElem[F], s *NovoGradScalars[F], t *NovoGradTensor[F], o NovoGradOptions) {
	m := rule.Flush(F(s.Beta1*e.M) + F(s.GradShare*(F(t.In*e.G)+F(s.WeightDecay*e.P))))
	e.P -= F(t.Step * m)
	e.M = m
}

// NovoGradHyper are NovoGrad's hyperparameters. Inside, GradSum, NoBiasCorrection and InitZero are off when 0. WeightDecay is the one inside the
// momentum. With GradSum the whole gradient enters it.
type NovoGradHyper struct {
	LR, Beta1, Beta2, Eps, WeightDecay, Inside, GradSum, NoBiasCorrection, InitZero float64
}

// NovoGradCounters are what NovoGrad keeps for a group: the powers as running products, which every device computes alike.
type NovoGradCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
}

// NovoGradPrologue computes the scalars of a step.
func NovoGradPrologue(h *NovoGradHyper, t *NovoGradCounters, s *NovoGradScalars[float64], o NovoGradOptions) {
	s.First = 0
	if t.Step == 0 && h.InitZero == 0 {
		s.First = 1
	}
	t.Step += 1
	t.Beta1Power *= h.Beta1
	t.Beta2Power *= h.Beta2
	s.StepSize, s.InvSqrtBias2 = h.LR, 1
	if h.NoBiasCorrection == 0 {
		s.StepSize, s.InvSqrtBias2 = h.LR/(1-float64(t.Beta1Power)), 1/rule.Sqrt(1-float64(t.Beta2Power))
	}
	s.Beta1, s.GradShare = h.Beta1, 1-h.Beta1
	if h.GradSum != 0 {
		s.GradShare = 1
	}
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	s.Eps, s.WeightDecay, s.Inside = h.Eps, h.WeightDecay, h.Inside
}

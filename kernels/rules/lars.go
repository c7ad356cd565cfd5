package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed lars.go
var larsSource string

// LARSRule is LARS, and LARC of SGD.
var LARSRule = defineStaged(LARSPrologue, larsSource,
	rule.Elements(LARSNorms[float32], LARSNorms[float64]), rule.Tensors(LARSTrust), rule.Elements(LARS[float32], LARS[float64]))

// LARSElem is one element of a parameter under LARS.
type LARSElem[F rule.Float] struct {
	P   F `slot:"param"`
	G   F `slot:"grad"`
	Buf F `slot:"momentum_buffer"`
}

// LARSScalars are what LARS' prologue computes. GradShare is what of a gradient enters the momentum; where that accumulates steps, the
// learning rate is in it, and LR is 1. Most is the learning rate where Clip is 1.
type LARSScalars[F rule.Float] struct{ TrustCoefficient, Eps, WeightDecay, Momentum, Nesterov, LR, GradShare, Clip, Most F }

// LARSTensor is what a tensor has to itself under LARS: the squares of the parameter and of the gradient, what the gradient is multiplied by,
// and its weight decay.
type LARSTensor[F rule.Float] struct {
	P     F `fill:"squares"`
	G     F `fill:"squares"`
	Scale F
	Decay F
}

// LARSOptions is empty.
type LARSOptions struct{}

// LARSNorms is the first half of LARS.
func LARSNorms[F rule.Float](e *LARSElem[F], s *LARSScalars[F], t *LARSTensor[F], o LARSOptions) {
	t.P, t.G = e.P, e.G
}

// LARSTrust makes the trust ratio. Where one of the norms is 0 it is 1, and nothing decays. Clipped, the learning rate times the ratio is at
// most the learning rate, and else it is the ratio.
func LARSTrust(t *LARSTensor[float64], s *LARSScalars[float64], o LARSOptions) {
	t.Scale, t.Decay = 1, 0
	if t.P != 0 && t.G != 0 {
		p := rule.Sqrt(t.P)
		t.Scale = s.TrustCoefficient * p / (rule.Sqrt(t.G) + float64(s.WeightDecay*p) + s.Eps)
		if s.Clip != 0 {
			t.Scale = rule.Min(t.Scale/s.Most, 1)
		}
		t.Decay = s.WeightDecay
	}
}

// LARS: You, Gitman & Ginsburg 2017, algorithm 1: SGD with momentum whose gradients, with their weight decay, have the length of the parameter
// times the trust coefficient. Momentum is PyTorch's, of gradients, or the paper's, of steps, as in SGD.
func LARS[F rule.Float](e *LARSElem[F], s *LARSScalars[F], t *LARSTensor[F], o LARSOptions) {
	g := F(s.GradShare * F(t.Scale*(e.G+F(t.Decay*e.P))))
	buf := rule.Flush(F(s.Momentum*e.Buf) + g)
	e.Buf = buf
	step := buf
	if s.Nesterov != 0 {
		step = g + F(s.Momentum*buf)
	}
	e.P -= F(s.LR * step)
}

// LARSHyper are LARS' hyperparameters. Nesterov, Clip and LRInMomentum are off when 0.
type LARSHyper struct{ LR, Momentum, WeightDecay, TrustCoefficient, Eps, Nesterov, Clip, LRInMomentum float64 }

// LARSCounters are what LARS keeps for a group.
type LARSCounters struct {
	Step float64 `counter:"step"`
}

// LARSPrologue computes the scalars of a step.
func LARSPrologue(h *LARSHyper, t *LARSCounters, s *LARSScalars[float64], o LARSOptions) {
	t.Step += 1
	s.TrustCoefficient, s.Eps, s.WeightDecay = h.TrustCoefficient, h.Eps, h.WeightDecay
	s.Momentum, s.Nesterov, s.Clip, s.Most = h.Momentum, h.Nesterov, h.Clip, h.LR
	s.LR, s.GradShare = h.LR, 1
	if h.LRInMomentum != 0 {
		s.LR, s.GradShare = 1, h.LR
	}
}

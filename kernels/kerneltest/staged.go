package kerneltest

import (
	_ "embed"
	"errors"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed staged.go
var stagedSource string

// Staged are rules of several element functions, or with numbers of tensors, that do what such a rule can do: fill sums of each kind, also of terms
// that are the same for all elements, in each of its functions; read the count and what is kept; store a slot twice; and leave the gradient, or all
// slots, to other functions. The last one's sums are of all tensors together.
func Staged(t T) []*rule.Rule {
	all, err := staged()
	require.NoError(t, err)
	return all
}

var staged = sync.OnceValues(func() ([]*rule.Rule, error) {
	all, err := rule.NewStaged(foldPrologue, stagedSource, rule.Elements(foldFirst[float32], foldFirst[float64]), rule.Tensors(foldKept),
		rule.Elements(foldMoments[float32], foldMoments[float64]), rule.Tensors(foldTrust), rule.Elements(Fold[float32], Fold[float64]))
	sums, err2 := rule.NewStaged(foldPrologue, stagedSource, rule.Elements(sumsOnly[float32], sumsOnly[float64]), rule.Tensors(sumsRoot),
		rule.Elements(BySums[float32], BySums[float64]))
	count, err3 := rule.NewStaged(foldPrologue, stagedSource, rule.Elements(ByCount[float32], ByCount[float64]))
	together, err4 := rule.NewStaged(foldPrologue, stagedSource, rule.Elements(togetherFirst[float32], togetherFirst[float64]), rule.All(togetherKept),
		rule.Elements(togetherMoments[float32], togetherMoments[float64]), rule.All(togetherTrust), rule.Elements(Together[float32], Together[float64]))
	return []*rule.Rule{all.Rule, sums.Rule, count.Rule, together.Rule}, errors.Join(err, err2, err3, err4)
})

type foldElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"m"`
	V F `slot:"v"`
}

// foldTensor has names that an executor gives its own things.
type foldTensor[F rule.Float] struct {
	Count     F `count:"elements"`
	Sum       F `fill:"sum"`
	Scaled    F `fill:"squares"`
	Mean      F `fill:"mean"`
	Largest   F `fill:"max"`
	lowest    F `fill:"max"`
	Kept      F `state:"kept"`
	Sum_      F `state:"sum"`
	GradScale F
	norm      F
	Trust     F
}

type foldScalars[F rule.Float] struct{ LR, Beta, Rest F }

type foldOptions struct{ Kept bool }

type foldHyper struct{ LR, Beta float64 }

type foldCounters struct {
	Step float64 `counter:"step"`
}

func foldPrologue(h *foldHyper, c *foldCounters, s *foldScalars[float64], o foldOptions) {
	c.Step += 1
	s.LR, s.Beta, s.Rest = h.LR/rule.Sqrt(c.Step), h.Beta, 1-h.Beta
}

// foldFirst reads what the tensor has kept, and stores one slot.
func foldFirst[F rule.Float](e *foldElem[F], s *foldScalars[F], t *foldTensor[F], o foldOptions) {
	e.M = rule.Flush(F(s.Beta*e.M) + F(s.Rest*e.G))
	t.Scaled, t.Sum, t.lowest = e.G, e.P-e.M, -e.P
	if o.Kept {
		t.Sum = e.P - F(t.Kept*e.M)
	}
}

// foldKept computes a number, and keeps two.
func foldKept(t *foldTensor[float64], s *foldScalars[float64], o foldOptions) {
	t.Sum_ = t.Sum
	if o.Kept {
		t.Kept = float64(s.Beta*t.Kept) + float64(s.Rest*(t.Scaled/t.Count))
	}
	t.GradScale = 1 / (rule.Sqrt(t.Scaled/t.Count) + 1e-3)
	t.norm = t.lowest
	if t.norm < 0 {
		t.norm = 0
	}
}

// foldMoments stores the first function's slot again, by what the tensor has.
func foldMoments[F rule.Float](e *foldElem[F], s *foldScalars[F], t *foldTensor[F], o foldOptions) {
	g := F(e.G * t.GradScale)
	e.V = rule.Flush(F(s.Beta*e.V) + F(s.Rest*F(g*g)))
	e.M = rule.Flush(e.M + F(g*0.125))
	t.Mean, t.Largest = rule.Sqrt(e.V), rule.Abs(e.M)
	if o.Kept && e.G > 0 {
		t.Mean = e.M
	}
}

// foldTrust computes a number again that elements have seen, and another one.
func foldTrust(t *foldTensor[float64], s *foldScalars[float64], o foldOptions) {
	t.Trust = s.LR
	if t.Largest > 0 {
		t.Trust = s.LR * t.Mean / t.Largest
	}
	if o.Kept {
		t.norm = t.norm + t.Sum_/t.Count
	}
}

// Fold reads neither the gradient nor a count.
func Fold[F rule.Float](e *foldElem[F], s *foldScalars[F], t *foldTensor[F], o foldOptions) {
	e.P -= F(t.Trust*(e.M/(rule.Sqrt(e.V)+1e-3))) + F(F(s.LR*t.norm)*0.0625)
}

type sumsTensor[F rule.Float] struct {
	Ones F `fill:"sum"`
	LR   F `fill:"squares"`
	G    F `fill:"squares"`
	Most F `fill:"max"`
	V    F `state:"v"`
	Step F
	P    F `fill:"mean"`
}

type sumsElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
}

// sumsOnly stores no slot. Two of its terms are the same for all elements.
func sumsOnly[F rule.Float](e *sumsElem[F], s *foldScalars[F], t *sumsTensor[F], o foldOptions) {
	t.Ones, t.LR, t.G, t.Most, t.P = 1, s.LR, e.G, e.G, e.P
}

func sumsRoot(t *sumsTensor[float64], s *foldScalars[float64], o foldOptions) {
	t.V = float64(s.Beta*t.V) + float64(s.Rest*(t.G/t.Ones))
	t.Step = rule.Sqrt(t.LR/t.Ones) / (rule.Sqrt(t.V) + 1e-3)
	if o.Kept {
		t.Step = rule.Min(t.Step, rule.Abs(t.Most)) + float64(t.P*0x1p-6)
	}
}

// BySums reads the gradient again.
func BySums[F rule.Float](e *sumsElem[F], s *foldScalars[F], t *sumsTensor[F], o foldOptions) {
	e.P -= F(t.Step * e.G)
}

type countTensor[F rule.Float] struct {
	N F `count:"elements"`
}

// ByCount has no tensor function beside it.
func ByCount[F rule.Float](e *sumsElem[F], s *foldScalars[F], t *countTensor[F], o foldOptions) {
	e.P = F(s.Beta*e.P) - F(s.LR*e.G)/t.N
}

// togetherTensor is what all tensors have together.
type togetherTensor[F rule.Float] struct {
	Ones    F `all:"sum"`
	Sum     F `all:"sum"`
	Scaled  F `all:"squares"`
	Largest F `all:"max"`
	Later   F `all:"squares"`
	Kept    F `state:"kept"`
	Steps   F `state:"steps"`
	Rate    F
	Trust   F
}

func togetherFirst[F rule.Float](e *foldElem[F], s *foldScalars[F], t *togetherTensor[F], o foldOptions) {
	e.M = rule.Flush(F(s.Beta*e.M) + F(s.Rest*e.G))
	t.Ones, t.Sum, t.Scaled = 1, e.P-e.M, e.G
	if o.Kept {
		t.Sum = e.P - F(t.Kept*e.M)
	}
}

// togetherKept counts the steps, so that one that is run twice shows.
func togetherKept(t *togetherTensor[float64], s *foldScalars[float64], o foldOptions) {
	t.Steps += 1
	t.Kept = float64(s.Beta*t.Kept) + float64(s.Rest*(t.Scaled/t.Ones))
	t.Rate = 1 / (rule.Sqrt(t.Scaled/t.Ones) + rule.Abs(t.Sum/t.Ones) + 1e-3)
}

func togetherMoments[F rule.Float](e *foldElem[F], s *foldScalars[F], t *togetherTensor[F], o foldOptions) {
	g := F(e.G * t.Rate)
	e.V = rule.Flush(F(s.Beta*e.V) + F(s.Rest*F(g*g)))
	t.Later, t.Largest = e.V-e.M, rule.Abs(e.M)
}

func togetherTrust(t *togetherTensor[float64], s *foldScalars[float64], o foldOptions) {
	t.Trust = s.LR / t.Steps
	if t.Largest > 0 {
		t.Trust = t.Trust * rule.Sqrt(t.Later/t.Ones) / t.Largest
	}
}

// Together has one step size for all tensors.
func Together[F rule.Float](e *foldElem[F], s *foldScalars[F], t *togetherTensor[F], o foldOptions) {
	e.P -= F(t.Trust*(e.M/(rule.Sqrt(e.V)+1e-3))) + F(F(s.LR*t.Kept)*0.0625)
}

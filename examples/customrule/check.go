package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// checkSteps is the steps that check runs.
const checkSteps = 50

// checked is how a run on the device compares.
type checked struct {
	different int     // elements of parameter and momentum whose bits are not those of the Go function
	worst     float64 // largest error of a parameter against the formula in float64
	bound     float64 // of worst
}

// check runs the rule on the device over n elements with random gradients, and beside it the Go function, element by element, and
// the formula.
func check[F rule.Float](backend kernels.Backend, c Settings, n int) (out checked, err error) {
	rng := rand.New(rand.NewPCG(1, 2))
	normal := func() []F {
		x := make([]F, n)
		for i := range x {
			x[i] = F(rng.NormFloat64())
		}
		return x
	}
	tr, err := newTrainer(backend, c, normal())
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, tr.close()) }()
	elems, counters := make([]ConcordElem[F], n), ConcordCounters{BetaPower: 1}
	f := formula{Settings: c, p: make([]float64, n), m: make([]float64, n)}
	for i, p := range tr.host {
		elems[i].P, f.p[i] = p, float64(p)
	}
	var largestP, largestG float64 // at any step
	for range checkSteps {
		g := normal()
		if err := tr.step(g); err != nil {
			return out, err
		}
		s := scalarsOf[F](c, &counters)
		for i := range elems {
			elems[i].G = g[i]
			Concord(&elems[i], s, ConcordOptions{Decay: c.WeightDecay != 0})
			largestP = max(largestP, math.Abs(float64(elems[i].P)))
			largestG = max(largestG, math.Abs(float64(g[i])))
		}
		f.step(floats(g))
	}
	momentum, err := tr.state("momentum")
	if err != nil {
		return out, err
	}
	for i, e := range elems {
		if !sameBits(tr.host[i], e.P) || !sameBits(momentum[i], e.M) {
			out.different++
		}
		out.worst = max(out.worst, math.Abs(float64(tr.host[i])-f.p[i]))
	}
	// In each step the parameter is rounded twice, and the step is off by that of the momentum: five roundings a step, of what the
	// mean has forgotten only after 1/(1-β) steps. The step's own are fewer than five.
	out.bound = checkSteps * unit[F]() * (2*largestP + 5*c.LR*(largestG/(1-c.Beta)+c.Limit))
	return out, nil
}

// scalarsOf runs the prologue and rounds what it computes, once, to F.
func scalarsOf[F rule.Float](c Settings, counters *ConcordCounters) *ConcordScalars[F] {
	h := ConcordHyper(c)
	var s ConcordScalars[float64]
	ConcordPrologue(&h, counters, &s, ConcordOptions{Decay: c.WeightDecay != 0})
	return &ConcordScalars[F]{Beta: F(s.Beta), OneMinusBeta: F(s.OneMinusBeta), InvBias: F(s.InvBias),
		Limit: F(s.Limit), Doubt: F(s.Doubt), Keep: F(s.Keep), LR: F(s.LR)}
}

// formula is Concord as one would write it on paper, in float64, sharing nothing with the rule.
type formula struct {
	Settings
	p, m []float64
	t    int
}

func (f *formula) step(g []float64) {
	f.t++
	for i := range g {
		f.m[i] = f.Beta*f.m[i] + (1-f.Beta)*g[i]
		step := f.m[i] / (1 - math.Pow(f.Beta, float64(f.t)))
		step = math.Copysign(math.Min(math.Abs(step), f.Limit), step)
		if f.m[i]*g[i] < 0 {
			step *= f.Doubt
		}
		f.p[i] -= f.LR * (step + f.WeightDecay*f.p[i])
	}
}

func floats[F rule.Float](x []F) []float64 {
	out := make([]float64, len(x))
	for i := range x {
		out[i] = float64(x[i])
	}
	return out
}

// unit is half the distance of 1 to the next number: how much rounding changes a number, relatively.
func unit[F rule.Float]() float64 {
	if unsafe.Sizeof(F(0)) == 4 {
		return 0x1p-24
	}
	return 0x1p-53
}

// sameBits also tells 0 from -0.
func sameBits[F rule.Float](a, b F) bool {
	if unsafe.Sizeof(a) == 4 {
		return math.Float32bits(float32(a)) == math.Float32bits(float32(b))
	}
	return math.Float64bits(float64(a)) == math.Float64bits(float64(b))
}

// describe says what kernel a rule becomes for its settings.
func describe(a optim.Algorithm, t device.DType) (string, error) {
	s, err := a.Setting()
	if err != nil {
		return "", err
	}
	p, err := kernels.New(kernels.SpecOf(s, t))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: %d bytes an element and step", p, p.Bytes), nil
}

var _ optim.Algorithm = Settings{}

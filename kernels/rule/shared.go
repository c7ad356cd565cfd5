package rule

import (
	"strings"
	"unsafe"
)

// Penalties are the terms that a program adds to the gradient before its rule sees it: those of any rule, a user's own too. The
// parameter in them has not been decayed yet. Where both are on, L2 comes first.
type Penalties uint8

const (
	L1 Penalties = 1 << iota // l1·sign(p), the subgradient of l1·|p|: 0 where p is 0
	L2                       // weight_decay·p, the gradient of weight_decay·p²/2
)

// AllPenalties is the set of both.
const AllPenalties = L1 | L2

// Names lists the penalties that are on, as OptionNames lists options.
func (p Penalties) Names() (out []string) {
	if p&L1 != 0 {
		out = append(out, "L1")
	}
	if p&L2 != 0 {
		out = append(out, "L2")
	}
	return out
}

func (p Penalties) String() string { return strings.Join(p.Names(), " ") }

// Penalties are those that the setting's numbers turn on.
func (s Setting) Penalties() (p Penalties) {
	if s.L1 != 0 {
		p |= L1
	}
	if s.WeightDecay != 0 {
		p |= L2
	}
	return p
}

// Shared are the scalars of a step that every program has, in the order of bank SharedBank.
type Shared[F Float] struct {
	GradScale   F // multiplies the gradient
	Decay       F // multiplies the parameter before the rule sees it: 1 - lr·decoupled_decay
	WeightDecay F // of penalty L2
	L1          F // of penalty L1
}

// SharedOf is the scalars as what Numbers gives, in place.
func SharedOf[F Float](x []F) *Shared[F] {
	return (*Shared[F])(unsafe.Pointer(unsafe.SliceData(x[:4])))
}

// Numbers are the scalars, one for each index of bank SharedBank.
func (s *Shared[F]) Numbers() []F { return numbers[F](s) }

// before turns a gradient and a parameter into those that the rule sees.
func (s *Shared[F]) before(p Penalties, grad, param F) (F, F) {
	g := F(grad * s.GradScale)
	if p&L2 != 0 {
		g += F(s.WeightDecay * param)
	}
	if p&L1 != 0 {
		g += F(s.L1 * Sign(param))
	}
	return g, F(param * s.Decay)
}

package rule

import (
	"strings"
	"unsafe"
)

// Around is what a program does to an element around its rule: any rule, a user's own too. What only multiplies is there always, by the
// scalars of Shared; what adds operations, or reads or writes more, is here, so that a program without it costs nothing. The order is that of
// the list: the gradient is multiplied by GradScale, which ClipTensorNorm makes one of each tensor, then by its unit's factor, and clipped by value, then L2 and L1 are added to
// it. The parameter in them has not been decayed yet.
type Around uint8

const (
	ClipTensorNorm Around = 1 << iota // the gradient is clipped by the norm of its own tensor: GradScale is of TensorBank
	AdaptiveClip                      // the gradient of a unit, a row or a tensor, is clipped to a part of its parameter's norm: see Rule.WithAdaptiveClip
	ClipValue                         // the gradient is brought between -clip_value and clip_value; a NaN stays
	L2                                // weight_decay·p, the gradient of weight_decay·p²/2
	L1                                // l1·sign(p), the subgradient of l1·|p|: 0 where p is 0
	EMA                               // an exponential moving average of the parameter is kept, slot "ema"
	ZeroGrad                          // the gradient's memory is set to 0
)

// Penalties are the two that add to the gradient.
const Penalties = L1 | L2

// Names lists what is on, as OptionNames lists options.
func (a Around) Names() (out []string) {
	for i, name := range []string{"ClipTensorNorm", "AdaptiveClip", "ClipValue", "L2", "L1", "EMA", "ZeroGrad"} {
		if a>>i&1 != 0 {
			out = append(out, name)
		}
	}
	return out
}

func (a Around) String() string { return strings.Join(a.Names(), " ") }

// Around is what the setting turns on: the penalties that are not 0, and the average.
func (s Setting) Around() (a Around) {
	if s.L1 != 0 {
		a |= L1
	}
	if s.WeightDecay != 0 {
		a |= L2
	}
	if s.EMA {
		a |= EMA
	}
	return a
}

// Average is the slot that EMA adds behind a rule's.
const Average = "ema"

// Shared are the scalars of a step that every program has, in the order of bank SharedBank.
type Shared[F Float] struct {
	GradScale        F // multiplies the gradient. With ClipTensorNorm it is the tensor's: index 0 of bank TensorBank.
	Decay            F // multiplies the parameter before the rule sees it: 1 - lr·decoupled_decay
	WeightDecay      F // of L2
	L1               F // of L1
	ClipValue        F // of ClipValue
	EMADecay         F // of EMA: what is left of the average; 0 in the first step, which makes it the parameter
	OneMinusEMADecay F // of EMA: what of the parameter enters it
}

// sharedLen is how many there are.
const sharedLen = 7

// SharedOf is the scalars as what Numbers gives, in place.
func SharedOf[F Float](x []F) *Shared[F] {
	return (*Shared[F])(unsafe.Pointer(unsafe.SliceData(x[:sharedLen])))
}

// Numbers are the scalars, one for each index of bank SharedBank.
func (s *Shared[F]) Numbers() []F { return numbers[F](s) }

// gradient is the gradient that the rule sees, of one in memory and of the parameter, which has not been decayed. Factor is of AdaptiveClip.
func (s *Shared[F]) gradient(a Around, grad, param, factor F) F {
	g := F(grad * s.GradScale)
	if a&AdaptiveClip != 0 {
		g = F(g * factor)
	}
	if a&ClipValue != 0 {
		g = Clip(g, s.ClipValue)
	}
	if a&L2 != 0 {
		g += F(s.WeightDecay * param)
	}
	if a&L1 != 0 {
		g += F(s.L1 * Sign(param))
	}
	return g
}

// average is the next average, of the parameter that the step has made.
func (s *Shared[F]) average(ema, param F) F {
	return Flush(F(s.EMADecay*ema) + F(s.OneMinusEMADecay*param))
}

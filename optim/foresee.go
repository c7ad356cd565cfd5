package optim

import (
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// foresee runs the prologue of the step that is being made on the host, and says whether the elements' type can hold what it
// computes.
func (q *part) foresee(steps int) error {
	p, now := q.program, &q.group.now
	copy(q.next, q.mirror)
	step := q.step()
	p.RunScalars(&step, 0, 1, q.next, q.scalars)
	at := -1
	for i, x := range q.scalars {
		if !holds(p.Compute, x) {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	ask := harmless[float64]
	if p.Compute == device.Float32 {
		ask = harmless[float32]
	}
	if ask(q) {
		return nil
	}
	return &ScalarError{Group: q.group.index, Algorithm: now.Name, Scalar: p.Outputs()[at], Value: q.scalars[at], DType: p.Compute, Step: steps}
}

// holds says whether x, rounded to the type, is a finite number. What is too small for the type is 0, and finite.
func holds(t device.DType, x float64) bool {
	if t == device.Float32 {
		x = float64(float32(x))
	}
	return math.Abs(x) <= math.MaxFloat64
}

// harmless says whether scalars that are not finite leave ordinary elements finite: Sophia clips at +Inf where it does not clip,
// and FTRL does not look at the reciprocal of a learning rate of 0. The rule itself is asked.
func harmless[F rule.Float](q *part) bool {
	r := q.program.Rule
	numbers := []F{-1, 0, 1}
	n := len(numbers) * len(numbers)
	var scalars []F
	for _, x := range q.scalars {
		scalars = append(scalars, F(x))
	}
	own := len(r.Scalars)
	p := rule.Pass[F]{Slots: make([][]F, len(q.program.SlotNames())), Options: q.program.Options, Around: q.program.Around,
		Scalars: scalars[:own], Shared: rule.SharedOf(scalars[own:])}
	p.Loads, p.Stores = q.program.RuleSlots(0)
	for state := F(0); state <= 1; state++ {
		for _, slot := range q.program.Slots {
			x := make([]F, n)
			for i := range x {
				switch slot.Role {
				case kernels.Parameter:
					x[i] = numbers[i/len(numbers)]
				case kernels.Gradient:
					x[i] = numbers[i%len(numbers)]
				default:
					x[i] = state
				}
			}
			p.Slots[slot.Index] = x
		}
		rule.Apply(r, &p)
		for _, k := range p.Stores {
			if slices.ContainsFunc(p.Slots[k], func(x F) bool { return !(math.Abs(float64(x)) <= math.MaxFloat64) }) {
				return false
			}
		}
	}
	return true
}

package optim

import (
	"math"
	"reflect"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// foresee runs the prologue of the step that is being made on the host, and says whether the elements' type can hold what it
// computes.
func (q *part) foresee(step int) error {
	r, now := q.program.Rule, &q.group.now
	copy(q.next, q.mirror)
	r.RunPrologue(now.Hyper, q.next, q.scalars, q.program.Options)
	shared := kernels.GroupStepOf(*now, now.Hyper).Shared(r, nil, 0)
	name, value := "", 0.0
	for i, x := range q.scalars {
		if !holds(q.program.DType, x) {
			name, value = r.Scalars[i], x
		}
	}
	for i, x := range shared.Numbers() {
		if !holds(q.program.DType, x) {
			name, value = reflect.TypeOf(shared).Field(i).Name, x
		}
	}
	ask := harmless[float64]
	if q.program.DType == device.Float32 {
		ask = harmless[float32]
	}
	if name == "" || ask(q, shared) {
		return nil
	}
	return &ScalarError{Group: q.group.index, Algorithm: now.Name, Scalar: name, Value: value, DType: q.program.DType, Step: step}
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
func harmless[F rule.Float](q *part, shared rule.Shared[float64]) bool {
	loads, stores, err := q.program.Slots()
	if err != nil {
		return false
	}
	r := q.program.Rule
	numbers := []F{-1, 0, 1}
	n := len(numbers) * len(numbers)
	rounded := rule.Round[F](shared)
	p := rule.Pass[F]{Slots: make([][]F, len(r.Slots)), Loads: loads, Stores: stores,
		Options: q.program.Options, Shared: &rounded, Penalties: q.program.Penalties}
	for _, x := range q.scalars {
		p.Scalars = append(p.Scalars, F(x))
	}
	for state := F(0); state <= 1; state++ {
		for k, name := range r.Slots {
			p.Slots[k] = make([]F, n)
			for i := range p.Slots[k] {
				switch name {
				case rule.Param:
					p.Slots[k][i] = numbers[i/len(numbers)]
				case rule.Grad:
					p.Slots[k][i] = numbers[i%len(numbers)]
				default:
					p.Slots[k][i] = state
				}
			}
		}
		rule.Apply(r, &p)
		for _, k := range stores {
			if slices.ContainsFunc(p.Slots[k], func(x F) bool { return !(math.Abs(float64(x)) <= math.MaxFloat64) }) {
				return false
			}
		}
	}
	return true
}

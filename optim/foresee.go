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
//
// A program of a rule with rows is not asked: none has a use for such scalars. Adaptive clipping changes nothing of it.
func harmless[F rule.Float](q *part) bool {
	spec, step := q.program.Spec, q.step()
	spec.Around &^= rule.AdaptiveClip
	p, err := kernels.New(spec.WithMatrix(q.matrix()))
	if err != nil || p.Matrix() {
		return false
	}
	numbers := []F{-1, 0, 1}
	n := len(numbers) * len(numbers)
	var scalars []F
	var widened []float64
	for _, x := range q.scalars {
		scalars, widened = append(scalars, F(x)), append(widened, float64(F(x)))
	}
	for state := F(0); state <= 1; state++ {
		slots := make([][]F, len(p.SlotNames()))
		for _, slot := range p.Slots {
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
			slots[slot.Index] = x
		}
		sums, own := p.InitialSums(n, 0, 0), make([]float64, p.NumTensorScalars())
		for i, f := range p.Rule.Tensor {
			if f.State != "" {
				sums[p.TensorWord(i)] = float64(state)
			}
		}
		for i := range p.Passes {
			if p.Passes[i].Tensor != nil {
				p.RunTensorScalars(i, &step, 0, 1, widened, sums, own)
			}
			pass := kernels.RulePass(p, i, scalars, own)
			pass.Slots = slots
			for _, f := range p.Passes[i].Fills {
				pass.Terms[f.Field] = make([]F, n)
			}
			rule.Apply(p.Rule, pass)
			for _, f := range p.Passes[i].Fills {
				sums[f.Word] = kernels.FillTile(f.Kind, pass.Terms[f.Field])
			}
			for _, k := range pass.Stores {
				if slices.ContainsFunc(slots[k], func(x F) bool { return !holds(p.Compute, float64(x)) }) {
					return false
				}
			}
		}
		for i, f := range p.Rule.Tensor {
			if f.State != "" && !holds(device.Float64, sums[p.TensorWord(i)]) {
				return false
			}
		}
	}
	return true
}

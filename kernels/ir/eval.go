package ir

import "math"

// Eval runs f on the fields' values, one a Var, and replaces those that f stores. F must have f's width: this is the
// meaning of the graph, to which everything that is made from it is held.
func Eval[F float32 | float64](f *Func, vars []F) { NewEvaluator[F](f).Run(vars) }

// Evaluator runs one graph many times.
type Evaluator[F float32 | float64] struct {
	f    *Func
	num  []F
	cond []bool
}

// NewEvaluator makes an evaluator. It is for one goroutine.
func NewEvaluator[F float32 | float64](f *Func) *Evaluator[F] {
	return &Evaluator[F]{f, make([]F, len(f.Nodes)), make([]bool, len(f.Nodes))}
}

// Run is Eval.
func (e *Evaluator[F]) Run(vars []F) {
	f, num, cond := e.f, e.num, e.cond
	for i := range f.Nodes {
		n := &f.Nodes[i]
		switch n.Op {
		case Var:
			num[i] = vars[n.Index]
		case Const:
			num[i] = F(math.Float64frombits(n.Bits))
		case Bool:
			cond[i] = n.Index == 1
		case Add:
			num[i] = F(num[n.A] + num[n.B])
		case Sub:
			num[i] = F(num[n.A] - num[n.B])
		case Mul:
			num[i] = F(num[n.A] * num[n.B])
		case Div:
			num[i] = F(num[n.A] / num[n.B])
		case Sqrt:
			// The root of a float32 in float64, rounded to float32, is the correctly rounded root: 53 ≥ 2·24+2.
			num[i] = F(math.Sqrt(float64(num[n.A])))
		case Neg:
			num[i] = -num[n.A]
		case Abs:
			num[i] = F(math.Abs(float64(num[n.A])))
		case Lt:
			cond[i] = num[n.A] < num[n.B]
		case Le:
			cond[i] = num[n.A] <= num[n.B]
		case Eq:
			cond[i] = num[n.A] == num[n.B]
		case Ne:
			cond[i] = num[n.A] != num[n.B]
		case And:
			cond[i] = cond[n.A] && cond[n.B]
		case Or:
			cond[i] = cond[n.A] || cond[n.B]
		case Not:
			cond[i] = !cond[n.A]
		case Select:
			num[i], cond[i] = num[n.B], cond[n.B]
			if cond[n.C] {
				num[i], cond[i] = num[n.A], cond[n.A]
			}
		}
	}
	for _, s := range f.Stores {
		vars[s.Var] = num[s.Value]
	}
}

// Number is what a node that is a number was in the last Run.
func (e *Evaluator[F]) Number(v Value) F { return e.num[v] }

// Condition is what a node that is a truth value was in the last Run.
func (e *Evaluator[F]) Condition(v Value) bool { return e.cond[v] }

package ir

import "math"

// Eval runs f on the fields' values, one a Var, and replaces those that f stores. F must have f's width: this is the
// meaning of the graph, to which everything that is made from it is held.
func Eval[F float32 | float64](f *Func, vars []F) { NewEvaluator[F](f).Run(vars) }

// Evaluator runs one graph many times.
type Evaluator[F float32 | float64] struct {
	Words []uint32 // one a Var: the values of fields that are words, which Run reads and replaces
	Index uint64   // of the element

	f    *Func
	num  []F
	cond []bool
	word []uint32
}

// NewEvaluator makes an evaluator. It is for one goroutine.
func NewEvaluator[F float32 | float64](f *Func) *Evaluator[F] {
	n := len(f.Nodes)
	return &Evaluator[F]{Words: make([]uint32, len(f.Vars)), f: f, num: make([]F, n), cond: make([]bool, n), word: make([]uint32, n)}
}

// Run is Eval.
func (e *Evaluator[F]) Run(vars []F) {
	f, num, cond, word := e.f, e.num, e.cond, e.word
	for i := range f.Nodes {
		n := &f.Nodes[i]
		switch n.Op {
		case Var:
			num[i], word[i] = vars[n.Index], e.Words[n.Index]
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
			from := n.B
			if cond[n.C] {
				from = n.A
			}
			num[i], cond[i], word[i] = num[from], cond[from], word[from]
		default:
			e.integer(i)
		}
	}
	for _, s := range f.Stores {
		switch t := f.Vars[s.Var].Type; t {
		case Float:
			vars[s.Var] = num[s.Value]
		default:
			e.Words[s.Var] = word[s.Value] & (math.MaxUint32 >> (32 - 8*t.Size(f.Width)))
		}
	}
}

// integer runs a node that makes a word or takes one.
func (e *Evaluator[F]) integer(i int) {
	n := &e.f.Nodes[i]
	a, b := e.word[n.A], e.word[n.B]
	switch n.Op {
	case Word:
		e.word[i] = uint32(n.Bits)
	case Element:
		e.word[i] = uint32(e.Index >> (32 * n.Index))
	case FromBits:
		e.num[i] = F(math.Float32frombits(a))
	case ToBits:
		e.word[i] = math.Float32bits(float32(e.num[n.A]))
	case FromHalf:
		e.num[i] = F(FromFloat16(uint16(a)))
	case ToHalf:
		e.word[i] = uint32(ToFloat16(float32(e.num[n.A])))
	case WAdd:
		e.word[i] = a + b
	case WSub:
		e.word[i] = a - b
	case WMul:
		e.word[i] = a * b
	case WMulHigh:
		e.word[i] = uint32(uint64(a) * uint64(b) >> 32)
	case WAnd:
		e.word[i] = a & b
	case WOr:
		e.word[i] = a | b
	case WXor:
		e.word[i] = a ^ b
	case WShl:
		e.word[i] = a << n.Index
	case WShr:
		e.word[i] = a >> n.Index
	case WLt:
		e.cond[i] = a < b
	case WEq:
		e.cond[i] = a == b
	}
}

// Number is what a node that is a number was in the last Run.
func (e *Evaluator[F]) Number(v Value) F { return e.num[v] }

// Integer is what a node that is a word was in the last Run.
func (e *Evaluator[F]) Integer(v Value) uint32 { return e.word[v] }

// Condition is what a node that is a truth value was in the last Run.
func (e *Evaluator[F]) Condition(v Value) bool { return e.cond[v] }

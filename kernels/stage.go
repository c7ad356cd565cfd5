package kernels

import (
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Stage is one pass of a program. Stages run one after the other; each sees what those before it have computed.
type Stage struct {
	Kind Kind
	Over Scope // of Reduce and Scalars: what there is one result for
	// Domain is of a Map what it makes new ones of: elements, rows or columns.
	Domain rule.Domain
	// Unless names an output of the Scalars before, such as out.Scale, or is SkipField. Where that is 1, the stage is passed over, and what it
	// would write stays what it is. Only is a type: where no tensor's plane has it, the stage need not run, as it would change nothing. An empty
	// Unless and an Only of 0 say nothing.
	Unless string
	Only   device.DType
	// Graph is what the stage computes; a Reduce has Terms, a Fill or a Fold. Of a Map: see Pass.Graph. Scalars compute in float64: over a Group from and to
	// the banks of Program.Scalars, over OneTensor, and of an update over Everything, those of Pass.Tensor, of the norm from bank 0 to bank 1, the outputs. There the
	// field SumField gets the sum of the Reduce
	// before, and any other, such as in.Scale, the output of the same name, out.Scale, of the Scalars before. Fields of bank ControlBank are
	// the words of Step.Control.
	Graph *ir.Func
	// Terms are what an element adds to the sum, by the type of the plane. They calculate in float64. Field 0 of bank rule.ElemBank is the
	// element in memory, field 1 gets the term; fields of bank rule.ScalarsBank have the names of outputs of the Scalars before, such as
	// out.Scale. A Reduce over Everything without Terms adds up what the Reduce over OneTensor before it has of tiles.
	Terms map[device.DType]*ir.Func
	Fill  Fill // of a Reduce of an update: what it makes of terms of the Map before
	Fold  Fold // of a Reduce over OneMatrix: what it makes of rows' numbers
	Sum   int  // of a Reduce over OneTensor, and of an update over Everything: the word of Tensor.Sums that gets the sum
	// Loads and Stores are the planes that the stage reads, and writes: its traffic.
	Loads, Stores []int
}

// SumField is the name of the input of a Scalars over Everything that gets the sum.
const SumField = "in.Sum"

// SkipField names the word of Step.Control that says whether a step is skipped.
const SkipField = "control.out.Skip"

// Kind is what a stage does.
type Kind uint8

const (
	// Reduce adds up a term of each element, by the tree of SumSquares and SumTree.
	Reduce Kind = iota
	// Scalars computes numbers from numbers, in float64.
	Scalars
	// Map makes new elements of elements and scalars.
	Map
)

func (k Kind) String() string {
	return [...]string{Reduce: "reduce", Scalars: "scalars", Map: "map"}[k]
}

// Scope is what a Reduce or a Scalars has one result for.
type Scope uint8

const (
	// Everything is all tensors of the work.
	Everything Scope = iota
	// Group is the tensors of a group.
	Group
	// OneTensor is each tensor by itself. What Scalars make of it, the elements of its Map have as fields of bank rule.TensorBank.
	OneTensor
	// OneRow is each row of each tensor's matrix view.
	OneRow
	// OneColumn is each column.
	OneColumn
	// OneMatrix is each of the matrices that a tensor is.
	OneMatrix
)

// stages are those of an update.
func (p *Program) stages() []Stage {
	tensor := OneTensor
	if p.Rule.Everything {
		tensor = Everything
	}
	out := []Stage{{Kind: Scalars, Over: Group, Graph: p.Scalars, Unless: SkipField}}
	for i := range p.Passes {
		q := &p.Passes[i]
		if q.Tensor != nil {
			out = append(out, Stage{Kind: Scalars, Over: tensor, Graph: q.Tensor, Unless: SkipField})
		}
		for _, f := range q.Folds {
			out = append(out, Stage{Kind: Reduce, Over: OneMatrix, Fold: f, Loads: []int{f.From}, Stores: []int{f.To}, Unless: SkipField})
		}
		out = append(out, Stage{Kind: Map, Domain: q.Domain, Graph: q.Graph, Loads: q.Loads, Stores: q.Stores, Unless: SkipField})
		for _, f := range q.Fills {
			over := map[rule.Domain]Scope{rule.OfRows: OneRow, rule.OfColumns: OneColumn, rule.OfTensor: tensor}[f.Domain]
			out = append(out, Stage{Kind: Reduce, Over: over, Fill: f, Sum: f.Word, Unless: SkipField})
		}
	}
	return out
}

// Reduces says whether the program is a reduction, as Norm is, and no update.
func (p *Program) Reduces() bool { return p.Stages[0].Kind == Reduce }

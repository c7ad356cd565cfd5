package rule

import (
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/fusestep/fusestep/kernels/internal/syntax"
	"github.com/fusestep/fusestep/kernels/ir"
)

//go:embed lang.go
var langSource string

var lang = syntax.Library{
	Path: "github.com/fusestep/fusestep/kernels/rule", File: "lang.go", Source: langSource,
	Intrinsics: map[string]syntax.Intrinsic{"Sqrt": syntax.Sqrt, "Abs": syntax.Abs, "SmallestNormal": syntax.SmallestNormal,
		"FromBits": syntax.FromBits, "ToBits": syntax.ToBits, "FromHalf": syntax.FromHalf, "ToHalf": syntax.ToHalf, "MulHigh": syntax.MulHigh},
}

// The slots that every rule has, by name. A rule's other slots are its state.
const (
	Param = "param"
	Grad  = "grad"
)

// StepCounter is the counter of the steps that were taken, as rules call it that count them.
const StepCounter = "step"

// The banks of the functions' graphs: ir.Field.Bank.
const (
	ElemBank    = 0 // element functions: their slots
	ScalarsBank = 1 // all but the prologue: their scalars
	SharedBank  = 2 // a program's graph: the scalars that every program has
	TensorBank  = 3 // all but the prologue: the numbers that a tensor has to itself, by index those of Rule.Tensor
	RowBank     = 4 // element functions of a matrix, and row functions: the numbers of a row, by index those of Rule.Row
	ColumnBank  = 5 // likewise, of a column

	HyperBank   = 0 // prologue: hyperparameters
	CounterBank = 1 // prologue: counters
	OutputsBank = 2 // prologue: the other functions' scalars
)

// Error is a place in a rule's source that is not a rule, and why: its Pos is a token.Position of package go/token, its Msg a string.
type Error = syntax.Error

// Rule is one optimizer's algorithm: a prologue, element functions with tensor functions between them, and the graphs that their source became.
type Rule struct {
	Name     string        // of the last element function
	Slots    []string      // per field of the element struct, in order: the slot tags
	Start    []int         // per slot: the hyperparameter that it starts as, by its init tag, or -1: it starts at 0
	Scalars  []string      // fields of the scalars struct
	Hyper    []string      // fields of the hyperparameter struct
	Counters []Counter     // fields of the prologue's struct of counters
	Options  []string      // fields of the options struct
	Tensor   []TensorField // fields of the tensor struct
	Row      []DomainField // fields of the row struct
	Column   []DomainField // fields of the column struct
	Stages   int           // element functions
	// Everything says that all tensors of a step have the tensor fields together: what elements fill is of all of them, and the functions between the element
	// functions, All's, run once.
	Everything bool

	prologue    *syntax.Function
	functions   []stageFunc // in order: an element function, then for each other stage those of rows, columns and tensors, and an element function
	runPrologue func(hyper, counters, scalars []float64, options uint64)

	base *Rule // of WithAdaptiveClip: the rule

	mu      sync.Mutex
	graphs  map[graphKey]*ir.Func
	clipped *Rule // what WithAdaptiveClip has made
}

type graphKey struct {
	function *syntax.Function
	width    int
	options  uint64
}

// Counter is one number that a prologue keeps from step to step, for each group, such as the step or the power of a beta.
type Counter struct {
	Name string  // the field's counter tag
	Init float64 // its init tag: the value before the first step
}

// Setting is a rule with hyperparameters: what an optimizer needs to know of an algorithm.
type Setting struct {
	Name    string // of the algorithm, in errors: the rule's in lower case, or another, as AdamW is Adam's rule
	Rule    *Rule
	Options uint64    // bit i is option i
	Hyper   []float64 // one a Rule.Hyper
	// Maximize steps up the gradient. It is no option of a rule: the gradient is multiplied by -1 before the rule sees it.
	Maximize bool
	// L1, WeightDecay and DecoupledDecay are penalties that the program around the rule applies, so that every rule has them and none
	// mentions them. Before the rule sees them, weight_decay·p and l1·sign(p) are added to the gradient, and p is multiplied by
	// 1 - lr·decoupled_decay, as AdamW does. Each is at least 0, and off where it is 0.
	L1, WeightDecay, DecoupledDecay float64
	// EMA keeps an exponential moving average of the parameter, in slot "ema": in each step but the first, ema_decay·ema + (1 - ema_decay)·p.
	EMA      bool
	EMADecay float64 // 0 to 1
	// Formats says how memory holds state, as package kernels/format reads it: "exp_avg=bf16 exp_avg_sq=f16". State that it does not name is
	// of the type that is calculated with. How memory holds parameter and gradient follows from where they are.
	Formats string
	// Stochastic rounds a parameter and state of 16 bits stochastically, by the noise that Seed chooses: formats bf16/sr and f16/sr.
	Stochastic bool
	Seed       uint64
	// Master says what is held beside a parameter of 16 bits, so that steps calculate with a wider number: "f32", the master itself; "i16" or
	// "i8", a remainder, of which and of a bfloat16 the master is made; "", nothing. Other parameters are their own masters.
	Master string
	// Eval is for an optimizer that evaluates other values than those that it trains. It is a rule that computes the ones from the
	// others. Its slot "param" is what it computes, and "grad" the trained value; its other slots are those of Rule with the same
	// names. It has the hyperparameters and the counters of Rule, and no options. It changes neither a counter nor any slot but "param".
	Eval *Rule
}

// Definition is a rule that knows its hyperparameters' and options' types.
type Definition[H, O any] struct{ *Rule }

// With gives the rule hyperparameters and options. Of a definition that New refused it makes an empty Setting, so that
// an optim.Algorithm can return it beside New's error.
func (d Definition[H, O]) With(h H, o O) Setting {
	if d.Rule == nil {
		return Setting{}
	}
	return Setting{Name: strings.ToLower(d.Name), Rule: d.Rule, Options: optionSet(o), Hyper: slices.Clone(numbers[float64](&h))}
}

// New makes a rule of its element function for both widths, its prologue, and the source of the one Go file that both, their
// types, and the functions that they call stand in. The file embeds itself:
//
//	//go:embed adam.go
//	var adamSource string
//
//	var def, err = rule.New(Adam[float32], Adam[float64], AdamPrologue, adamSource)
//
// E32 and E64 are the element struct. Each of its fields is a slot, tagged `slot:"name"`. Two slots are called param and grad. The others are
// state, which starts at 0, or as the hyperparameter that a tag `init:"Name"` names. S32 and S64 are the scalars that the prologue computes. H
// holds the hyperparameters. One of them is called LR, the learning rate. T holds the counters, which the prologue keeps from step to step. Its
// fields are tagged `counter:"name"` and, if they do not start at 0, `init:"value"`. O holds the options, all bools, at most 8. T and O may be
// empty structs.
//
// New lowers the source for every choice of options, and compares it with the compiled functions: for each choice and each width it
// runs both 512 times on the same numbers. Every field must come out the same to the last bit, where any NaN is like another. In a
// quarter of the runs all numbers are ordinary; in a quarter one field is NaN, an infinity or a zero, and the others are ordinary; in
// the rest many or all are any numbers: any bit patterns, the ends of the range, the constants of the source and numbers beside them,
// and equal ones. That finds a source that is another file's, or of another day. It is a test and no proof: functions that differ for
// few numbers can pass.
//
// The error is an *Error where the source is not a rule; otherwise it says for which options and numbers the source
// and the functions differ.
func New[E32, E64, S32, S64, H, T, O any](f32 func(*E32, *S32, O), f64 func(*E64, *S64, O),
	prologue func(*H, *T, *S64, O), source string) (Definition[H, O], error) {
	if f32 == nil || f64 == nil {
		return Definition[H, O]{}, errNil
	}
	type none = struct{}
	f := stageFuncOf[O](f32, OfElements, aloneBanks, both[E32, E64], both[S32, S64])
	f.apply32 = applier(calls[float32, E32, S32, none, none, none, O]{alone: f32})
	f.apply64 = applier(calls[float64, E64, S64, none, none, none, O]{alone: f64})
	return NewStaged(prologue, source, StageFunc[S64, O]{f})
}

// NewStaged makes a rule of several functions, as New makes one of one: of element functions with a tensor function between each two, in the order
// in which they run, behind the prologue.
//
//	var def, err = rule.NewStaged(LAMBPrologue, source,
//		rule.Elements(LAMBMoments[float32], LAMBMoments[float64]), rule.Tensors(LAMBTrust), rule.Elements(LAMB[float32], LAMB[float64]))
//
// All have one scalars struct and one options struct, the element functions one element struct. Before the options, they take a struct of what a
// tensor has, which is the same for all. Each of its fields has one of the tags `fill:"sum"`, `fill:"squares"`, `fill:"mean"`, `fill:"max"`,
// `state:"name"` and `count:"elements"`, or none: see TensorField, and the package's documentation for who reads and stores which. There may also be
// functions of rows and columns, Rows and Columns, and element functions that have their numbers, MatrixElements. In place of tensor functions there
// may be functions of everything, All. The rule's name is that of the last element function.
func NewStaged[H, T, S64, O any](prologue func(*H, *T, *S64, O), source string, functions ...StageFunc[S64, O]) (Definition[H, O], error) {
	none := Definition[H, O]{}
	if len(functions) == 0 {
		return none, errNone
	}
	if prologue == nil {
		return none, errNil
	}
	var all []stageFunc
	for _, f := range functions {
		if f.name == "" {
			return none, errNil
		}
		all = append(all, f.stageFunc)
	}
	pro, _ := funcName(prologue)
	r, err := read(source, pro, all)
	if err != nil {
		return none, err
	}
	err = firstError(sameStruct[H](r.prologue.Banks[0], reflect.Float64), sameStruct[T](r.prologue.Banks[1], reflect.Float64),
		sameStruct[S64](r.prologue.Banks[2], reflect.Float64), sameOptions[O](r.prologue.Options))
	for _, f := range r.functions {
		err = firstError(err, f.same(f.source))
	}
	if err == nil {
		r.runPrologue = prologueRunner(prologue)
		err = r.compare()
	}
	if err != nil {
		return none, fmt.Errorf("rule %s: %w", r.Name, err)
	}
	return Definition[H, O]{r}, nil
}

var (
	errNil  = errors.New("a rule's function is nil")
	errNone = errors.New("a rule has at least one element function")
)

func (r *Rule) read(file, source, prologue string) error {
	parsed, err := syntax.Parse(file, source, lang)
	if err != nil {
		return err
	}
	if err := r.lookUp(parsed); err != nil {
		return err
	}
	if r.prologue, err = parsed.Function(prologue, syntax.Read, syntax.ReadWrite, syntax.Write); err != nil {
		return err
	}
	if r.prologue.Generic {
		return wrong(r.prologue.Pos, "the prologue %s must be a float64 function, not a generic one", prologue)
	}
	if err := r.describe(); err != nil {
		return err
	}
	return r.complete()
}

// funcName is a function's name in its package, and the base name of its file.
func funcName(f any) (name, file string) {
	fn := runtime.FuncForPC(reflect.ValueOf(f).Pointer())
	name, _, _ = strings.Cut(fn.Name(), "[")
	name = name[strings.LastIndexByte(name, '.')+1:]
	file, _ = fn.FileLine(fn.Entry())
	return name, filepath.Base(file)
}

// Slot is the index of the named slot, or -1.
func (r *Rule) Slot(name string) int { return slices.Index(r.Slots, name) }

// Keeps says whether the rule has a slot, or state of a tensor, a row or a column, of the name.
func (r *Rule) Keeps(name string) bool { return r.owner(name) != "" }

// HyperIndex is the index of the named hyperparameter, or -1.
func (r *Rule) HyperIndex(name string) int { return slices.Index(r.Hyper, name) }

// InitialCounters are the counters before the first step.
func (r *Rule) InitialCounters() []float64 {
	out := make([]float64, len(r.Counters))
	for i, s := range r.Counters {
		out[i] = s.Init
	}
	return out
}

// Has says whether the rule has a function of the domain, of the stage of an element function, which it is or stands before.
func (r *Rule) Has(d Domain, stage int) bool { return r.function(d, stage) != nil }

// Function is the graph of a function that the rule has, at a width of 32 or 64 bits; a tensor function has only the latter. It is shared: do not
// change it.
func (r *Rule) Function(d Domain, stage, width int, options uint64) (*ir.Func, error) {
	return r.functionGraph(r.function(d, stage), width, options)
}

func (r *Rule) functionGraph(f *stageFunc, width int, options uint64) (*ir.Func, error) {
	if f.lower != nil {
		return f.lower(width, options)
	}
	return r.graph(f.source, width, options, f.banks)
}

// Element is Function of a stage's element function.
func (r *Rule) Element(stage, width int, options uint64) (*ir.Func, error) {
	return r.Function(OfElements, stage, width, options)
}

// TensorFunction is Function of the tensor function before the element function of a stage.
func (r *Rule) TensorFunction(stage int, options uint64) (*ir.Func, error) {
	return r.Function(OfTensor, stage, 64, options)
}

// Prologue is the prologue's graph.
func (r *Rule) Prologue(options uint64) (*ir.Func, error) {
	if r.base != nil {
		return r.base.Prologue(options & r.base.optionSet())
	}
	return r.graph(r.prologue, 64, options, []int{HyperBank, CounterBank, OutputsBank})
}

// graph is a function's graph, with the banks of its parameters, in their order.
func (r *Rule) graph(fn *syntax.Function, width int, options uint64, banks []int) (*ir.Func, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := graphKey{fn, width, options}
	if f := r.graphs[k]; f != nil {
		return f, nil
	}
	f, err := fn.Lower(width, options)
	if err != nil {
		return nil, err
	}
	for i := range f.Vars {
		f.Vars[i].Bank = banks[f.Vars[i].Bank]
	}
	r.graphs[k] = f
	return f, nil
}

// Source is the rule's Go source: its functions, and what of their file they reach, in the file's order.
func (r *Rule) Source() string {
	var others []*syntax.Function
	for _, f := range r.WithoutAdaptiveClip().functions {
		others = append(others, f.source)
	}
	return r.prologue.Text(others...)
}

// OptionNames lists the options that are on in a set.
func (r *Rule) OptionNames(set uint64) []string {
	var out []string
	for i, name := range r.Options {
		if set>>i&1 != 0 {
			out = append(out, name)
		}
	}
	return out
}

package rule

import (
	_ "embed"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/syntax"
)

//go:embed lang.go
var langSource string

var lang = syntax.Library{
	Path: "github.com/fusestep/fusestep/kernels/rule", File: "lang.go", Source: langSource,
	Intrinsics: map[string]syntax.Intrinsic{"Sqrt": syntax.Sqrt, "Abs": syntax.Abs, "SmallestNormal": syntax.SmallestNormal},
}

// The slots that every rule has, by name. A rule's other slots are its state.
const (
	Param = "param"
	Grad  = "grad"
)

// The banks of the two functions' graphs: ir.Field.Bank.
const (
	ElemBank    = 0 // element function: its slots
	ScalarsBank = 1 // element function: its scalars
	SharedBank  = 2 // a program's graph: the scalars that every program has

	HyperBank   = 0 // prologue: hyperparameters
	StateBank   = 1 // prologue: state
	OutputsBank = 2 // prologue: the element function's scalars
)

// Rule is one optimizer's algorithm: an element function and its prologue, proven to be what their source says.
type Rule struct {
	Name    string       // of the element function
	Slots   []string     // per field of the element struct, in order: the slot tags
	Start   []int        // per slot: the hyperparameter that it starts as, by its init tag, or -1: it starts at 0
	Scalars []string     // fields of the scalars struct
	Hyper   []string     // fields of the hyperparameter struct
	State   []StateField // fields of the prologue's state struct
	Options []string     // fields of the options struct

	elem, prologue *syntax.Function
	apply32        func(*Rule, *Pass[float32])
	apply64        func(*Rule, *Pass[float64])
	runPrologue    func(hyper, state, scalars []float64, options uint64)

	mu     sync.Mutex
	graphs map[graphKey]*ir.Func
}

type graphKey struct {
	width   int // 0 is the prologue
	options uint64
}

// StateField is one number that a prologue keeps from step to step, for each group.
type StateField struct {
	Name string  // the field's state tag
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
	// Eval, where it is not what is trained that is to be evaluated, is the rule that makes the one of the other: it writes
	// "param", finds what is trained in "grad", and reads slots of Rule by their names. It has Rule's hyperparameters and
	// state, of which it changes nothing, and no options.
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
// types and the functions that they call stand in. The file embeds itself:
//
//	//go:embed adam.go
//	var adamSource string
//
//	var def, err = rule.New(Adam[float32], Adam[float64], AdamPrologue, adamSource)
//
// E32 and E64 are the element struct: its fields are tagged `slot:"name"`, two of them with the names param and grad; the
// others are state, which starts at 0, or as the hyperparameter that a tag `init:"Name"` names.
// S32 and S64 are the scalars that the prologue computes. H holds the hyperparameters; one of them is called LR, the learning
// rate. T holds what the prologue keeps from step to step, tagged `state:"name"` and, if it does not start at 0,
// `init:"value"`. O holds the options, all bools; H, T and O may be empty structs.
//
// The error is a *syntax.Error where the source is not a rule; otherwise it says for which options and numbers the source
// and the functions differ.
func New[E32, E64, S32, S64, H, T, O any](f32 func(*E32, *S32, O), f64 func(*E64, *S64, O),
	prologue func(*H, *T, *S64, O), source string) (Definition[H, O], error) {
	none := Definition[H, O]{}
	name, file := funcName(f32)
	pro, _ := funcName(prologue)
	r, err := Read(file, source, name, pro)
	if err != nil {
		return none, err
	}
	for _, err := range []error{
		sameStruct[E32](r.elem.Banks[0], reflect.Float32), sameStruct[E64](r.elem.Banks[0], reflect.Float64),
		sameStruct[S32](r.elem.Banks[1], reflect.Float32), sameStruct[S64](r.elem.Banks[1], reflect.Float64),
		sameStruct[H](r.prologue.Banks[0], reflect.Float64), sameStruct[T](r.prologue.Banks[1], reflect.Float64),
		sameStruct[S64](r.prologue.Banks[2], reflect.Float64), sameOptions[O](r.elem.Options), sameOptions[O](r.prologue.Options),
	} {
		if err != nil {
			return none, fmt.Errorf("rule %s: %w", name, err)
		}
	}
	r.apply32, r.apply64 = applier[float32](f32), applier[float64](f64)
	r.runPrologue = prologueRunner(prologue)
	if err := r.prove(); err != nil {
		return none, fmt.Errorf("rule %s: %w", name, err)
	}
	return Definition[H, O]{r}, nil
}

// Read makes a rule of its source alone: of the element function and the prologue of those names. It is described and has graphs,
// but has not been proven and cannot be run on a CPU. It is for generators.
func Read(file, source, elem, prologue string) (*Rule, error) {
	parsed, err := syntax.Parse(file, source, lang)
	if err != nil {
		return nil, fmt.Errorf("rule %s: %w", elem, err)
	}
	r := &Rule{Name: elem, graphs: map[graphKey]*ir.Func{}}
	if r.elem, err = parsed.Function(elem, syntax.ReadWrite, syntax.Read); err != nil {
		return nil, fmt.Errorf("rule %s: %w", elem, err)
	}
	if !r.elem.Generic {
		return nil, fmt.Errorf("rule %s: the element function must be generic: func %s[F rule.Float](…)", elem, elem)
	}
	if r.prologue, err = parsed.Function(prologue, syntax.Read, syntax.ReadWrite, syntax.Write); err != nil {
		return nil, fmt.Errorf("rule %s: %w", elem, err)
	}
	if r.prologue.Generic {
		return nil, fmt.Errorf("rule %s: the prologue %s must be a float64 function, not a generic one", elem, prologue)
	}
	if err := r.describe(); err != nil {
		return nil, fmt.Errorf("rule %s: %w", elem, err)
	}
	return r, nil
}

// funcName is a function's name in its package, and the base name of its file.
func funcName(f any) (name, file string) {
	fn := runtime.FuncForPC(reflect.ValueOf(f).Pointer())
	name, _, _ = strings.Cut(fn.Name(), "[")
	name = name[strings.LastIndexByte(name, '.')+1:]
	file, _ = fn.FileLine(fn.Entry())
	return name, filepath.Base(file)
}

// describe fills in the names that the banks' fields and tags give.
func (r *Rule) describe() error {
	for _, f := range r.elem.Banks[0].Fields {
		slot := f.Tag.Get("slot")
		if slot == "" || slices.Contains(r.Slots, slot) {
			return fmt.Errorf("element field %s needs a slot tag that no other has, such as `slot:\"exp_avg\"`", f.Name)
		}
		r.Slots = append(r.Slots, slot)
	}
	if r.Slot(Param) < 0 || r.Slot(Grad) < 0 {
		return fmt.Errorf("the element struct has no field with slot %q or none with slot %q", Param, Grad)
	}
	for _, f := range r.elem.Banks[1].Fields {
		r.Scalars = append(r.Scalars, f.Name)
	}
	for _, f := range r.prologue.Banks[0].Fields {
		r.Hyper = append(r.Hyper, f.Name)
	}
	if r.HyperIndex("LR") < 0 {
		return fmt.Errorf("the hyperparameters have no field LR, the learning rate")
	}
	for _, f := range r.elem.Banks[0].Fields {
		start := -1
		if init, ok := f.Tag.Lookup("init"); ok {
			start = r.HyperIndex(init)
			if slot := f.Tag.Get("slot"); start < 0 || slot == Param || slot == Grad {
				return fmt.Errorf("element field %s: init tag %q must be a hyperparameter, and the slot state", f.Name, init)
			}
		}
		r.Start = append(r.Start, start)
	}
	for _, f := range r.prologue.Banks[1].Fields {
		s := StateField{Name: f.Tag.Get("state")}
		if s.Name == "" || slices.ContainsFunc(r.State, func(o StateField) bool { return o.Name == s.Name }) {
			return fmt.Errorf("state field %s needs a state tag that no other has, such as `state:\"step\"`", f.Name)
		}
		if init, ok := f.Tag.Lookup("init"); ok {
			x, err := strconv.ParseFloat(init, 64)
			if err != nil {
				return fmt.Errorf("state field %s: init tag %q is not a number", f.Name, init)
			}
			s.Init = x
		}
		r.State = append(r.State, s)
	}
	r.Options = r.elem.Options
	return nil
}

// Slot is the index of the named slot, or -1.
func (r *Rule) Slot(name string) int { return slices.Index(r.Slots, name) }

// HyperIndex is the index of the named hyperparameter, or -1.
func (r *Rule) HyperIndex(name string) int { return slices.Index(r.Hyper, name) }

// InitialState is the prologue's state before the first step.
func (r *Rule) InitialState() []float64 {
	out := make([]float64, len(r.State))
	for i, s := range r.State {
		out[i] = s.Init
	}
	return out
}

// Element is the element function's graph at a width of 32 or 64 bits. It is shared: do not change it.
func (r *Rule) Element(width int, options uint64) (*ir.Func, error) {
	return r.graph(graphKey{width, options}, r.elem)
}

// Prologue is the prologue's graph.
func (r *Rule) Prologue(options uint64) (*ir.Func, error) {
	return r.graph(graphKey{0, options}, r.prologue)
}

func (r *Rule) graph(k graphKey, fn *syntax.Function) (*ir.Func, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.graphs[k]; f != nil {
		return f, nil
	}
	width := k.width
	if width == 0 {
		width = 64
	}
	f, err := fn.Lower(width, k.options)
	if err == nil {
		r.graphs[k] = f
	}
	return f, err
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

// sameStruct checks that a compiled struct is the one of the source: flat, all of one kind, the same names and tags.
func sameStruct[S any](bank syntax.Bank, kind reflect.Kind) error {
	t := reflect.TypeFor[S]()
	if t.Kind() != reflect.Struct || t.NumField() != len(bank.Fields) {
		return fmt.Errorf("type %s is not the struct that the source gives parameter %s", t, bank.Param)
	}
	for i, f := range bank.Fields {
		if g := t.Field(i); g.Name != f.Name || g.Tag != f.Tag || g.Type.Kind() != kind {
			return fmt.Errorf("field %s of %s is not the source's field %s", g.Name, t, f.Name)
		}
	}
	return nil
}

func sameOptions[O any](names []string) error {
	t := reflect.TypeFor[O]()
	if t.Kind() != reflect.Struct || t.NumField() != len(names) {
		return fmt.Errorf("type %s is not the options struct of the source", t)
	}
	for i, name := range names {
		if g := t.Field(i); g.Name != name || g.Type.Kind() != reflect.Bool {
			return fmt.Errorf("field %s of %s is not the source's option %s", g.Name, t, name)
		}
	}
	return nil
}

// numbers views a flat struct of numbers as a slice. New has checked that it is one.
func numbers[F Float, S any](s *S) []F {
	n := unsafe.Sizeof(*s) / unsafe.Sizeof(F(0))
	return unsafe.Slice((*F)(unsafe.Pointer(s)), n)
}

func bools[O any](o *O) []bool {
	return unsafe.Slice((*bool)(unsafe.Pointer(o)), unsafe.Sizeof(*o))
}

func setOptions[O any](o *O, set uint64) {
	b := bools(o)
	for i := range b {
		b[i] = set>>i&1 != 0
	}
}

func optionSet[O any](o O) (set uint64) {
	for i, on := range bools(&o) {
		if on {
			set |= 1 << i
		}
	}
	return set
}

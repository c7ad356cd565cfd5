package syntax

import (
	"go/ast"
	"go/token"
	"go/types"
	"reflect"

	"github.com/fusestep/fusestep/kernels/ir"
)

// Mode says how a function may use a field.
type Mode uint8

const (
	Read      Mode = iota // is only read
	ReadWrite             // is read and written
	Write                 // is read only after it has been written
	Term                  // is written, on every path or on none, and never read
)

// Limits. New lowers and tries a rule for every set of its options, 2 to the power of their number.
const (
	MaxOptions = 8
	maxFields  = 1 << 10 // of one struct
)

// Bank is a parameter of a rule's function: a pointer to a struct of numbers. Of a format function it is all parameters, or all results.
type Bank struct {
	Param  string         // the parameter's name; "" in a format function
	Pos    token.Position // of the struct's declaration
	Fields []BankField
}

// BankField is a field of a bank's struct, or a parameter or a result of a format function.
type BankField struct {
	Name string
	Pos  token.Position
	Tag  reflect.StructTag
	Type ir.Type // Float, or U32 for a word
	Mode Mode    // the parameter's, unless whoever looked the function up has changed it
	Why  string  // what an error says of the field where it is used otherwise; "" what it says of all
}

// Function is a checked function: a rule's, with banks of numbers and, last, a struct of bool options, or a format's, whose two banks
// are its parameters and its results.
type Function struct {
	Name    string
	Pos     token.Position
	Generic bool // over its number type; else that is float64, in a format float32
	Banks   []Bank
	Options []string

	format  bool // it has words
	file    *File
	decl    *ast.FuncDecl
	reached []ast.Node
	banks   map[types.Object]int
	options types.Object
	firstOf []int // of each bank, the index of its first field among all banks' fields
}

// function looks up a function by name.
func (f *File) function(name string, format bool) (*Function, *types.Signature, error) {
	decl, reached, err := f.reach(name, format)
	if err != nil {
		return nil, nil, err
	}
	fn := &Function{Name: name, Pos: f.fset.Position(decl.Pos()), format: format, file: f, decl: decl, reached: reached, banks: map[types.Object]int{}}
	sig := f.info.Defs[decl.Name].Type().(*types.Signature)
	fn.Generic = sig.TypeParams().Len() > 0
	if sig.TypeParams().Len() > 1 {
		return nil, nil, fn.errorf(decl, "a rule has one type parameter, its number type")
	}
	return fn, sig, nil
}

// Function looks up and checks a function by name. The modes are those of its banks' fields, in order of the banks; it must have as many.
func (f *File) Function(name string, modes ...Mode) (*Function, error) {
	fn, sig, err := f.function(name, false)
	if err != nil {
		return nil, err
	}
	decl := fn.decl
	if sig.Results().Len() > 0 {
		return nil, fn.errorf(decl.Type.Results, "a rule returns nothing: it stores to the fields of its first parameter")
	}
	if err := fn.params(sig, modes); err != nil {
		return nil, err
	}
	return fn, nil
}

// Structs are the positions of the structs that a function's parameters point to, as Bank.Pos has them, and say whether the function is generic.
func (f *File) Structs(name string) (at []token.Position, generic bool, err error) {
	fn, sig, err := f.function(name, false)
	if err != nil {
		return nil, false, err
	}
	for p := range sig.Params().Variables() {
		if ptr, ok := p.Type().(*types.Pointer); ok {
			at = append(at, fn.structPos(p, ptr))
		}
	}
	return at, fn.Generic, nil
}

// structPos is where the struct that a parameter points to is declared.
func (fn *Function) structPos(p *types.Var, ptr *types.Pointer) token.Position {
	if named, ok := types.Unalias(ptr.Elem()).(*types.Named); ok {
		return fn.file.fset.Position(named.Obj().Pos())
	}
	return fn.file.fset.Position(p.Pos())
}

func (fn *Function) params(sig *types.Signature, modes []Mode) error {
	n := 0
	for i := range sig.Params().Len() {
		p := sig.Params().At(i)
		ptr, isPtr := p.Type().(*types.Pointer)
		if !isPtr {
			if i != sig.Params().Len()-1 {
				return fn.errorAt(p.Pos(), "parameter %s must be a pointer to a struct of numbers; only the last, the options, is a value", p.Name())
			}
			if err := fn.optionStruct(p); err != nil {
				return err
			}
			continue
		}
		if i >= len(modes) {
			return fn.errorAt(p.Pos(), "parameter %s is one too many: this function takes %d structs of numbers", p.Name(), len(modes))
		}
		st, ok := ptr.Elem().Underlying().(*types.Struct)
		if !ok {
			return fn.errorAt(p.Pos(), "parameter %s must point to a struct of numbers, not to %s", p.Name(), ptr.Elem())
		}
		bank := Bank{Param: p.Name(), Pos: fn.structPos(p, ptr)}
		if n := st.NumFields(); n > maxFields {
			return fn.errorAt(st.Field(maxFields).Pos(), "field %s is one too many: a struct of numbers has at most %d fields, not %d", st.Field(maxFields).Name(), maxFields, n)
		}
		for k := range st.NumFields() {
			v := st.Field(k)
			if v.Embedded() || !fn.isNumber(v.Type()) {
				return fn.errorAt(v.Pos(), "field %s is a %s: every field of a struct of numbers has the rule's number type", v.Name(), v.Type())
			}
			bank.Fields = append(bank.Fields, BankField{Name: v.Name(), Pos: fn.file.fset.Position(v.Pos()), Tag: reflect.StructTag(st.Tag(k)), Mode: modes[i]})
		}
		fn.banks[p] = len(fn.Banks)
		fn.Banks = append(fn.Banks, bank)
		fn.firstOf = append(fn.firstOf, n)
		n += st.NumFields()
	}
	if len(fn.Banks) != len(modes) {
		return fn.errorf(fn.decl, "this function takes %d structs of numbers, not %d", len(modes), len(fn.Banks))
	}
	return nil
}

func (fn *Function) optionStruct(p *types.Var) error {
	st, ok := p.Type().Underlying().(*types.Struct)
	if !ok {
		return fn.errorAt(p.Pos(), "the options must be a struct of bools, not %s", p.Type())
	}
	for k := range st.NumFields() {
		v := st.Field(k)
		if b, ok := v.Type().Underlying().(*types.Basic); !ok || b.Kind() != types.Bool {
			return fn.errorAt(v.Pos(), "option %s is a %s: options are bools", v.Name(), v.Type())
		}
		if k == MaxOptions {
			return fn.errorAt(v.Pos(), "option %s is one too many: a rule has at most %d options, not %d, as it is tried with every set of them", v.Name(), MaxOptions, st.NumFields())
		}
		fn.Options = append(fn.Options, v.Name())
	}
	fn.options = p
	return nil
}

// isNumber says whether t is what the function calculates with: a type parameter, or outside a generic function float64, in a format
// float32.
func (fn *Function) isNumber(t types.Type) bool {
	switch t := types.Unalias(t).(type) {
	case *types.TypeParam:
		return true
	case *types.Basic:
		return t.Kind() == types.Float64 && !fn.format || t.Kind() == types.Float32 && fn.format
	}
	return false
}

// isWord says whether t is what a format calculates with beside numbers.
func (fn *Function) isWord(t types.Type) bool {
	b, ok := types.Unalias(t).(*types.Basic)
	return ok && fn.format && b.Kind() == types.Uint32
}

// isValue says whether variables may have the type.
func (fn *Function) isValue(t types.Type) bool { return fn.isNumber(t) || fn.isWord(t) || isBool(t) }

// kinds says what the function may calculate with, for messages.
func (fn *Function) kinds(and string) string {
	if fn.format {
		return "numbers, words " + and + " conditions"
	}
	return "numbers " + and + " conditions"
}

// fields lists all banks' fields, as ir wants them.
func (fn *Function) fields() []ir.Field {
	var out []ir.Field
	for b, bank := range fn.Banks {
		for i, f := range bank.Fields {
			name := f.Name
			if bank.Param != "" {
				name = bank.Param + "." + name
			}
			out = append(out, ir.Field{Bank: b, Index: i, Name: name, Type: f.Type})
		}
	}
	return out
}

func (fn *Function) errorf(at ast.Node, format string, args ...any) error {
	return fn.errorAt(at.Pos(), format, args...)
}

func (fn *Function) errorAt(pos token.Pos, format string, args ...any) error {
	return fn.file.errorAt(pos, format, args...)
}

// Package rule is what an optimizer's rule is written with. A rule of your own is one Go file:
//
//	package mine
//
//	import (
//		_ "embed"
//
//		"github.com/fusestep/fusestep/kernels/rule"
//	)
//
//	//go:embed momentum.go
//	var source string // of this file
//
//	type Elem[F rule.Float] struct {
//		P F `slot:"param"`
//		G F `slot:"grad"`
//		M F `slot:"momentum"` // state, which starts at 0
//	}
//	type Scalars[F rule.Float] struct{ LR, Beta F }
//
//	// Step says how one element changes.
//	func Step[F rule.Float](e *Elem[F], s *Scalars[F], _ struct{}) {
//		e.M = rule.Flush(F(s.Beta*e.M) + e.G) // 0 in place of a subnormal number, which would be slow and stay
//		e.P -= F(s.LR * e.M)
//	}
//
//	// Momentum is the hyperparameters.
//	type Momentum struct{ LR, Beta float64 }
//
//	// Prologue runs once a step, in float64, and computes the scalars.
//	func Prologue(h *Momentum, _ *struct{}, s *Scalars[float64], _ struct{}) { s.LR, s.Beta = h.LR, h.Beta }
//
//	var def, err = rule.New(Step[float32], Step[float64], Prologue, source)
//
//	// Setting makes Momentum an optim.Algorithm, to be handed to optim.New as the built-in ones are.
//	func (m Momentum) Setting() (rule.Setting, error) { return def.With(m, struct{}{}), err }
//
// The rule then runs on every device, as vector code on a CPU and as PTX on a GPU, with the bits of the Go function.
//
// # A rule with a norm
//
// Elements may fill sums of their tensor, which later elements see. Such a rule is several functions, which run one after the other: element
// functions, and tensor functions between them. This one, in the same file, brings each tensor's step to the length LR:
//
//	// Tensor is what a tensor has to itself.
//	type Tensor[F rule.Float] struct {
//		M    F `fill:"squares"` // of the elements' terms
//		Rate F                  // which the tensor function computes
//	}
//
//	// Fill says how an element's momentum changes, and what the element adds to the sum.
//	func Fill[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], _ struct{}) {
//		e.M = rule.Flush(F(s.Beta*e.M) + e.G)
//		t.M = e.M
//	}
//
//	// Rate runs once for each tensor, in float64, when all its elements have filled it.
//	func Rate(t *Tensor[float64], s *Scalars[float64], _ struct{}) {
//		t.Rate = 0
//		if t.M > 0 {
//			t.Rate = s.LR / rule.Sqrt(t.M)
//		}
//	}
//
//	// Move says how the element changes.
//	func Move[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], _ struct{}) { e.P -= F(t.Rate * e.M) }
//
//	var normed, errNormed = rule.NewStaged(Prologue, source,
//		rule.Elements(Fill[float32], Fill[float64]), rule.Tensors(Rate), rule.Elements(Move[float32], Move[float64]))
//
// # What New does
//
// New and NewStaged read the source, make a graph of each function for every set of options, and compare the graphs with the compiled
// functions on many numbers. What is no rule is an *Error with a position in the source.
//
// # What a rule may say
//
// A rule's file is any Go file. These rules are for what its functions reach in it: the functions that they call, and the types
// and constants that they name, by Go's scopes. The rest of the file may say anything and import anything. What is reached:
//
//   - Functions. An element function has one type parameter, F, its number type: float32 or float64. The prologue and tensor functions
//     have none, and their number type is float64. Parameters are pointers to structs whose fields are all of the number type, at most
//     1024 of them, and last, by value, a struct of bools, the options, at most 8. They return nothing.
//   - Functions of the same file, and of this package. They take and return numbers and conditions, and calls of them are inlined. If
//     they are generic, it is for the number type. They have a body, are no methods, and do not call themselves. Those of package
//     math are not among them, as they have other last bits on other machines.
//   - Statements: declarations of variables and constants; assignments, also of several values, with = := += -= *= and /=; if and
//     else without a statement before the condition; switch without a tag; blocks; return.
//   - Expressions: numbers with + - * / and unary + and -; comparisons of numbers; conditions with && || and !; calls; conversions
//     to the number type; fields of the parameters.
//   - Variables are local. They are numbers or conditions.
//   - Constants are Go's, and rounded where Go rounds them. Declared without a type, a constant is exact until it meets a number: in
//     c*x it is rounded once, to x's type. Alone in a conversion to F it becomes a float64 first, and is then rounded again.
//   - Predeclared names: float64 and bool, and in constraints the other types. Not true, false, iota, min, max and the like, which
//     another file of the package may declare anew, and other files are not read. Declared in the same file they are names like others.
//
// Not among these: loops, ++ and --, goto, labels, tags, defer, go, function literals, package variables, other packages, integers,
// strings, slices, maps and other types.
//
// # What a tensor has
//
// A rule with stages begins and ends with an element function. Between each two element functions stands one tensor function, or what stands for it below. It sees
// the scalars as elements do: rounded to the type of the elements, then widened. A field of the tensor struct is one of these, by its tag:
//
//   - A fill, tagged `fill:"sum"`, `fill:"squares"`, `fill:"mean"` or `fill:"max"`. An element function stores the element's term to it,
//     on every path, and never reads it. Terms are widened to float64, in which they are squared and added up, by a fixed tree over the
//     tensor's elements: the bits of a sum depend on no thread and no device. Nothing is scaled: a square above the range of float64 is
//     infinite. The mean is the sum divided by the number of elements. The max is the largest term, or NaN if one is; of no elements it
//     is -Inf. One element function fills a field. Tensor functions behind that one read it.
//   - State, tagged `state:"name"`. Each tensor keeps it from step to step. It starts at 0. Tensor functions store it, and all read it.
//   - The count, tagged `count:"elements"`: the number of the tensor's elements; of a shard, of those that are here. It is read.
//   - A number without a tag. Tensor functions compute it. What stands behind the one that stores it reads it.
//
// # What all tensors have together
//
// Where the fills are tagged `all:"sum"`, `all:"squares"` or `all:"max"`, the numbers of the struct belong to all tensors of a step together: elements
// of all of them fill a sum, the state is kept once, and the functions between the element functions run once. NewStaged is given them by All:
//
//	type Numbers[F rule.Float] struct {
//		M    F `all:"squares"` // of all elements there are
//		Most F `state:"most"`
//		Rate F
//	}
//
//	func Together(n *Numbers[float64], s *Scalars[float64], o Options)
//
// Such a function sees the scalars of the first tensor's group. Sums go by the tree of the gradient's norm, over the tensors in their order, on which their bits
// depend. There is no mean and no count, and nothing of rows and columns. What clips the gradient of each tensor or unit cannot stand before such a rule.
//
// # How element functions read and store
//
// An element function reads a tensor's numbers rounded to its number type. Each may store the element's state. The last one alone stores the
// parameter, and none the gradient. What a function reads must have been computed before, for each set of options. What is done around a
// rule is done to the gradient in each stage. The parameter is decayed before the last one: those before it see it as it was.
//
// # What rows and columns have
//
// A tensor may have a matrix view: rows of as many elements each, one behind the other. It is one matrix or several, of as many rows each; each has columns of
// its own. A rule that has numbers of rows or of columns has a row
// struct or a column struct, or both, and an option called Matrix, which the tensor sets: it is on where the tensor has a matrix view. An element
// function that uses them is given to NewStaged by MatrixElements. It takes, behind the tensor struct, a row struct and a column struct; where a
// rule has none, an empty one:
//
//	func First[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], r *Row[F], c *Column[F], o Options)
//
// A row function runs once for each row, and a column function once for each column. They are generic, as element functions are:
//
//	func OfRows[F rule.Float](r *Row[F], s *Scalars[F], t *Tensor[F], o Options)
//
// Rows and Columns give them to NewStaged. Between two element functions stand at most a row function, a column function and a tensor function, in
// this order. The first two see the tensor's numbers as the tensor function before them left them. A field of the row struct, or of the column struct, is
// one of these, by its tag:
//
//   - A fill, of the kinds that a tensor has. Element functions fill it. The terms of a row are added up by the tree over its elements; those of a
//     column, by blocks of 64 rows of its matrix. The sum is rounded once to the number type. A mean is the sum divided by the number of terms: of a row's elements,
//     or of rows.
//   - State, tagged `slot:"name"`. Each row keeps it from step to step, as a number of F. It starts at 0.
//   - Of a column, what its matrix's rows have, tagged `rows:"mean V"`, or with another kind of fill: it is made of field V of all rows of the matrix, as they
//     are before the column function that reads it, and is the same for all its columns. The rows are added up as the elements of one tile are, however
//     many they are, and the sum is rounded once to the number type. Column functions alone read it.
//   - A number without a tag, which is computed in each step.
//
// A row function reads the fills and stores the others. An element function fills the fills and reads the others. Row and column functions may also
// fill a tensor's fields; of a mean the number of terms is then that of rows or columns. Without the option Matrix, row and column functions are left out,
// and element functions neither read nor fill a row's or a column's field.
//
// # How numbers are rounded
//
// A product that is added or subtracted stands in a conversion, F(a*b), and so does a quotient by what depends on no field, F(a/2).
// Without one, the Go compiler may round the product and the sum once together, and does on arm64 and with GOAMD64=v3; other
// devices round twice. A division by a power of two is a product to it. A product stays one in variables, fields, signs, choices,
// rule.Abs and what functions return.
//
// Every operation rounds once, to nearest even, in the order written. Both sides of && and || and both arms of an if on numbers are
// computed, which no number can tell. An if on options is resolved before.
//
// # What a format may say
//
// A format function makes numbers of words, words of numbers, or words of words. It may say what a rule may, but for this:
//
//   - It takes and returns numbers and words, by value, at most 1024 each. It has no options. Its number type is F if it is generic,
//     and otherwise float32.
//   - A word is a uint32. Variables, and parameters and results of the functions that are called, may be words.
//   - Words have + - * & | ^ &^, unary ^ and -, << and >> by a constant from 0 to 31, comparisons, and assignments with these operators.
//     What is beyond 32 bits is cut off. x<<13 | x>>19 rotates x, by one operation. Constants must fit. Words are not divided, and none
//     meets a number in one operation.
//   - rule.FromBits and rule.FromHalf make a number of a word; rule.ToBits and rule.ToHalf make a word of a float32, so that only a
//     function that is not generic calls them. rule.MulHigh has the upper half of a product.
//   - Predeclared names: uint32 and float32, too.
//
// Which NaN an operation gives is not defined. So a function that looks at a number's bits asks x != x first.
//
// # Limits
//
// What a rule or a format function becomes is limited to 8192 statements and expressions, after calls are inlined and what follows
// an if with a return stands in both of its arms; calls nest 16 deep, and blocks of the file 500 deep.
package rule

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
// # What New does
//
// New reads the source. Package syntax says what a rule may say. New makes a graph of the rule for every set of options, and compares
// the graphs with the compiled functions on many numbers. What is wrong is an error with a position in the source.
//
// # What a rule calls
//
// A rule calls the functions of this package, and functions of its own file that take and return numbers and conditions. Package
// math is not the same on every machine, to the last bit, and a rule that calls it is refused.
package rule

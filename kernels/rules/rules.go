// Package rules holds the built-in optimizers' rules, one file for each algorithm: its element function, its prologue, and their
// types. Package rule says what these are. SGDRule and the like are functions, as a rule is made when it is first asked for.
//
// Package optim has the hyperparameters that a user sets, with their defaults, and checks them.
package rules

import (
	"sync"

	"github.com/fusestep/fusestep/kernels/rule"
)

// define makes a built-in rule when it is first asked for. That one of them is no rule is a mistake in this package.
func define[E32, E64, S32, S64, H, T, O any](f32 func(*E32, *S32, O), f64 func(*E64, *S64, O),
	prologue func(*H, *T, *S64, O), source string) func() rule.Definition[H, O] {
	return sync.OnceValue(func() rule.Definition[H, O] {
		d, err := rule.New(f32, f64, prologue, source)
		if err != nil {
			panic(err)
		}
		return d
	})
}

// defineStaged is define for a rule with tensor functions.
func defineStaged[H, T, S, O any](prologue func(*H, *T, *S, O), source string, functions ...rule.StageFunc[S, O]) func() rule.Definition[H, O] {
	return sync.OnceValue(func() rule.Definition[H, O] {
		d, err := rule.NewStaged(prologue, source, functions...)
		if err != nil {
			panic(err)
		}
		return d
	})
}

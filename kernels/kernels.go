// Package kernels holds the optimizers' rules, one file each, and what an executor needs to run them: a Program is a rule
// for one set of options and one element type, Work is a program with the tensors that it updates, and a Backend
// is a device that can run work. No rule knows a device, and no device knows a rule.
//
// The arithmetic of a rule, and how it is checked, is in packages rule, syntax and ir below.
package kernels

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

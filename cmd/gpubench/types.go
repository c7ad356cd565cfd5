package main

import (
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/optim"
)

// types are what parameters, gradients and state are held as, and how parameters and state of 16 bits are rounded.
type types struct {
	param, grad, state device.DType
	stochastic         bool
}

// compute is the type that steps calculate in.
func (t types) compute() device.DType { return format.Compute(t.param) }

// String names the types in one word: "float32", or "bfloat16,grad=f32,state=bf16" where they are not those that -dtype alone gives.
func (t types) String() string { return t.param.String() + t.others(",") }

func (t types) others(separator string) (out string) {
	if t.grad != t.param {
		out += separator + "grad=" + t.grad.Short()
	}
	if t.state != t.compute() {
		out += separator + "state=" + t.state.Short()
	}
	if t.stochastic {
		out += separator + "rounding=" + stochastic
	}
	return out
}

// The values of -rounding.
const (
	nearest    = "nearest"
	stochastic = "stochastic"
)

// rounding is the value of -rounding.
func (t types) rounding() string {
	if t.stochastic {
		return stochastic
	}
	return nearest
}

// plain are the types of a -dtype alone.
func plain(t device.DType) types { return types{param: t, grad: t, state: format.Compute(t)} }

// parseTypes reads the values of -dtype, -grad, -state and -rounding. Grad and state may be empty.
func parseTypes(dtype, grad, state, rounding string) (t types, err error) {
	if t.param, err = device.ParseDType(dtype); err != nil {
		return t, cli.Usagef("-dtype %s: must be f32, f64, bf16 or f16", cli.Shown(dtype))
	}
	t = plain(t.param)
	for _, f := range []struct {
		name, value string
		to          *device.DType
	}{{"-grad", grad, &t.grad}, {"-state", state, &t.state}} {
		if f.value == "" {
			continue
		}
		if *f.to, err = device.ParseDType(f.value); err != nil || !slices.Contains(format.Storage(t.compute()), *f.to) {
			known := "f32, bf16 or f16"
			if t.compute() == device.Float64 {
				known = "f64"
			}
			return t, cli.Usagef("%s %s: with -dtype %s it must be %s", f.name, cli.Shown(f.value), t.param.Short(), known)
		}
	}
	if rounding != nearest && rounding != stochastic {
		return t, cli.Usagef("-rounding %s: must be nearest or stochastic", cli.Shown(rounding))
	}
	if t.stochastic = rounding == stochastic; t.stochastic && t.param.Size() != 2 && t.state.Size() != 2 {
		return t, cli.Usagef("-rounding stochastic: with -dtype %s and -state %s nothing of 16 bits is stored", t.param.Short(), t.state.Short())
	}
	return t, nil
}

// seed is of -rounding stochastic.
const seed = 0x0123456789abcdef

// plan is the optimizer's with these types.
func (o optimizer) plan(t types) (plan, error) {
	alg := optim.Stored{Algorithm: o.Algorithm, All: t.state, Stochastic: t.stochastic, Seed: seed}
	s, err := alg.Setting()
	if err != nil {
		return plan{}, err
	}
	p, err := kernels.New(kernels.SpecOfTypes(s, t.param, t.grad))
	return plan{alg, s, p}, err
}

package main

import (
	"slices"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/optim"
)

// types are what parameters, gradients and state are held as, what is kept beside parameters of 16 bits, and how what is stored of 16 bits is
// rounded.
type types struct {
	param, grad, state device.DType
	master             optim.Master
	stochastic         bool
}

// masters are the values of -master.
var masters = map[string]optim.Master{"none": optim.NoMaster, "f32": optim.MasterFloat32, "remainder": optim.MasterRemainder,
	"remainder8": optim.MasterRemainder8}

// beside are the values of -master that parameters of a type may have.
var beside = map[device.DType][]string{device.BFloat16: {"none", "f32", "remainder", "remainder8"}, device.Float16: {"none", "f32"},
	device.Float32: {"none"}, device.Float64: {"none"}}

// masterName is the value of -master.
func (t types) masterName() string {
	for name, m := range masters {
		if m == t.master {
			return name
		}
	}
	return ""
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
	if t.master != optim.NoMaster {
		out += separator + "master=" + t.masterName()
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

// parseTypes reads the values of -dtype, -grad, -state, -master and -rounding. Grad and state may be empty.
func parseTypes(dtype, grad, state, master, rounding string) (t types, err error) {
	if t.param, err = device.ParseDType(dtype); err != nil || format.Compute(t.param) == 0 {
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
		if *f.to, err = device.ParseDType(f.value); err != nil || !slices.Contains(format.PlainTypes(t.compute()), *f.to) {
			known := "f32, bf16 or f16"
			if t.compute() == device.Float64 {
				known = "f64"
			}
			return t, cli.Usagef("%s %s: with -dtype %s it must be %s", f.name, cli.Shown(f.value), t.param.Short(), known)
		}
	}
	if known := beside[t.param]; !slices.Contains(known, master) {
		return t, cli.Usagef("-master %s: with -dtype %s it must be %s", cli.Shown(master), t.param.Short(), either(known))
	}
	t.master = masters[master]
	if rounding != nearest && rounding != stochastic {
		return t, cli.Usagef("-rounding %s: must be nearest or stochastic", cli.Shown(rounding))
	}
	t.stochastic = rounding == stochastic
	if weight := t.param.Size() == 2 && t.master == optim.NoMaster; t.stochastic && !weight && t.state.Size() != 2 {
		return t, cli.Usagef("-rounding stochastic: with -dtype %s, -state %s and -master %s there is nothing to round to 16 bits", t.param.Short(),
			t.state.Short(), master)
	}
	return t, nil
}

// either is "a, b or c".
func either(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// seed is of -rounding stochastic.
const seed = 0x0123456789abcdef

// plan is the optimizer's with these types.
func (o optimizer) plan(t types) (plan, error) {
	alg := optim.Stored{Algorithm: o.Algorithm, All: t.state, Master: t.master, Stochastic: t.stochastic, Seed: seed}
	s, err := alg.Setting()
	if err != nil {
		return plan{}, err
	}
	spec := kernels.SpecOfTypes(s, t.param, t.grad)
	p, err := kernels.New(spec)
	if err != nil {
		return plan{}, err
	}
	spec.Options |= s.Rule.MatrixOption()
	matrix, err := kernels.New(spec)
	return plan{alg, s, p, matrix}, err
}

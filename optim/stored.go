package optim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Stored is any algorithm whose state memory holds in other types than the one that is calculated with: one of this package's, or one
// with a rule of the user's own. State and name are the algorithm's. This has bfloat16 for all state but the second moment:
//
//	optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.BFloat16, State: map[string]device.DType{"exp_avg_sq": device.Float32}}
//
// Steps calculate in float32 for values of float32, bfloat16 and float16, and in float64 for values of float64. A step widens what it
// reads, which is exact, and rounds what it writes to nearest, ties to even. A change of less than 1/512 of a number is lost in bfloat16: a
// second moment of bfloat16 with a betas[1] of 0.999 never falls, and a parameter may never move, unless it has a Master. See docs/numerics.md.
//
// With Stochastic, values and state of bfloat16 and float16 are rounded up or down by chance, with probabilities that make the mean exact, so
// that many small changes add up. The chance is a function of Seed, the step, the tensor's name, the element and the slot: a training has the
// same bits on every device, in any groups, and when it goes on later. Two optimizers with tensors of one name need different seeds to have
// different noise. Values and state of other types are not concerned.
//
// A slot that the algorithm does not have is a format.SlotError. A type that state of a group cannot have is a format.Error of New and
// AddGroup, and so is a remainder beside a value of float16, in a TensorError. The types of a group stay as they are, and how it rounds:
// others need a new group. The seed can be changed by SetAlgorithm. A Stored around another, as with Averaged between them, adds to it. What
// both say is an error.
type Stored struct {
	Algorithm Algorithm
	State     map[string]device.DType // by PyTorch's names for state, such as "exp_avg"
	All       device.DType            `hyper:"-"` // of the state that State does not name, but Averaged's "ema"; 0 is the type that is calculated with
	Master    Master                  `hyper:"-"` // what is kept beside values of 16 bits

	Stochastic bool   `hyper:"-"` // of values without a master and of state, of 16 bits: they are rounded stochastically
	Seed       uint64 `hyper:"-"` // of the noise, if Stochastic
}

// Master is what an optimizer keeps beside values of 16 bits, so that no change is too small for a step. It is state, which Optimizer.State
// finds as "master" or "remainder". A value of float32 or float64 is its own master, and has none beside it.
//
// A step calculates with the master and writes both: the value is the master, rounded. What the caller writes to values after New counts as
// well: before a tensor's first step, each element of a master that does not round to the value's bits becomes the value. Until then State
// shows zeros, or a master that the caller has put back there, as when a training goes on: that stays where it rounds to the value. So it is
// again after SetGroupCounters and SetTensorCounters, as when a training goes back. Who writes to values after the first step, be that applied or
// skipped, and does not set counters, calls Optimizer.AdoptValues.
type Master uint8

const (
	// NoMaster rounds what a step makes of a value to 16 bits, and keeps no more.
	NoMaster Master = iota
	// MasterFloat32 keeps "master", in float32, beside a bfloat16 or float16. The value is rounded to nearest even.
	MasterFloat32
	// MasterRemainder keeps "remainder", an int16 beside a bfloat16: together they are all bits of a float32. These are Transformer Engine's
	// arrays. The value is rounded to nearest, ties away from zero. It starts as 0.
	MasterRemainder
	// MasterRemainder8 keeps "remainder", an int8 beside a bfloat16: together they are the upper 24 bits of a float32, to which a step rounds
	// to nearest even.
	MasterRemainder8
)

// masters are what rules call them.
var masters = map[Master]string{NoMaster: "", MasterFloat32: device.Float32.Short(), MasterRemainder: device.Int16.Short(), MasterRemainder8: device.Int8.Short()}

// Setting implements Algorithm.
func (c Stored) Setting() (rule.Setting, error) {
	s, err := settingOf(c.Algorithm, "stored")
	if err != nil {
		return rule.Setting{}, err
	}
	slots := slices.DeleteFunc(slices.Clone(s.Rule.Slots), func(name string) bool { return name == rule.Param || name == rule.Grad })
	if s.EMA {
		slots = append(slots, rule.Average)
	}
	for _, name := range slices.Sorted(maps.Keys(c.State)) {
		if !slices.Contains(slots, name) {
			return rule.Setting{}, fmt.Errorf("optim: %s: %w", s.Name, &format.SlotError{Slot: name, Format: c.State[name].Short(), Slots: slots})
		}
	}
	name, ok := masters[c.Master]
	switch {
	case !ok:
		return rule.Setting{}, &HyperparameterError{Algorithm: s.Name, Name: "master", Value: float64(c.Master), Want: "one of the constants of type Master"}
	case s.Master != "" && name != "":
		return rule.Setting{}, fmt.Errorf("optim: %s: parameters have two masters, %s and %s", s.Name, s.Master, name)
	case name != "":
		s.Master = name
		beside := "remainder"
		if c.Master == MasterFloat32 {
			beside = "master"
		}
		if s.Rule.Slot(beside) >= 0 {
			return rule.Setting{}, fmt.Errorf("optim: %s: the rule has state %q of its own, which is what a master keeps beside a value of 16 bits: "+
				"give the slot another name", s.Name, beside)
		}
	}
	formats := strings.Fields(s.Formats)
	for _, name := range slots {
		t, ok := c.State[name]
		if !ok && !(s.EMA && name == rule.Average) { // in 16 bits an average hardly moves
			t = c.All
		}
		if ok || t != 0 {
			formats = append(formats, name+"="+t.Short())
		}
	}
	s.Formats = strings.Join(formats, " ")
	r := ranges{algorithm: s.Name}
	r.needs("stochastic", c.Stochastic, !s.Stochastic, "an algorithm that is not stochastic already")
	if c.Stochastic {
		s.Stochastic, s.Seed = true, c.Seed
	}
	return s, r.err
}

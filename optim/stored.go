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
// second moment of bfloat16 with a betas[1] of 0.999 never falls, and a parameter may never move. See docs/numerics.md.
//
// A slot that the algorithm does not have is a format.SlotError. A type that state of a group cannot have is a format.Error of New and
// AddGroup. The types of a group stay as they are: others need a new group.
type Stored struct {
	Algorithm Algorithm
	State     map[string]device.DType // by PyTorch's names for state, such as "exp_avg"
	All       device.DType            `hyper:"-"` // of the state that State does not name, but Averaged's "ema"; 0 is the type that is calculated with
}

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
	return s, nil
}

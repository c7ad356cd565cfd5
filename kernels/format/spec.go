package format

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// ParseSpec reads the formats of a rule's slots from a text such as "param=bf16 grad=bf16 exp_avg=f32". A slot that the text does
// not name holds the compute type. It fails with a *SlotError for a slot that is none of the rule's, and with an *Error for a
// format that the compute type does not have, or that numbers cannot be put into.
func ParseSpec(spec string, slots []string, compute device.DType) ([]*Format, error) {
	formats := make([]*Format, len(slots))
	for field := range strings.FieldsSeq(spec) {
		slot, name, ok := strings.Cut(field, "=")
		if !ok {
			return nil, fmt.Errorf("formats %q: %q is not slot=format", spec, field)
		}
		i := slices.Index(slots, slot)
		if i < 0 {
			return nil, &SlotError{Slot: slot, Format: name, Slots: slots}
		}
		if formats[i] != nil {
			return nil, fmt.Errorf("formats %q: slot %q has two, %s and %s", spec, slot, formats[i], name)
		}
		f, err := Parse(name, compute)
		if err != nil || !f.Encodes() {
			return nil, &Error{Slot: slot, Format: name, Compute: compute}
		}
		formats[i] = f
	}
	for i := range formats {
		if formats[i] == nil {
			var err error
			if formats[i], err = Plain(compute, compute); err != nil {
				return nil, err
			}
		}
	}
	return formats, nil
}

// Spec is the text that ParseSpec reads, in one form for equal formats: it names the slots that do not hold the compute type, in order.
func Spec(slots []string, formats []*Format) string {
	var fields []string
	for i, f := range formats {
		if !f.Identity() {
			fields = append(fields, slots[i]+"="+f.name)
		}
	}
	return strings.Join(fields, " ")
}

// Error is a format that a compute type does not have.
type Error struct {
	Slot    string // that was to have it, or ""
	Format  string
	Compute device.DType
}

// Error reads `slot "grad": no format "f64" for calculations in float32: there are f32, bf16, f16`. Masters and remainders are the parameter's.
func (e *Error) Error() string {
	var slot string
	if e.Slot != "" {
		slot = fmt.Sprintf("slot %q: ", e.Slot)
	}
	var names []string
	for _, f := range all() {
		if f.compute == e.Compute && f.Encodes() && !f.noisy && (f.NumPlanes() == 1 || e.Slot == "" || e.Slot == rule.Param) {
			names = append(names, f.name)
		}
	}
	if names == nil {
		return fmt.Sprintf("%sno format %q for calculations in %s: rules calculate in float32 and float64", slot, e.Format, e.Compute)
	}
	return fmt.Sprintf("%sno format %q for calculations in %s: there are %s", slot, e.Format, e.Compute, strings.Join(names, ", "))
}

// SlotError is a format for a slot that there is not.
type SlotError struct {
	Slot, Format string
	Slots        []string // that there are
}

// Error reads `format bf16 is for slot "momentum", which is none of "param", "grad"`.
func (e *SlotError) Error() string {
	if len(e.Slots) == 0 {
		return fmt.Sprintf("format %s is for slot %q, and there are none", e.Format, e.Slot)
	}
	quoted := make([]string, len(e.Slots))
	for i, s := range e.Slots {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("format %s is for slot %q, which is none of %s", e.Format, e.Slot, strings.Join(quoted, ", "))
}

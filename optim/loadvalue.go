package optim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/format"
)

func floating(t device.DType) bool { return t != device.Int16 && t != device.Int8 }

// besideName is the slot of a saved tensor that stands beside its value, "" if none does.
func besideName(t *TensorState, slots []string) string {
	for _, n := range t.Numbers {
		if (n.Slot == "master" || n.Slot == "remainder") && !slices.Contains(slots, n.Slot) {
			return n.Slot
		}
	}
	return ""
}

// valueState finds what is done to a value that has a format, and to what stands beside it.
func (l *loading) valueState(t *tensorLoad, to *format.Format) {
	planes, slots := to.Planes(), t.p.group.slots()
	same, could := true, true
	note := func(slot, what, saved, here string) {
		same = false
		if !l.how.Convert || what == Missing && slot == ParamSlot {
			could = false
			l.add(Mismatch{Group: t.p.group.index, Tensor: t.p.Name, Slot: slot, What: what, Saved: saved, Here: here})
		}
	}
	for _, f := range t.from {
		value, hasValue := f.t.Slot(ParamSlot)
		name := besideName(f.t, slots)
		beside, hasBeside := f.t.Slot(name)
		switch {
		case hasValue && !l.how.WithoutValues && value.DType != planes[0].DType:
			note(ParamSlot, MismatchType, value.DType.String(), planes[0].DType.String())
		case !hasValue && !l.how.WithoutValues:
			note(ParamSlot, Missing, "", planes[0].DType.String())
		}
		switch {
		case hasBeside && len(planes) == 1:
			note(name, Unexpected, beside.DType.String(), "")
		case !hasBeside && len(planes) == 2:
			note(planes[1].Name, Missing, "", planes[1].DType.String())
		case hasBeside && (name != planes[1].Name || beside.DType != planes[1].DType):
			note(name, MismatchType, beside.DType.String(), planes[1].Name+" "+planes[1].DType.String())
		}
	}
	t.value = valueLoad{value: !l.how.WithoutValues, beside: len(planes) == 2}
	if same || !could {
		return
	}
	for _, f := range t.from {
		if _, err := savedFormat(f.t, slots); err != nil {
			l.add(Mismatch{Group: t.p.group.index, Tensor: t.p.Name, Slot: ParamSlot, What: MismatchType, Saved: err.Error(), Here: to.String()})
			return
		}
	}
	if t.value.value || t.value.beside {
		t.value.to = nearest(to)
	}
}

// nearest is a format that rounds to nearest and has the same planes.
func nearest(f *format.Format) *format.Format {
	if g, err := format.Parse(strings.TrimSuffix(f.String(), "/sr"), f.Compute()); err == nil {
		return g
	}
	return f
}

// savedFormat is how a saved value and what stands beside it hold a number. Where the value was not saved, a float32 beside it is the number.
func savedFormat(t *TensorState, slots []string) (*format.Format, error) {
	value, ok := t.Slot(ParamSlot)
	beside, hasBeside := t.Slot(besideName(t, slots))
	switch {
	case ok && !hasBeside:
		if !floating(value.DType) {
			return nil, fmt.Errorf("value %s", value.DType)
		}
		return format.Plain(value.DType, format.Compute(value.DType))
	case ok:
		return format.Parse(value.DType.Short()+"+"+beside.DType.Short(), format.Compute(value.DType))
	case hasBeside && beside.DType == device.Float32:
		return format.Plain(device.Float32, device.Float32)
	}
	return nil, fmt.Errorf("no value")
}

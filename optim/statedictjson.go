package optim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
)

// Named are numbers by their names. JSON has "inf", "-inf" and "nan" for those that it has no number for.
type Named map[string]float64

// MarshalJSON implements json.Marshaler.
func (n Named) MarshalJSON() ([]byte, error) {
	out := map[string]jsonFloat{}
	for name, x := range n {
		out[name] = jsonFloat(x)
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *Named) UnmarshalJSON(text []byte) error {
	var in map[string]jsonFloat
	if err := json.Unmarshal(text, &in); err != nil || in == nil {
		*n = nil
		return err
	}
	*n = Named{}
	for name, x := range in {
		(*n)[name] = float64(x)
	}
	return nil
}

// jsonFloat is a number that may be infinite or NaN.
type jsonFloat float64

var notNumbers = map[string]float64{`"inf"`: math.Inf(1), `"-inf"`: math.Inf(-1), `"nan"`: math.NaN()}

func (x jsonFloat) MarshalJSON() ([]byte, error) {
	for name, y := range notNumbers {
		if sameFloat(float64(x), y) {
			return []byte(name), nil
		}
	}
	return json.Marshal(float64(x))
}

func (x *jsonFloat) UnmarshalJSON(text []byte) error {
	if y, ok := notNumbers[string(text)]; ok {
		*x = jsonFloat(y)
		return nil
	}
	return json.Unmarshal(text, (*float64)(x))
}

// scheduleCounts are what JSON calls them.
var scheduleCounts = map[ScheduleCounts]string{AllSteps: "all", AppliedSteps: "applied"}

// MarshalText implements encoding.TextMarshaler.
func (c ScheduleCounts) MarshalText() ([]byte, error) {
	name, ok := scheduleCounts[c]
	if !ok {
		return nil, fmt.Errorf("optim: there are no ScheduleCounts %d", c)
	}
	return []byte(name), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *ScheduleCounts) UnmarshalText(text []byte) error {
	for x, name := range scheduleCounts {
		if name == string(text) {
			*c = x
			return nil
		}
	}
	return fmt.Errorf("optim: there are no ScheduleCounts %q", text)
}

type aroundState AroundState // without methods

type aroundJSON struct {
	*aroundState
	ClipNorm       jsonFloat `json:"clip_norm"`
	ClipTensorNorm jsonFloat `json:"clip_tensor_norm"`
}

// MarshalJSON implements json.Marshaler.
func (a AroundState) MarshalJSON() ([]byte, error) {
	return json.Marshal(aroundJSON{(*aroundState)(&a), jsonFloat(a.ClipNorm), jsonFloat(a.ClipTensorNorm)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *AroundState) UnmarshalJSON(text []byte) error {
	in := aroundJSON{aroundState: (*aroundState)(a)}
	err := strict(text, &in)
	a.ClipNorm, a.ClipTensorNorm = float64(in.ClipNorm), float64(in.ClipTensorNorm)
	return err
}

type outcomeState OutcomeState // without methods

type outcomeJSON struct {
	*outcomeState
	GradNorm jsonFloat `json:"grad_norm"`
}

// MarshalJSON implements json.Marshaler.
func (o OutcomeState) MarshalJSON() ([]byte, error) {
	return json.Marshal(outcomeJSON{(*outcomeState)(&o), jsonFloat(o.GradNorm)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *OutcomeState) UnmarshalJSON(text []byte) error {
	in := outcomeJSON{outcomeState: (*outcomeState)(o)}
	err := strict(text, &in)
	o.GradNorm = float64(in.GradNorm)
	return err
}

// dictJSON is a StateDict without its numbers.
type dictJSON struct {
	Steps        int             `json:"steps"`
	AppliedSteps *int            `json:"applied_steps,omitempty"`
	SkippedSteps int             `json:"skipped_steps"`
	Outcome      *OutcomeState   `json:"outcome,omitempty"`
	Around       *AroundState    `json:"around,omitempty"`
	Schedule     json.RawMessage `json:"schedule,omitempty"`
	Groups       []GroupState    `json:"groups"`
	Checksums    json.RawMessage `json:"checksums,omitempty"` // a file's, of numbers: passed over

	ScalerState *GradScalerState  `json:"grad_scaler_state,omitempty"`
	Extra       map[string]string `json:"extra,omitempty"`
}

// MarshalJSON implements json.Marshaler: all but the tensors' Numbers.
func (d *StateDict) MarshalJSON() ([]byte, error) {
	return json.Marshal(dictJSON{Steps: d.Steps, AppliedSteps: &d.AppliedSteps, SkippedSteps: d.SkippedSteps, Outcome: d.Outcome, Around: d.Around, Schedule: d.Schedule,
		Groups: d.Groups, ScalerState: d.ScalerState, Extra: d.Extra})
}

// UnmarshalJSON implements json.Unmarshaler. Tensors have no Numbers. A name that is not known is an error, but for "checksums", which a file may
// have beside the dict's own.
func (d *StateDict) UnmarshalJSON(text []byte) error {
	var in dictJSON
	if err := strict(text, &in); err != nil {
		return fmt.Errorf("optim: state dict: %w", err)
	}
	*d = StateDict{Steps: in.Steps, AppliedSteps: in.Steps - in.SkippedSteps, SkippedSteps: in.SkippedSteps, Outcome: in.Outcome,
		Around: in.Around, Schedule: in.Schedule, Groups: in.Groups, ScalerState: in.ScalerState, Extra: in.Extra}
	if in.AppliedSteps != nil {
		d.AppliedSteps = *in.AppliedSteps
	}
	return nil
}

// strict reads one value of JSON that has no names but those of v.
func strict(text []byte, v any) error {
	r := json.NewDecoder(bytes.NewReader(text))
	r.DisallowUnknownFields()
	if err := r.Decode(v); err != nil {
		return err
	}
	if _, err := r.Token(); err != io.EOF {
		return fmt.Errorf("there is more behind the value")
	}
	return nil
}

package door

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// options is fs_group's JSON.
type options struct {
	Names      []string          `json:"names"`
	State      map[string]string `json:"state"`
	All        string            `json:"all"`
	Master     string            `json:"master"`
	Stochastic bool              `json:"stochastic"`
	Seed       uint64            `json:"seed"`
	EMADecay   *float64          `json:"ema_decay"`
	L1         float64           `json:"l1"`
	L2         float64           `json:"l2"`
}

// masters are the names of what stands beside values, and of the row that it is in.
var masters = map[string]struct {
	master optim.Master
	row    string
}{"": {optim.NoMaster, ""}, "f32": {optim.MasterFloat32, "master"}, "i16": {optim.MasterRemainder, "remainder"}, "i8": {optim.MasterRemainder8, "remainder"}}

func parseOptions(text string) (o options, err error) {
	if text == "" {
		return o, nil
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return o, argumentf("options: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return o, argumentf("options: there is something behind the JSON")
	}
	if _, ok := masters[o.Master]; !ok {
		return o, argumentf(`options: master is %q, must be "f32", "i16" or "i8"`, o.Master)
	}
	return o, nil
}

// wrap is an algorithm with what the options put around it.
func (o *options) wrap(a optim.Algorithm) (optim.Algorithm, error) {
	if o.L1 != 0 || o.L2 != 0 {
		a = optim.Regularized{Algorithm: a, L1: o.L1, WeightDecay: o.L2}
	}
	if o.EMADecay != nil {
		a = optim.Averaged{Algorithm: a, Decay: *o.EMADecay}
	}
	s := optim.Stored{Algorithm: a, Master: masters[o.Master].master, Stochastic: o.Stochastic, Seed: o.Seed, State: map[string]device.DType{}}
	for name, t := range o.State {
		var err error
		if s.State[name], err = device.ParseDType(t); err != nil {
			return nil, argumentf("options: state %s: %v", name, err)
		}
	}
	if o.All != "" {
		var err error
		if s.All, err = device.ParseDType(o.All); err != nil {
			return nil, argumentf("options: all: %v", err)
		}
	}
	return s, nil
}

// rows names the rows of a group's table.
func (o *options) rows(k *kind) []string {
	rows := append([]string{"value", "grad"}, k.Slots...)
	if o.EMADecay != nil {
		rows = append(rows, rule.Average)
	}
	if row := masters[o.Master].row; row != "" {
		rows = append(rows, row)
	}
	return rows
}

// state is what a tensor of the types has with an algorithm: by name, its type.
func state(a optim.Algorithm, value, gradient device.DType) (map[string]device.DType, error) {
	plan, err := optim.NewPlan(a, value, gradient, nil)
	if err != nil {
		return nil, err
	}
	out := map[string]device.DType{}
	for _, b := range plan.Buffers {
		if b.Owned && b.Name != "counters" && b.Name != "sums" {
			out[b.Name] = b.DType
		}
	}
	return out, nil
}

// Slots is fs_slots' JSON.
func Slots(algorithm string, hyper []float64, text string, value, gradient device.DType) (string, error) {
	k, err := kindOf(algorithm)
	if err != nil {
		return "", err
	}
	o, err := parseOptions(text)
	if err != nil {
		return "", err
	}
	a, err := k.with(hyper)
	if err == nil {
		a, err = o.wrap(a)
	}
	if err != nil {
		return "", err
	}
	has, err := state(a, value, gradient)
	if err != nil {
		return "", err
	}
	setting, err := a.Setting()
	if err != nil {
		return "", err
	}
	type slot struct {
		Name  string   `json:"name"`
		Type  string   `json:"type"`
		Used  bool     `json:"used"`
		Start *float64 `json:"start"`
	}
	out := []slot{}
	for _, name := range o.rows(k)[2:] {
		x := slot{Name: name}
		if t, used := has[name]; used {
			x.Type, x.Used = t.Short(), true
		}
		if name != masters[o.Master].row {
			x.Start = new(float64)
			if i := slices.Index(setting.Rule.Slots, name); i >= 0 && setting.Rule.Start[i] >= 0 {
				*x.Start = setting.Hyper[setting.Rule.Start[i]]
			}
		}
		out = append(out, x)
	}
	b, err := json.Marshal(out)
	return string(b), err
}

package door

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
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

// domains are what has a slot's numbers, in JSON.
var domains = map[rule.Domain]string{rule.OfElements: "elements", rule.OfRows: "rows", rule.OfColumns: "columns"}

// state is what a tensor of the types has with an algorithm: by name, its type.
func state(a optim.Algorithm, t types) (map[string]device.DType, error) {
	shape := []int{1}
	if t.matrix {
		shape = []int{1, 1}
	}
	plan, err := optim.NewPlanOfShapes(a, t.value, t.gradient, [][]int{shape})
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

// Slots is fs_slots' JSON, of matrices or of other tensors.
func Slots(algorithm string, hyper []float64, text string, value, gradient device.DType, matrix bool) (string, error) {
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
	has, err := state(a, types{value, gradient, matrix && k.Matrix})
	if err != nil {
		return "", err
	}
	setting, err := a.Setting()
	if err != nil {
		return "", err
	}
	program, err := kernels.New(kernels.SpecOfTypes(setting, value, gradient).WithMatrix(matrix && k.Matrix))
	if err != nil {
		return "", err
	}
	type slot struct {
		Name  string   `json:"name"`
		Type  string   `json:"type"`
		Used  bool     `json:"used"`
		Of    string   `json:"of"`
		Start *float64 `json:"start"`
		Given bool     `json:"given,omitempty"`
	}
	out := []slot{}
	for _, name := range o.rows(k)[2:] {
		x := slot{Name: name, Of: domains[k.domain(name)]}
		if t, used := has[name]; used {
			x.Type, x.Used = t.Short(), true
			i := program.Slot(name)
			x.Given = i >= 0 && program.Slots[i].Role == kernels.Input
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

package door

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// kind is an algorithm as C knows it.
type kind struct {
	Name      string     `json:"name"` // the struct's
	Doc       string     `json:"doc"`
	Source    string     `json:"source"`
	Arguments []argument `json:"arguments"`
	Hyper     []string   `json:"hyper"`
	Slots     []string   `json:"slots"`
	Counters  []string   `json:"counters"`
	Evaluates bool       `json:"evaluates"`
	Tensors   bool       `json:"tensors"`
	Matrix    bool       `json:"matrix"`

	start    optim.Algorithm // with the defaults
	once     []string        // the last counters: state that a tensor has once, or together all tensors
	together bool
	lines    []rule.Domain // the domains of the last slots: of rows, and then of columns
}

// argument is a hyperparameter, or an array of them.
type argument struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	Length     int    `json:"length,omitempty"`
	Default    any    `json:"default"`
	Positional bool   `json:"positional"`

	defaults []float64
}

// defaults are the algorithms there are, as their Default functions make them.
func defaults() []optim.Algorithm {
	return []optim.Algorithm{optim.DefaultSGD(), optim.DefaultASGD(), optim.DefaultSGDW(), optim.DefaultAdam(), optim.DefaultAdamW(), optim.DefaultLion(), optim.DefaultLAMB(),
		optim.DefaultLARS(), optim.DefaultNovoGrad(), optim.DefaultAdafactor(), optim.DefaultCAME(), optim.DefaultAdamMini(), optim.DefaultStableAdamW(), optim.DefaultCautiousAdamW(), optim.DefaultCautiousLion(),
		optim.DefaultSignSGD(), optim.DefaultSignum(), optim.DefaultRMSprop(), optim.DefaultAdagrad(), optim.DefaultAdamax(), optim.DefaultNAdam(),
		optim.DefaultRAdam(), optim.DefaultAdaBelief(), optim.DefaultAdEMAMix(), optim.DefaultADOPT(), optim.DefaultProdigy(), optim.DefaultAdan(), optim.DefaultYogi(),
		optim.DefaultAdadelta(), optim.DefaultRprop(), optim.DefaultFTRL(), optim.DefaultProximalSGD(), optim.DefaultProximalAdagrad(),
		optim.DefaultSophia(), optim.DefaultScheduleFreeSGD(), optim.DefaultScheduleFreeAdamW()}
}

// positional are the arguments behind params that torch.optim's constructors take by position, of 2.15, and that we have.
var positional = map[string]string{
	"SGD":       "lr momentum dampening weight_decay nesterov",
	"ASGD":      "lr lambd alpha t0 weight_decay",
	"Adam":      "lr betas eps weight_decay amsgrad",
	"AdamW":     "lr betas eps weight_decay amsgrad",
	"Adamax":    "lr betas eps weight_decay",
	"NAdam":     "lr betas eps weight_decay momentum_decay decoupled_weight_decay",
	"RAdam":     "lr betas eps weight_decay decoupled_weight_decay",
	"RMSprop":   "lr alpha eps weight_decay momentum centered",
	"Rprop":     "lr etas step_sizes",
	"Adagrad":   "lr lr_decay weight_decay initial_accumulator_value eps",
	"Adadelta":  "lr rho eps weight_decay",
	"Adafactor": "lr beta2_decay eps d weight_decay",
}

// kinds are all algorithms, by name.
var kinds = func() map[string]*kind {
	out := map[string]*kind{}
	for _, a := range defaults() {
		k := newKind(a)
		out[k.Name] = k
	}
	return out
}()

func newKind(a optim.Algorithm) *kind {
	k := &kind{Name: reflect.TypeOf(a).Name(), start: a}
	for _, c := range optim.Cases() {
		if reflect.TypeOf(c.Algorithm) == reflect.TypeOf(a) && k.Doc == "" {
			k.Doc, k.Source = c.Doc, c.Source
		}
	}
	k.describe()
	return k
}

// describe fills in what the algorithm says.
func (k *kind) describe() {
	a := k.start
	s, err := a.Setting()
	if err != nil {
		panic(err)
	}
	k.Slots = []string{} // in JSON an array, too
	for _, name := range s.Rule.Slots {
		if name != rule.Param && name != rule.Grad {
			k.Slots = append(k.Slots, name)
		}
	}
	for _, d := range []rule.Domain{rule.OfRows, rule.OfColumns} {
		for _, f := range s.Rule.Fields(d) {
			if f.Slot != "" {
				k.Slots, k.lines = append(k.Slots, f.Slot), append(k.lines, d)
			}
		}
	}
	for _, c := range s.Rule.Counters {
		k.Counters = append(k.Counters, c.Name)
	}
	if !slices.Contains(k.Counters, rule.StepCounter) {
		k.Counters = append(k.Counters, rule.StepCounter)
	}
	for _, t := range s.Rule.Tensor {
		if t.State != "" {
			k.once, k.Counters = append(k.once, t.State), append(k.Counters, t.State)
		}
	}
	k.together = s.Rule.Everything
	k.Evaluates, k.Matrix = s.Eval != nil, s.Rule.MatrixOption() != 0
	k.Tensors = len(s.Rule.Tensor) > 0 || len(s.Rule.Column) > 0
	k.Arguments = arguments(a)
	order := strings.Fields(positional[k.Name])
	for i := range k.Arguments {
		x := &k.Arguments[i]
		x.Positional = slices.Contains(order, x.Name) || order == nil && x.Type != "bool"
	}
	rank := func(x argument) int {
		if at := slices.Index(order, x.Name); at >= 0 {
			return at
		}
		if x.Positional {
			return 0
		}
		return len(order) + 1
	}
	slices.SortStableFunc(k.Arguments, func(x, y argument) int { return rank(x) - rank(y) })
	for _, x := range k.Arguments {
		for i := range x.defaults {
			k.Hyper = append(k.Hyper, x.hyper(i))
		}
	}
}

// domain says what has a slot's numbers.
func (k *kind) domain(slot string) rule.Domain {
	if i := slices.Index(k.Slots, slot) - (len(k.Slots) - len(k.lines)); i >= 0 {
		return k.lines[i]
	}
	return rule.OfElements
}

// arguments are an algorithm's, in the order of its fields.
func arguments(a optim.Algorithm) (out []argument) {
	for _, h := range optim.HyperparametersOf(a) {
		name, element, array := strings.Cut(h.Name, "[")
		if array && element != "0]" {
			x := &out[len(out)-1]
			x.defaults = append(x.defaults, h.Value)
			x.Length, x.Default = len(x.defaults), x.defaults
			continue
		}
		x := argument{Name: name, Type: "float", Default: h.Value, defaults: []float64{h.Value}}
		switch h.Kind {
		case reflect.Bool:
			x.Type, x.Default = "bool", h.Value == 1
		case reflect.Int:
			x.Type, x.Default = "int", int(h.Value)
		}
		if array {
			x.Length, x.Default = 1, x.defaults
		}
		out = append(out, x)
	}
	return out
}

// hyper is the hyperparameter that an argument's element is.
func (x argument) hyper(element int) string {
	if x.Length == 0 {
		return x.Name
	}
	return fmt.Sprintf("%s[%d]", x.Name, element)
}

// with is the algorithm with hyperparameters in the order of Hyper; nil: the defaults.
func (k *kind) with(hyper []float64) (optim.Algorithm, error) {
	var values []optim.Hyperparameter
	for i, x := range hyper {
		values = append(values, optim.Hyperparameter{Name: k.Hyper[i], Value: x})
	}
	return optim.WithHyperparameters(k.start, values...)
}

// kindOf finds an algorithm.
func kindOf(name string) (*kind, error) {
	if k := kinds[name]; k != nil {
		return k, nil
	}
	if k, ok := read.Load(name); ok {
		return k.(*kind), nil
	}
	var names []string
	for _, a := range defaults() {
		names = append(names, reflect.TypeOf(a).Name())
	}
	return nil, argumentf("there is no algorithm %q, only %s", name, strings.Join(names, ", "))
}

// Describe is fs_describe's JSON.
func Describe() string {
	var all []*kind
	for _, a := range defaults() {
		all = append(all, kinds[reflect.TypeOf(a).Name()])
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Hyper is an algorithm's hyperparameters, in order, and their defaults.
func Hyper(algorithm string) (names []string, defaults []float64, err error) {
	k, err := kindOf(algorithm)
	if err != nil {
		return nil, nil, err
	}
	return k.Hyper, k.defaults(), nil
}

func (k *kind) defaults() (out []float64) {
	for _, x := range k.Arguments {
		out = append(out, x.defaults...)
	}
	return out
}

package optim_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/optim"
)

// torchArguments are torch.optim's, in its order. Behind the star they must be named. Of a class that is not here the numbers come first, in
// the order of the struct's fields, and the truth values must be named.
var torchArguments = map[string]string{
	"Adadelta":  "lr rho eps weight_decay foreach * capturable maximize differentiable",
	"Adafactor": "lr beta2_decay eps d weight_decay * foreach maximize",
	"Adagrad":   "lr lr_decay weight_decay initial_accumulator_value eps foreach * maximize differentiable fused",
	"Adam":      "lr betas eps weight_decay amsgrad * foreach maximize capturable differentiable fused decoupled_weight_decay",
	"AdamW":     "lr betas eps weight_decay amsgrad * maximize foreach capturable differentiable fused",
	"Adamax":    "lr betas eps weight_decay foreach * maximize differentiable capturable",
	"ASGD":      "lr lambd alpha t0 weight_decay foreach maximize differentiable capturable *",
	"NAdam":     "lr betas eps weight_decay momentum_decay decoupled_weight_decay * foreach maximize capturable differentiable",
	"RAdam":     "lr betas eps weight_decay decoupled_weight_decay * foreach maximize capturable differentiable",
	"RMSprop":   "lr alpha eps weight_decay momentum centered capturable foreach maximize differentiable *",
	"Rprop":     "lr etas step_sizes * capturable foreach maximize differentiable",
	"SGD":       "lr momentum dampening weight_decay nesterov * maximize foreach differentiable fused",
}

// authorsArguments are those of classes that others have, in their order.
var authorsArguments = map[string]string{
	"Prodigy": "lr betas beta3 eps weight_decay decouple use_bias_correction safeguard_warmup d0 d_coef growth_rate *",
}

// The classes of the Python package are made of the table of cases and of the structs' comments.
func TestPythonClasses(t *testing.T) {
	const file = "../python/fusestep/torch/_classes.py"
	classes := pythonClasses(t)
	var b strings.Builder
	b.WriteString(`# Made from optim/cases.go by make generate: do not edit.
"""The optimizers, one class for each algorithm."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ._optimizer import Optimizer

`)
	var names []string
	for _, c := range classes {
		names = append(names, strconv.Quote(c.name))
	}
	fmt.Fprintf(&b, "__all__ = [\n    %s,\n]\n", strings.Join(names, ",\n    "))
	for _, c := range classes {
		b.WriteString(c.python())
	}
	if *write {
		require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o644))
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	sameLines(t, b.String(), string(text), file+" is not what it should be: make generate")

	var table strings.Builder
	table.WriteString("| Class | What it is | Arguments beside lr, and their defaults |\n|---|---|---|\n")
	for _, c := range classes {
		var arguments []string
		for _, a := range c.arguments[1:] {
			if a.hyper && a.name != "maximize" {
				arguments = append(arguments, a.name+"="+a.value)
			}
		}
		name := c.name
		if torchArguments[name] != "" {
			name += "`, torch's `" + name
		}
		fmt.Fprintf(&table, "| `%s` | %s | `%s` |\n", name, c.what, strings.Join(arguments, ", "))
	}
	generated(t, "../python/README.md", "the table of classes", table.String())
}

type pythonClass struct {
	name, what, doc string
	arguments       []pythonArgument // lr first
}

type pythonArgument struct {
	name, kind, value, doc string
	named                  bool // it must be named
	hyper                  bool // a hyperparameter
}

// pythonClasses are those of the algorithms, in the order of the table.
func pythonClasses(t *testing.T) (out []pythonClass) {
	structs := structDocs(t)
	for _, c := range optim.Cases() {
		s, err := c.Algorithm.Setting()
		require.NoError(t, err)
		v := reflect.ValueOf(c.Algorithm)
		name := v.Type().Name()
		if c.Name != s.Name || slices.ContainsFunc(out, func(p pythonClass) bool { return p.name == name }) {
			continue
		}
		what := c.Doc
		d := structs[name]
		if d.of != "" { // AdamW is an Adam
			for field, text := range structs[d.of].fields {
				d.fields[field] = text
			}
		}
		p := pythonClass{name: name, what: what, doc: d.inPython(d.doc)}
		fields := map[string]pythonArgument{}
		var order, flags []string
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			a := pythonArgument{name: hyperName(f), doc: d.inPython(d.fields[f.Name]), hyper: true}
			a.kind, a.value = pythonValue(v.Field(i))
			if name == "Adafactor" && a.name == "eps" {
				a.kind, a.value = "tuple[float | None, float]", "(None, 0.001)"
				a.doc += "; a first that is None is the epsilon of the parameter's type, with a master of float32; with eps_square it is 0"
			}
			if name == "Rprop" && a.name == "step_sizes" { // the case's are for a benchmark
				a.value = "(1e-06, 50.0)"
			}
			if name == "Prodigy" { // its authors' ways to say 0
				switch a.name {
				case "beta3":
					a.kind, a.value, a.doc = "float | Tensor | None", "None", "of s and d_numerator, at least 0 and below 1; None is the root of the second of betas"
				case "growth_rate":
					a.value, a.doc = `float("inf")`, "at least 1: a step multiplies d by so much at most"
				}
			}
			if a.doc == "" {
				a.doc = undocumented[a.name]
			}
			fields[a.name] = a
			if f.Type.Kind() == reflect.Bool {
				flags = append(flags, a.name)
			} else {
				order = append(order, a.name)
			}
		}
		for _, n := range []string{"foreach", "fused"} {
			fields[n] = pythonArgument{name: n, kind: "bool | None", value: "None", doc: "accepted, as torch's; each step is fused whatever it says"}
		}
		for n, doc := range map[string]string{"capturable": "steps may be captured in a CUDA graph of torch's, whose replays then are steps", "differentiable": "must be False"} {
			if slices.Contains(keptOnCPU, name) {
				doc = "must be False"
			}
			fields[n] = pythonArgument{name: n, kind: "bool", value: "False", doc: doc}
		}
		if name == "Adam" {
			fields["decoupled_weight_decay"] = pythonArgument{name: "decoupled_weight_decay", kind: "bool", value: "False", doc: undocumented["decoupled_weight_decay"], hyper: true}
		}
		listed := strings.Fields(torchArguments[name] + authorsArguments[name])
		if listed == nil {
			listed = append(append(order, "*"), flags...)
		}
		named := false
		add := func(n string) {
			a, ok := fields[n]
			require.True(t, ok, "%s has no %s", name, n)
			a.named = named
			p.arguments = append(p.arguments, a)
			delete(fields, n)
		}
		for _, n := range listed {
			if n == "*" {
				named = true
				continue
			}
			add(n)
		}
		for _, n := range append(order, flags...) {
			if _, left := fields[n]; left {
				add(n)
			}
		}
		if s.Rule.MatrixOption() != 0 {
			p.arguments = append(p.arguments, pythonRows)
		}
		if _, left := fields["capturable"]; left {
			named = true
			add("capturable")
		}
		require.Equal(t, "lr", p.arguments[0].name, name)
		out = append(out, p)
	}
	return out
}

func hyperName(f reflect.StructField) string {
	if name, ok := f.Tag.Lookup("hyper"); ok {
		return name
	}
	return optim.Snake(f.Name)
}

// pythonValue is a field's type and its value, in Python.
func pythonValue(v reflect.Value) (kind, value string) {
	switch v.Kind() {
	case reflect.Bool:
		return "bool", map[bool]string{true: "True", false: "False"}[v.Bool()]
	case reflect.Int:
		return "int", strconv.FormatInt(v.Int(), 10)
	case reflect.Array:
		var kinds, values []string
		for i := range v.Len() {
			k, x := pythonValue(v.Index(i))
			kinds, values = append(kinds, k), append(values, x)
		}
		return "tuple[" + strings.Join(kinds, ", ") + "]", "(" + strings.Join(values, ", ") + ")"
	}
	value = strconv.FormatFloat(v.Float(), 'g', -1, 64)
	if !strings.ContainsAny(value, ".e") {
		value += ".0"
	}
	return "float | Tensor", value
}

// keptOnCPU are the classes that bring counters to their state on the CPU after each step: KEPT of python/fusestep/torch/_engine.py.
var keptOnCPU = []string{"ASGD", "NAdam", "NovoGrad", "Prodigy", "ScheduleFreeAdamW", "ScheduleFreeSGD"}

// undocumented are fields whose names say enough to whoever reads the struct's others.
var undocumented = map[string]string{
	"maximize":               "steps uphill",
	"amsgrad":                "divides by the root of the largest second moment so far (Reddi et al. 2018)",
	"decoupled_weight_decay": "decays as AdamW does: p is multiplied by 1 - lr·weight_decay, and nothing is added to the gradient",
	"decoupled":              "decays as AdamW does: p is multiplied by 1 - lr·weight_decay, and nothing is added to the gradient",
}

// pythonRows is what classes with numbers of rows or columns have.
var pythonRows = pythonArgument{name: "rows", kind: "int | None", value: "None", named: true, hyper: true, doc: "into how many rows a parameter is cut, of contiguous numbers each; " +
	"0 into none, as a vector; None: one of two or more axes into those that all axes but the last make, of a matrix for each place on the axes before the last two"}

// pythonAround are what all classes have beside their hyperparameters.
var pythonAround = []pythonArgument{
	{name: "max_norm", kind: "float | None", value: "None", doc: "clips the norm of all gradients together in the step's own pass, as clip_grad_norm_(params, max_norm) before it"},
	{name: "max_tensor_norm", kind: "float | None", value: "None", doc: "clips the norm of each gradient by itself in the step's own pass, after max_norm, as clip_grad_norm_(p, max_tensor_norm) of each parameter"},
	{name: "adaptive_clip", kind: "float | None", value: "None", doc: "clips the norm of the gradient of each unit, which a place on the first axis is, or a tensor of one axis, to so much of the unit's own norm, after these two, as timm's adaptive_clip_grad(params, adaptive_clip, adaptive_eps) before the step. Classes with rows of their own take those for units"},
	{name: "adaptive_eps", kind: "float", value: "1e-3", doc: "the least norm that a unit counts with in adaptive_clip"},
	{name: "ema_decay", kind: "float | None", value: "None", doc: `keeps an exponential moving average of the values as state "ema", as AveragedModel with get_ema_avg_fn(ema_decay)`, hyper: true},
	{name: "state_dtype", kind: "torch.dtype | dict[str, torch.dtype] | None", value: "None", doc: `the type of state, or of each by its name; None is the parameter's, as in torch`, hyper: true},
	{name: "master", kind: "torch.dtype | None", value: "None", doc: `what is kept beside parameters of 16 bits: torch.float32, state "master"; torch.int16 or torch.int8, state "remainder"`, hyper: true},
	{name: "stochastic_rounding", kind: "bool", value: "False", doc: "rounds values and state of 16 bits up or down by chance", hyper: true},
	{name: "seed", kind: "int", value: "0", doc: "of stochastic_rounding", hyper: true},
}

func (c pythonClass) python() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n\nclass %s(Optimizer):\n    \"\"\"%s\n\n    Args:\n", c.name, indent(c.doc, 4))
	arguments := slices.Clone(c.arguments)
	for _, a := range pythonAround {
		a.named = true
		arguments = append(arguments, a)
	}
	for _, a := range append([]pythonArgument{{name: "params", doc: "tensors, dicts that are parameter groups, or pairs of a name and a tensor"}}, arguments...) {
		fmt.Fprintf(&b, "        %s\n", indent(a.name+": "+a.doc, 12))
	}
	fmt.Fprintf(&b, "    \"\"\"\n\n    _algorithm = %q\n\n    def __init__(\n        self,\n        params: ParamsT,\n", c.name)
	named := false
	var pass []string
	for _, a := range arguments {
		if a.named && !named {
			b.WriteString("        *,\n")
			named = true
		}
		kind := a.kind
		if strings.HasPrefix(kind, "tuple[") {
			kind = strings.ReplaceAll(kind, "float | Tensor", "float")
			if c.name == "Adam" || c.name == "AdamW" {
				kind = strings.ReplaceAll(kind, "float", "float | Tensor")
			}
		}
		fmt.Fprintf(&b, "        %s: %s = %s,\n", a.name, kind, a.value)
		if a.hyper || !slices.ContainsFunc(pythonAround, func(b pythonArgument) bool { return b.name == a.name }) {
			pass = append(pass, fmt.Sprintf("                %q: %s,\n", a.name, a.name))
		}
	}
	if c.name == "AdamW" { // torch's groups have it
		pass = append(pass, "                \"decoupled_weight_decay\": True,\n")
	}
	fmt.Fprintf(&b, "    ) -> None:\n        super().__init__(\n            params,\n            {\n%s            },\n            max_norm,\n            max_tensor_norm,\n            adaptive_clip,\n            adaptive_eps,\n        )\n", strings.Join(pass, ""))
	return b.String()
}

// indent fills a text's paragraphs to lines that begin at a column, all but the first indented.
func indent(text string, by int) string {
	var out []string
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			out = append(out, "")
		}
		if strings.Contains(paragraph, "\n\t") {
			for _, line := range strings.Split(paragraph, "\n") {
				out = append(out, strings.Repeat(" ", by)+strings.ReplaceAll(line, "\t", "    "))
			}
			continue
		}
		line := strings.Repeat(" ", by-1)
		for word := range strings.FieldsSeq(paragraph) {
			if len([]rune(line))+1+len([]rune(word)) > 100 {
				out = append(out, line)
				line = strings.Repeat(" ", by-1)
			}
			line += " " + word
		}
		out = append(out, line)
	}
	return strings.TrimLeft(strings.Join(out, "\n"), " ")
}

// structDoc is a struct's comment and those of its fields.
type structDoc struct {
	doc, of string // of is the struct that it is another name of
	fields  map[string]string
}

func structDocs(t *testing.T) map[string]structDoc {
	out := map[string]structDoc{}
	sources, err := fs.Glob(os.DirFS("."), "*.go")
	require.NoError(t, err)
	for _, source := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.ParseComments)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE || g.Doc == nil {
				continue
			}
			for _, spec := range g.Specs {
				ts := spec.(*ast.TypeSpec)
				d := structDoc{doc: g.Doc.Text(), fields: map[string]string{}}
				switch x := ts.Type.(type) {
				case *ast.Ident:
					d.of = x.Name
				case *ast.StructType:
					for _, f := range x.Fields.List {
						text := strings.TrimSpace(f.Doc.Text() + f.Comment.Text())
						for _, n := range f.Names {
							d.fields[n.Name] = text
						}
					}
				}
				out[ts.Name.Name] = d
			}
		}
	}
	return out
}

var (
	start = regexp.MustCompile(`\n*Start from Default\w+: a value that does not is refused\.\n*`)
	words = strings.NewReplacer("with a matrix view, which Param.Shape and Param.Rows say,", "of two or more axes, or as rows says,",
		"here all axes but the last are the rows of one.", "here it is one matrix, and of such a tensor rows must say which.",
		"rows of the matrix view, which Param.Rows and Param.Shape say.", "rows of a tensor of two or more axes, or as rows says.", "are as many Rows, a tensor", "are as many rows, a tensor",
		"output layer, each of whose elements has its own second moment, has no matrix view.", "output layer, each of whose elements has its own second moment, has rows=0.",
		"State(name, \"hessian\")", `state[p]["hessian"]`, "Optimizer.EvalParams", "eval_parameters", "Optimizer.SetClipNorm", "max_norm", "DefaultLion", "Lion",
		"LR of 1 - β2, a WeightDecay of 1 and Maximize, with hessian as its Param's Value and the estimate\nas its Grad", "lr of 1 - β2, a weight_decay of 1 and maximize, with hessian as its parameter and the estimate\nas its grad",
		"The fields and the state", "The arguments and the state")
)

// inPython spells the struct's fields in a comment as arguments.
func (d structDoc) inPython(text string) string {
	text = strings.TrimSpace(start.ReplaceAllString(words.Replace(text), ""))
	for field := range d.fields {
		if field == "L1" || field == "R" { // words of their own
			continue
		}
		text = regexp.MustCompile(`\b`+field+`\b`).ReplaceAllString(text, optim.Snake(field))
	}
	for field := range d.fields { // "eps_hat adds eps to" of eps_hat's
		text = strings.TrimPrefix(text, optim.Snake(field)+" ")
	}
	return strings.ReplaceAll(text, `\`, `\\`)
}

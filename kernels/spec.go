package kernels

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Spec says what a program is. It is comparable: equal specs are one program.
type Spec struct {
	Rule    *rule.Rule
	Options uint64       // bit i is the rule's option i
	Around  rule.Around  // what is done beside the rule
	Compute device.DType // what is computed with: Float32 or Float64
	// Formats says how memory holds the slots that are not of type Compute: what format.ParseSpec reads, such as "param=bf16 grad=bf16".
	Formats string
	Alone   bool // nothing is done around the rule but rule.ZeroGrad: nothing is scaled, decayed or flushed
	Eval    bool // the rule is a rule.Setting's Eval: it computes what is evaluated, and trains nothing
}

// SpecOf is what a setting runs on parameters and gradients of a type.
func SpecOf(s rule.Setting, t device.DType) Spec { return SpecOfTypes(s, t, t) }

// SpecOfTypes is SpecOf where gradients have another type.
func SpecOfTypes(s rule.Setting, parameter, gradient device.DType) Spec {
	out := Spec{Rule: s.Rule, Options: s.Options, Around: s.Around(), Compute: format.Compute(parameter)}
	var formats []string
	add := func(slot string, t device.DType, beside string) {
		if t != out.Compute {
			formats = append(formats, slot+"="+t.Short()+beside)
		}
	}
	beside := ""
	if s.Master != "" && parameter.Size() == 2 {
		beside = "+" + s.Master
	}
	add(rule.Param, parameter, beside)
	add(rule.Grad, gradient, "")
	if s.Formats != "" {
		formats = append(formats, s.Formats)
	}
	out.Formats = strings.Join(formats, " ")
	if s.Rule != nil {
		names := out.SlotNames()
		if parsed, err := format.ParseSpec(out.Formats, names, out.Compute); err == nil { // New says what is wrong, and finds this form at once
			for i, f := range parsed {
				if s.Stochastic && names[i] != rule.Grad {
					parsed[i] = f.Stochastic()
				}
			}
			out.Formats = format.Spec(names, parsed)
		}
	}
	return out
}

// Refused is what cannot be done around a rule: a gradient is not clipped by a norm of its tensor or its unit where tensors have numbers together, as all
// their terms are added up before any tensor's norm is known.
func Refused(r *rule.Rule) rule.Around {
	if r.Everything {
		return rule.ClipTensorNorm | rule.AdaptiveClip
	}
	return 0
}

func (s Spec) String() string {
	if s.Rule == nil {
		return "norm"
	}
	return strings.TrimSpace(fmt.Sprintf("%s[%s] %s %s", s.Rule.Name, strings.Join(s.Variant(), " "), s.Compute, s.Formats))
}

// SlotNames are the rule's slots and, behind them, that of rule.EMA.
func (s Spec) SlotNames() []string {
	if s.Around&rule.EMA != 0 {
		return append(slices.Clip(s.Rule.Slots), rule.Average)
	}
	return s.Rule.Slots
}

// whole is the spec with the rule that rule.AdaptiveClip in Around asks for.
func (s Spec) whole() Spec {
	if s.Rule == nil || s.Alone {
		return s
	}
	if s.Rule = s.Rule.WithoutAdaptiveClip(); s.Around&rule.AdaptiveClip != 0 {
		s.Rule = s.Rule.WithAdaptiveClip()
	}
	return s
}

// WithMatrix is the spec for tensors that have matrix views, or have none: the rule's option rule.Matrix is on or off, where it has that. With
// rule.AdaptiveClip every rule has it.
func (s Spec) WithMatrix(on bool) Spec {
	s = s.whole()
	if s.Rule == nil {
		return s
	}
	if s.Options &^= s.Rule.MatrixOption(); on {
		s.Options |= s.Rule.MatrixOption()
	}
	return s
}

// Matrix says whether tensors have matrix views: the rule's option rule.Matrix is on.
func (s Spec) Matrix() bool { return s.Rule != nil && s.Options&s.Rule.MatrixOption() != 0 }

// Variant names what is done beside the rule, and the options that are on.
func (s Spec) Variant() []string {
	return append(s.Around.Names(), s.Rule.OptionNames(s.Options)...)
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/optim"
)

// form is how memory holds what a step works on: names of formats. State is that of all slots but the other two.
type form struct{ param, grad, state string }

// forms are those that are planned.
var forms = []form{
	{"f32", "f32", "f32"},
	{"f32", "bf16", "f32"},
	{"f32", "bf16", "bf16"},
	{"bf16+f32", "bf16", "f32"},
	{"bf16+f32", "bf16", "bf16"},
	{"bf16+i16", "bf16", "f32"},
	{"bf16+i16", "bf16", "bf16"},
	{"bf16+i8", "bf16", "f32"},
	{"bf16+i8", "bf16", "bf16"},
	{"bf16", "bf16", "f32"},
	{"bf16", "bf16", "bf16"},
	{"bf16/sr", "bf16", "f32"},
	{"bf16/sr", "bf16", "bf16/sr"},
	{"f16+f32", "f16", "f32"},
	{"f16", "f16", "f32"},
	{"f16", "f16", "f16"},
	{"f16/sr", "f16", "f16/sr"},
}

// types are what the form's flags say.
func (f form) types() (types, error) {
	param, stochastically := strings.CutSuffix(f.param, "/sr")
	param, beside, _ := strings.Cut(param, "+")
	state, too := strings.CutSuffix(f.state, "/sr")
	round := nearest
	if stochastically || too {
		round = stochastic
	}
	return parseTypes(param, f.grad, state, map[string]string{"": "none", "f32": "f32", "i16": "remainder", "i8": "remainder8"}[beside], round)
}

// cards are the memories of GPUs, in GB of 10⁹ bytes.
var cards = []int{24, 40, 80, 141}

// left is what is left of a card, negative if it is too small.
func left(card int, resident int64) int64 { return int64(card)*1e9 - resident }

func fitting(resident int64) []int {
	return slices.DeleteFunc(slices.Clone(cards), func(card int) bool { return left(card, resident) < 0 })
}

// What -plan prints with -format json.
type (
	plannedForm struct {
		Optimizer        string          `json:"optimizer"`
		Param            string          `json:"param"`
		Grad             string          `json:"grad"`
		State            string          `json:"state"` // "none" of an optimizer without it
		ResidentPerParam float64         `json:"resident_bytes_per_param"`
		ReadPerParam     float64         `json:"read_bytes_per_param"`
		WrittenPerParam  float64         `json:"written_bytes_per_param"`
		NormPerParam     int             `json:"norm_bytes_per_param"`
		Resident         int64           `json:"resident_bytes"`
		Moved            int64           `json:"moved_bytes"`
		Norm             int64           `json:"norm_bytes"`
		Fits             []int           `json:"fits_gb"`
		Buffers          []plannedBuffer `json:"buffers"`
	}
	plannedBuffer struct {
		Name     string `json:"name"`
		DType    string `json:"dtype"`
		Owned    bool   `json:"owned"`
		PerParam int    `json:"bytes_per_param"`
		Bytes    int64  `json:"bytes"`
	}
	plannedPeer struct {
		peer
		Resident int64 `json:"resident_bytes"`
		Moved    int64 `json:"moved_bytes"`
		Fits     []int `json:"fits_gb"`
	}
)

// planForms plans the optimizers in all forms that they have.
func (cfg *config) planForms() (out []plannedForm, err error) {
	for _, o := range cfg.optimizers {
		seen := map[form]bool{} // forms that differ in state alone are one where there is none
		for _, f := range forms {
			types, err := f.types()
			if err != nil {
				return nil, err
			}
			program, err := o.plan(types)
			if err != nil {
				return nil, err
			}
			if len(program.program.State()) == 0 {
				f.state = "none"
			}
			if seen[f] {
				continue
			}
			seen[f] = true
			p, err := program.foreseen(types, cfg.model)
			if err != nil && !cfg.named {
				return nil, cli.Usagef("%s: %w", cfg.asked, err)
			} else if err != nil {
				return nil, err
			}
			out = append(out, planned(o, f, p, program.resident(cfg.model)))
		}
	}
	return out, nil
}

// planned is a form whose planes have so many bytes.
func planned(o optimizer, f form, p *optim.Plan, planes int64) plannedForm {
	each := func(bytes int64) float64 { return float64(bytes) / float64(p.Params) }
	out := plannedForm{Optimizer: o.Name, Param: f.param, Grad: f.grad, State: f.state, ResidentPerParam: each(planes),
		ReadPerParam: each(p.Read.Total), WrittenPerParam: each(p.Written.Total), NormPerParam: p.Norm.PerParam, Resident: p.Resident.Total,
		Moved: p.Read.Total + p.Written.Total, Norm: p.Norm.Total, Fits: fitting(p.Resident.Total)}
	for _, b := range p.Buffers {
		out.Buffers = append(out.Buffers, plannedBuffer{b.Name, b.DType.Short(), b.Owned, b.PerParam, b.Total})
	}
	return out
}

// planPeers is what peers take of the optimizers that are planned.
func (cfg *config) planPeers() (out []plannedPeer) {
	n := float64(cfg.model.Params())
	for _, p := range peers {
		if slices.ContainsFunc(cfg.optimizers, func(o optimizer) bool { return o.Name == p.Optimizer }) {
			resident := int64(p.ResidentPerParam * n)
			out = append(out, plannedPeer{p, resident, int64(p.MovedPerParam * n), fitting(resident)})
		}
	}
	return out
}

// printPlan prints what the model takes.
func (cfg *config) printPlan(w io.Writer) error {
	forms, err := cfg.planForms()
	if err != nil {
		return err
	}
	peers := cfg.planPeers()
	if cfg.format == "json" {
		return cfg.printPlanJSON(w, forms, peers)
	}
	fmt.Fprintf(w, "%s: %s parameters in %s tensors\n\n", cfg.model.Name, thousands(cfg.model.Params()), thousands(int64(len(cfg.model.Tensors))))
	heads := columns(func(card int) string { return fmt.Sprintf("left of %d GB", card) })
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "optimizer\tparam\tgrad\tstate\tB/param\tmoved B/param\tclip, scale\tresident\tmoved%s\n", heads)
	for _, f := range forms {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.4g\t%.4g\t+%d\t%s\t%s%s\n", f.Optimizer, f.Param, f.Grad, f.State, f.ResidentPerParam,
			f.ReadPerParam+f.WrittenPerParam, f.NormPerParam, formatBytes(f.Resident), formatBytes(f.Moved), leftovers(f.Resident))
	}
	if len(peers) > 0 {
		fmt.Fprintln(t)
		t.Flush()
		fmt.Fprintf(t, "peer\tB/param\tmoved B/param\tresident\tmoved%s\tsource\n", heads)
	}
	for _, p := range peers {
		fmt.Fprintf(t, "%s: %s\t%.4g\t%.4g\t%s\t%s%s\t%s\n", p.Optimizer, p.Who, p.ResidentPerParam, p.MovedPerParam, formatBytes(p.Resident),
			formatBytes(p.Moved), leftovers(p.Resident), p.Source)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprint(w, `
A bf16+f32, bf16+i16 or bf16+i8 is a bf16 with what -master f32, remainder or remainder8 keeps beside it. What has /sr is rounded by
-rounding stochastic. Resident are parameters, gradients and the optimizer's state, B/param their bytes for each parameter. Moved is what a
step reads and writes of them; to clip by the norm, for a loss scale or for both, it reads the gradients once more. The last columns say what
is left of a GPU's memory, for activations and all else, which is not counted; - is too small. A GB is 10⁹ bytes.
`)
	return err
}

// columns are a row's for the cards.
func columns(cell func(card int) string) (out string) {
	for _, card := range cards {
		out += "\t" + cell(card)
	}
	return out
}

// leftovers are what is left of the cards.
func leftovers(resident int64) string {
	return columns(func(card int) string {
		if n := left(card, resident); n >= 0 {
			return formatBytes(n)
		}
		return "-"
	})
}

func (cfg *config) printPlanJSON(w io.Writer, forms []plannedForm, peers []plannedPeer) error {
	name, err := json.Marshal(cfg.model.Name)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, `{"model": %s, "params": %d, "tensors": %d, "forms": [`+"\n", name, cfg.model.Params(), len(cfg.model.Tensors))
	if err := jsonLines(w, forms); err != nil {
		return err
	}
	fmt.Fprintln(w, `], "peers": [`)
	if err := jsonLines(w, peers); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, `]}`)
	return err
}

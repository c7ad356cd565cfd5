package main

import (
	"flag"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/internal/models"
)

// What runs without flags: a step of each size that the optimizers have, on a model that a slow machine steps in a second.
const (
	defaultOptimizers = "sgd,sgd-momentum,adamw,adamw-amsgrad"
	defaultModel      = "resnet50"
	defaultPlanned    = "adamw" // what -plan plans
)

// config is a command line that makes sense.
type config struct {
	device     string
	optimizers []optimizer
	model      models.Model
	named      bool   // model is one of the known ones
	asked      string // the flag that gave the model, and its value
	dtype      types
	clip       float64 // to which norm gradients are clipped; 0: they are not
	clipTensor float64 // and each tensor's by itself
	adaptive   float64 // and to how much of its parameter's norm each row's, or vector's
	scale      float64 // that gradients are multiplied by; 0: there is no loss scale
	threads    int
	time       time.Duration
	verify     bool
	save       string // the folder to save to; "" saves nothing
	list       bool
	plan       bool
	dump       string // what to print of the programs; "" measures them
	format     string
}

// measures says whether a step reads gradients before the update, for their norm.
func (cfg *config) measures() bool { return cfg.clips() || cfg.scale > 0 }

func (cfg *config) clips() bool { return cfg.clip > 0 || cfg.clipTensor > 0 }

func parseFlags(args []string, stdout io.Writer) (*config, error) {
	cfg := &config{}
	fs := cli.Flags("gpubench")
	var (
		names  = fs.String("optimizer", defaultOptimizers, "")
		model  = fs.String("model", "", "")
		shape  = fs.String("shape", "", "")
		n      = fs.String("n", "", "")
		dtype  = fs.String("dtype", "f32", "")
		grad   = fs.String("grad", "", "")
		state  = fs.String("state", "", "")
		master = fs.String("master", "none", "")
		round  = fs.String("rounding", nearest, "")
	)
	fs.StringVar(&cfg.device, "device", "cpu", "")
	fs.Float64Var(&cfg.clip, "clip", 0, "")
	fs.Float64Var(&cfg.clipTensor, "clip-tensor", 0, "")
	fs.Float64Var(&cfg.adaptive, "clip-adaptive", 0, "")
	fs.Float64Var(&cfg.scale, "scale", 0, "")
	fs.IntVar(&cfg.threads, "threads", 0, "")
	fs.DurationVar(&cfg.time, "time", time.Second, "")
	fs.BoolVar(&cfg.verify, "verify", false, "")
	fs.StringVar(&cfg.save, "save", "", "")
	fs.BoolVar(&cfg.list, "list", false, "")
	fs.BoolVar(&cfg.plan, "plan", false, "")
	fs.StringVar(&cfg.dump, "dump", "", "")
	fs.StringVar(&cfg.format, "format", "text", "")
	if err := cli.Parse(fs, args, func() { io.WriteString(stdout, cli.Manual(source)) }); err != nil {
		return nil, err
	}
	var given []string // flags
	fs.Visit(func(f *flag.Flag) { given = append(given, f.Name) })
	others := func(names ...string) bool { // whether there is another flag than these
		return slices.ContainsFunc(given, func(f string) bool { return !slices.Contains(names, f) })
	}
	if cfg.list {
		if others("list", "format") {
			return nil, cli.Usagef("-list takes no other flag but -format")
		}
		return cfg, checkFormat(cfg.format)
	}
	if cfg.plan {
		if others("plan", "optimizer", "model", "shape", "n", "format") {
			return nil, cli.Usagef("-plan takes no other flags but -optimizer, -model, -shape, -n and -format")
		}
		if !slices.Contains(given, "optimizer") {
			*names = defaultPlanned
		}
	}
	var err error
	if cfg.optimizers, err = parseOptimizers(*names); err != nil {
		return nil, err
	}
	if cfg.dtype, err = parseTypes(*dtype, *grad, *state, *master, *round); err != nil {
		return nil, err
	}
	if slices.Contains(given, "dump") {
		if others("dump", "optimizer", "dtype", "grad", "state", "master", "rounding") {
			return nil, cli.Usagef("-dump takes no other flags but -optimizer, -dtype, -grad, -state, -master and -rounding")
		}
		return cfg, checkDump(cfg.dump)
	}

	sized := false
	fs.Visit(func(f *flag.Flag) {
		if slices.Contains([]string{"model", "shape", "n"}, f.Name) {
			sized = true
			cfg.asked = "-" + f.Name + " " + cli.Shown(f.Value.String())
		}
	})
	if !sized {
		*model = defaultModel
	}
	if cfg.model, err = models.Parse(*model, *shape, *n); err != nil {
		return nil, err
	}
	cfg.named = *model != ""
	if cfg.plan {
		return cfg, checkFormat(cfg.format)
	}
	if err := gpu.CheckFlag(cfg.device); err != nil {
		return nil, err
	}
	all := runtime.GOMAXPROCS(0)
	switch {
	case cfg.device != "cpu" && slices.Contains(given, "threads"):
		return nil, cli.Usagef("-threads %d: only -device cpu has threads to choose", cfg.threads)
	case cfg.threads < 0 || cfg.threads > all:
		return nil, cli.Usagef("-threads %d: must be 1 to %d, the processors that Go uses here, or 0 for all of them", cfg.threads, all)
	case cfg.threads == 0:
		cfg.threads = all
	}
	for i, norm := range []float64{cfg.clip, cfg.clipTensor, cfg.adaptive} {
		if !(norm >= 0 && norm <= math.MaxFloat64) {
			return nil, cli.Usagef("%s %v: must be a norm, above 0 and finite, or 0 for none", []string{"-clip", "-clip-tensor", "-clip-adaptive"}[i], norm)
		}
	}
	if lo, hi := scales(cfg.dtype.grad); slices.Contains(given, "scale") && !(cfg.scale >= lo && cfg.scale <= hi) {
		return nil, cli.Usagef("-scale %v: with gradients of %s it must be from %v to %v", cfg.scale, cfg.dtype.grad.Short(), lo, hi)
	}
	if cfg.time <= 0 {
		return nil, cli.Usagef("-time %v: must be above 0, such as 500ms or 10s", cfg.time)
	}
	if slices.Contains(given, "save") {
		if info, err := os.Stat(cfg.save); err != nil {
			return nil, cli.Usagef("-save %s: %w", cli.Shown(cfg.save), err)
		} else if !info.IsDir() {
			return nil, cli.Usagef("-save %s: not a folder", cli.Shown(cfg.save))
		}
	}
	return cfg, checkFormat(cfg.format)
}

func checkFormat(s string) error {
	if s != "text" && s != "json" {
		return cli.Usagef("-format %s: must be text or json", cli.Shown(s))
	}
	return nil
}

// scales are the least and the largest loss scale of gradients of a type: times it, those that are measured on are normal numbers, and a GradScaler
// has it in float32.
func scales(t device.DType) (lo, hi float64) {
	return max(smallest[t], 0x1p-126) / tameGradient, min(largest[t]/(2*tameGradient), math.MaxFloat32)
}

// parseOptimizers reads the value of -optimizer.
func parseOptimizers(s string) ([]optimizer, error) {
	known := optimizers()
	if s == "all" {
		return known, nil
	}
	var out []optimizer
	for _, name := range strings.Split(s, ",") {
		is := func(o optimizer) bool { return o.Name == name }
		i := slices.IndexFunc(known, is)
		if i < 0 {
			return nil, cli.Unknown("-optimizer", name, "optimizer", append(optimizerNames(), "all"))
		}
		if slices.ContainsFunc(out, is) {
			return nil, cli.Usagef("-optimizer %s: %s is named twice", s, name)
		}
		out = append(out, known[i])
	}
	return out, nil
}

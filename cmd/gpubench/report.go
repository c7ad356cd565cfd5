package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"
)

// result is what was found for one optimizer on one model.
type result struct {
	Device         string  `json:"device"`
	Optimizer      string  `json:"optimizer"`
	Model          string  `json:"model"`
	Params         int64   `json:"params"`
	Tensors        int     `json:"tensors"`
	DType          string  `json:"dtype"` // of parameters
	Grad           string  `json:"grad"`
	State          string  `json:"state"`
	Master         string  `json:"master"` // as -master has it
	Rounding       string  `json:"rounding"`
	Threads        int     `json:"threads"`       // 0 for a device that has none to choose
	Clip           float64 `json:"clip"`          // the norm that gradients are clipped to; 0: they are not
	ClipTensor     float64 `json:"clip_tensor"`   // the norm that each tensor's are clipped to by themselves; 0: they are not
	ClipAdaptive   float64 `json:"clip_adaptive"` // to how much of its parameter's norm each row's, or vector's, are clipped; 0: they are not
	Scale          float64 `json:"scale"`         // the loss scale that gradients are multiplied by; 0: there is none
	BytesPerParam  float64 `json:"bytes_per_param"`
	SecondsPerStep float64 `json:"seconds_per_step"`
	GBPerS         float64 `json:"gb_per_s"`
	CeilingGBPerS  float64 `json:"ceiling_gb_per_s"`
	CopyGBPerS     float64 `json:"copy_gb_per_s"`
	Ratio          float64 `json:"ratio_to_ceiling"`
	Steps          int     `json:"steps"`
	Traffic        string  `json:"traffic"`
	Verified       *bool   `json:"verified"` // null without -verify, as are the next two
	MaxULP         *uint64 `json:"max_ulp"`
	VerifiedParams *int64  `json:"verified_params"`
	Note           string  `json:"note"`
	Saved          *saved  `json:"saved"` // null without -save

	types        types
	bytes        int64 // that a step moves
	ceilingBytes int64 // of them, those that the ceiling moves
}

func (r *result) times(t timing) {
	r.SecondsPerStep, r.Steps = t.step, t.steps
	r.GBPerS = float64(r.bytes) / t.step / 1e9
	r.CeilingGBPerS = float64(r.ceilingBytes) / t.ceiling / 1e9
	r.Ratio = r.GBPerS / r.CeilingGBPerS
}

// options are what is not as without flags.
func (r *result) options(separator string) string {
	out := r.types.others(separator)
	if r.Clip > 0 {
		out += fmt.Sprintf("%sclip=%g", separator, r.Clip)
	}
	if r.ClipTensor > 0 {
		out += fmt.Sprintf("%sclip-tensor=%g", separator, r.ClipTensor)
	}
	if r.ClipAdaptive > 0 {
		out += fmt.Sprintf("%sclip-adaptive=%g", separator, r.ClipAdaptive)
	}
	if r.Scale > 0 {
		out += fmt.Sprintf("%sscale=%g", separator, r.Scale)
	}
	return out
}

// report is a way to print results.
type report interface {
	begin(m machine, t *target) error
	add(r result) error
	end() error
}

func newReport(format string, w io.Writer) report {
	if format == "json" {
		return &jsonReport{w: w}
	}
	return &textReport{w: w}
}

// jsonReport prints one object at the end.
type jsonReport struct {
	w       io.Writer
	Machine machine  `json:"machine"`
	Results []result `json:"results"`
}

func (j *jsonReport) begin(m machine, _ *target) error {
	j.Machine = m
	return nil
}

func (j *jsonReport) add(r result) error {
	j.Results = append(j.Results, r)
	return nil
}

func (j *jsonReport) end() error {
	e := json.NewEncoder(j.w)
	e.SetIndent("", "  ")
	return e.Encode(j)
}

// textReport prints benchmark lines as results come, and a table at the end.
type textReport struct {
	w       io.Writer
	results []result
}

func (t *textReport) begin(m machine, on *target) error {
	fmt.Fprintf(t.w, "goos: %s\ngoarch: %s\npkg: github.com/fusestep/fusestep/cmd/gpubench\n", m.GOOS, m.GOARCH)
	if m.CPU != "" {
		fmt.Fprintf(t.w, "cpu: %s\n", m.CPU)
	}
	fmt.Fprintf(t.w, "device: %s\n", on.name)
	if on.gpu != "" {
		fmt.Fprintf(t.w, "gpu: %s\n", on.gpu)
	}
	if on.note != "" {
		fmt.Fprintf(t.w, "note: %s\n", on.note)
	}
	_, err := fmt.Fprintf(t.w, "traffic: %s\n", on.traffic)
	return err
}

func (t *textReport) add(r result) error {
	t.results = append(t.results, r)
	name := fmt.Sprintf("/%s/%s/%s%s", r.Optimizer, r.Model, r.DType, r.options("/"))
	if r.Threads > 0 {
		name += fmt.Sprintf("/threads=%d", r.Threads)
	}
	if n := runtime.GOMAXPROCS(0); n > 1 { // as package testing has it
		name += fmt.Sprintf("-%d", n)
	}
	_, err := fmt.Fprintf(t.w, "BenchmarkStep%s\t%d\t%.0f ns/op\t%.2f MB/s\t%.4g B/param\t%.3f ceiling-GB/s\t%.3f copy-GB/s\t%.4f ratio\n",
		name, r.Steps, r.SecondsPerStep*1e9, r.GBPerS*1e3, r.BytesPerParam, r.CeilingGBPerS, r.CopyGBPerS, r.Ratio)
	if s := r.Saved; s != nil {
		for i, seconds := range []float64{s.SaveSeconds, s.LoadSeconds, s.SnapshotSeconds} {
			_, err = fmt.Fprintf(t.w, "Benchmark%s%s\t1\t%.0f ns/op\t%.2f MB/s\n", []string{"Save", "Load", "Snapshot"}[i], name, seconds*1e9, s.speeds()[i]*1e3)
		}
	}
	return err
}

func (t *textReport) end() error {
	verified, saved := t.results[0].Verified != nil, t.results[0].Saved != nil
	fmt.Fprintln(t.w)
	tab := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := "optimizer\tparameters\ttensors\tB/param\ttime/step\tGB/s\tceiling GB/s\tratio\t"
	if verified {
		head += "verified\tmax ulp\t"
	}
	if saved {
		head += "save GB/s\tload GB/s\tsnapshot GB/s\t"
	}
	fmt.Fprintln(tab, head)
	for _, r := range t.results {
		fmt.Fprintf(tab, "%s\t%s\t%s\t%.4g\t%s\t%s\t%s\t%.2f\t", r.Optimizer, thousands(r.Params), thousands(int64(r.Tensors)),
			r.BytesPerParam, formatSeconds(r.SecondsPerStep), digits(r.GBPerS), digits(r.CeilingGBPerS), r.Ratio)
		if verified {
			fmt.Fprintf(tab, "%s\t%d\t", yesNo(*r.Verified), *r.MaxULP)
		}
		if saved {
			for _, speed := range r.Saved.speeds() {
				fmt.Fprintf(tab, "%s\t", digits(speed))
			}
		}
		fmt.Fprintln(tab)
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	r := t.results[0]
	on := ""
	if r.Threads > 0 {
		on = fmt.Sprintf(", %d threads", r.Threads)
	}
	_, err := fmt.Fprintf(t.w, `
Measured: %s in %s on %s%s. B/param is what a step must read and write
for each parameter, GB/s the rate at which it did. The ceiling moves the same bytes without
arithmetic, by %s; at ratio 1.00 only memory limits the step.
A plain copy of one buffer to another moved %s GB/s, each byte read and written.
`, r.Model, r.DType+r.options(", "), r.Device, on, r.Traffic, digits(r.CopyGBPerS))
	if verified && err == nil {
		_, err = fmt.Fprintf(t.w, "-verify compared %s of %s parameters, with gradients and state, after each of %d steps.\n",
			thousands(*r.VerifiedParams), thousands(r.Params), verifySteps)
	}
	if saved && err == nil {
		_, err = fmt.Fprintf(t.w, "-save wrote %s and synced them, loaded them back and found the same bits; a snapshot copies them to the host's memory.\n",
			formatBytes(r.Saved.Bytes))
	}
	if r.Note != "" && err == nil {
		_, err = fmt.Fprintf(t.w, "The device is %s.\n", r.Note)
	}
	return err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

package main

import (
	"slices"
	"time"

	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/kernels"
)

const (
	minRounds = 3
	maxRounds = 15      // aimed at, where steps are short enough
	maxBatch  = 1 << 16 // steps enqueued at once
)

// timing is what a measurement found.
type timing struct {
	step, ceiling float64 // seconds: medians over rounds; of the ceiling's ways to move bytes, that of the fastest
	steps         int     // that were measured
}

// measure times the step and the ceiling in turns, a batch of each a round, so that whatever else the machine does meets both
// alike. It takes about the budget, or minRounds.
func (w *work) measure(budget time.Duration, p *cli.Progress, what string) (timing, error) {
	watch, err := newStopwatch(w.stream)
	if err != nil {
		return timing{}, err
	}
	defer watch.Close()
	// The ceiling first: it touches every page and fills the caches for whoever comes next.
	var calls []func() error
	for _, way := range w.ceiling {
		calls = append(calls, func() error {
			for _, u := range way {
				if err := u.Enqueue(w.stream, kernels.Step{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	calls = append(calls, func() error { return w.opt.Step(w.stream) })
	last := len(calls) - 1
	sizes := make([]int, len(calls))
	for i, call := range calls {
		p.Show("%s: warming up", what)
		if sizes[i], err = batchSize(budget/time.Duration(len(calls)*maxRounds), func(n int) (time.Duration, error) { return watch.time(n, call) }); err != nil {
			return timing{}, err
		}
	}
	seconds := make([][]float64, len(calls))
	steps := 0
	for began := time.Now(); len(seconds[0]) < minRounds || time.Since(began) < budget; {
		p.Show("%s: round %d", what, len(seconds[0])+1)
		for i, call := range calls {
			d, err := watch.time(sizes[i], call)
			if err != nil {
				return timing{}, err
			}
			seconds[i] = append(seconds[i], d.Seconds()/float64(sizes[i]))
		}
		steps += sizes[last]
	}
	return timingOf(seconds, steps), nil
}

// timingOf is what the rounds say: of each way to move bytes, and at last of the step.
func timingOf(seconds [][]float64, steps int) timing {
	last := len(seconds) - 1
	out := timing{step: median(seconds[last]), ceiling: median(seconds[0]), steps: steps}
	for _, s := range seconds[1:last] {
		out.ceiling = min(out.ceiling, median(s))
	}
	return out
}

// batchSize finds how many calls take the time, or one that takes longer, by running more and more.
func batchSize(want time.Duration, run func(n int) (time.Duration, error)) (int, error) {
	for n := 1; ; {
		took, err := run(n)
		if err != nil || took >= want || n == maxBatch {
			return n, err
		}
		guess := float64(n) * 1.1 * float64(want) / float64(max(took, 1))
		n = int(min(max(guess, float64(n+1)), float64(8*n), maxBatch))
	}
}

// median is the middle one of x, which has one at least.
func median(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// bench verifies and measures one optimizer. A mismatchError comes with a result.
func (cfg *config) bench(t *target, o optimizer, p *cli.Progress) (r result, err error) {
	what := o.Name + " on " + cfg.model.Name
	p.Show("%s: allocating", what)
	w, err := newWork(cfg, t.backend, o)
	defer func() {
		if e := w.Close(); err == nil {
			err = e
		}
	}()
	if err != nil {
		return result{}, err
	}
	r = result{Device: t.name, Optimizer: o.Name, Model: cfg.model.Name, Params: cfg.model.Params(),
		Tensors: len(cfg.model.Tensors), DType: cfg.dtype.param.Short(), Grad: cfg.dtype.grad.Short(), State: cfg.dtype.state.Short(),
		Master: cfg.dtype.masterName(), Rounding: cfg.dtype.rounding(), types: cfg.dtype, Threads: t.threads, Clip: cfg.clip,
		ClipTensor: cfg.clipTensor, ClipAdaptive: cfg.adaptive, Scale: cfg.scale,
		Traffic: t.traffic, Note: t.note}
	foreseen, err := w.foreseen(cfg.dtype, cfg.model)
	if err != nil {
		return result{}, err
	}
	r.ceilingBytes, r.bytes = w.ofElements(cfg.model), w.moves(cfg.model)
	if t.gpu != "" {
		r.ceilingBytes = r.bytes // a CPU's ceiling leaves rows and columns out, which its caches hold
	}
	if cfg.measures() {
		r.bytes += foreseen.Norm.Total
	}
	r.BytesPerParam = float64(r.bytes) / float64(r.Params)
	var mismatch error
	if cfg.verify {
		v, err := w.verify(cfg, p, what)
		if err != nil {
			return result{}, err
		}
		equal := v.maxULP == 0
		r.Verified, r.MaxULP, r.VerifiedParams = &equal, &v.maxULP, &v.params
		if !equal {
			mismatch = &mismatchError{what, v.first}
		}
	}
	p.Show("%s: filling", what)
	if err := w.start(); err != nil {
		return result{}, err
	}
	m, err := w.measure(cfg.time, p, what)
	if err != nil {
		return result{}, err
	}
	r.times(m)
	if cfg.save != "" {
		if r.Saved, err = w.save(cfg.save, p, what); err != nil {
			return result{}, err
		}
	}
	return r, mismatch
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint"
)

// saved is what -save found.
type saved struct {
	Bytes           int64   `json:"bytes"` // of the file
	SaveSeconds     float64 `json:"save_seconds"`
	SaveGBPerS      float64 `json:"save_gb_per_s"`
	LoadSeconds     float64 `json:"load_seconds"`
	LoadGBPerS      float64 `json:"load_gb_per_s"`
	SnapshotSeconds float64 `json:"snapshot_seconds"`
	SnapshotGBPerS  float64 `json:"snapshot_gb_per_s"`
}

// speeds are a row's columns.
func (s *saved) speeds() []float64 { return []float64{s.SaveGBPerS, s.LoadGBPerS, s.SnapshotGBPerS} }

// save saves the optimizer to a file in a folder of its own within dir, which it removes, and loads it again, after a step that must leave no trace.
func (w *work) save(dir string, p *cli.Progress, what string) (s *saved, err error) {
	own, err := os.MkdirTemp(dir, "gpubench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(own)) }()
	path := filepath.Join(own, "checkpoint.safetensors")
	progress := func(doing string) func(done, total int64) {
		return func(done, total int64) {
			p.Show("%s: %s %s, %d %%", what, doing, formatBytes(total), 100*done/max(total, 1))
		}
	}
	s = &saved{}
	seconds := func(to *float64, f func() error) {
		if err == nil {
			began := time.Now()
			err = f()
			*to = time.Since(began).Seconds()
		}
	}
	p.Show("%s: copying to the host's memory", what)
	before, err := w.opt.StateDict(w.stream) // whose memory the one that is timed takes, as a checkpoint.Saver's second
	if err != nil {
		return nil, err
	}
	seconds(&s.SnapshotSeconds, func() error { return w.opt.StateDictInto(w.stream, before) })
	seconds(&s.SaveSeconds, func() error { return checkpoint.Save(path, w.opt, w.stream, progress("saving")) })
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err = w.opt.Step(w.stream); err != nil {
		return nil, err
	}
	seconds(&s.LoadSeconds, func() error {
		return checkpoint.Load(path, w.opt, w.stream, optim.LoadOptions{}, progress("loading"))
	})
	if err != nil {
		return nil, err
	}
	p.Show("%s: comparing", what)
	after, err := w.opt.LiveStateDict(w.stream)
	if err != nil {
		return nil, err
	}
	apart, err := before.Differences(after)
	if err == nil && len(apart) > 0 {
		err = fmt.Errorf("%s: what was loaded is not what was saved: %s", what, apart[0])
	}
	s.Bytes = info.Size()
	rate := func(seconds float64) float64 { return float64(s.Bytes) / seconds / 1e9 }
	s.SaveGBPerS, s.LoadGBPerS, s.SnapshotGBPerS = rate(s.SaveSeconds), rate(s.LoadSeconds), rate(s.SnapshotSeconds)
	return s, err
}

// snapshot is the bytes of an element that -save copies to the host's memory.
func snapshot(p *kernels.Program) (size int) {
	for k, plane := range p.Planes {
		if role := p.Of(k).Role; role != kernels.Gradient && plane.Domain == rule.OfElements {
			size += plane.DType.Size()
		}
	}
	return size
}

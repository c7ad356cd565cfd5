package main

import (
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/internal/models"
)

func TestDefaults(t *testing.T) {
	cfg, err := parseFlags(nil, nil)
	require.NoError(t, err)
	var names []string
	for _, o := range cfg.optimizers {
		names = append(names, o.Name)
	}
	assert.Equal(t, defaultOptimizers, strings.Join(names, ","))
	assert.Equal(t, models.ResNet50(), cfg.model)
	assert.Equal(t, "cpu", cfg.device)
	assert.Equal(t, plain(device.Float32), cfg.dtype)
	assert.Equal(t, runtime.GOMAXPROCS(0), cfg.threads)
	assert.Equal(t, time.Second, cfg.time)
	assert.Equal(t, "text", cfg.format)
	assert.False(t, cfg.verify || cfg.list || cfg.plan)
}

// Every flag is in the manual, at its place in the synopsis.
func TestManualNamesEveryFlag(t *testing.T) {
	text := cli.Manual(source)
	for _, name := range []string{"device", "optimizer", "model", "shape", "n", "dtype", "grad", "state", "master", "rounding", "clip", "clip-tensor", "clip-adaptive", "scale", "threads", "time", "verify", "format", "list", "plan"} {
		_, err := parseFlags([]string{"-" + name + "=\x00"}, nil)
		require.NotContains(t, err.Error(), "not defined", name)
		assert.Regexp(t, regexp.MustCompile(`(?m)^\t.*-`+name+`\b`), text)
	}
}

// One algorithm, one name: a case is its algorithm's name, and the options that are on.
func TestOptimizerNames(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range optimizers() {
		assert.False(t, seen[o.Name], o.Name)
		seen[o.Name] = true
		assert.Regexp(t, `^[a-z0-9]+(-[a-z0-9]+)*$`, o.Name)
		assert.NotEmpty(t, o.Doc)
	}
	for _, want := range []string{"sgd", "sgd-momentum", "adam", "adamw", "adam-amsgrad", "adamw-amsgrad"} {
		assert.True(t, seen[want], want)
	}
}

// The bytes that a step moves follow from the rules: what it reads and what it writes.
func TestBytesPerParameter(t *testing.T) {
	want := map[string]int{"sgd": 12, "sgd-momentum": 20, "sgd-nesterov": 20, "adam": 28, "adam-amsgrad": 36, "adamw": 28, "adamw-amsgrad": 36}
	for _, o := range optimizers() {
		p, err := o.plan(plain(device.Float32))
		require.NoError(t, err)
		if n, ok := want[o.Name]; ok {
			assert.Equal(t, n, p.program.Bytes, o.Name)
			delete(want, o.Name)
		}
	}
	assert.Empty(t, want)
}

package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"

	"github.com/fusestep/fusestep/internal/cli"
)

// fakeMemory is a processor that has nothing but an amount of memory.
type fakeMemory struct {
	device.Processor
	free, total int64
	err         error
}

func (f fakeMemory) Close() error                            { return nil }
func (f fakeMemory) NewQueue() (device.Queue, error)         { return nil, nil }
func (f fakeMemory) MemInfo() (free, total int64, err error) { return f.free, f.total, f.err }

func TestFits(t *testing.T) {
	const gb = 1e9
	for _, test := range []struct {
		name   string
		args   []string
		memory fakeMemory
		want   string
		usage  bool
	}{
		{"fits", []string{"-model", "gpt2-xl", "-optimizer", "adamw"}, fakeMemory{free: 26 * gb, total: 32 * gb}, "", false},
		{"one of several does not", []string{"-model", "gpt2-xl", "-optimizer", "sgd,adamw"}, fakeMemory{free: 24 * gb, total: 32 * gb},
			"adamw on gpt2-xl needs 25.0 GB of memory: 24.0 GB of 32.0 GB are free", false},
		{"a model is no mistake", []string{"-model", "gpt2-xl", "-optimizer", "adamw"}, fakeMemory{free: 4 * gb, total: 8 * gb},
			"adamw on gpt2-xl needs 25.0 GB of memory: 4.00 GB of 8.00 GB are free", false},
		{"a size that never fits is one", []string{"-n", "1e9", "-optimizer", "adam"}, fakeMemory{free: 4 * gb, total: 8 * gb},
			"-n 1e9: adam on 1,000,000,000 elements needs 16.1 GB of memory, this machine has 8.00 GB", true},
		{"a size that would fit is none", []string{"-n", "1e9", "-optimizer", "adam"}, fakeMemory{free: 4 * gb, total: 32 * gb},
			"adam on 1000000000 needs 16.1 GB of memory: 4.00 GB of 32.0 GB are free", false},
		{"unknown memory", []string{"-n", "1e9"}, fakeMemory{err: device.ErrUnavailable}, "", false},
		{"more than any memory", []string{"-n", "1e15"}, fakeMemory{err: fmt.Errorf("memory: %w", device.ErrUnavailable)},
			"-n 1e15: sgd on 1,000,000,000,000,000 elements needs 8.00 PB of memory, this machine has 141 TB", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg, err := parseFlags(test.args, nil)
			skipOn32Bits(t, err)
			require.NoError(t, err)
			dev, err := device.New("fake", test.memory)
			require.NoError(t, err)
			err = cfg.fits(dev)
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, test.want)
			assert.Equal(t, test.usage, assert.ErrorAs(&testing.T{}, err, new(cli.UsageError)))
		})
	}
}

// skipOn32Bits ends a test of sizes that are refused where an int has 32 bits.
func skipOn32Bits(t *testing.T, err error) {
	if strconv.IntSize == 32 && err != nil && strings.Contains(err.Error(), "must have at most") {
		t.Skip(err)
	}
}

func TestNeed(t *testing.T) {
	for _, test := range []struct {
		args []string
		want int64
	}{
		{[]string{"-n", "32", "-optimizer", "sgd"}, 2 * 32 * 4},
		{[]string{"-n", "33", "-optimizer", "sgd"}, 2 * 64 * 4},
		{[]string{"-shape", "1,1,1", "-optimizer", "adamw"}, 4 * 3 * 32 * 4},
		{[]string{"-n", "32", "-optimizer", "adam-amsgrad", "-dtype", "f64"}, 5 * 32 * 8},
		{[]string{"-n", "32", "-optimizer", "sgd", "-verify"}, 2*32*4 + 4*32*8},
		{[]string{"-n", "33", "-optimizer", "adamw", "-dtype", "bf16", "-grad", "f32", "-state", "f16"}, 64 * (2 + 4 + 2 + 2)},
		{[]string{"-n", "33", "-optimizer", "adamw", "-dtype", "bf16", "-master", "remainder8"}, 128 * (2 + 1 + 2 + 4 + 4)},
		{[]string{"-shape", "640x128", "-optimizer", "adafactor"}, 640*128*2*4 + 640*4*2 + 128*4*4 + 8*(3*640+128*10)},
		{[]string{"-shape", "640x128", "-optimizer", "sgd", "-clip-adaptive", "0.1"}, 640*128*2*4 + 640*4*3 + 8*2*640},
		{[]string{"-n", "4611686018427387904", "-optimizer", "sgd"}, math.MaxInt64},
		{[]string{"-n", "4611686018427387904", "-optimizer", "adamw-amsgrad", "-dtype", "f64"}, math.MaxInt64},
	} {
		cfg, err := parseFlags(test.args, nil)
		skipOn32Bits(t, err) // what is left
		require.NoError(t, err)
		p, err := cfg.planned(cfg.optimizers[0])
		require.NoError(t, err)
		if test.want != math.MaxInt64 {
			test.want += overhead
		}
		assert.Equal(t, test.want, cfg.need(p), "%q", test.args)
	}
}

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/kernels"
)

func TestBatchSize(t *testing.T) {
	for _, test := range []struct {
		name     string
		each     time.Duration
		from, to int
	}{
		{"longer than the batch", 2 * time.Second, 1, 1},
		{"exactly the batch", time.Second, 1, 1},
		{"a hundredth", 10 * time.Millisecond, 100, 121},
		{"too short for the clock", 0, maxBatch, maxBatch},
	} {
		n, err := batchSize(time.Second, func(n int) (time.Duration, error) { return time.Duration(n) * test.each, nil })
		require.NoError(t, err)
		assert.True(t, n >= test.from && n <= test.to, "%s: %d", test.name, n)
	}
}

func TestMedian(t *testing.T) {
	assert.Equal(t, 2.0, median([]float64{3, 1, 2}))
	assert.Equal(t, 2.5, median([]float64{4, 1, 2, 3}))
	assert.Equal(t, 7.0, median([]float64{7}))
}

// turns writes down in which order steps and the ceiling run.
type turns struct {
	kernels.Backend
	order *[]byte
}

type turn struct {
	kernels.Update
	order *[]byte
	name  byte
}

func (t turns) Compile(w kernels.Work) (kernels.Update, error) {
	u, err := t.Backend.Compile(w)
	return turn{u, t.order, 's'}, err
}

// CompileTraffic makes two ways to move bytes.
func (t turns) CompileTraffic(w kernels.Work) ([]kernels.Update, error) {
	all, err := t.Backend.CompileTraffic(w)
	if err != nil {
		return nil, err
	}
	return []kernels.Update{turn{all[0], t.order, 'a'}, turn{all[0], t.order, 'b'}}, nil
}

func (t turn) Enqueue(s *device.Stream, in kernels.Step) error {
	*t.order = append(*t.order, t.name)
	return t.Update.Enqueue(s, in)
}

// Where one step fills a batch, steps and the ceiling alternate one by one, three times at least.
func TestMeasureTakesTurns(t *testing.T) {
	cfg, err := parseFlags([]string{"-n", "100", "-optimizer", "sgd"}, nil)
	require.NoError(t, err)
	var order []byte
	dev := turns{cpu.NewThreads(1), &order}
	defer dev.Device().Close()
	w, err := newWork(cfg, dev, cfg.optimizers[0])
	require.NoError(t, err)
	require.NoError(t, w.start())
	m, err := w.measure(time.Microsecond, &cli.Progress{}, "")
	require.NoError(t, err)
	assert.Equal(t, "absabsabsabs", string(order))
	assert.Equal(t, 3, m.steps)
	require.NoError(t, w.Close())
}

// The ceiling is the way that has the least median, whichever that is, and the step is what runs last.
func TestTimingOf(t *testing.T) {
	assert.Equal(t, timing{step: 2, ceiling: 1, steps: 7}, timingOf([][]float64{{4, 4, 0.5}, {9, 1, 1}, {2, 1, 3}}, 7))
}

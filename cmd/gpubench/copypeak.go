package main

import (
	"errors"
	"time"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
)

// copyPeak is how many bytes a second the device moves when it copies memory of its own by Stream.Copy, counting each byte
// twice, as it is read and written. It is the figure that memory is known by, where the ceiling is what a step's own
// pattern of loads and stores can reach.
func copyPeak(dev *device.Device, size int64, budget time.Duration, p *cli.Progress) (rate float64, err error) {
	p.Show("measuring the copy peak")
	free, _, err := dev.MemInfo()
	if err == nil {
		size = min(size, free/4)
	} else if !errors.Is(err, device.ErrUnavailable) {
		return 0, err
	}
	var buffers [2]*device.Buffer
	for i := range buffers {
		b, err := dev.Alloc(device.Float32, int(size/4))
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, b.Close()) }()
		// Memory that has never been written may not exist yet.
		if err := dev.DefaultStream().Zero(b); err != nil {
			return 0, err
		}
		buffers[i] = b
	}
	watch, err := newStopwatch(dev.DefaultStream())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, watch.Close()) }()
	call := func() error { return dev.DefaultStream().Copy(buffers[1], buffers[0]) }
	n, err := batchSize(budget/maxRounds, func(n int) (time.Duration, error) { return watch.time(n, call) })
	if err != nil {
		return 0, err
	}
	var seconds []float64
	for began := time.Now(); len(seconds) < minRounds || time.Since(began) < budget; {
		d, err := watch.time(n, call)
		if err != nil {
			return 0, err
		}
		seconds = append(seconds, d.Seconds()/float64(n))
	}
	return 2 * float64(buffers[0].Len()*4) / median(seconds), nil
}

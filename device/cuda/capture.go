//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"runtime"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
)

// recording implements device.Recording.
type recording struct {
	g    *gpu
	exec driver.GraphExec
}

// Capture implements device.Capturer. What other threads do meanwhile is their own, for which the capture must end on the thread where it began.
func (g *gpu) Capture(work func(q device.Queue) error) (device.Recording, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	q, err := g.newQueue(true)
	if err != nil {
		return nil, err
	}
	r := &recording{g: g}
	if err := errors.Join(g.record(q, work, r), q.Close()); err != nil {
		return nil, errors.Join(err, r.destroy())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.graphs[r] = true
	return r, nil
}

// record makes what can be launched of what work enqueues.
func (g *gpu) record(q *queue, work func(q device.Queue) error, r *recording) error {
	err := g.do(func() error {
		return failure(driver.CuStreamBeginCapture, driver.StreamBeginCapture(q.handle(), driver.CaptureThreadLocal))
	})
	if err != nil {
		return err
	}
	err = work(q)
	return errors.Join(err, g.do(func() error {
		graph, end := driver.StreamEndCapture(q.handle())
		switch {
		case end != nil && err != nil:
			return nil // end says that there was an error before
		case end != nil:
			return failure(driver.CuStreamEndCapture, end)
		}
		var made error
		if err == nil {
			r.exec, made = graph.Instantiate(0)
		}
		return errors.Join(failure(driver.CuGraphInstantiateWithFlags, made), failure(driver.CuGraphDestroy, graph.Destroy()))
	}))
}

func (r *recording) Launch(q device.Queue) error {
	return r.g.do(func() error { return failure(driver.CuGraphLaunch, r.exec.Launch(q.(*queue).handle())) })
}

func (r *recording) Close() error {
	if err := r.destroy(); err != nil {
		return err // the device's Close tries again
	}
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	delete(r.g.graphs, r)
	return nil
}

// destroy does nothing where nothing was made.
func (r *recording) destroy() error {
	if r.exec == 0 {
		return nil
	}
	return r.g.do(func() error { return failure(driver.CuGraphExecDestroy, r.exec.Destroy()) })
}

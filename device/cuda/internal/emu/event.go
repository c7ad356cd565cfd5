//go:build cuda && cgo && linux

package emu

import (
	"time"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
)

// event is the point where it was last recorded, nil before, and where that was in a capture.
type event struct {
	ctx     *context
	timing  bool
	point   *point
	capture *capture
}

func (e *event) context() *context { return e.ctx }

func (c *context) eventCreate(args []uint64) driver.Result {
	const disableTiming, known = 2, 7
	if args[0] == 0 || args[1] > known {
		return driver.ErrorInvalidValue
	}
	return answer(args[0], c.add(&event{ctx: c, timing: args[1]&disableTiming == 0}))
}

func (c *context) eventDestroy(args []uint64) driver.Result {
	_, result := find[*event](c, args[0])
	if result == driver.Success {
		delete(c.d.objects, args[0])
	}
	return result
}

func (c *context) eventRecord(args []uint64) driver.Result {
	e, result := find[*event](c, args[0])
	if result != driver.Success {
		return result
	}
	s, result := c.stream(args[1])
	if result != driver.Success {
		return result
	}
	e.point, e.capture = &point{stream: s}, s.capture
	return s.enqueue(operation{mark: e.point})
}

// eventQuery does one operation, so that asking again and again comes to an end.
func (c *context) eventQuery(args []uint64) driver.Result {
	e, result := find[*event](c, args[0])
	switch {
	case result != driver.Success:
		return result
	case e.capture != nil:
		return e.capture.invalidate(driver.ErrorCapturedEvent)
	case e.point == nil || !e.point.pending():
		return driver.Success
	}
	e.point.stream.step()
	if c.failed != driver.Success {
		return c.failed
	}
	return driver.ErrorNotReady
}

func (c *context) eventSynchronize(args []uint64) driver.Result {
	e, result := find[*event](c, args[0])
	switch {
	case result != driver.Success:
		return result
	case e.capture != nil:
		return e.capture.invalidate(driver.ErrorCapturedEvent)
	case e.point == nil:
		return driver.Success
	}
	for e.point.pending() {
		e.point.stream.step()
	}
	return c.failed
}

func (c *context) eventElapsed(args []uint64) driver.Result {
	var at [2]time.Time
	for i := range at {
		e, result := find[*event](c, args[1+i])
		switch {
		case result != driver.Success:
			return result
		case e.capture != nil:
			return e.capture.invalidate(driver.ErrorCapturedEvent)
		case !e.timing || e.point == nil:
			return driver.ErrorInvalidHandle
		case e.point.pending():
			return driver.ErrorNotReady
		}
		at[i] = e.point.at
	}
	return answer(args[0], float32(at[1].Sub(at[0]).Seconds()*1e3))
}

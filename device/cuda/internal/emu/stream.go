//go:build cuda && cgo && linux

package emu

import (
	"slices"
	"time"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
)

// stream is work that has not run. A destroyed one has no handle, but its work is still to be done.
type stream struct {
	ctx         *context
	nonBlocking bool // does not wait for the null stream, nor that for it
	destroyed   bool
	queue       []operation
	capture     *capture // what is enqueued goes there, nil mostly
}

// operation is one step of a stream.
type operation struct {
	after []*point // on other streams
	run   func() error
	mark  *point // reached when it has run
}

// point is a place in a stream's work.
type point struct {
	stream  *stream
	reached bool
	at      time.Time
}

func (s *stream) context() *context { return s.ctx }

// end is the point behind everything enqueued so far.
func (s *stream) end() *point {
	if len(s.queue) == 0 {
		return &point{stream: s, reached: true}
	}
	last := &s.queue[len(s.queue)-1]
	if last.mark == nil {
		last.mark = &point{stream: s}
	}
	return last.mark
}

// enqueue adds an operation, behind what the null stream and the blocking streams owe each other. Where a blocking stream captures, the null
// stream owes it what it cannot give.
func (s *stream) enqueue(op operation) driver.Result {
	if s.capture != nil {
		return s.capture.record(op.run)
	}
	for _, other := range s.ctx.streams {
		if s == s.ctx.null && other.capture != nil && !other.nonBlocking {
			return other.capture.invalidate(driver.ErrorStreamCaptureImplicit)
		}
		if other != s && !s.nonBlocking && !other.nonBlocking && (s == s.ctx.null || other == s.ctx.null) && len(other.queue) > 0 {
			op.after = append(op.after, other.end())
		}
	}
	s.queue = append(s.queue, op)
	return driver.Success
}

// pending says whether a point is still ahead. What a failed context has not done it never does.
func (p *point) pending() bool {
	return !p.reached && p.stream.ctx.failed == driver.Success && !p.stream.ctx.destroyed
}

// step does one operation: the stream's next, or one that this waits for, directly or not.
func (s *stream) step() {
	op := s.queue[0]
	for _, p := range op.after {
		if p.pending() {
			p.stream.step()
			return
		}
	}
	s.queue[0] = operation{}
	s.queue = s.queue[1:]
	if op.run != nil {
		if err := op.run(); err != nil {
			s.ctx.fail(err)
			return
		}
	}
	if op.mark != nil {
		op.mark.reached, op.mark.at = true, time.Now()
	}
	if s.destroyed && len(s.queue) == 0 {
		s.ctx.streams = slices.DeleteFunc(s.ctx.streams, func(o *stream) bool { return o == s })
	}
}

// force does everything in the stream.
func (s *stream) force() driver.Result {
	for len(s.queue) > 0 {
		s.step()
	}
	return s.ctx.failed
}

// force does everything in the context.
func (c *context) force() driver.Result {
	for _, s := range slices.Clone(c.streams) {
		s.force()
	}
	return c.failed
}

// stream is the stream with a handle, 0 is the null stream.
func (c *context) stream(handle uint64) (*stream, driver.Result) {
	const legacy = 1
	if handle == 0 || handle == legacy {
		return c.null, driver.Success
	}
	return find[*stream](c, handle)
}

// streamCreate also takes a priority, which means nothing here.
func (c *context) streamCreate(args []uint64) driver.Result {
	if args[0] == 0 || args[1] > 1 {
		return driver.ErrorInvalidValue
	}
	s := &stream{ctx: c, nonBlocking: args[1] == 1}
	c.streams = append(c.streams, s)
	return answer(args[0], c.add(s))
}

func (c *context) streamFlags(args []uint64) driver.Result {
	s, result := c.stream(args[0])
	if result != driver.Success {
		return result
	}
	flags := uint32(0)
	if s.nonBlocking {
		flags = 1
	}
	return answer(args[1], flags)
}

func (c *context) streamDestroy(args []uint64) driver.Result {
	s, result := find[*stream](c, args[0])
	if result != driver.Success {
		return result
	}
	delete(c.d.objects, args[0])
	s.destroyed, s.capture = true, nil
	if len(s.queue) == 0 {
		c.streams = slices.DeleteFunc(c.streams, func(o *stream) bool { return o == s })
	}
	return driver.Success
}

func (c *context) streamSynchronize(args []uint64) driver.Result {
	s, result := c.stream(args[0])
	switch {
	case result != driver.Success:
		return result
	case s.capture != nil:
		return s.capture.invalidate(driver.ErrorStreamCaptureUnsupported)
	}
	return s.force()
}

// streamQuery does one operation, so that asking again and again comes to an end.
func (c *context) streamQuery(args []uint64) driver.Result {
	s, result := c.stream(args[0])
	switch {
	case result != driver.Success:
		return result
	case s.capture != nil:
		return s.capture.invalidate(driver.ErrorStreamCaptureUnsupported)
	case len(s.queue) == 0:
		return driver.Success
	}
	s.step()
	if c.failed != driver.Success {
		return c.failed
	}
	return driver.ErrorNotReady
}

func (c *context) streamWait(args []uint64) driver.Result {
	s, result := c.stream(args[0])
	if result != driver.Success {
		return result
	}
	e, ok := c.d.objects[args[1]].(*event) // of any context
	switch {
	case !ok:
		return driver.ErrorInvalidHandle
	case args[2] != 0:
		return driver.ErrorInvalidValue
	case e.capture != nil:
		return s.waitCaptured(e)
	case s.capture != nil && e.point != nil:
		return s.capture.invalidate(driver.ErrorStreamCaptureIsolation)
	case e.point != nil && e.point.pending():
		return s.enqueue(operation{after: []*point{e.point}})
	}
	return driver.Success
}

package device

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// collector gives back what a device's users let go of without Close. It must not reach the Device, which is collected too.
//
// A cleanup must not block, but a processor's Free waits for work. So cleanups only leave a note, and a goroutine that exists
// while there are notes does what they say.
type collector struct {
	watched atomic.Int64 // things that are neither closed nor given back

	mu      sync.Mutex // guards what follows
	notes   []func() error
	running bool

	giving sync.Mutex // held while something is given back
	closed bool       // the processor is closed, and with it everything
}

// watch makes the collector call give once nothing reaches p, unless stop is called before. give must not reach p.
func watch[T any](c *collector, p *T, give func() error) (stop func()) {
	c.watched.Add(1)
	cleanup := runtime.AddCleanup(p, c.note, give)
	return func() {
		cleanup.Stop()
		c.watched.Add(-1)
	}
}

// note is the cleanup.
func (c *collector) note(give func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = append(c.notes, give)
	if !c.running {
		c.running = true
		go c.run()
	}
}

// run does what the notes say. There is nobody to tell its errors to.
func (c *collector) run() {
	for {
		c.mu.Lock()
		notes := c.notes
		c.notes = nil
		c.running = len(notes) > 0
		c.mu.Unlock()
		if len(notes) == 0 {
			return
		}
		for _, give := range notes {
			c.giving.Lock()
			if !c.closed {
				_ = give()
			}
			c.giving.Unlock()
			c.watched.Add(-1)
		}
	}
}

// close runs the processor's Close, after which nothing else is given back.
func (c *collector) close(f func() error) error {
	c.giving.Lock()
	defer c.giving.Unlock()
	c.closed = true
	return f()
}

// collect looks for what nobody reaches, and waits until most of it has been given back. It returns false where there is
// nothing to look for.
func (c *collector) collect() bool {
	if c.watched.Load() <= 1 { // the device alone
		return false
	}
	for range 2 { // an optimizer's buffers are found with it, a device's after it
		last := make(chan struct{})
		runtime.AddCleanup(&struct{ self *collector }{c}, func(done chan struct{}) { close(done) }, last)
		runtime.GC()
		select {
		case <-last: // the other cleanups have run, or will within a moment
		case <-time.After(time.Second):
		}
		for began := time.Now(); time.Since(began) < time.Second; time.Sleep(time.Millisecond) {
			c.mu.Lock()
			running := c.running
			c.mu.Unlock()
			if !running && time.Since(began) > 2*time.Millisecond {
				break
			}
		}
	}
	return true
}

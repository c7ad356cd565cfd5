package device

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Stream runs work on a device in the order in which it was enqueued. Streams of one device run beside each other.
//
// Work may be enqueued far ahead: hundreds of optimizer steps need no Synchronize between them. A backend holds
// some hundreds of operations of a stream that have not run. Where there are as many, a call that enqueues waits for the oldest.
//
// After an operation has failed, Synchronize and every later call return its error, and the stream does no more work.
type Stream struct {
	dev    *Device
	queue  Queue
	closed atomic.Bool
	stop   func() // stops the collector's watch; nil for the default stream and a capture's
}

// zero says whether there is no stream, nil or the zero value.
func (s *Stream) zero() bool { return s == nil || s.dev == nil }

// Device is where the stream runs, nil for a nil or zero Stream.
func (s *Stream) Device() *Device {
	if s.zero() {
		return nil
	}
	return s.dev
}

// Queue is the backend's part of the stream, for the backend's own use.
func (s *Stream) Queue() Queue {
	if s.zero() {
		return nil
	}
	return s.queue
}

// Check says whether the stream can be used on the device now: nil, ErrClosed or ErrForeign. A nil or zero Stream is closed.
func (s *Stream) Check(d *Device) error {
	switch {
	case s.zero() || s.closed.Load() || s.dev.closed.Load():
		return fmt.Errorf("stream is %w", ErrClosed)
	case s.dev != d:
		return fmt.Errorf("stream of device %s %w", s.dev.name, ErrForeign)
	}
	return nil
}

// use says whether the stream and the buffers can be used together.
func (s *Stream) use(buffers ...*Buffer) error {
	if s.zero() {
		return s.Check(nil)
	}
	if err := s.Check(s.dev); err != nil {
		return err
	}
	for _, b := range buffers {
		if err := b.Check(s.dev); err != nil {
			return err
		}
	}
	return nil
}

// Upload enqueues a copy of src into dst, which has as many elements, of T's type. It fails with a LengthError, a
// DTypeError, ErrClosed and ErrForeign.
//
// src must not be written until the stream, or an event recorded behind the copy, has been synchronised. On a CPU the race
// detector reports a write that comes earlier, however small the copy.
func Upload[T Element](s *Stream, dst *Buffer, src []T) error {
	err := transfer(s, dst, src, "source")
	if err == nil && len(src) > 0 {
		err = s.queue.Upload(dst.Span(), bytesOf(src))
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(dst)
	if err != nil {
		return fmt.Errorf("device: upload: %w", err)
	}
	return nil
}

// Download enqueues a copy of src into dst, which has as many elements, of src's type. It fails as Upload does.
//
// dst holds the elements once the stream, or an event recorded behind the copy, has been synchronised; until then it must be
// neither read nor written. A small copy on a CPU that has nothing else to do happens to be over when Download returns, a large one
// not; on a CPU the race detector reports a read that comes too early in both cases.
func Download[T Element](s *Stream, dst []T, src *Buffer) error {
	err := transfer(s, src, dst, "destination")
	if err == nil && len(dst) > 0 {
		err = s.queue.Download(bytesOf(dst), src.Span())
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(src)
	if err != nil {
		return fmt.Errorf("device: download: %w", err)
	}
	return nil
}

// transfer checks a copy between the host and a buffer.
func transfer[T Element](s *Stream, b *Buffer, host []T, what string) error {
	if err := s.use(b); err != nil {
		return err
	}
	if !holds[T](b.dtype) {
		return &DTypeError{What: what, Got: DTypeOf[T](), Ref: "buffer", Want: b.dtype}
	}
	if len(host) != b.n {
		return &LengthError{What: what, Got: len(host), Ref: "buffer", Want: b.n}
	}
	return nil
}

func bytesOf[T Element](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(T(0))))
}

// Copy enqueues a copy between two buffers of one type and length that do not overlap. It fails with a LengthError, a
// DTypeError, ErrOverlap, ErrClosed and ErrForeign.
func (s *Stream) Copy(dst, src *Buffer) error {
	err := s.use(dst, src)
	switch {
	case err != nil:
	case dst.dtype != src.dtype:
		err = &DTypeError{What: "destination", Got: dst.dtype, Ref: "source", Want: src.dtype}
	case dst.n != src.n:
		err = &LengthError{What: "destination", Got: dst.n, Ref: "source", Want: src.n}
	case dst.Overlaps(src):
		err = fmt.Errorf("destination %w source", ErrOverlap)
	case dst.n > 0:
		err = s.queue.Copy(dst.Span(), src.Span())
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(dst)
	runtime.KeepAlive(src)
	if err != nil {
		return fmt.Errorf("device: copy: %w", err)
	}
	return nil
}

// Zero enqueues setting all elements to 0. It fails with ErrClosed and ErrForeign.
func (s *Stream) Zero(dst *Buffer) error {
	err := s.use(dst)
	if err == nil && dst.n > 0 {
		err = s.queue.Zero(dst.Span())
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(dst)
	if err != nil {
		return fmt.Errorf("device: zero: %w", err)
	}
	return nil
}

// Synchronize waits until all work enqueued so far is done. It returns the first error of that work, and fails with ErrClosed.
func (s *Stream) Synchronize() error {
	err := s.use()
	if err == nil {
		err = s.queue.Synchronize()
	}
	runtime.KeepAlive(s)
	if err != nil {
		return fmt.Errorf("device: synchronize: %w", err)
	}
	return nil
}

// Close waits for the stream's work, closes the stream and returns the first error of that work. A second Close fails with
// ErrClosed. The default stream refuses: it closes with its device.
func (s *Stream) Close() error {
	var err error
	switch {
	case s.zero() || s.dev.closed.Load():
		err = ErrClosed
	case s == s.dev.def:
		err = fmt.Errorf("it is the default stream, which closes with its device")
	case s.stop == nil && !s.closed.Load():
		err = fmt.Errorf("it is a capture's stream, which closes with the capture")
	case s.closed.Swap(true):
		err = ErrClosed
	default:
		s.stop()
		err = closeQueue(s.queue)
	}
	if err != nil {
		return fmt.Errorf("device: close stream: %w", err)
	}
	return nil
}

// closeQueue waits for the work and closes the queue.
func closeQueue(q Queue) error {
	err := q.Synchronize()
	if e := q.Close(); err == nil {
		err = e
	}
	return err
}

// WrapStream makes a stream of a queue that the backend made of somebody else's, such as a framework's stream. It is
// called by backends, whose Queue for it waits in Close but destroys nothing.
func (d *Device) WrapStream(q Queue) *Stream {
	s := &Stream{dev: d, queue: q}
	s.stop = watch(d.collector, s, func() error { return closeQueue(q) })
	return s
}

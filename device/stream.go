package device

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Stream runs work on a device in the order in which it was enqueued. Streams of one device run beside each other.
type Stream struct {
	dev    *Device
	queue  Queue
	closed atomic.Bool
}

// Device is where the stream runs.
func (s *Stream) Device() *Device { return s.dev }

// Queue is the backend's part of the stream, for the backend's own use.
func (s *Stream) Queue() Queue { return s.queue }

// Check says whether the stream can be used on the device now: nil, ErrClosed or ErrForeign. A nil stream is closed.
func (s *Stream) Check(d *Device) error {
	switch {
	case s == nil || s.closed.Load() || s.dev.closed.Load():
		return fmt.Errorf("stream is %w", ErrClosed)
	case s.dev != d:
		return fmt.Errorf("stream of device %s %w", s.dev.name, ErrForeign)
	}
	return nil
}

// use says whether the stream and the buffers can be used together.
func (s *Stream) use(buffers ...*Buffer) error {
	if s == nil {
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

// Upload enqueues a copy of src into dst, which has as many elements, of T's type. src must stay as it is until the
// stream has been synchronised. It fails with a LengthError, a DTypeError, ErrClosed and ErrForeign.
func Upload[T Element](s *Stream, dst *Buffer, src []T) error {
	err := transfer(s, dst, src, "source")
	if err == nil && len(src) > 0 {
		err = s.queue.Upload(dst.Span(), bytesOf(src))
	}
	if err != nil {
		return fmt.Errorf("device: upload: %w", err)
	}
	return nil
}

// Download enqueues a copy of src into dst, which has as many elements, of src's type. dst must not be read or written
// until the stream has been synchronised. It fails as Upload does.
func Download[T Element](s *Stream, dst []T, src *Buffer) error {
	err := transfer(s, src, dst, "destination")
	if err == nil && len(dst) > 0 {
		err = s.queue.Download(bytesOf(dst), src.Span())
	}
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
	case s == nil || s.dev.closed.Load():
		err = ErrClosed
	case s == s.dev.def:
		err = fmt.Errorf("it is the default stream, which closes with its device")
	case s.closed.Swap(true):
		err = ErrClosed
	default:
		err = s.queue.Synchronize()
		if e := s.queue.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		return fmt.Errorf("device: close stream: %w", err)
	}
	return nil
}

// WrapStream makes a stream of a queue that the backend made of somebody else's, such as a framework's stream. It is
// called by backends, whose Queue for it waits in Close but destroys nothing.
func (d *Device) WrapStream(q Queue) *Stream { return &Stream{dev: d, queue: q} }

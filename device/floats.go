package device

import "fmt"

// Float is a host's number type that UploadFloats and DownloadFloats convert.
type Float interface{ float32 | float64 }

// UploadFloats copies src into dst, whose elements may be of the other type: each is then rounded to the nearest float32, ties to
// even, or widened, which is exact. A float64 beyond float32's range becomes infinite. Unlike Upload it waits for the copy, and
// for the stream's work before it. It fails as Upload does.
func UploadFloats[T Float](s *Stream, dst *Buffer, src []T) error {
	var err error
	switch {
	case dst == nil || holds[T](dst.dtype):
		err = Upload(s, dst, src)
	case dst.dtype == Float32:
		err = Upload(s, dst, converted[float32](src))
	case dst.dtype == Float64:
		err = Upload(s, dst, converted[float64](src))
	default:
		err = fmt.Errorf("device: upload: %w", &DTypeError{What: "source", Got: DTypeOf[T](), Ref: "buffer", Want: dst.dtype})
	}
	if err != nil {
		return err
	}
	return s.Synchronize()
}

// DownloadFloats copies src into dst, and converts as UploadFloats does. Unlike Download it waits for the copy, and for the
// stream's work before it. It fails as Download does.
func DownloadFloats[T Float](s *Stream, dst []T, src *Buffer) error {
	switch {
	case src == nil || holds[T](src.dtype):
		if err := Download(s, dst, src); err != nil {
			return err
		}
		return s.Synchronize()
	case src.dtype == Float32:
		return downloadAs[float32](s, dst, src)
	case src.dtype == Float64:
		return downloadAs[float64](s, dst, src)
	}
	return fmt.Errorf("device: download: %w", &DTypeError{What: "destination", Got: DTypeOf[T](), Ref: "buffer", Want: src.dtype})
}

func downloadAs[F, T Float](s *Stream, dst []T, src *Buffer) error {
	x := make([]F, len(dst))
	if err := Download(s, x, src); err != nil {
		return err
	}
	if err := s.Synchronize(); err != nil {
		return err
	}
	for i, v := range x {
		dst[i] = T(v)
	}
	return nil
}

func converted[F, T Float](x []T) []F {
	out := make([]F, len(x))
	for i, v := range x {
		out[i] = F(v)
	}
	return out
}

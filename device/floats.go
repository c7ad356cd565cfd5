package device

// Float is a host's number type that UploadFloats and DownloadFloats convert.
type Float interface{ float32 | float64 }

// UploadFloats copies src into dst, whose elements may be of another type: each is then widened, which is exact, or rounded once as
// DType.Round does, to nearest, ties to even. A number beyond the type's range becomes infinite, and a NaN stays one. Unlike Upload it
// waits for the copy, and for the stream's work before it. It fails as Upload does, and with a DTypeError for Int16 and Int8.
func UploadFloats[T Float](s *Stream, dst *Buffer, src []T) error {
	var err error
	switch {
	case dst.zero() || dst.dtype == DTypeOf[T]() || dst.dtype.integer():
		err = Upload(s, dst, src)
	case dst.dtype == Float32:
		err = Upload(s, dst, converted(src, func(x T) float32 { return float32(x) }))
	case dst.dtype == Float64:
		err = Upload(s, dst, converted(src, func(x T) float64 { return float64(x) }))
	default:
		err = Upload(s, dst, converted(src, func(x T) uint16 { return dst.dtype.encode(float64(x)) }))
	}
	if err != nil {
		return err
	}
	return s.Synchronize()
}

// DownloadFloats copies src into dst, and converts as UploadFloats does. Unlike Download it waits for the copy, and for the
// stream's work before it. It fails as UploadFloats does.
func DownloadFloats[T Float](s *Stream, dst []T, src *Buffer) error {
	switch {
	case src.zero() || src.dtype == DTypeOf[T]() || src.dtype.integer():
		if err := Download(s, dst, src); err != nil {
			return err
		}
		return s.Synchronize()
	case src.dtype == Float32:
		return downloadAs(s, dst, src, func(x float32) T { return T(x) })
	case src.dtype == Float64:
		return downloadAs(s, dst, src, func(x float64) T { return T(x) })
	}
	return downloadAs(s, dst, src, func(w uint16) T { return T(src.dtype.decode(w)) })
}

func downloadAs[E Element, T Float](s *Stream, dst []T, src *Buffer, convert func(E) T) error {
	x := make([]E, len(dst))
	if err := Download(s, x, src); err != nil {
		return err
	}
	if err := s.Synchronize(); err != nil {
		return err
	}
	for i, v := range x {
		dst[i] = convert(v)
	}
	return nil
}

func converted[T Float, E Element](x []T, convert func(T) E) []E {
	out := make([]E, len(x))
	for i, v := range x {
		out[i] = convert(v)
	}
	return out
}

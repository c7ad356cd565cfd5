//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package checkpoint

import (
	"errors"
	"io"
)

// syncFolder does nothing: these systems have no such call, or need none.
func (disk) syncFolder(string) error { return nil }

func (disk) lock(string) (io.Closer, error) { return nil, errors.ErrUnsupported }

//go:build !amd64 || purego || !(linux || darwin || windows)

package exec

import "errors"

var errNone = errors.New("this build has no machine code of its own")

func mapMemory(int) ([]byte, error) { return nil, errNone }
func seal([]byte) error             { return errNone }
func unmapMemory([]byte) error      { return errNone }

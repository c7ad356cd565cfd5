//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
)

// failure makes an error of what a call of cu or of package driver returned. It is a *driver.Error, with the
// sentinel of package device that fits, if one does.
func failure(entry driver.Entry, err error) error {
	if err == nil {
		return nil
	}
	var e *driver.Error
	if !errors.As(err, &e) {
		// cu's errors are integers of a type it does not export: the driver's codes.
		code := reflect.ValueOf(err)
		if !code.CanInt() {
			return fmt.Errorf("%v: %w", entry, err)
		}
		e = driver.NewError(entry, driver.Result(code.Int()))
	}
	if e.Result == driver.ErrorOutOfMemory {
		return fmt.Errorf("%w: %w", device.ErrOutOfMemory, e)
	}
	return e
}

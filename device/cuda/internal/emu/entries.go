//go:build cuda && cgo && linux

package emu

import (
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
)

// entries are what can be called without a context.
var entries = map[driver.Entry]func(*Driver, []uint64) driver.Result{
	driver.CuInit:                            func(*Driver, []uint64) driver.Result { return driver.Success },
	driver.CuDriverGetVersion:                (*Driver).version,
	driver.CuGetErrorName:                    (*Driver).errorName,
	driver.CuGetErrorString:                  (*Driver).errorString,
	driver.CuDeviceGetCount:                  (*Driver).deviceCount,
	driver.CuDeviceGet:                       (*Driver).deviceGet,
	driver.CuDeviceGetName:                   (*Driver).deviceName,
	driver.CuDeviceTotalMem:                  (*Driver).deviceTotalMem,
	driver.CuDeviceGetAttribute:              (*Driver).deviceAttribute,
	driver.CuDevicePrimaryCtxRetain:          (*Driver).retain,
	driver.CuDevicePrimaryCtxRelease:         (*Driver).release,
	driver.CuDevicePrimaryCtxReset:           (*Driver).reset,
	driver.CuDevicePrimaryCtxGetState:        (*Driver).primaryState,
	driver.CuThreadExchangeStreamCaptureMode: (*Driver).exchangeMode,
	driver.CuCtxSetCurrent:                   (*Driver).setCurrent,
	driver.CuCtxGetCurrent:                   (*Driver).getCurrent,
}

// contextEntries are what belongs to the calling thread's current context.
var contextEntries = map[driver.Entry]func(*context, []uint64) driver.Result{
	driver.CuCtxGetDevice:   (*context).device,
	driver.CuCtxSynchronize: func(c *context, _ []uint64) driver.Result { return c.force() },

	driver.CuMemGetInfo:         (*context).memInfo,
	driver.CuMemAlloc:           (*context).memAlloc,
	driver.CuMemFree:            (*context).memFree,
	driver.CuMemGetAddressRange: (*context).addressRange,
	driver.CuMemHostAlloc:       (*context).hostAlloc,
	driver.CuMemFreeHost:        (*context).hostFree,
	driver.CuMemHostRegister:    (*context).hostRegister,
	driver.CuMemHostUnregister:  (*context).hostUnregister,

	driver.CuMemcpyHtoD:      waiting((*context).copyIn),
	driver.CuMemcpyDtoH:      waiting((*context).copyOut),
	driver.CuMemcpyDtoD:      null((*context).copyOver),
	driver.CuMemcpyHtoDAsync: (*context).copyIn,
	driver.CuMemcpyDtoHAsync: (*context).copyOut,
	driver.CuMemcpyDtoDAsync: (*context).copyOver,
	driver.CuMemsetD8:        null(set(1)),
	driver.CuMemsetD16:       null(set(2)),
	driver.CuMemsetD32:       null(set(4)),
	driver.CuMemsetD8Async:   set(1),
	driver.CuMemsetD16Async:  set(2),
	driver.CuMemsetD32Async:  set(4),

	driver.CuModuleLoadData:    (*context).moduleLoad,
	driver.CuModuleLoadDataEx:  (*context).moduleLoad,
	driver.CuModuleUnload:      (*context).moduleUnload,
	driver.CuModuleGetFunction: (*context).moduleFunction,
	driver.CuFuncGetAttribute:  (*context).functionAttribute,
	driver.CuFuncSetAttribute:  (*context).setFunctionAttribute,
	driver.CuLaunchKernel:      (*context).launch,

	driver.CuOccupancyMaxActiveBlocksPerMultiprocessor: (*context).occupancy,

	driver.CuStreamCreate:             (*context).streamCreate,
	driver.CuStreamCreateWithPriority: (*context).streamCreate,
	driver.CuStreamGetFlags:           (*context).streamFlags,
	driver.CuStreamDestroy:            (*context).streamDestroy,
	driver.CuStreamQuery:              (*context).streamQuery,
	driver.CuStreamSynchronize:        (*context).streamSynchronize,
	driver.CuStreamWaitEvent:          (*context).streamWait,

	driver.CuStreamBeginCapture:        (*context).captureBegin,
	driver.CuStreamEndCapture:          (*context).captureEnd,
	driver.CuStreamIsCapturing:         (*context).isCapturing,
	driver.CuGraphDestroy:              (*context).graphDestroy,
	driver.CuGraphInstantiateWithFlags: (*context).graphInstantiate,
	driver.CuGraphLaunch:               (*context).graphLaunch,
	driver.CuGraphExecDestroy:          (*context).graphExecDestroy,

	driver.CuEventCreate:      (*context).eventCreate,
	driver.CuEventDestroy:     (*context).eventDestroy,
	driver.CuEventRecord:      (*context).eventRecord,
	driver.CuEventQuery:       (*context).eventQuery,
	driver.CuEventSynchronize: (*context).eventSynchronize,
	driver.CuEventElapsedTime: (*context).eventElapsed,
}

// null makes of an entry with a stream as its last argument the one that uses the null stream.
func null(f func(*context, []uint64) driver.Result) func(*context, []uint64) driver.Result {
	return func(c *context, args []uint64) driver.Result {
		return f(c, append(args[:len(args):len(args)], 0))
	}
}

// waiting is null for an entry that returns when its work is done.
func waiting(f func(*context, []uint64) driver.Result) func(*context, []uint64) driver.Result {
	return func(c *context, args []uint64) driver.Result {
		if result := null(f)(c, args); result != driver.Success {
			return result
		}
		return c.null.force()
	}
}

// answer writes a result through a pointer of the caller's, which must not be null.
func answer[T any](pointer uint64, v T) driver.Result {
	if pointer == 0 {
		return driver.ErrorInvalidValue
	}
	*driver.Pointer[T](pointer) = v
	return driver.Success
}

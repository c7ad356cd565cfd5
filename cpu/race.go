//go:build race

package cpu

import (
	"runtime"
	"unsafe"
)

// The race detector is to see that a program reads what it downloads, or writes what it uploads or has wrapped, before it
// has synchronised. What it sees by itself is not that: a small task on the caller's goroutine is in the caller's order, the queue's
// lock orders a task before whatever the caller enqueues next, and the loops in assembly are not seen at all.
const raceEnabled = true

// hide makes the detector ignore the synchronisation of this goroutine until unhide.
func hide() { runtime.RaceDisable() }

func unhide() { runtime.RaceEnable() }

// acquire orders what comes after it on this goroutine behind what came before release or releaseMerge of the same address.
func acquire[T any](p *T) { runtime.RaceAcquire(unsafe.Pointer(p)) }

func release[T any](p *T) { runtime.RaceRelease(unsafe.Pointer(p)) }

func releaseMerge[T any](p *T) { runtime.RaceReleaseMerge(unsafe.Pointer(p)) }

// touched tells the detector that this goroutine reads and writes elements that loops in assembly do. It looks only at
// Go's own memory, so at what has been wrapped and not at large buffers.
func touched[T any](x []T, write bool) {
	if len(x) == 0 {
		return
	}
	p, n := unsafe.Pointer(&x[0]), len(x)*int(unsafe.Sizeof(x[0]))
	if write {
		runtime.RaceWriteRange(p, n)
	} else {
		runtime.RaceReadRange(p, n)
	}
}

package cpu

import (
	"unsafe"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/cpu/internal/exec"
)

// copyTask copies, or zeroes where src is nil.
type copyTask struct {
	proc     *processor
	dst, src []byte
	code     *exec.Code // nil where the runtime does it
}

// newCopy makes a task. It looks for the code, and no task does: a task that takes the processor's lock would come after whatever the caller does
// with the device next, and so hide from the race detector what the caller does before.
func (d *processor) newCopy(dst, src []byte) *copyTask {
	t := &copyTask{proc: d, dst: dst, src: src}
	if len(dst) >= moverBytes {
		t.code = d.mover(len(dst), src != nil)
	}
	return t
}

// moverBytes is the bytes from which on machine code is faster than the runtime's clear and copy.
const moverBytes = 4 << 10

func (t *copyTask) run() {
	const piece = 1 << 20
	t.proc.pool.do((len(t.dst)+piece-1)/piece, func(_, i int) {
		lo, hi := i*piece, min((i+1)*piece, len(t.dst))
		dst, src := t.dst[lo:hi], t.src
		if src != nil {
			src = src[lo:hi]
		}
		if t.code != nil {
			touched(dst, true)
			touched(src, false)
			dst, src = moveLines(t.code, dst, src)
		}
		plain(dst, src)
	})
}

// mover is what a loop depends on that copies or zeroes memory.
type mover struct {
	copies bool
	past   bool // the caches: what is stored would not be there when it is needed, and who stores to memory through them loads it first
	ahead  prefetching
}

// mover is the loop that copies or zeroes so many bytes, or nil where none can be made.
func (d *processor) mover(n int, copies bool) *exec.Code {
	if d.choice.loops == nil {
		return nil
	}
	k, buffers := mover{copies: copies}, 1
	if copies {
		buffers = 2
	}
	k.past = n*buffers > cacheBytes
	k.ahead = d.prefetching(n*buffers, buffers)
	d.mu.Lock()
	defer d.mu.Unlock()
	code, known := d.movers[k]
	if !known {
		code, _ = newCode(k.moves(d.choice.loops).Compile()) // without it, the runtime does
		d.movers[k] = code
	}
	return code
}

// word is the bytes that a mover counts as an element.
const word = 8

func (k mover) moves(set *emit.Set) emit.Moves {
	m := emit.Moves{Set: set, Sizes: []int{word}, Moves: []emit.Move{{From: emit.Nothing, To: 0, Past: k.past}}, Lines: 1,
		Near: k.ahead.near, Far: k.ahead.far}
	if k.copies {
		m.Sizes, m.Moves[0].From, m.Moves[0].To = []int{word, word}, 0, 1
	}
	return m
}

// moveLines does by a mover's code what plain does, and returns what is left to do: less than a cache line. The code stores to multiples of one.
func moveLines(code *exec.Code, dst, src []byte) (restDst, restSrc []byte) {
	head := min(-int(uintptr(unsafe.Pointer(unsafe.SliceData(dst))))&(cacheLine-1), len(dst))
	whole := (len(dst) - head) &^ (cacheLine - 1)
	if whole == 0 {
		return dst, src
	}
	at := [2]*byte{&dst[head]}
	if src == nil {
		plain(dst[:head], nil)
	} else {
		plain(dst[:head], src[:head])
		at = [2]*byte{&src[head], &dst[head]}
		src = src[head+whole:]
	}
	code.Run(&at[0], nil, nil, whole/word)
	return dst[head+whole:], src
}

// plain copies src to dst, or zeroes dst where src is nil.
func plain(dst, src []byte) {
	if src == nil {
		clear(dst)
	} else {
		copy(dst, src)
	}
}

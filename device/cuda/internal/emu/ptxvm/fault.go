package ptxvm

import (
	"fmt"
	"strings"
)

// Kind is what a fault is about.
type Kind uint8

// The kinds of fault. Those up to Budget stop a real GPU as well, or hang it; the others only make its results depend on
// chance.
const (
	IllegalAddress Kind = iota + 1 // outside every allocation
	UseAfterFree                   // inside an allocation that was freed
	Misaligned                     // not a multiple of the access's size
	Trapped                        // the trap instruction
	Budget                         // too many instructions: an endless loop
	Barrier                        // reached by part of a warp, or never by all of a block
	Shuffle                        // a lane that is not there takes part in a shuffle, vote or warp barrier
	Uninitialized                  // memory read before it was written
	Register                       // a register read before it was written
	Race                           // two threads, no order between them, at least one plain write
	ReadOnly                       // ld.global.nc of memory that the same launch writes
)

var kindNames = [...]string{
	IllegalAddress: "illegal address", UseAfterFree: "use after free", Misaligned: "misaligned address",
	Trapped: "trap", Budget: "instruction budget exhausted", Barrier: "divergent barrier", Shuffle: "inactive lane",
	Uninitialized: "uninitialized memory", Register: "uninitialized register", Race: "race", ReadOnly: "read-only violation",
}

// String is the kind in words.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// A Fault is the error of a kernel that did something it must not do.
type Fault struct {
	Kind   Kind
	Kernel string
	Block  [3]uint32
	Thread [3]uint32 // the first thread at fault
	Line   int       // in the module's text
	Source string    // that line
	Addr   uint64    // of the access, for faults about memory
	Msg    string
}

// Error tells the kind, the particulars, the thread and the instruction.
func (f *Fault) Error() string {
	return fmt.Sprintf("ptxvm: %s: %s: kernel %s, block (%d,%d,%d), thread (%d,%d,%d), line %d: %s",
		f.Kind, f.Msg, f.Kernel, f.Block[0], f.Block[1], f.Block[2], f.Thread[0], f.Thread[1], f.Thread[2],
		f.Line, f.Source)
}

// fault describes what a lane did wrong in an instruction.
func (w *warp) fault(kind Kind, in *inst, lane int, addr uint64, format string, args ...any) *Fault {
	b := w.block
	k := b.run.kernel
	return &Fault{
		Kind: kind, Kernel: k.name, Block: b.index, Thread: b.run.thread(w.first + lane),
		Line: int(in.line), Source: strings.TrimSpace(k.source[in.line-1]), Addr: addr, Msg: fmt.Sprintf(format, args...),
	}
}

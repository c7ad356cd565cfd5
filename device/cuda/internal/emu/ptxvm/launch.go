package ptxvm

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Checks are the tests that hardware does not make. Addresses, alignment, traps, the instruction budget, shuffles and
// divided barriers are always checked: without them there is no meaning to go on with.
type Checks uint8

// The checks; the zero Checks is the fast mode.
const (
	CheckMemory    Checks = 1 << iota // reads of memory that nobody wrote
	CheckRegisters                    // reads of registers that the lane did not write
	CheckRaces                        // unordered accesses of two threads, at least one a plain write
	CheckReadOnly                     // ld.global.nc of memory that the launch writes
	CheckBarriers                     // barriers after threads of the block have exited

	AllChecks = CheckMemory | CheckRegisters | CheckRaces | CheckReadOnly | CheckBarriers
)

// ErrLaunch is the error of a launch that cannot start: its geometry or parameters do not fit the kernel.
var ErrLaunch = errors.New("invalid launch")

const (
	warpSize        = 32
	maxBlockThreads = 1024

	// DefaultBudget is the number of instructions a warp may execute: some seconds of emulation.
	DefaultBudget = 1 << 26
)

// Launch says how to run a kernel.
type Launch struct {
	Grid, Block [3]uint32
	SharedBytes uint32   // of dynamic shared memory
	Params      [][]byte // each at least as long as the parameter; the rest is ignored
	Checks      Checks

	// Seed permutes the order of blocks and warps and how long a warp runs at a time, to flush out what depends on it.
	// 0 is the natural order.
	Seed uint64
	// Workers is the number of goroutines that run blocks, GOMAXPROCS if 0. With 1, blocks run one after another and
	// the same launch always ends the same, faults included.
	Workers int
	// Budget is the number of instructions a warp may execute, DefaultBudget if 0.
	Budget uint64
	// Trace, if not nil, is told of each thread's accesses to global memory, also of one that turns out to be a fault. Workers call it at
	// the same time.
	Trace func(addr, bytes uint64, write bool)
}

// run is a launch in progress.
type run struct {
	Launch
	kernel  *Kernel
	memory  *Memory
	checks  Checks
	id      uint64
	params  []byte
	threads int // of a block
	warps   int
	blocks  uint64
	stride  uint64 // between blocks in the order they run
	start   uint64
	cursor  atomic.Uint64
	stop    atomic.Bool

	mu      sync.Mutex
	fault   *Fault // of the earliest block in that order
	faultAt uint64
}

// Run executes the kernel to its end. The error is a [*Fault] if the kernel did something wrong, and wraps [ErrLaunch] if
// it could not start. After a fault, what the kernel wrote until then stays.
func (k *Kernel) Run(mem *Memory, l Launch) error {
	r := &run{Launch: l, kernel: k, memory: mem, checks: l.Checks}
	if err := r.prepare(); err != nil {
		return fmt.Errorf("ptxvm: kernel %s: %w: %w", k.name, ErrLaunch, err)
	}
	mem.mu.Lock()
	defer mem.mu.Unlock()
	mem.launch++
	r.id = mem.launch

	workers := uint64(l.Workers)
	if workers == 0 {
		workers = uint64(runtime.GOMAXPROCS(0))
	}
	workers = min(workers, r.blocks)
	var wg sync.WaitGroup
	for range workers - 1 {
		wg.Go(r.work)
	}
	r.work()
	wg.Wait()
	if r.fault != nil {
		return r.fault
	}
	return nil
}

// prepare checks the launch as a driver does, and computes what all blocks share.
func (r *run) prepare() error {
	k := r.kernel
	limits := [3]uint32{1024, 1024, 64}
	threads, blocks := uint64(1), uint64(1)
	for i := range 3 {
		if r.Block[i] == 0 || r.Block[i] > limits[i] {
			return fmt.Errorf("block %v: dimension %d must be 1 to %d", r.Block, i, limits[i])
		}
		if limit := [3]uint32{1<<31 - 1, 65535, 65535}[i]; r.Grid[i] == 0 || r.Grid[i] > limit {
			return fmt.Errorf("grid %v: dimension %d must be 1 to %d", r.Grid, i, limit)
		}
		threads *= uint64(r.Block[i])
		blocks *= uint64(r.Grid[i])
	}
	if blocks > maxBlocks {
		return fmt.Errorf("grid %v: more than %d blocks are not emulated", r.Grid, maxBlocks)
	}
	if threads > k.MaxThreads() {
		return fmt.Errorf("block %v has %d threads, more than %d", r.Block, threads, k.MaxThreads())
	}
	if k.reqBlock != [3]uint32{} && k.reqBlock != r.Block {
		return fmt.Errorf("block %v, but the kernel requires %v", r.Block, k.reqBlock)
	}
	if shared := k.sharedSize(r.SharedBytes); shared > maxSharedBytes {
		return fmt.Errorf("%d bytes of shared memory, more than %d", shared, maxSharedBytes)
	}
	if len(r.Params) != len(k.params) {
		return fmt.Errorf("%d parameters, but the kernel has %d", len(r.Params), len(k.params))
	}
	r.params = make([]byte, k.paramBytes)
	for i, p := range k.params {
		if uint64(len(r.Params[i])) < p.Size {
			return fmt.Errorf("parameter %s has %d bytes, not %d", p.Name, len(r.Params[i]), p.Size)
		}
		copy(r.params[p.off:p.off+p.Size], r.Params[i])
	}
	if r.Workers < 0 {
		return fmt.Errorf("%d workers", r.Workers)
	}
	if r.Budget == 0 {
		r.Budget = DefaultBudget
	}
	r.threads, r.blocks = int(threads), blocks
	r.warps = (r.threads + warpSize - 1) / warpSize
	r.stride = 1
	if r.Seed != 0 {
		rng := random(r.Seed)
		r.start = rng.next() % blocks
		for r.stride = rng.next()%blocks | 1; gcd(r.stride, blocks) != 1; r.stride += 2 {
		}
	}
	return nil
}

// sharedSize is the shared memory of a block.
func (k *Kernel) sharedSize(dynamic uint32) uint64 {
	if dynamic == 0 {
		return k.sharedBytes
	}
	return roundUp(k.sharedBytes, 16) + uint64(dynamic)
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// work runs blocks until there is none left or one has failed.
func (r *run) work() {
	b := newBlock(r)
	defer b.end()
	for !r.stop.Load() {
		i := r.cursor.Add(1) - 1
		if i >= r.blocks {
			return
		}
		b.start((r.start + i*r.stride) % r.blocks)
		if f := b.execute(); f != nil {
			r.fail(i, f)
			return
		}
	}
}

func (r *run) fail(at uint64, f *Fault) {
	r.stop.Store(true)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault == nil || at < r.faultAt {
		r.fault, r.faultAt = f, at
	}
}

// thread is the index of a block's thread number i.
func (r *run) thread(i int) [3]uint32 {
	x, y := int(r.Block[0]), int(r.Block[1])
	return [3]uint32{uint32(i % x), uint32(i / x % y), uint32(i / x / y)}
}

// random is a small generator (SplitMix64) whose sequence will not change with a release of Go.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

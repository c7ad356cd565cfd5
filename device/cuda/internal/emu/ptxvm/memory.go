package ptxvm

import (
	"errors"
	"fmt"
	"sync"
)

// DefaultBase and DefaultSpace are an address range that looks like a GPU's. An emulated driver reserves it in the
// process, so that no host memory lies in it.
const (
	DefaultBase  = 0x7000_0000_0000
	DefaultSpace = 1 << 43
)

// Errors of Memory's methods; each is wrapped with the particulars.
var (
	ErrAddress     = errors.New("invalid device address")
	ErrOutOfMemory = errors.New("out of device memory")
)

// Memory is the global memory of an emulated device. Its methods and the kernels that run on it exclude one another, so it
// may be used from several goroutines.
//
// Addresses are multiples of 256, as cuMemAlloc promises, and never used twice. Behind every allocation lies a gap at
// least as long, so that an index that is off by any likely factor hits nothing.
type Memory struct {
	mu     sync.Mutex
	space  *Space
	allocs []*allocation // in ascending order; freed ones stay, without contents
	live   int
	bytes  uint64
	launch uint64 // number of launches so far
}

// A Space is addresses to give out, each once. Memories that share one have no address in common. It may be used from several
// goroutines.
type Space struct {
	mu        sync.Mutex
	next, end uint64
}

// NewSpace is size addresses from base on.
func NewSpace(base, size uint64) *Space {
	return &Space{next: roundUp(base, alignment), end: base + size}
}

// take gives out n addresses and the gap behind them.
func (s *Space) take(n uint64) (base uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > (s.end-s.next)/4 || s.end-s.next < 4*minGap {
		return 0, false
	}
	base = s.next
	s.next = roundUp(base+n+max(n, minGap), alignment)
	return base, true
}

// NewMemory returns an empty memory with addresses from the space.
func (s *Space) NewMemory() *Memory { return &Memory{space: s} }

// allocation is a range of addresses and its contents.
type allocation struct {
	base, size uint64
	freed      bool
	data       []byte
	init       []uint64 // a bit for each byte: it was written
	pages      []page
}

const (
	alignment = 256
	minGap    = 1 << 20
	fill      = 0xA5 // what fresh memory holds
)

// NewMemory returns an empty memory of size addresses from base on.
func NewMemory(base, size uint64) *Memory {
	return NewSpace(base, size).NewMemory()
}

// Alloc returns the address of n fresh bytes. What they hold counts as uninitialized.
func (m *Memory) Alloc(n uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n == 0 {
		return 0, fmt.Errorf("ptxvm: alloc of 0 bytes: %w", ErrAddress)
	}
	base, ok := m.space.take(n)
	if !ok {
		return 0, fmt.Errorf("ptxvm: alloc of %d bytes: %w", n, ErrOutOfMemory)
	}
	a := newAllocation(base, n)
	m.allocs = append(m.allocs, a)
	m.live++
	m.bytes += n
	return a.base, nil
}

func newAllocation(base, n uint64) *allocation {
	a := &allocation{base: base, size: n, data: make([]byte, n), init: make([]uint64, (n+63)/64)}
	fillBytes(a.data, []byte{fill})
	a.pages = make([]page, (n+pageSize-1)/pageSize)
	for i := range a.pages {
		lo := i * pageSize
		hi := min(lo+pageSize, int(n))
		a.pages[i].data, a.pages[i].init = a.data[lo:hi], a.init[lo/64:(hi+63)/64]
	}
	return a
}

// Free ends the allocation that starts at addr.
func (m *Memory) Free(addr uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.find(addr)
	if a == nil || a.base != addr || a.freed {
		return fmt.Errorf("ptxvm: free of %#x, which is not the start of a live allocation: %w", addr, ErrAddress)
	}
	a.freed, a.data, a.init, a.pages = true, nil, nil, nil
	m.live--
	m.bytes -= a.size
	return nil
}

// FreeAll ends all allocations.
func (m *Memory) FreeAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.allocs {
		a.freed, a.data, a.init, a.pages = true, nil, nil, nil
	}
	m.live, m.bytes = 0, 0
}

// Live tells how many allocations there are, and their bytes.
func (m *Memory) Live() (allocations int, bytes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live, m.bytes
}

// Lookup finds the live allocation that contains addr.
func (m *Memory) Lookup(addr uint64) (base, size uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.find(addr)
	if a == nil || a.freed || addr-a.base >= a.size {
		return 0, 0, false
	}
	return a.base, a.size, true
}

// Write copies p to device memory at addr.
func (m *Memory) Write(addr uint64, p []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, off, err := m.span("write", addr, uint64(len(p)))
	if err != nil || len(p) == 0 {
		return err
	}
	copy(a.data[off:], p)
	setBits(a.init, off, uint64(len(p)))
	return nil
}

// Read copies device memory at addr to p, initialized or not.
func (m *Memory) Read(addr uint64, p []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, off, err := m.span("read", addr, uint64(len(p)))
	if err != nil || len(p) == 0 {
		return err
	}
	copy(p, a.data[off:])
	return nil
}

// Initialized tells whether all n bytes at addr are allocated and were written.
func (m *Memory) Initialized(addr, n uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, off, err := m.span("read", addr, n)
	return err == nil && (n == 0 || firstClear(a.init, off, n) == n)
}

// Set writes pattern n times from addr on, as cuMemsetD8, D16 and D32 do.
func (m *Memory) Set(addr uint64, pattern []byte, n uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	size := uint64(len(pattern)) * n
	a, off, err := m.span("set", addr, size)
	if err != nil || size == 0 {
		return err
	}
	fillBytes(a.data[off:off+size], pattern)
	setBits(a.init, off, size)
	return nil
}

// Copy copies n bytes from src to dst, which may overlap. What was uninitialized stays so.
func (m *Memory) Copy(dst, src, n uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	to, toOff, err := m.span("copy to", dst, n)
	if err != nil {
		return err
	}
	from, fromOff, err := m.span("copy from", src, n)
	if err != nil || n == 0 {
		return err
	}
	copy(to.data[toOff:toOff+n], from.data[fromOff:])
	copyBits(to.init, toOff, from.init, fromOff, n)
	return nil
}

// find returns the last allocation that starts at or before addr, live or freed, or nil.
func (m *Memory) find(addr uint64) *allocation {
	lo, hi := 0, len(m.allocs) // those before lo start at or before addr, those from hi on behind it
	for lo < hi {
		if i := (lo + hi) / 2; m.allocs[i].base <= addr {
			lo = i + 1
		} else {
			hi = i
		}
	}
	if lo == 0 {
		return nil
	}
	return m.allocs[lo-1]
}

// span resolves a range that a host operation names.
func (m *Memory) span(what string, addr, n uint64) (*allocation, uint64, error) {
	a := m.find(addr)
	switch {
	case n == 0:
		return nil, 0, nil
	case a == nil || addr-a.base >= a.size:
		return nil, 0, fmt.Errorf("ptxvm: %s %#x: not allocated: %w", what, addr, ErrAddress)
	case a.freed:
		return nil, 0, fmt.Errorf("ptxvm: %s %#x: freed: %w", what, addr, ErrAddress)
	case a.size-(addr-a.base) < n:
		return nil, 0, fmt.Errorf("ptxvm: %s %#x: %d bytes, but the allocation ends after %d: %w",
			what, addr, n, a.size-(addr-a.base), ErrAddress)
	}
	return a, addr - a.base, nil
}

// describe tells why addr is no good, for a fault.
func (m *Memory) describe(addr uint64) (Kind, string) {
	a := m.find(addr)
	switch {
	case a == nil:
		return IllegalAddress, fmt.Sprintf("%#x is before all allocations", addr)
	case addr-a.base >= a.size:
		return IllegalAddress, fmt.Sprintf("%#x is %d bytes behind the allocation of %d bytes at %#x",
			addr, addr-a.base-a.size, a.size, a.base)
	case a.freed:
		return UseAfterFree, fmt.Sprintf("%#x is in the allocation of %d bytes at %#x, which was freed", addr, a.size, a.base)
	}
	return IllegalAddress, fmt.Sprintf("%#x is %d bytes before the end of the allocation of %d bytes at %#x",
		addr, a.size-(addr-a.base), a.size, a.base)
}

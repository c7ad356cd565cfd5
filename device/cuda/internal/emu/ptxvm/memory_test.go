package ptxvm

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

func TestMemory(t *testing.T) {
	m := NewMemory(DefaultBase, DefaultSpace)
	var addrs []uint64
	for _, n := range []uint64{1, 255, 256, 257, 1 << 20} {
		a, err := m.Alloc(n)
		if err != nil || a%256 != 0 {
			t.Fatalf("alloc of %d: %#x, %v", n, a, err)
		}
		b := make([]byte, n)
		if err := m.Read(a, b); err != nil || bytes.Trim(b, "\xa5") != nil && len(bytes.Trim(b, "\xa5")) > 0 {
			t.Errorf("fresh memory of %d bytes: % x, %v", n, b[:1], err)
		}
		if m.Initialized(a, n) {
			t.Errorf("fresh memory of %d bytes counts as initialized", n)
		}
		if len(addrs) > 0 {
			if last := addrs[len(addrs)-1]; a < last+minGap {
				t.Errorf("%#x is too near %#x", a, last)
			}
		}
		addrs = append(addrs, a)
	}
	if n, size := m.Live(); n != 5 || size != 1+255+256+257+1<<20 {
		t.Errorf("live: %d, %d bytes", n, size)
	}
	if err := m.Free(addrs[1]); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"free twice":       m.Free(addrs[1]),
		"free inside":      m.Free(addrs[2] + 1),
		"free nothing":     m.Free(0),
		"read freed":       m.Read(addrs[1], make([]byte, 1)),
		"write behind":     m.Write(addrs[0], make([]byte, 2)),
		"write in the gap": m.Write(addrs[0]+300, make([]byte, 2)),
		"set behind":       m.Set(addrs[2]+255, []byte{1, 2}, 1),
		"copy from freed":  m.Copy(addrs[2], addrs[1], 1),
		"copy too much":    m.Copy(addrs[2], addrs[3], 257),
		"below all":        m.Read(DefaultBase-1, make([]byte, 1)),
	} {
		if !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if base, size, ok := m.Lookup(addrs[3] + 200); !ok || base != addrs[3] || size != 257 {
		t.Errorf("lookup: %#x, %d, %v", base, size, ok)
	}
	for _, a := range []uint64{addrs[1], addrs[3] + 257, 0} {
		if _, _, ok := m.Lookup(a); ok {
			t.Errorf("lookup of %#x finds something", a)
		}
	}
	if a, err := m.Alloc(255); err != nil || a <= addrs[4] {
		t.Errorf("an address was used again: %#x, %v", a, err)
	}
	if err := m.Write(addrs[0], nil); err != nil {
		t.Error(err)
	}
}

func TestOutOfMemory(t *testing.T) {
	m := NewMemory(DefaultBase, 64<<20)
	if _, err := m.Alloc(32 << 20); !errors.Is(err, ErrOutOfMemory) {
		t.Error(err)
	}
	if _, err := m.Alloc(0); !errors.Is(err, ErrAddress) {
		t.Error(err)
	}
	n := 0
	for ; n < 1000; n++ {
		if _, err := m.Alloc(1 << 10); err != nil {
			break
		}
	}
	if n < 50 || n > 64 {
		t.Errorf("%d allocations fit", n)
	}
}

// TestInitialized compares the shadow with a simple model, under random writes, sets and copies.
func TestInitialized(t *testing.T) {
	const n = 700
	rng := rand.New(rand.NewPCG(1, 2))
	m := NewMemory(DefaultBase, DefaultSpace)
	a, err := m.Alloc(n)
	if err != nil {
		t.Fatal(err)
	}
	data, init := bytes.Repeat([]byte{fill}, n), make([]bool, n)
	for range 2000 {
		at, size := rng.IntN(n), 0
		size = rng.IntN(min(n-at, 200) + 1)
		switch rng.IntN(3) {
		case 0:
			p := make([]byte, size)
			for i := range p {
				p[i] = byte(rng.Int())
				init[at+i] = true
			}
			copy(data[at:], p)
			err = m.Write(a+uint64(at), p)
		case 1:
			size &^= 1
			for i := range size {
				data[at+i], init[at+i] = "xy"[i%2], true
			}
			err = m.Set(a+uint64(at), []byte("xy"), uint64(size/2))
		case 2:
			from := rng.IntN(n - size + 1)
			copy(data[at:at+size], bytes.Clone(data[from:from+size]))
			copy(init[at:at+size], append([]bool(nil), init[from:from+size]...))
			err = m.Copy(a+uint64(at), a+uint64(from), uint64(size))
		}
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, n)
		if err := m.Read(a, got); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("contents differ: %v", err)
		}
		lo := rng.IntN(n)
		hi := lo + rng.IntN(n-lo)
		want := true
		for _, set := range init[lo:hi] {
			want = want && set
		}
		if m.Initialized(a+uint64(lo), uint64(hi-lo)) != want {
			t.Fatalf("bytes %d to %d: initialized is not %v", lo, hi, want)
		}
		if rng.IntN(50) == 0 { // start again, or soon all is initialized
			if err := m.Free(a); err != nil {
				t.Fatal(err)
			}
			if a, err = m.Alloc(n); err != nil {
				t.Fatal(err)
			}
			fillBytes(data, []byte{fill})
			clear(init)
		}
	}
}

// TestSpace has two memories take turns: no address is given out twice, and one does not see the other's.
func TestSpace(t *testing.T) {
	space := NewSpace(DefaultBase, 1<<30)
	a, b := space.NewMemory(), space.NewMemory()
	end := uint64(0)
	for i := range 10 {
		m, other := a, b
		if i%2 == 1 {
			m, other = b, a
		}
		p, err := m.Alloc(1000)
		if err != nil || p < end {
			t.Fatalf("alloc %d is at %#x, before %#x, or failed: %v", i, p, end, err)
		}
		end = p + 1000
		if _, _, ok := other.Lookup(p); ok {
			t.Fatalf("alloc %d is in both memories", i)
		}
	}
	a.FreeAll()
	if n, bytes := a.Live(); n != 0 || bytes != 0 {
		t.Errorf("%d allocations of %d bytes after FreeAll", n, bytes)
	}
	if n, _ := b.Live(); n != 5 {
		t.Errorf("the other memory has %d allocations, want 5", n)
	}
}

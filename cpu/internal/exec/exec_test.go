package exec

import (
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// possible skips where there is no machine code.
func possible(t *testing.T) {
	if err := Available(); err != nil {
		t.Skipf("NOTE: no machine code was run: %v", err)
	}
}

func TestAvailable(t *testing.T) {
	t.Logf("executable memory: %v", Available())
	require.Equal(t, Available(), Available())
}

// sum adds the bytes that the arguments point to and n, and leaves the sum where frame points.
var sum = []byte{
	0x48, 0x8B, 0x07, // mov rax, [rdi]
	0x0F, 0xB6, 0x00, // movzx eax, byte ptr [rax]
	0x02, 0x06, // add al, [rsi]
	0x00, 0xC8, // add al, cl
	0x88, 0x02, // mov [rdx], al
	0xC3,
}

func TestRun(t *testing.T) {
	possible(t)
	c, err := New(sum)
	require.NoError(t, err)
	require.Len(t, c.memory, os.Getpagesize())
	plane, uniform, frame := byte(1), byte(2), byte(0)
	planes := &plane
	c.Run(&planes, &uniform, &frame, 4)
	require.Equal(t, byte(7), frame)
}

// A fault in the code is the runtime's ordinary panic.
func TestFault(t *testing.T) {
	possible(t)
	if runtime.GOOS == "windows" {
		t.Skip("NOTE: not tried on Windows")
	}
	c, err := New(sum)
	require.NoError(t, err)
	require.PanicsWithError(t, "runtime error: invalid memory address or nil pointer dereference", func() { c.Run(nil, nil, nil, 0) })
}

// A hundred pieces of code take little memory, and give it back once they are unreachable.
func TestMemory(t *testing.T) {
	possible(t)
	before := Held()
	var all []*Code
	for range 100 {
		c, err := New(sum)
		require.NoError(t, err)
		all = append(all, c)
	}
	require.LessOrEqual(t, Held()-before, int64(1<<20))
	for _, c := range all {
		require.Zero(t, uintptr(unsafe.Pointer(&c.memory[0]))%uintptr(os.Getpagesize()))
	}
	clear(all)
	require.Eventually(t, func() bool {
		runtime.GC()
		return Held() <= before
	}, 10*time.Second, time.Millisecond)
}

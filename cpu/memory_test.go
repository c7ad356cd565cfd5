package cpu

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
)

func TestAlignment(t *testing.T) {
	d := newTestProcessor(t, 1)
	for _, n := range []int64{1, 63, 64, 65, 4096, mapAbove - 1, mapAbove, mapAbove + 1, hugePage + 1, 3*hugePage - 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			for range 3 {
				mem, err := d.Alloc(n)
				require.NoError(t, err)
				want := uint64(cacheLine)
				if n >= mapAbove && runtime.GOOS == "linux" {
					want = hugePage
				}
				if mem.Addr()%want != 0 {
					t.Errorf("%d bytes at %#x, which is no multiple of %d", n, mem.Addr(), want)
				}
				b := bytes(device.Span{Mem: mem, N: n})
				if len(b) != int(n) || cap(b) < int(n) {
					t.Errorf("%d bytes, want %d", len(b), n)
				}
				b[0], b[n-1] = 1, 2 // mapped to the last byte
				defer func() { require.NoError(t, mem.Free()) }()
			}
		})
	}
}

// What is refused leaves no trace.
func TestOutOfMemory(t *testing.T) {
	d := newTestProcessor(t, 1)
	sizes := []int64{1 << 62, 1 << 50, math.MaxInt64 / 2}
	if _, total, err := d.MemInfo(); err == nil {
		sizes = append(sizes, total, total+1)
	}
	for _, n := range sizes {
		mem, err := d.Alloc(n)
		if !errors.Is(err, device.ErrOutOfMemory) || mem != nil {
			t.Errorf("alloc of %d bytes: got %v, want %v", n, err, device.ErrOutOfMemory)
		}
	}
	if len(d.memories) != 0 || d.held != 0 {
		t.Errorf("%d allocations of %d bytes are held, want none", len(d.memories), d.held)
	}
}

// Memory that was promised is not promised again, touched or not.
func TestPromisedOnce(t *testing.T) {
	d := newTestProcessor(t, 1)
	free, total, err := d.MemInfo()
	if err != nil {
		t.Skip(err)
	}
	if free < total/2+total/8 {
		t.Skipf("only %d bytes of %d are free", free, total)
	}
	if total/2 > math.MaxInt/2 {
		t.Skip("half of the memory is more than a process of 32 bits can have")
	}
	first, err := d.Alloc(total / 2) // untouched, so it costs nothing
	require.NoError(t, err)
	left, _, err := d.MemInfo()
	require.NoError(t, err)
	if left > total-total/2 {
		t.Errorf("%d bytes are free beside %d of %d", left, total/2, total)
	}
	_, err = d.Alloc(total/2 + 2)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.NoError(t, first.Free())
	if d.held != 0 {
		t.Errorf("%d bytes are held after Free", d.held)
	}
}

func TestMemInfo(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads Linux's files")
	}
	const meminfo = "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     600 kB\nHugePages_Total:    0\n"
	const (
		mount2 = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
		mount1 = "31 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n32 25 0:28 / /sys/fs/cgroup/memory rw shared:9 master:2 - cgroup cgroup rw,memory\n"
		disk   = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	)
	for _, c := range []struct {
		name        string
		files       map[string]string // those of control groups under sys/fs/cgroup
		free, total int64             // -1 where they are not known
	}{
		{"no files", nil, -1, -1},
		{"host", map[string]string{"proc/meminfo": meminfo}, 600 << 10, 1000 << 10},
		{"kernel that does not tell", map[string]string{"proc/meminfo": "MemTotal: 1000 kB\nMemFree: 100 kB\n"}, -1, -1},
		{"group without limit", map[string]string{"proc/meminfo": meminfo, "memory.max": "max\n", "memory.current": "5\n"}, 600 << 10, 1000 << 10},
		{"group", map[string]string{"proc/meminfo": meminfo, "memory.max": "409600\n", "memory.current": "9600\n"}, 400000, 409600},
		{"group whose memory is the cache of files", map[string]string{"proc/meminfo": meminfo, "memory.max": "409600\n", "memory.current": "409600\n",
			"memory.stat": "anon 1000\nfile 9000\ninactive_file 6000\nactive_file 2000\n"}, 8000, 409600},
		{"group beyond its limit", map[string]string{"proc/meminfo": meminfo, "memory.max": "4096\n", "memory.current": "5000\n"}, 0, 4096},
		{"group that may have more than there is", map[string]string{"proc/meminfo": meminfo, "memory.max": "9999999\n", "memory.current": "1\n"}, 600 << 10, 1000 << 10},

		// P3: limits of any version, of the group itself and of those that it lies in.
		{"v2, not at the root", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/user.slice/job\n", "proc/self/mountinfo": disk + mount2,
			"sys/fs/cgroup/user.slice/job/memory.max": "409600\n", "sys/fs/cgroup/user.slice/job/memory.current": "9600\n"}, 400000, 409600},
		{"v2, the group above limits", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/user.slice/job\n", "proc/self/mountinfo": mount2,
			"sys/fs/cgroup/user.slice/job/memory.max": "max\n", "sys/fs/cgroup/user.slice/job/memory.current": "5\n",
			"sys/fs/cgroup/user.slice/memory.max": "200000\n", "sys/fs/cgroup/user.slice/memory.current": "150000\n", "sys/fs/cgroup/user.slice/memory.stat": "inactive_file 40000\n"}, 90000, 200000},
		{"v2, the least limit is the group's, the least room above", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": mount2,
			"sys/fs/cgroup/a/b/memory.max": "100000\n", "sys/fs/cgroup/a/b/memory.current": "10000\n",
			"sys/fs/cgroup/a/memory.max": "200000\n", "sys/fs/cgroup/a/memory.current": "199000\n"}, 1000, 100000},
		{"v2, another's group", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/mine\n", "proc/self/mountinfo": mount2,
			"sys/fs/cgroup/other/memory.max": "4096\n", "sys/fs/cgroup/other/memory.current": "1\n"}, 600 << 10, 1000 << 10},
		{"v2 in a container that is told the host's path", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/docker/12ab\n",
			"proc/self/mountinfo": "30 25 0:26 /docker/12ab /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "memory.max": "409600\n", "memory.current": "9600\n"}, 400000, 409600},
		{"v2, a path outside of the namespace", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/../../other\n",
			"proc/self/mountinfo": mount2, "memory.max": "409600\n", "memory.current": "9600\n"}, 400000, 409600},
		{"v2 in an odd place", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/x\n",
			"proc/self/mountinfo":             "30 25 0:26 / /mnt/control\\040groups rw - cgroup2 none rw\n",
			"mnt/control groups/x/memory.max": "409600\n", "mnt/control groups/x/memory.current": "9600\n"}, 400000, 409600},
		{"v1", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "7:cpu,cpuacct:/c\n4:memory:/jobs/7\n", "proc/self/mountinfo": disk + mount1,
			"sys/fs/cgroup/memory/jobs/7/memory.limit_in_bytes": "409600\n", "sys/fs/cgroup/memory/jobs/7/memory.usage_in_bytes": "19600\n",
			"sys/fs/cgroup/memory/jobs/7/memory.stat":    "inactive_file 1\ntotal_inactive_file 6000\ntotal_active_file 4000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "800000\n"}, 400000, 409600},
		{"v1, the group above limits", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/jobs/7\n0::/unused\n", "proc/self/mountinfo": mount1 + mount2,
			"sys/fs/cgroup/memory/jobs/7/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/jobs/7/memory.usage_in_bytes": "1\n",
			"sys/fs/cgroup/memory/jobs/memory.limit_in_bytes": "300000\n", "sys/fs/cgroup/memory/jobs/memory.usage_in_bytes": "1000\n"}, 299000, 300000},
		{"v1 in a container", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/docker/12ab\n",
			"proc/self/mountinfo":                        "32 25 0:28 /docker/12ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "300000\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000\n"}, 299000, 300000},
		{"files that make no sense", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "x\n::\n\n", "proc/self/mountinfo": "- - -\n1 2 3 4 5 6 - cgroup2\n" + `1 2 3 \9 \04 6 - cgroup2 a b` + "\n"}, 600 << 10, 1000 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range c.files {
				if strings.HasPrefix(name, "memory.") {
					name = "sys/fs/cgroup/" + name
				}
				name = filepath.Join(root, name)
				require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o777))
				require.NoError(t, os.WriteFile(name, []byte(text), 0o666))
			}
			free, total, err := memInfo(root)
			if c.free < 0 {
				require.ErrorIs(t, err, device.ErrUnavailable)
				return
			}
			require.NoError(t, err)
			if free != c.free || total != c.total {
				t.Errorf("%d bytes of %d are free, want %d of %d", free, total, c.free, c.total)
			}
		})
	}
}

// A wrapped slice is the buffer's memory: work shows in it, and closing leaves it alone.
func TestWrap(t *testing.T) {
	dev := NewThreads(2)
	defer dev.Close()
	wrap(t, dev, []float32{1, 2, 3}, device.Float32)
	wrap(t, dev, []float64{1, 2, 3}, device.Float64)
	wrap(t, dev, []uint16{1, 2, 3}, device.BFloat16)
	wrap(t, dev, []int16{1, 2, 3}, device.Int16)
	wrap(t, dev, []int8{1, 2, 3}, device.Int8)
	for _, x := range [][]float32{nil, {}} {
		b, err := Wrap(dev, x)
		require.NoError(t, err)
		require.Zero(t, b.Len())
		require.NoError(t, dev.DefaultStream().Zero(b))
		require.NoError(t, b.Close())
	}
	if n := dev.processor.held; n != 0 {
		t.Errorf("%d bytes are held for wrapped slices", n)
	}
	require.NoError(t, dev.Close())
	_, err := Wrap(dev, []float32{1})
	require.ErrorIs(t, err, device.ErrClosed)
}

func wrap[T device.Element](t *testing.T, dev *Device, x []T, want device.DType) {
	s := dev.DefaultStream()
	b, err := Wrap(dev, x)
	require.NoError(t, err)
	require.Equal(t, want, b.DType())
	require.Equal(t, len(x), b.Len())
	require.Equal(t, uint64(uintptr(unsafe.Pointer(&x[0]))), b.Addr())
	again, err := Wrap(dev, x[1:])
	require.NoError(t, err)
	require.ErrorIs(t, s.Copy(again, again), device.ErrOverlap)
	require.True(t, b.Overlaps(again), "two buffers of one slice")
	last, err := b.Slice(2, 3)
	require.NoError(t, err)
	require.NoError(t, device.Upload(s, last, []T{9}))
	require.NoError(t, s.Synchronize())
	require.Equal(t, []T{1, 2, 9}, x)
	require.NoError(t, b.Close())
	require.Equal(t, []T{1, 2, 9}, x)
	require.NoError(t, s.Zero(again))
	require.NoError(t, s.Synchronize())
	require.Equal(t, []T{1, 0, 0}, x)
}

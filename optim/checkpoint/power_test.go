package checkpoint

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// recording is a disk that keeps what a power failure may keep of it, after each call.
type recording struct {
	disk
	entries, kept map[string]*content // of the folder: as it is, and as it was when it was synced last
	states        []map[string][]byte // that a power failure may leave
}

// content is a file's: as it is, and as it was when it was synced last.
type content struct{ now, kept []byte }

// record adds what a failure now may leave: names and contents of before the last syncs or of now, or contents of which half has reached the disk.
func (d *recording) record() {
	for _, names := range []map[string]*content{d.entries, d.kept} {
		var kept, now, torn = map[string][]byte{}, map[string][]byte{}, map[string][]byte{}
		for name, c := range names {
			kept[name], now[name] = slices.Clone(c.kept), slices.Clone(c.now)
			torn[name] = slices.Concat(c.now[:len(c.now)/2], make([]byte, len(c.now)-len(c.now)/2))
			if slices.Equal(c.kept, c.now) {
				torn[name] = now[name]
			}
		}
		d.states = append(d.states, kept, now, torn)
	}
}

func (d *recording) create(path string) (file, error) {
	f, err := d.disk.create(path)
	c := &content{}
	d.entries[filepath.Base(path)] = c
	d.record()
	return &recordedFile{f, c, d}, err
}

func (d *recording) rename(from, to string) error {
	d.entries[filepath.Base(to)] = d.entries[filepath.Base(from)]
	delete(d.entries, filepath.Base(from))
	d.record()
	return d.disk.rename(from, to)
}

func (d *recording) syncFolder(path string) error {
	d.kept = maps.Clone(d.entries)
	d.record()
	return d.disk.syncFolder(path)
}

type recordedFile struct {
	file
	content *content
	disk    *recording
}

func (f *recordedFile) WriteAt(b []byte, at int64) (int, error) {
	c := f.content
	c.now = append(c.now, make([]byte, max(0, int(at)+len(b)-len(c.now)))...)
	copy(c.now[at:], b)
	f.disk.record()
	return f.file.WriteAt(b, at)
}

func (f *recordedFile) Sync() error {
	f.content.kept = slices.Clone(f.content.now)
	f.disk.record()
	return f.file.Sync()
}

// Whenever the power fails, the path has the old or the new checkpoint, whole, whatever of the rest has reached the disk; and the new one after Save.
func TestPowerFails(t *testing.T) {
	setChunk(t, 16<<10)
	x := newTraining(t, 1).step(t, 1)
	folder := t.TempDir()
	path := filepath.Join(folder, "x.safetensors")
	require.NoError(t, Save(path, x.Optimizer, nil))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	d, err := x.step(t, 1).StateDict(nil)
	require.NoError(t, err)
	old := &content{before, before}
	sys := &recording{entries: map[string]*content{"x.safetensors": old}, kept: map[string]*content{"x.safetensors": old}}
	require.NoError(t, save(sys, path, d, nil))
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	sys.record()
	olds, news, others := 0, 0, 0
	for i, state := range sys.states {
		switch b := state["x.safetensors"]; {
		case slices.Equal(b, before):
			olds++
			require.Less(t, i, len(sys.states)-6, "the new one was lost behind the end of Save")
		case slices.Equal(b, after):
			news++
		default:
			t.Errorf("state %d: the file has %d bytes, and is neither", i, len(b))
		}
		others += len(state) - 1
	}
	t.Logf("%d states: old %d, new %d", len(sys.states), olds, news)
	require.Greater(t, olds, 10)
	require.Greater(t, news, 8)
	require.Greater(t, others, 10)
}

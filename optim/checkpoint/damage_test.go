package checkpoint

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/optim/checkpoint/internal/safetensors"
)

// saved is a file, and its header.
func saved(t *testing.T) (path string, b []byte, h *safetensors.Header) {
	path = filepath.Join(t.TempDir(), "x.safetensors")
	require.NoError(t, Save(path, newTraining(t, 1).step(t, 2).Optimizer, nil))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	h, _, err = safetensors.Read(f, int64(len(b)))
	require.NoError(t, err)
	return path, b, h
}

// damaged holds that a file is refused, and returns what is said to be wrong with it.
func damaged(t *testing.T, path string, b []byte) *FileError {
	require.NoError(t, os.WriteFile(path, b, 0o666))
	err := Verify(path)
	e, ok := errors.AsType[*FileError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, path, e.Path)
	require.NotEmpty(t, e.Faults)
	return e
}

// Each bit of the header that is changed is noticed, and each of many in tensors, by the tensor's name.
func TestFlippedBits(t *testing.T) {
	path, b, h := saved(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	flipped := func(at int64, bit int, check func(e *FileError)) {
		_, err := f.WriteAt([]byte{b[at] ^ 1<<bit}, at)
		require.NoError(t, err)
		e, ok := errors.AsType[*FileError](Verify(path))
		require.True(t, ok, "byte %d, bit %d", at, bit)
		check(e)
		_, err = f.WriteAt(b[at:at+1], at)
		require.NoError(t, err)
	}
	step, count := int64(61), 0
	if *thorough {
		step = 1
	}
	for i := int64(0); i < h.Data*8; i += step {
		count++
		flipped(i/8, int(i%8), func(*FileError) {})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, x := range h.Tensors {
		for n := int64(0); n < min(x.To-x.From, 8); n++ {
			at := x.From + random.Int64N(x.To-x.From)
			if n == 0 {
				at = x.To - 1
			}
			count++
			flipped(h.Data+at, random.IntN(8), func(e *FileError) {
				require.Len(t, e.Faults, 1)
				require.Equal(t, x.Name, e.Faults[0].Tensor)
			})
		}
	}
	require.NoError(t, Verify(path))
	t.Logf("%d bits", count)
}

// A file with damage in several tensors names all of them.
func TestDamageListsAllTensors(t *testing.T) {
	path, b, h := saved(t)
	var want []string
	for i, x := range h.Tensors {
		if i%2 == 0 && x.To > x.From {
			b[h.Data+x.From] ^= 1
			want = append(want, x.Name)
		}
	}
	var got []string
	for _, f := range damaged(t, path, b).Faults {
		require.Regexp(t, "^has the checksum [0-9a-f]{8}, and should have [0-9a-f]{8}$", f.What)
		got = append(got, f.Tensor)
	}
	require.Equal(t, want, got)
	require.Greater(t, len(want), 3)
}

// A file of any other length is noticed, and so is a part that reads as zeros.
func TestTruncated(t *testing.T) {
	path, b, h := saved(t)
	for _, n := range []int{0, 1, 7, 8, 9, 100, int(h.Data) - 1, int(h.Data), int(h.Data) + 1, len(b) / 2, len(b) - 1} {
		damaged(t, path, b[:n])
	}
	require.Equal(t, []Fault{{"", "the file has 1 bytes behind the last tensor"}}, damaged(t, path, append(b[:len(b):len(b)], 0)).Faults)
	for at := 0; at < len(b); at += 4096 {
		c := slices.Clone(b)
		clear(c[at:])
		damaged(t, path, c)
	}
}

// A file of another program's, or of another version's, is refused, and the error says why.
func TestForeign(t *testing.T) {
	const dict = `{"steps":1,"skipped_steps":0,"groups":[{"index":0,"algorithm":"Lion","tensors":[{"name":"w","shape":[2]}]}]}`
	entries := func(more ...string) (out []safetensors.Entry) {
		for i := 0; i < len(more); i += 2 {
			out = append(out, safetensors.Entry{Key: more[i], Value: more[i+1]})
		}
		return out
	}
	w := []safetensors.Tensor{{Name: "w.param", DType: "F32", Shape: []int{2}, To: 8}}
	good := []string{keyFormat, fileFormat, keyChecksums, noChecksums, keyDict, dict}
	for name, c := range map[string]struct {
		metadata []safetensors.Entry
		tensors  []safetensors.Tensor
		want     string // "" where the file is as it should be
	}{
		"without checksums":  {entries(good...), w, ""},
		"no metadata":        {nil, w, `the metadata's "format" is "", not "fusestep-1": it is another program's`},
		"another format":     {entries(keyFormat, "pt"), w, `the metadata's "format" is "pt", not "fusestep-1": it is another program's`},
		"a later version":    {entries(keyFormat, "fusestep-2"), w, `is "fusestep-2", not "fusestep-1"`},
		"silence about sums": {entries(keyFormat, fileFormat, keyDict, dict), w, `the metadata has no "checksums", not even "none"`},
		"no state":           {entries(good[:4]...), w, `the metadata has no "fusestep"`},
		"sums elsewhere":     {entries(append(good, keyCRC, "00000000")...), w, `the header does not begin with its checksum`},
		"sums without own":   {entries(keyFormat, fileFormat, keyChecksums, `{"w.param":"00000000"}`, keyDict, dict), w, `the header does not begin with its checksum`},
		"a wrong own":        {entries(append([]string{keyCRC, "00000000"}, good...)...), w, `the header's checksum is 00000000, and of what is there `},
		"no JSON":            {entries(append(good[:5:5], `{`)...), w, `the metadata's "fusestep" is not as it should be`},
		"NaN":                {entries(append(good[:5:5], `{"steps":NaN}`)...), w, `is no number`},
		"a key twice":        {entries(append(good[:5:5], `{"steps":1,"steps":2}`)...), w, `the key "steps" stands twice`},
		"an unknown key":     {entries(append(good[:5:5], `{"stepz":1}`)...), w, `unknown field "stepz"`},
		"a tensor twice":     {entries(append(good[:5:5], `{"steps":1,"skipped_steps":0,"groups":[{"index":0,"algorithm":"Lion","tensors":[{"name":"w","shape":[2]},{"name":"w","shape":[2]}]}]}`)...), w, `tensor "w" stands twice in the state`},
		"an unknown type":    {entries(good...), []safetensors.Tensor{{Name: "w.param", DType: "I64", Shape: []int{2}, To: 16}}, `tensor "w.param" is of I64, not of F64, F32, BF16, F16, I16 or I8`},
		"another shape":      {entries(good...), []safetensors.Tensor{{Name: "w.param", DType: "F32", Shape: []int{2, 1}, To: 8}}, `tensor "w.param" has the shape [2 1], and the state's tensor "w" [2]`},
		"another tensor":     {entries(good...), []safetensors.Tensor{{Name: "v.param", DType: "F32", Shape: []int{2}, To: 8}}, `tensor "v.param" belongs to no tensor of the state`},
		"no slot":            {entries(good...), []safetensors.Tensor{{Name: "w", DType: "F32", Shape: []int{2}, To: 8}}, `tensor "w" belongs to no tensor of the state`},
	} {
		t.Run(name, func(t *testing.T) {
			h := safetensors.Header{Metadata: c.metadata, Tensors: c.tensors}
			raw, err := h.Marshal()
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), "x.safetensors")
			b := append(raw, make([]byte, h.Size()-h.Data)...)
			if c.want == "" {
				require.NoError(t, os.WriteFile(path, b, 0o666))
				require.NoError(t, Verify(path))
				return
			}
			require.Contains(t, damaged(t, path, b).Error(), c.want)
		})
	}
}

// Checksums must be those of all tensors and of no others.
func TestChecksumsOf(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":"0000000f","b":"89abcdef"}`:                "",
		`{"a":"00000001"}`:                               `tensor "b" has no checksum`,
		`{}`:                                             `tensor "a" has no checksum; tensor "b" has no checksum`,
		`{"a":"00000001","b":"0000000G"}`:                `tensor "b" has the checksum "0000000G", which is of no tensor, or no checksum; tensor "b" has no checksum`,
		`{"a":"00000001","b":"0000000A"}`:                `"0000000A"`,
		`{"a":"00000001","b":"000001"}`:                  `"000001"`,
		`{"a":"00000001","b":"00000001","c":"00000000"}`: `tensor "c" has the checksum "00000000", which is of no tensor`,
		`{"a":"00000001","a":"00000001"}`:                `the key "a" stands twice`,
		`{"a":1}`:                                        `stands where a string should`,
		`x`:                                              `stands where an object should`,
	} {
		r := &reader{header: &safetensors.Header{Tensors: []safetensors.Tensor{{Name: "a"}, {Name: "b"}}}}
		err := faulty("x", r.readSums(text))
		if want == "" {
			require.NoError(t, err)
			require.Equal(t, []uint32{0xf, 0x89abcdef}, r.sums)
		} else {
			require.ErrorContains(t, err, want, text)
		}
	}
}

// A file that is not there is fs.ErrNotExist, and no FileError.
func TestNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	_, _, err := Read(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorIs(t, Verify(path), os.ErrNotExist)
	_, ok := errors.AsType[*FileError](err)
	require.False(t, ok)
}

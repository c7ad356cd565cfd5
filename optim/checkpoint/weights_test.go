package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint/internal/safetensors"
)

// shard is a file of tensors, each with the bits of its elements.
type shard map[string][]uint64

// write writes a file. A tensor's name begins with its type.
func (x shard) write(t *testing.T, path string) {
	var h safetensors.Header
	var data []byte
	for name, elements := range x {
		dtype := name[:len(name)-2]
		size := safetensors.Bits[dtype] / 8
		h.Tensors = append(h.Tensors, safetensors.Tensor{Name: name, DType: dtype, Shape: []int{1, len(elements)}})
		for _, e := range elements {
			data = append(data, binary.LittleEndian.AppendUint64(nil, e)[:size]...)
		}
	}
	require.NoError(t, safetensors.Place(h.Tensors))
	h.Metadata = []safetensors.Entry{{Key: "format", Value: "pt"}}
	raw, err := h.Marshal()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(raw, data...), 0o666))
}

// numbers are bits of 1, -0, a subnormal number, the largest, +Inf and a NaN.
var numbers = shard{
	"BF16.a": {0x3f80, 0x8000, 0x0001, 0x7f7f, 0x7f80, 0x7fc1},
	"F16.a":  {0x3c00, 0x8000, 0x0001, 0x7bff, 0x7c00, 0x7e01},
	"F32.a":  {0x3f800000, 0x80000000, 1, 0x7f7fffff, 0x7f800000, 0x7fc00001},
	"F64.a":  {0x3ff0000000000000, 0x8000000000000000, 1, 0x7fefffffffffffff, 0x7ff0000000000000, 0x7ff8000000000001},
	"I64.a":  {1, 2},
}

func TestWeightsConvert(t *testing.T) {
	path := filepath.Join(t.TempDir(), weightsFile)
	numbers.write(t, path)
	w, err := OpenWeights(filepath.Dir(path))
	require.NoError(t, err)
	defer w.Close()
	dev := cpu.New()
	s := dev.DefaultStream()
	const nan = 0x7ff8000000000000
	want := map[string][]uint64{ // as float64; of a NaN that it is one
		"BF16.a": {0x3ff0000000000000, 0x8000000000000000, math.Float64bits(0x1p-133), math.Float64bits(0x1.fep127), 0x7ff0000000000000, nan},
		"F16.a":  {0x3ff0000000000000, 0x8000000000000000, math.Float64bits(0x1p-24), math.Float64bits(65504), 0x7ff0000000000000, nan},
		"F32.a":  {0x3ff0000000000000, 0x8000000000000000, math.Float64bits(0x1p-149), math.Float64bits(math.MaxFloat32), 0x7ff0000000000000, nan},
		"F64.a":  {0x3ff0000000000000, 0x8000000000000000, 1, math.Float64bits(math.MaxFloat64), 0x7ff0000000000000, nan},
	}
	count := 0
	for x := range w.All() {
		require.Equal(t, []int{1, len(numbers[x.Name])}, x.Shape)
		for _, to := range []device.DType{device.Float32, device.Float64, device.BFloat16, device.Float16, device.Int16, device.Int8} {
			b, err := dev.Alloc(to, len(numbers[x.Name]))
			require.NoError(t, err)
			require.NoError(t, s.Zero(b))
			err = x.Fill(nil, b)
			wide := map[device.DType]string{device.Float32: "BF16 F16 F32", device.Float64: "BF16 F16 F32 F64", device.BFloat16: "BF16", device.Float16: "F16"}
			if !slices.Contains(strings.Fields(wide[to]), x.DType) {
				var e *FitError
				require.ErrorAs(t, err, &e)
				require.Equal(t, fmt.Sprintf("checkpoint: weights of %s do not fit: tensor %q is of %s, which %s does not hold exactly", path, x.Name, x.DType, to), err.Error())
				continue
			}
			require.NoError(t, err)
			count++
			got := make([]float64, b.Len())
			require.NoError(t, device.DownloadFloats(s, got, b))
			for i, v := range got {
				if v != v {
					v = math.Float64frombits(nan)
				}
				require.Equal(t, want[x.Name][i], math.Float64bits(v), "%s in %s, element %d: %v", x.Name, to, i, v)
			}
		}
	}
	require.Equal(t, 9, count)
	short, err := dev.Alloc(device.Float32, 5)
	require.NoError(t, err)
	x, ok := w.Lookup("F32.a")
	require.True(t, ok)
	require.ErrorContains(t, x.Fill(nil, short), `tensor "F32.a" has 6 elements of shape [1 6], the value has 5`)
	_, ok = w.Lookup("b")
	require.False(t, ok)
}

// A tensor of more than a chunk is filled whole, to the bit of its own type.
func TestWeightsLong(t *testing.T) {
	const n = 1<<20 + 7
	long := make([]uint64, n)
	for i := range long {
		long[i] = uint64(i)
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	shard{"F16.a": long}.write(t, path)
	w, err := OpenWeights(path)
	require.NoError(t, err)
	dev := cpu.New()
	b, err := dev.Alloc(device.Float16, n)
	require.NoError(t, err)
	require.NoError(t, w.Fill(nil, []optim.Param{{Name: "F16.a", Value: b}}))
	require.NoError(t, w.Close())
	got := make([]uint16, n)
	require.NoError(t, device.Download(dev.DefaultStream(), got, b))
	require.NoError(t, dev.DefaultStream().Synchronize())
	require.False(t, slices.ContainsFunc(long, func(i uint64) bool { return got[i] != uint16(i) }))
}

func TestWeightsSharded(t *testing.T) {
	folder := t.TempDir()
	write := func(index string) {
		require.NoError(t, os.WriteFile(filepath.Join(folder, weightsIndex), []byte(index), 0o666))
	}
	shard{"F32.a": {1, 2}, "BF16.a": {3}}.write(t, filepath.Join(folder, "model-00001-of-00002.safetensors"))
	shard{"F32.b": {4}}.write(t, filepath.Join(folder, "model-00002-of-00002.safetensors"))
	const good = `{"metadata":{"total_size":1.4e1},"weight_map":{"F32.a":"model-00001-of-00002.safetensors","BF16.a":"model-00001-of-00002.safetensors","F32.b":"model-00002-of-00002.safetensors"}}`
	write(good)
	w, err := OpenWeights(folder)
	require.NoError(t, err)
	var got []string
	for x := range w.All() {
		got = append(got, x.Name)
	}
	require.ElementsMatch(t, []string{"F32.a", "BF16.a", "F32.b"}, got)

	// All that does not fit is listed, and nothing is written.
	dev := cpu.New()
	buffer := func(dtype device.DType, n int) *device.Buffer {
		b, err := dev.Alloc(dtype, n)
		require.NoError(t, err)
		require.NoError(t, dev.DefaultStream().Zero(b))
		return b
	}
	params := []optim.Param{{Name: "F32.b", Value: buffer(device.Float32, 1)}, {Name: "F32.a", Value: buffer(device.Float32, 1)}, {Name: "c", Value: buffer(device.Float32, 1)}}
	err = w.Fill(nil, params)
	var e *FitError
	require.ErrorAs(t, err, &e)
	require.ElementsMatch(t, []Fault{{"F32.a", "has 2 elements of shape [1 2], the value has 1"}, {"c", "is missing"}, {"BF16.a", "is there, and no parameter has its name"}}, e.Faults)
	numbers := make([]float32, 1)
	require.NoError(t, device.DownloadFloats(dev.DefaultStream(), numbers, params[0].Value))
	require.Zero(t, numbers[0])
	params[1].Value, params[2] = buffer(device.Float32, 2), optim.Param{Name: "BF16.a", Value: buffer(device.BFloat16, 1)}
	require.NoError(t, w.Fill(nil, params))
	require.NoError(t, device.DownloadFloats(dev.DefaultStream(), numbers, params[0].Value))
	require.Equal(t, uint32(4), math.Float32bits(numbers[0]))
	require.NoError(t, w.Close())

	const first, second = `"model-00001-of-00002.safetensors"`, `"model-00002-of-00002.safetensors"`
	for name, c := range map[string]struct{ index, want string }{
		"no JSON":         {`{`, "the index is not as it should be"},
		"no map":          {`{"metadata":{}}`, `the index has no "weight_map"`},
		"NaN":             {`{"metadata":{"total_size":NaN},"weight_map":{}}`, "is no number"},
		"twice":           {`{"weight_map":{"F32.a":` + first + `,"F32.a":` + first + `}}`, `the key "F32.a" stands twice`},
		"elsewhere":       {`{"weight_map":{"F32.a":"../x.safetensors"}}`, `tensor "F32.a" is in "../x.safetensors", which is no name of a file in the index's folder`},
		"absolute":        {`{"weight_map":{"F32.a":"/etc/passwd"}}`, `which is no name of a file`},
		"nothing":         {`{"weight_map":{"F32.a":""}}`, `which is no name of a file`},
		"the folder":      {`{"weight_map":{"F32.a":"."}}`, `which is no name of a file`},
		"no such file":    {`{"weight_map":{"F32.a":"x.safetensors"}}`, "no such file"},
		"the wrong file":  {`{"weight_map":{"F32.a":` + first + `,"BF16.a":` + second + `,"F32.b":` + second + `}}`, `tensor "BF16.a" is in model-00001-of-00002.safetensors, and the index says model-00002-of-00002.safetensors`},
		"not all of them": {`{"weight_map":{"F32.a":` + first + `}}`, `tensor "BF16.a" is in model-00001-of-00002.safetensors, and the index does not have it`},
		"too many":        {good[:len(good)-2] + `,"z":` + second + `}}`, `tensor "z" is not in model-00002-of-00002.safetensors, where the index says it is`},
	} {
		t.Run(name, func(t *testing.T) {
			write(c.index)
			_, err := OpenWeights(folder)
			require.ErrorContains(t, err, c.want)
			var e *FileError
			require.Equal(t, name != "no such file", errors.As(err, &e))
		})
	}
	write(good)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "model-00002-of-00002.safetensors"), []byte("damaged"), 0o666))
	_, err = OpenWeights(folder)
	require.ErrorContains(t, err, "model-00002-of-00002.safetensors is not whole, or another program's")
}

// TestWeightsPlaced: the host computes with what was filled, on a device that has a memory of its own too.
func TestWeightsPlaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), weightsFile)
	shard{"F32.a": {0x3f800000, 0x40000000}}.write(t, path)
	w, err := OpenWeights(path)
	require.NoError(t, err)
	defer w.Close()
	dev := cpu.New()
	for name, b := range map[string]optim.Backend{"the host's memory": dev, "copies": struct{ optim.Backend }{dev}} {
		t.Run(name, func(t *testing.T) {
			x := make([]float32, 2)
			model, err := optim.Place(b, map[string][]float32{"F32.a": x}, nil)
			require.NoError(t, err)
			require.NoError(t, w.Fill(nil, model.Params()))
			require.Equal(t, []float32{1, 2}, x)
			require.NoError(t, model.Close())
		})
	}
}

package checkpoint

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

var thorough = flag.Bool("thorough", false, "try more faults, for minutes")

// training is an optimizer of four groups with values and state of all types, that has taken some steps.
type training struct {
	*optim.Optimizer
	params []optim.Param
}

// tensors are those of a training.
var tensors = []struct {
	name  string
	dtype device.DType
	n     int
}{{"embed.weight", device.Float32, 3001}, {"head", device.BFloat16, 1003}, {"head.bias", device.BFloat16, 7}, {`none:"00000000":\"00000000\"`, device.Float32, 0}, {"gate", device.Float16, 129}, {"scale", device.Float64, 33}}

func newTraining(t testing.TB, scale int) *training {
	dev := cpu.New()
	var p []optim.Param
	for _, x := range tensors {
		value, err := dev.Alloc(x.dtype, x.n*scale)
		require.NoError(t, err)
		grad, err := dev.Alloc(x.dtype, x.n*scale)
		require.NoError(t, err)
		numbers := make([]float64, x.n*scale)
		for i := range numbers {
			numbers[i] = math.Sin(float64(i))
		}
		require.NoError(t, device.UploadFloats(dev.DefaultStream(), value, numbers))
		require.NoError(t, device.UploadFloats(dev.DefaultStream(), grad, numbers))
		p = append(p, optim.Param{Name: x.name, Value: value, Grad: grad})
	}
	o, err := optim.New(dev, optim.DefaultAdamW(), p[:1])
	require.NoError(t, err)
	stored := optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.BFloat16, Master: optim.MasterRemainder8}
	require.NoError(t, o.AddGroup(stored, p[1:3]))
	stored.Algorithm, stored.Master = optim.DefaultLion(), optim.MasterFloat32
	require.NoError(t, o.AddGroup(stored, p[3:5]))
	sgd := optim.DefaultSGD()
	sgd.Momentum = 0.9
	require.NoError(t, o.AddGroup(sgd, p[5:]))
	require.NoError(t, o.SetSchedule(optim.Warmup{Steps: 100, Then: optim.Cosine{Steps: 900}}))
	t.Cleanup(func() { require.NoError(t, o.Close()) })
	return &training{o, p}
}

func (x *training) step(t testing.TB, n int) *training {
	for range n {
		require.NoError(t, x.Step(nil))
	}
	return x
}

// text is a state dict as text: its JSON, and the bytes of all numbers.
func text(t testing.TB, d *optim.StateDict) map[string]string {
	j, err := json.Marshal(d)
	require.NoError(t, err)
	out := map[string]string{"": string(j)}
	for _, x := range d.Tensors() {
		for _, n := range x.Numbers {
			b := make([]byte, n.Len*n.DType.Size())
			require.NoError(t, n.Read(0, b))
			out[x.Name+"."+n.Slot+" "+n.DType.String()] = string(b)
		}
	}
	return out
}

// state is that of the training as text.
func (x *training) state(t testing.TB) map[string]string {
	d, err := x.StateDict(nil)
	require.NoError(t, err)
	return text(t, d)
}

// stored is what a file has as text.
func stored(t testing.TB, path string) map[string]string {
	require.NoError(t, Verify(path))
	d, f, err := Read(path)
	require.NoError(t, err)
	out := text(t, d)
	require.NoError(t, f.Close())
	return out
}

func setChunk(t *testing.T, n int64) {
	was := chunkBytes
	chunkBytes = n
	t.Cleanup(func() { chunkBytes = was })
}

// What is saved is read as it was, streamed or of a snapshot, in chunks of any size, and both files have the same bytes.
func TestSaveRead(t *testing.T) {
	x := newTraining(t, 1).step(t, 3)
	want := x.state(t)
	for _, chunk := range []int64{8, 1000, 4096, 8 << 20} {
		setChunk(t, chunk)
		folder := t.TempDir()
		live, snapshot := filepath.Join(folder, "live.safetensors"), filepath.Join(folder, "snapshot.safetensors")
		var seen []int64
		require.NoError(t, Save(live, x.Optimizer, nil, func(done, total int64) {
			require.LessOrEqual(t, done, total)
			require.True(t, done < total || fileSize(t, live) > total, "the file is not there yet")
			seen = append(seen, done)
		}))
		require.IsIncreasing(t, seen)
		d, err := x.StateDict(nil)
		require.NoError(t, err)
		require.NoError(t, SaveDict(snapshot, d))
		require.Equal(t, want, stored(t, live))
		a, err := os.ReadFile(live)
		require.NoError(t, err)
		b, err := os.ReadFile(snapshot)
		require.NoError(t, err)
		require.True(t, bytes.Equal(a, b))
		names(t, folder, "live.safetensors", "snapshot.safetensors")
	}
}

// A number that a tensor has once is a tensor of one element in the file.
func TestTensorState(t *testing.T) {
	dev := cpu.New()
	made := func(numbers ...float32) *optim.Optimizer {
		value, err := cpu.Wrap(dev, slices.Clone(numbers))
		require.NoError(t, err)
		grad, err := cpu.Wrap(dev, numbers)
		require.NoError(t, err)
		o, err := optim.New(dev, optim.DefaultNovoGrad(), []optim.Param{{Name: "w", Value: value, Grad: grad}})
		require.NoError(t, err)
		return o
	}
	one, other := made(3, 4), made(1, 1)
	require.NoError(t, one.Step(nil))
	path := filepath.Join(t.TempDir(), "x")
	require.NoError(t, Save(path, one, nil))
	d, file, err := Read(path)
	require.NoError(t, err)
	v, ok := d.Groups[0].Tensors[0].Slot("exp_avg_sq")
	require.True(t, ok)
	require.Equal(t, []any{1, device.Float64}, []any{v.Len, v.DType})
	require.NoError(t, file.Close())
	require.NoError(t, Load(path, other, nil, optim.LoadOptions{}))
	want, err := one.StateDict(nil)
	require.NoError(t, err)
	got, err := other.StateDict(nil)
	require.NoError(t, err)
	require.Equal(t, text(t, want), text(t, got))
}

// State of rows and columns is saved and loaded, with as many numbers as these are.
func TestStateOfRows(t *testing.T) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	made := func(shape []int, numbers ...float32) *optim.Optimizer {
		value, err := cpu.Wrap(dev, slices.Clone(numbers))
		require.NoError(t, err)
		grad, err := cpu.Wrap(dev, numbers)
		require.NoError(t, err)
		o, err := optim.New(dev, optim.DefaultAdafactor(), []optim.Param{{Name: "w", Value: value, Grad: grad, Shape: shape}})
		require.NoError(t, err)
		return o
	}
	one, other := made([]int{2, 3}, 3, 4, 5, 6, 7, 8), made([]int{2, 3}, 1, 1, 1, 1, 1, 1)
	require.NoError(t, one.Step(nil))
	path := filepath.Join(t.TempDir(), "x")
	require.NoError(t, Save(path, one, nil))
	d, file, err := Read(path)
	require.NoError(t, err)
	require.Equal(t, []int{2, 3}, d.Groups[0].Tensors[0].Shape)
	for slot, n := range map[string]int{"row_var": 2, "col_var": 3} {
		v, ok := d.Groups[0].Tensors[0].Slot(slot)
		require.True(t, ok)
		require.Equal(t, []any{n, device.Float32}, []any{v.Len, v.DType})
	}
	require.NoError(t, file.Close())
	require.NoError(t, Load(path, other, nil, optim.LoadOptions{}))
	want, err := one.StateDict(nil)
	require.NoError(t, err)
	got, err := other.StateDict(nil)
	require.NoError(t, err)
	require.Equal(t, text(t, want), text(t, got))
	differences, err := want.Differences(got)
	require.NoError(t, err)
	require.Empty(t, differences)
	var mismatch *optim.MismatchError
	require.ErrorAs(t, Load(path, made([]int{3, 2}, 1, 1, 1, 1, 1, 1), nil, optim.LoadOptions{}), &mismatch)
}

// A file may be without values, which the program then has from elsewhere.
func TestWithoutValues(t *testing.T) {
	x := newTraining(t, 1).step(t, 2)
	d, err := x.StateDict(nil)
	require.NoError(t, err)
	for _, x := range d.Tensors() {
		x.Numbers = slices.DeleteFunc(x.Numbers, func(n optim.Numbers) bool { return n.Slot == optim.ParamSlot })
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	require.NoError(t, SaveDict(path, d))
	y := newTraining(t, 1)
	var e *optim.MismatchError
	require.ErrorAs(t, Load(path, y.Optimizer, nil, optim.LoadOptions{}), &e)
	require.Len(t, e.Mismatches, len(tensors))
	for i, p := range y.params {
		numbers := make([]float64, p.Value.Len())
		from := x.params[i].Value
		require.NoError(t, device.DownloadFloats(from.Device().DefaultStream(), numbers, from))
		require.NoError(t, device.UploadFloats(p.Value.Device().DefaultStream(), p.Value, numbers))
	}
	require.NoError(t, Load(path, y.Optimizer, nil, optim.LoadOptions{WithoutValues: true}))
	require.Equal(t, x.step(t, 1).state(t), y.step(t, 1).state(t))
}

func fileSize(t testing.TB, path string) int64 {
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size()
}

// names holds that a folder has these files and no others.
func names(t testing.TB, folder string, want ...string) {
	got, err := disk{}.names(folder)
	require.NoError(t, err)
	require.ElementsMatch(t, want, got)
}

// TestSaveName: a name that JSON cannot have is said before anything is written.
func TestSaveName(t *testing.T) {
	dev := cpu.New()
	value, err := dev.Alloc(device.Float32, 1)
	require.NoError(t, err)
	o, err := optim.New(dev, optim.DefaultSGD(), []optim.Param{{Name: "a\xff", Value: value}})
	require.NoError(t, err)
	folder := t.TempDir()
	require.EqualError(t, Save(filepath.Join(folder, "x"), o, nil), "checkpoint: save "+folder+`/x: tensor "a\xff": the name is no UTF-8: nothing was written`)
	names(t, folder)
}

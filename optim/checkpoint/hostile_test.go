package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint/internal/safetensors"
)

// small is an optimizer of one tensor with all that can be around a step.
func small(t testing.TB, steps int) *optim.Optimizer {
	dev := cpu.New()
	value, err := dev.Alloc(device.BFloat16, 4)
	require.NoError(t, err)
	grad, err := dev.Alloc(device.BFloat16, 4)
	require.NoError(t, err)
	for _, b := range []*device.Buffer{value, grad} {
		require.NoError(t, device.UploadFloats(dev.DefaultStream(), b, []float32{1, 2, 3, 4}))
	}
	alg := optim.Averaged{Algorithm: optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterRemainder, Stochastic: true}, Decay: 0.9}
	o, err := optim.New(dev, alg, []optim.Param{{Name: "w", Value: value, Grad: grad}})
	require.NoError(t, err)
	scaler := optim.DefaultGradScaler()
	require.NoError(t, o.SetGradScaler(nil, &scaler))
	require.NoError(t, o.SetClipNorm(1))
	require.NoError(t, o.SetSchedule(optim.Warmup{Steps: 10, Then: optim.Cosine{Steps: 90}}))
	for range steps {
		require.NoError(t, o.Step(nil))
	}
	return o
}

// hostile are what each part of a state is replaced by. nil, which is no text, takes it out.
var hostile = []any{nil, json.RawMessage("null"), true, "", "nan", "inf", "w", 0, -1, 0.5, 1e300, json.Number("9223372036854775807"), json.Number("18446744073709551616"), []any{}, []any{1}, map[string]any{}, map[string]any{"w": 1}}

// each calls f for each part of a value, at any depth, with a function that puts another one in its place.
func each(v any, f func(set func(any))) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			was := v[key]
			f(func(x any) {
				if v[key] = x; x == nil {
					delete(v, key)
				}
			})
			v[key] = was
			each(was, f)
		}
	case []any:
		for i, was := range v {
			f(func(x any) { v[i] = x })
			v[i] = was
			each(was, f)
		}
	}
}

// A file whose state is wrong anywhere, without checksums that would show it, is loaded, and the optimizer is as usable as before, or it is refused, and the optimizer
// is as it was.
func TestHostileStates(t *testing.T) {
	saved, err := small(t, 2).StateDict(nil)
	require.NoError(t, err)
	text, err := json.Marshal(saved)
	require.NoError(t, err)
	l, err := layOut(saved)
	require.NoError(t, err)
	data := []byte{}
	for _, n := range l.numbers {
		b := make([]byte, n.Len*n.DType.Size())
		require.NoError(t, n.Read(0, b))
		data = append(data, b...)
	}
	state := func(o *optim.Optimizer) map[string]string { return (&training{Optimizer: o}).state(t) }
	path := filepath.Join(t.TempDir(), "x.safetensors")
	var dict any
	r := json.NewDecoder(bytes.NewReader(text))
	r.UseNumber()
	require.NoError(t, r.Decode(&dict))
	o := small(t, 1)
	before := state(o)
	loaded, stuck, refused, part := 0, 0, 0, 0
	each(dict, func(set func(any)) {
		part++
		for i, x := range hostile {
			if !*thorough && (i+part)%13 != 0 {
				continue
			}
			set(x)
			text, err := json.Marshal(dict)
			require.NoError(t, err)
			h := safetensors.Header{Tensors: l.header.Tensors,
				Metadata: []safetensors.Entry{{Key: keyFormat, Value: fileFormat}, {Key: keyChecksums, Value: noChecksums}, {Key: keyDict, Value: string(text)}}}
			raw, err := h.Marshal()
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, append(raw, data...), 0o666))
			if err = Load(path, o, nil, optim.LoadOptions{}); err == nil {
				loaded++
				if o.Step(nil) != nil { // a scalar that the type cannot hold, or no gradient where they are accumulated
					stuck++
				}
				o = small(t, 1)
				continue
			}
			refused++
			_, damaged := errors.AsType[*FileError](err)
			_, unfit := errors.AsType[*optim.MismatchError](err)
			require.True(t, damaged || unfit, "%s: %T %v", text, err, err)
			require.Equal(t, before, state(o), "%s", text)
		}
	})
	t.Logf("%d parts of a state: loaded %d, of which %d do not step, refused %d", part, loaded, stuck, refused)
}

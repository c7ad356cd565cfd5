package torch_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint"
)

// State of 16 bits has torch's bits where it is stored as torch stores it, and the same numbers in float32 where a load converts it.
func TestSixteenFromTorch(t *testing.T) {
	var file struct {
		Cases []struct {
			Name, Algorithm, DType string
			Held                   map[string][][]uint32
		}
	}
	text, err := os.ReadFile("../../optim/testdata/torch/sixteen.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &file))
	held := map[string]map[string][][]uint32{}
	for _, c := range file.Cases {
		if slices.Contains([]string{"sgd/momentum+wd", "adam/amsgrad+maximize+wd", "adamw/defaults", "adagrad/lr_decay+wd"}, c.Name) {
			held[c.Algorithm+"-"+c.DType] = c.Held
		}
	}
	require.Len(t, held, 8)
	for name, slots := range held {
		for _, convert := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/convert %t", name, convert), func(t *testing.T) {
				dev := cpu.NewThreads(2)
				defer dev.Close()
				path := filepath.Join("testdata/sixteen", name+".safetensors")
				d, f, err := checkpoint.Read(path)
				require.NoError(t, err)
				defer f.Close()
				tensor := d.Groups[0].Tensors[0]
				n, ok := tensor.Slot(optim.ParamSlot)
				require.True(t, ok)
				value, err := dev.Alloc(n.DType, n.Len)
				require.NoError(t, err)
				grad, err := dev.Alloc(n.DType, n.Len)
				require.NoError(t, err)
				alg := algorithm(t, d.Groups[0].Algorithm)
				if !convert {
					alg = optim.Stored{Algorithm: alg, All: n.DType}
				}
				o, err := optim.New(dev, alg, []optim.Param{{Name: "w", Value: value, Grad: grad}})
				require.NoError(t, err)
				defer o.Close()
				require.NoError(t, o.LoadStateDict(nil, d, optim.LoadOptions{Convert: convert}))
				x := &training{Optimizer: o, stream: dev.DefaultStream()}
				require.Len(t, tensor.Numbers, len(slots))
				for slot, planes := range slots {
					b := value
					if slot != optim.ParamSlot {
						b, err = o.State("w", slot)
						require.NoError(t, err)
					}
					want, err := dev.Alloc(n.DType, n.Len)
					require.NoError(t, err)
					bits := make([]uint16, n.Len)
					for i, word := range planes[moves] {
						bits[i] = uint16(word)
					}
					require.NoError(t, device.Upload(x.stream, want, bits))
					require.Equal(t, fmt.Sprint(x.floats(t, want)), fmt.Sprint(x.floats(t, b)), slot) // NaN is NaN, and 0 not -0
				}
				require.NoError(t, o.Step(nil))
			})
		}
	}
}

package optim_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/optim"
)

// sixteenFile is what torch computes on 16 bits. Numbers are their bits in memory.
type sixteenFile struct {
	Steps    int
	LRFactor []float64                    `json:"lr_factor"`
	Grads    map[string][]reference.Plane // by type, for each step
	Cases    []sixteenCase
}

type sixteenCase struct {
	Name, Algorithm, DType string
	GradDType              string `json:"grad_dtype"`
	Hyper                  map[string]json.RawMessage
	Held                   map[string][]reference.Plane // parameter and state, by slot: before the first step, and after each
	Either                 []struct {                   // where roundings of float32 decide: all bits that are right
		Step, Element int
		Slot          string
		Bits          []uint64
	}
}

// right are the bits that an element may have after a step, torch's for most.
func (c sixteenCase) right(step int, slot string, element int) []uint64 {
	for _, e := range c.Either {
		if e.Step == step && e.Slot == slot && e.Element == element {
			return e.Bits
		}
	}
	return []uint64{c.Held[slot][step][element]}
}

// run holds each step from torch's bits to torch's bits.
func (c sixteenCase) run(t *testing.T, b kernels.Backend, file *sixteenFile) {
	h, at := onBackend(t, b), map[string]*device.Buffer{}
	for slot, name := range map[string]string{"param": c.DType, "grad": c.GradDType} {
		dtype, err := device.ParseDType(name)
		require.NoError(t, err)
		at[slot] = h.buffer(dtype, make([]float64, len(c.Held["param"][0])))
		defer at[slot].Close()
	}
	alg := optim.Stored{Algorithm: algorithm(t, c.Algorithm, c.Hyper), All: at["param"].DType()}
	o, err := optim.New(b, alg, []optim.Param{{Name: "w", Value: at["param"], Grad: at["grad"]}})
	require.NoError(t, err)
	defer o.Close()
	require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(k int) float64 { return file.LRFactor[k] })))
	states, err := o.States("w")
	require.NoError(t, err)
	for slot, buffer := range states {
		at[slot] = buffer
		require.Equal(t, c.Held[slot][0], planeOf(t, buffer), "%s at the start", slot)
	}
	require.Len(t, at, len(c.Held)+1) // the gradient
	for step := 1; step <= file.Steps; step++ {
		setPlane(t, at["grad"], file.Grads[c.GradDType][step-1])
		for slot, planes := range c.Held {
			setPlane(t, at[slot], planes[step-1])
		}
		require.NoError(t, o.Step(nil))
		for slot := range c.Held {
			dtype := at[slot].DType()
			for i, got := range planeOf(t, at[slot]) {
				is := false
				for _, want := range c.right(step, slot, i) {
					is = is || reference.Same(dtype, got, want) || reference.Value(dtype, got) == reference.Value(dtype, want) // 0 is -0
				}
				if !is {
					t.Errorf("step %d: %s[%d] is %s, torch has %s; right are %#x", step, slot, i,
						reference.Text(dtype, got), reference.Text(dtype, c.Held[slot][step][i]), c.right(step, slot, i))
				}
			}
		}
	}
}

// A step on 16 bits gives torch's bits, but beside a tie: testdata/torch/README.md derives where, and which two numbers are right there.
func TestTorchSixteenBits(t *testing.T) {
	var file sixteenFile
	torchFile(t, "sixteen.json", &file)
	require.NotEmpty(t, file.Cases)
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, c := range file.Cases {
			t.Run(c.Name+"/"+c.DType+"/"+c.GradDType, func(t *testing.T) { c.run(t, b, &file) })
		}
	})
}

// setPlane is planeOf's inverse.
func setPlane(t *testing.T, b *device.Buffer, p reference.Plane) {
	s := b.Device().DefaultStream()
	if b.DType() == device.Float32 {
		require.NoError(t, device.Upload(s, b, reference.Elements[float32](p)))
	} else {
		require.NoError(t, device.Upload(s, b, reference.Elements[uint16](p)))
	}
	require.NoError(t, s.Synchronize())
}

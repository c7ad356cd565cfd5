package format

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		compute      device.DType
		both, decode []string
	}{
		{device.Float32, []string{"f32", "bf16", "f16"}, nil},
		{device.Float64, []string{"f64"}, []string{"f32", "bf16", "f16"}},
	} {
		for i, name := range append(c.both, c.decode...) {
			f, err := Parse(name, c.compute)
			require.NoError(t, err)
			require.Equal(t, name, f.String())
			require.Equal(t, c.compute, f.Compute())
			require.Equal(t, i < len(c.both), f.Encodes(), name)
			again, err := Parse(f.Planes()[0].DType.String(), c.compute)
			require.NoError(t, err)
			require.Same(t, f, again, "there is one of each")
		}
	}
	for _, name := range []string{"bf16+f32", "f16+f32", "bf16+i16", "bf16+i8"} {
		f, err := Parse(name, device.Float32)
		require.NoError(t, err)
		require.Equal(t, name, f.String())
		require.True(t, f.Encodes())
		var planes []string
		for _, p := range f.Planes() {
			planes = append(planes, p.DType.Short())
		}
		require.Equal(t, name, strings.Join(planes, "+"))
	}
	_, err := Parse("f64", device.Float32)
	require.Equal(t, &Error{Format: "f64", Compute: device.Float32}, err)
	_, err = Plain(device.Float32, device.BFloat16)
	require.EqualError(t, err, `no format "f32" for calculations in bfloat16: rules calculate in float32 and float64`)
	_, err = Plain(0, device.Float64)
	require.EqualError(t, err, `no format "DType(0)" for calculations in float64: there are f64`)
}

func TestSpec(t *testing.T) {
	slots := []string{"param", "grad", "exp_avg", "exp_avg_sq"}
	for _, c := range []struct {
		spec, canonical string
		compute         device.DType
	}{
		{"", "", device.Float32},
		{"", "", device.Float64},
		{"exp_avg=f16  param=bfloat16 grad=f32", "param=bf16 exp_avg=f16", device.Float32},
		{"exp_avg_sq=float64", "", device.Float64},
		{"grad=bf16 param=bf16+i16", "param=bf16+i16 grad=bf16", device.Float32},
	} {
		formats, err := ParseSpec(c.spec, slots, c.compute)
		require.NoError(t, err)
		require.Equal(t, c.canonical, Spec(slots, formats))
		again, err := ParseSpec(c.canonical, slots, c.compute)
		require.NoError(t, err)
		require.Equal(t, formats, again)
		for _, f := range formats {
			require.Equal(t, c.compute, f.Compute())
		}
	}
	for _, c := range []struct {
		spec    string
		compute device.DType
		want    string
		err     error
	}{
		{"param=f64", device.Float32, `slot "param": no format "f64" for calculations in float32: there are f32, bf16, f16, bf16+f32, f16+f32, bf16+i16, bf16+i8`, &Error{"param", "f64", device.Float32}},
		{"param=f16+i16", device.Float32, `slot "param": no format "f16+i16" for calculations in float32: there are f32, bf16, f16, bf16+f32, f16+f32, bf16+i16, bf16+i8`,
			&Error{"param", "f16+i16", device.Float32}},
		{"param=bf16+i16", device.Float64, `slot "param": no format "bf16+i16" for calculations in float64: there are f64`, &Error{"param", "bf16+i16", device.Float64}},
		{"grad=int8", device.Float32, `slot "grad": no format "int8" for calculations in float32: there are f32, bf16, f16`, &Error{"grad", "int8", device.Float32}},
		{"grad=bf16", device.Float64, `slot "grad": no format "bf16" for calculations in float64: there are f64`, &Error{"grad", "bf16", device.Float64}},
		{"momentum=bf16", device.Float32, `format bf16 is for slot "momentum", which is none of "param", "grad", "exp_avg", "exp_avg_sq"`,
			&SlotError{"momentum", "bf16", slots}},
		{"param", device.Float32, `formats "param": "param" is not slot=format`, nil},
		{"param=f32 param=bf16", device.Float32, `formats "param=f32 param=bf16": slot "param" has two, f32 and bf16`, nil},
		{"", device.Float16, `no format "f16" for calculations in float16: rules calculate in float32 and float64`, &Error{Format: "f16", Compute: device.Float16}},
	} {
		_, err := ParseSpec(c.spec, slots, c.compute)
		require.EqualError(t, err, c.want)
		if c.err != nil {
			require.Equal(t, c.err, err)
		}
	}
}

package device

import "testing"

func TestDType(t *testing.T) {
	for _, c := range []struct {
		t           DType
		name, short string
		size        int
	}{
		{Float32, "float32", "f32", 4},
		{Float64, "float64", "f64", 8},
		{BFloat16, "bfloat16", "bf16", 2},
		{Float16, "float16", "f16", 2},
		{Int16, "int16", "i16", 2},
		{Int8, "int8", "i8", 1},
	} {
		if c.t.String() != c.name || c.t.Short() != c.short || c.t.Size() != c.size {
			t.Errorf("%d: %s, %s of %d bytes, want %s, %s of %d", c.t, c.t, c.t.Short(), c.t.Size(), c.name, c.short, c.size)
		}
		for _, name := range []string{c.name, c.short} {
			if got, err := ParseDType(name); got != c.t || err != nil {
				t.Errorf("ParseDType(%q) = %v, %v, want %v", name, got, err, c.t)
			}
		}
	}
	for _, bad := range []DType{0, Int8 + 1, 255} {
		if bad.Size() != 0 {
			t.Errorf("%v has %d bytes, want 0", bad, bad.Size())
		}
	}
	if got, want := DType(9).String(), "DType(9)"; got != want || DType(9).Short() != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, bad := range []string{"", "invalid", "F32", "float", "int32"} {
		if got, err := ParseDType(bad); err == nil {
			t.Errorf("ParseDType(%q) = %v, want an error", bad, got)
		}
	}
}

func TestElement(t *testing.T) {
	for _, c := range []struct {
		t    DType
		want [5]bool
	}{
		{Float32, [5]bool{true}}, {Float64, [5]bool{1: true}}, {BFloat16, [5]bool{2: true}}, {Float16, [5]bool{2: true}},
		{Int16, [5]bool{3: true}}, {Int8, [5]bool{4: true}}, {0, [5]bool{}},
	} {
		if got := [5]bool{holds[float32](c.t), holds[float64](c.t), holds[uint16](c.t), holds[int16](c.t), holds[int8](c.t)}; got != c.want {
			t.Errorf("%v is held by float32, float64, uint16, int16, int8: %v, want %v", c.t, got, c.want)
		}
	}
	got := [5]DType{DTypeOf[float32](), DTypeOf[float64](), DTypeOf[uint16](), DTypeOf[int16](), DTypeOf[int8]()}
	if want := [5]DType{Float32, Float64, BFloat16, Int16, Int8}; got != want {
		t.Errorf("types of float32, float64, uint16, int16, int8: %v, want %v", got, want)
	}
}

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
	for _, bad := range []DType{0, Float16 + 1, 255} {
		if bad.Size() != 0 {
			t.Errorf("%v has %d bytes, want 0", bad, bad.Size())
		}
	}
	if got, want := DType(9).String(), "DType(9)"; got != want || DType(9).Short() != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, bad := range []string{"", "invalid", "F32", "float", "int8"} {
		if got, err := ParseDType(bad); err == nil {
			t.Errorf("ParseDType(%q) = %v, want an error", bad, got)
		}
	}
}

func TestElement(t *testing.T) {
	for _, c := range []struct {
		t             DType
		f32, f64, u16 bool
	}{{Float32, true, false, false}, {Float64, false, true, false}, {BFloat16, false, false, true}, {Float16, false, false, true}, {0, false, false, false}} {
		if got := [3]bool{holds[float32](c.t), holds[float64](c.t), holds[uint16](c.t)}; got != [3]bool{c.f32, c.f64, c.u16} {
			t.Errorf("%v is held by float32, float64, uint16: %v, want %v %v %v", c.t, got, c.f32, c.f64, c.u16)
		}
	}
	if got := [3]DType{DTypeOf[float32](), DTypeOf[float64](), DTypeOf[uint16]()}; got != [3]DType{Float32, Float64, BFloat16} {
		t.Errorf("types of float32, float64, uint16: %v", got)
	}
}

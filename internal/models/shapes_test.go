package models

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseShapes(t *testing.T) {
	for _, test := range []struct {
		in     string
		name   string
		shapes [][]int
	}{
		{"1", "1", [][]int{{1}}},
		{"10000x1024", "10000x1024", [][]int{{10000, 1024}}},
		{"64x3x7x7", "64x3x7x7", [][]int{{64, 3, 7, 7}}},
		{"768x768,768", "768x768,768", [][]int{{768, 768}, {768}}},
		{"3,3,3", "3,3,3", [][]int{{3}, {3}, {3}}},
		{" 768x768, 768 ", "768x768,768", [][]int{{768, 768}, {768}}},
		{"007x010", "7x10", [][]int{{7, 10}}},
	} {
		m, err := ParseShapes(test.in)
		require.NoError(t, err, "%q", test.in)
		assert.Equal(t, test.name, m.Name, "%q", test.in)
		var (
			shapes [][]int
			names  = map[string]bool{}
		)
		for _, tensor := range m.Tensors {
			shapes = append(shapes, tensor.Shape)
			names[tensor.Name] = true
		}
		assert.Equal(t, test.shapes, shapes, "%q", test.in)
		assert.Len(t, names, len(shapes), "%q: names repeat", test.in)
	}
}

func TestParseShapesAtTheLimit(t *testing.T) {
	if maxLen != 1<<62 {
		t.Skip("the limit is lower on 32-bit systems")
	}
	for _, in := range []string{
		"4611686018427387904",
		"2147483648x2147483648",
		"4611686018427387903,1",
	} {
		m, err := ParseShapes(in)
		require.NoError(t, err, "%q", in)
		assert.Equal(t, int64(1)<<62, m.Params(), "%q", in)
	}
}

func TestParseShapesErrors(t *testing.T) {
	tooLarge := ": " + errTooLarge.Error()
	for _, test := range []struct{ in, want string }{
		{"", `-shape "": want dimensions such as 768x3072, or several shapes such as 768x768,768`},
		{" ", `-shape " ": want dimensions such as 768x3072, or several shapes such as 768x768,768`},
		{"768,,3", "-shape 768,,3: a shape is empty"},
		{"768,", "-shape 768,: a shape is empty"},
		{",", "-shape ,: a shape is empty"},
		{"3x0", "-shape 3x0: dimension 0 must be a whole number, 1 or more"},
		{"-5x3", "-shape -5x3: dimension -5 must be a whole number, 1 or more"},
		{"+5", "-shape +5: dimension +5 must be a whole number, 1 or more"},
		{"3x", `-shape 3x: dimension "" must be a whole number, 1 or more`},
		{"x", `-shape x: dimension "" must be a whole number, 1 or more`},
		{"3X4", "-shape 3X4: dimension 3X4 must be a whole number, 1 or more"},
		{"3*4", "-shape 3*4: dimension 3*4 must be a whole number, 1 or more"},
		{"1.5x2", "-shape 1.5x2: dimension 1.5 must be a whole number, 1 or more"},
		{"1e3x2", "-shape 1e3x2: dimension 1e3 must be a whole number, 1 or more"},
		{"0x10", "-shape 0x10: dimension 0 must be a whole number, 1 or more"},
		{"3x 4", `-shape "3x 4": dimension " 4" must be a whole number, 1 or more`},
		{"4,gpt2", "-shape 4,gpt2: dimension gpt2 must be a whole number, 1 or more"},
		{"4611686018427387905", "-shape 4611686018427387905" + tooLarge},
		{"99999999999999999999", "-shape 99999999999999999999" + tooLarge},
		{"2147483648x2147483649", "-shape 2147483648x2147483649" + tooLarge},
		{"4294967296x4294967296", "-shape 4294967296x4294967296" + tooLarge}, // 0 modulo 2^64
		{"4611686018427387904,1", "-shape 4611686018427387904,1" + tooLarge},
	} {
		m, err := ParseShapes(test.in)
		assert.EqualError(t, err, test.want, "%q", test.in)
		assert.Zero(t, m, "%q", test.in)
	}
}

func FuzzParseShapes(f *testing.F) {
	for _, seed := range []string{
		"", "1", "10000x1024", "768x768,768", " 3 , 4 ", "3x0", "-1", "x", ",",
		"2147483648x2147483648", "4294967296x4294967296", "4611686018427387904,1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkParsed(t, ParseShapes, "-shape", s)
	})
}

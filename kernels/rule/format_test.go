package rule_test

import (
	_ "embed"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed format_test.go
var formatSource string

// split makes a number of two words, and a word more of all.
func split[F rule.Float](high, low uint32, x F) (sum F, check uint32) {
	if high&0x8000 != 0 && x < 0 {
		return x, rule.MulHigh(high, low)
	}
	sum = rule.FromBits[F](high<<16 | low&0xffff)
	check -= low >> 5
	return rule.Max(sum, x), check &^ high
}

func toWords(x float32) (uint32, uint32) {
	if x != x {
		return 0x7fc0, 0
	}
	return rule.ToBits(x) >> 16, rule.ToBits(x) & 0xffff
}

func TestFormatFunction(t *testing.T) {
	for width, fn := range map[int]any{32: split[float32], 64: split[float64]} {
		f, err := rule.FormatFunction(fn, width, formatSource)
		require.NoError(t, err)
		require.Equal(t, width, f.Width)
		require.Equal(t, []ir.Field{{Index: 0, Name: "high", Type: ir.U32}, {Index: 1, Name: "low", Type: ir.U32}, {Index: 2, Name: "x"},
			{Bank: 1, Index: 0, Name: "sum"}, {Bank: 1, Index: 1, Name: "check", Type: ir.U32}}, f.Vars)
		require.Contains(t, f.Names, "sum")
	}
	f, err := rule.FormatFunction(toWords, 32, formatSource)
	require.NoError(t, err)
	require.Equal(t, []string{"x", "result0", "result1"}, []string{f.Vars[0].Name, f.Vars[1].Name, f.Vars[2].Name})
}

// What is not the source of the compiled function shows.
func TestFormatFunctionErrors(t *testing.T) {
	for _, tt := range []struct {
		fn             any
		width          int
		from, to, want string
	}{
		{split[float32], 64, "", "", "format function split: x of func(uint32, uint32, float32) (float32, uint32) is a float32, at 64 bits by the source a float64"},
		{split[float64], 32, "", "", "at 32 bits by the source a float32"},
		{toWords, 64, "", "", "format_test.go:27:1: toWords is a float32 function: it has no 64-bit form"},
		{toWords, 32, "(x float32) (uint32, uint32)", "(x float32, y uint32) (uint32, uint32)", "has 3 parameters and results, in the source it has 4"},
		{toWords, 32, "return 0x7fc0, 0", "return 0x7fc0, 1", "the source is not that of the compiled function, at 32 bits: result1 becomes 1 by the source, 0 by the function; parameters x = NaN"},
		{toWords, 32, "(x) & 0xffff", "(x) & 0x7fff", "result1 becomes"},
		{split[float32], 32, "high&0x8000", "high&0x4000", "by the function; parameters high = "},
		{split[float32], 32, "high<<16", "high<<15", "by the function; parameters high = "},
		{split[float64], 64, "low >> 5", "low >> 6", "check becomes"},
		{split[float64], 64, "x < 0", "x <= 0", "by the function; parameters high = "},
		{toWords, 32, "rule.ToBits(x) >> 16", "rule.ToBits(x) / 3", "format_test.go:31:9: operator / is not allowed on words"},
	} {
		src := formatSource
		if tt.from != "" {
			src = strings.Replace(src, tt.from, tt.to, 1)
			require.NotEqual(t, formatSource, src)
		}
		_, err := rule.FormatFunction(tt.fn, tt.width, src)
		require.ErrorContains(t, err, tt.want)
	}
}

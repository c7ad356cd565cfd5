package models

import (
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseCount(t *testing.T) {
	for _, test := range []struct {
		in   string
		want int
	}{
		{"1", 1},
		{"+7", 7},
		{"007", 7},
		{"100000000", 100_000_000},
		{"100_000_000", 100_000_000},
		{"1_000_000", 1_000_000},
		{"1e8", 100_000_000},
		{"1E8", 100_000_000},
		{"1e+8", 100_000_000},
		{"1.5e9", 1_500_000_000},
		{"16777217", 16_777_217}, // not a float32
		{"1.0", 1},
		{"2500.0e-2", 25},
		{"100e-2", 1},
		{"0.0000001e7", 1},
		{"5k", 5000},
		{"64M", 64_000_000},
		{"1.5M", 1_500_000},
		{"0.001k", 1},
		{"1G", 1_000_000_000},
	} {
		m, err := ParseCount(test.in)
		require.NoError(t, err, "%q", test.in)
		require.Len(t, m.Tensors, 1, "%q", test.in)
		assert.Equal(t, []int{test.want}, m.Tensors[0].Shape, "%q", test.in)
		assert.Equal(t, m.Tensors[0].Dims(), m.Name, "%q", test.in)
	}
}

func TestParseCountAtTheLimit(t *testing.T) {
	if maxLen != 1<<62 {
		t.Skip("the limit is lower on 32-bit systems")
	}
	for _, test := range []struct {
		in   string
		want int64
	}{
		{"4611686018427387904", 1 << 62},
		{"4.611686018427387904e18", 1 << 62},
		{"4611686018427387.904k", 1 << 62},
		{"9007199254740993", 1<<53 + 1}, // not a float64
		{"1e18", 1e18},
	} {
		m, err := ParseCount(test.in)
		require.NoError(t, err, "%q", test.in)
		assert.Equal(t, test.want, m.Params(), "%q", test.in)
	}
}

func TestParseCountErrors(t *testing.T) {
	const (
		notWhole  = ": must be a positive whole number"
		notNumber = ": not a number; write it as 100000000, 1e8 or 100M"
	)
	tooLarge := ": " + errTooLarge.Error()
	for _, test := range []struct{ in, want string }{
		{"-5", "-n -5" + notWhole},
		{"-1e400", "-n -1e400" + notWhole},
		{"0", "-n 0" + notWhole},
		{"-0", "-n -0" + notWhole},
		{"0.0", "-n 0.0" + notWhole},
		{"0e99999999999", "-n 0e99999999999" + notWhole},
		{"0G", "-n 0G" + notWhole},
		{"1.5", "-n 1.5" + notWhole},
		{"1e-3", "-n 1e-3" + notWhole},
		{"1.0001k", "-n 1.0001k" + notWhole},
		{"1e-99999999999999999999", "-n 1e-99999999999999999999" + notWhole},
		{"", `-n ""` + notNumber},
		{"NaN", "-n NaN" + notNumber},
		{"Inf", "-n Inf" + notNumber},
		{"many", "-n many" + notNumber},
		{"--5", "-n --5" + notNumber},
		{"1e", "-n 1e" + notNumber},
		{"e8", "-n e8" + notNumber},
		{".5k", "-n .5k" + notNumber},
		{"5.", "-n 5." + notNumber},
		{"1__0", "-n 1__0" + notNumber},
		{"_1", "-n _1" + notNumber},
		{"1_", "-n 1_" + notNumber},
		{"1,000", "-n 1,000" + notNumber},
		{"64m", "-n 64m" + notNumber},
		{"64MB", "-n 64MB" + notNumber},
		{"1e3k", "-n 1e3k" + notNumber},
		{"0x10", "-n 0x10" + notNumber},
		{"1 000", `-n "1 000"` + notNumber},
		{"1\n", `-n "1\n"` + notNumber},
		{"٣", "-n ٣" + notNumber},
		{"4611686018427387905", "-n 4611686018427387905" + tooLarge},
		{"9223372036854775808", "-n 9223372036854775808" + tooLarge},
		{"18446744073709551617", "-n 18446744073709551617" + tooLarge}, // 1 modulo 2^64
		{"5e18", "-n 5e18" + tooLarge},
		{"1e400", "-n 1e400" + tooLarge},
		{"1e99999999999999999999", "-n 1e99999999999999999999" + tooLarge},
		{"99999999999G", "-n 99999999999G" + tooLarge},
	} {
		m, err := ParseCount(test.in)
		assert.EqualError(t, err, test.want, "%q", test.in)
		assert.Zero(t, m, "%q", test.in)
	}
}

func FuzzParseCount(f *testing.F) {
	for _, seed := range []string{
		"", "1", "1e8", "100000000", "1_000_000", "1.5e9", "64M", "1G", "5k", "-5", "0", "NaN",
		"1.5", "1e-3", "100e-2", "4611686018427387904", "4611686018427387905", "1e99999999999999999999",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkParsed(t, ParseCount, "-n", s)
		checkExact(t, s)
	})
}

// checkExact compares ParseCount with math/big wherever both read s as a
// number without a suffix, and its exponent is small enough for big to hold.
func checkExact(t *testing.T, s string) {
	if len(s) > 40 || strings.ContainsAny(s, "/pPxXoObB") || exponentDigits(s) > 3 {
		return
	}
	exact, ok := new(big.Rat).SetString(strings.ReplaceAll(s, "_", ""))
	if !ok {
		return
	}
	m, err := ParseCount(s)
	switch {
	case err == nil:
		require.Zero(t, exact.Cmp(new(big.Rat).SetInt64(m.Params())), "%q read as %d", s, m.Params())
	case countSyntax.MatchString(s):
		inRange := exact.Sign() > 0 && exact.IsInt() && exact.Cmp(new(big.Rat).SetInt64(maxLen)) <= 0
		require.False(t, inRange, "%q refused: %v", s, err)
	}
}

func exponentDigits(s string) int {
	_, exponent, _ := strings.Cut(strings.ToLower(s), "e")
	return len(strings.TrimLeft(exponent, "+-"))
}

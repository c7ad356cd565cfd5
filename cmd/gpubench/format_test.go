package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -999999: "-999,999"} {
		assert.Equal(t, want, thousands(n))
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{1: "1.00 bytes", 999: "999 bytes", 1000: "1.00 KB", 999_499: "999 KB", 999_500: "1.00 MB",
		24_900_000_000: "24.9 GB", 16e15: "16.0 PB", 2e18: "2.00 EB", math.MaxInt64: "more than 9 EB"} {
		assert.Equal(t, want, formatBytes(n), "%d", n)
	}
}

func TestFormatSeconds(t *testing.T) {
	for s, want := range map[float64]string{1e-9: "1.00 ns", 1.5e-6: "1.50 µs", 0.0123: "12.3 ms", 0.9999: "1.00 s", 123.4: "123 s"} {
		assert.Equal(t, want, formatSeconds(s), "%v", s)
	}
}

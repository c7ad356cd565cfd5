package main

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// formatBytes writes a size in decimal units, with three digits.
func formatBytes(n int64) string {
	if n == math.MaxInt64 {
		return "more than 9 EB"
	}
	x := float64(n)
	for _, unit := range []string{"bytes", "KB", "MB", "GB", "TB", "PB"} {
		if x < 999.5 {
			return digits(x) + " " + unit
		}
		x /= 1000
	}
	return digits(x) + " EB"
}

// formatSeconds writes a time with three digits.
func formatSeconds(s float64) string {
	for _, u := range []struct {
		unit string
		in   time.Duration
	}{{"ns", time.Nanosecond}, {"µs", time.Microsecond}, {"ms", time.Millisecond}} {
		if x := s / u.in.Seconds(); x < 999.5 {
			return digits(x) + " " + u.unit
		}
	}
	return digits(s) + " s"
}

// digits writes three significant digits, and all of a larger whole part.
func digits(x float64) string {
	switch {
	case x < 9.995:
		return fmt.Sprintf("%.2f", x)
	case x < 99.95:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}

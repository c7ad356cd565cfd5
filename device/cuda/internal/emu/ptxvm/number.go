package ptxvm

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// number is a literal: an integer, a decimal float, or the bits of a float32 (0f…) or float64 (0d…).
type number struct {
	form numberForm
	bits uint64 // the integer, or the bits of the float
}

type numberForm uint8

const (
	integer numberForm = iota
	decimalFloat
	bits32
	bits64
)

func parseNumber(s string, negative bool) (number, error) {
	lower := strings.ToLower(s)
	switch {
	case strings.HasPrefix(lower, "0f"), strings.HasPrefix(lower, "0d"):
		form, digits := bits32, 8
		if lower[1] == 'd' {
			form, digits = bits64, 16
		}
		v, err := strconv.ParseUint(lower[2:], 16, 64)
		if err != nil || len(lower) != digits+2 {
			return number{}, fmt.Errorf("%s needs exactly %d hexadecimal digits", s, digits)
		}
		if negative {
			v ^= 1 << (digits*4 - 1)
		}
		return number{form, v}, nil
	case strings.Contains(s, ".") || !strings.HasPrefix(lower, "0x") && strings.Contains(lower, "e"):
		f, err := strconv.ParseFloat(lower, 64)
		if err != nil || strings.ContainsAny(lower, "_xp") {
			return number{}, fmt.Errorf("malformed number %s", s)
		}
		if negative {
			f = -f
		}
		return number{decimalFloat, math.Float64bits(f)}, nil
	}
	v, err := strconv.ParseUint(strings.TrimSuffix(lower, "u"), 0, 64)
	if err != nil || strings.ContainsAny(lower, "_o") {
		return number{}, fmt.Errorf("malformed number %s", s)
	}
	if negative {
		v = -v
	}
	return number{integer, v}, nil
}

// as converts the literal to the bits an operand of type t holds. PTX has no conversion between integer and float here.
func (n number) as(t typ) (uint64, bool) {
	switch {
	case n.form == integer:
		return n.bits, t.kind == 'u' || t.kind == 's' || t.kind == 'b'
	case n.form == bits32 && (t == b32 || t == typ{'f', 4}):
		return n.bits, true
	case n.form == bits64 && (t == b64 || t == typ{'f', 8}):
		return n.bits, true
	case t.kind != 'f':
		return 0, false
	}
	f := math.Float64frombits(n.bits)
	if n.form == bits32 {
		f = float64(math.Float32frombits(uint32(n.bits)))
	}
	if t.size == 4 {
		return uint64(math.Float32bits(float32(f))), true
	}
	return math.Float64bits(f), true
}

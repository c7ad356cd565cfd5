package models

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/fusestep/fusestep/internal/cli"
)

// ParseCount reads the value of the flag -n, the number of elements of one
// flat tensor: a whole number, 1 to 2^62, written plainly (100000000), with
// underscores between digits (100_000_000), with an exponent (1e8, 1.5e9), or
// with a decimal suffix (64M): k is 10^3, M is 10^6, G is 10^9. The number is
// read exactly, never rounded; the model is named by it in plain digits.
func ParseCount(s string) (Model, error) {
	n, err := parseCount(s)
	if err != nil {
		return Model{}, cli.Usagef("-n %s: %w", cli.Shown(s), err)
	}
	return Model{
		Name:    strconv.FormatInt(n, 10),
		Doc:     "one flat tensor",
		Tensors: []Tensor{{Name: "flat", Shape: []int{int(n)}}},
	}, nil
}

var (
	errNotWhole  = errors.New("must be a positive whole number")
	errNotNumber = errors.New("not a number; write it as 100000000, 1e8 or 100M")
)

// countSyntax splits a count into sign, whole digits, fraction digits,
// exponent and suffix.
var countSyntax = regexp.MustCompile(
	`^([+-]?)([0-9]+(?:_[0-9]+)*)(?:\.([0-9]+(?:_[0-9]+)*))?(?:[eE]([+-]?[0-9]+)|([kMG]))?$`)

var suffixExponents = map[string]int64{"k": 3, "M": 6, "G": 9}

func parseCount(s string) (int64, error) {
	parts := countSyntax.FindStringSubmatch(s)
	if parts == nil {
		return 0, errNotNumber
	}
	sign, whole, fraction := parts[1], plain(parts[2]), plain(parts[3])

	// The number is digits × 10^exponent, without zeros at either end.
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" || sign == "-" {
		return 0, errNotWhole
	}
	significant := strings.TrimRight(digits, "0")
	exponent := suffixExponents[parts[5]] + int64(len(digits)-len(significant)-len(fraction))
	if parts[4] != "" {
		// Out of range, ParseInt returns the limit: still far too large, or far too small.
		e, _ := strconv.ParseInt(parts[4], 10, 32)
		exponent += e
	}

	const maxDigits = 19 // of 2^62
	if exponent < 0 {
		return 0, errNotWhole
	}
	if exponent+int64(len(significant)) > maxDigits {
		return 0, errTooLarge
	}
	n, err := strconv.ParseUint(significant+strings.Repeat("0", int(exponent)), 10, 64)
	if err != nil || n > maxLen {
		return 0, errTooLarge
	}
	return int64(n), nil
}

// plain removes the underscores between digits.
func plain(digits string) string {
	return strings.ReplaceAll(digits, "_", "")
}

package models

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// maxLen is the largest number of elements accepted from a flag: 2^62, so
// that no sum or product on the way overflows an int64, and on 32-bit systems
// what an int holds.
const maxLen = min(1<<62, math.MaxInt)

// Parse returns the model that the values of the flags -model, -shape and -n
// ask for. Exactly one of them is set; the others are empty.
func Parse(model, shape, n string) (Model, error) {
	switch {
	case model != "" && shape == "" && n == "":
		return ByName(model)
	case model == "" && shape != "" && n == "":
		return ParseShapes(shape)
	case model == "" && shape == "" && n != "":
		return ParseCount(n)
	}
	return Model{}, errors.New("give exactly one of -model, -shape and -n")
}

// Shown returns a flag's value for an error of one line: as typed where that
// is readable, quoted where it is not, and cut where it is long.
func Shown(value string) string {
	const most = 80
	tail := ""
	if len(value) > most {
		value, tail = value[:most], "..."
	}
	unreadable := func(r rune) bool {
		return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == '"' || r == unicode.ReplacementChar
	}
	if value == "" || strings.ContainsFunc(value, unreadable) {
		value = strconv.Quote(value)
	}
	return value + tail
}

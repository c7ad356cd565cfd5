package models

import (
	"math"

	"github.com/fusestep/fusestep/internal/cli"
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
	return Model{}, cli.Usagef("give exactly one of -model, -shape and -n")
}

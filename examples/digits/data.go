package main

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/csv"
	"fmt"
	"strconv"
)

//go:embed data/digits.csv.gz
var packed []byte

const (
	side    = 8
	pixels  = side * side
	classes = 10
	heldOut = 360 // images, the last of the file
)

// image is a handwritten digit.
type image struct {
	ink   [pixels]uint8 // 0 to 16, row by row
	digit int
}

// load returns the images, to learn from and held out.
func load() (train, test []image, err error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, nil, err
	}
	lines, err := csv.NewReader(z).ReadAll() // all lines have as many fields as the first
	if err != nil {
		return nil, nil, err
	}
	all := make([]image, len(lines))
	for i, line := range lines {
		for k, field := range line {
			x, err := strconv.ParseUint(field, 10, 8)
			if err != nil {
				return nil, nil, fmt.Errorf("digits.csv.gz: line %d: %w", i+1, err)
			}
			if k < pixels {
				all[i].ink[k] = uint8(x)
			} else {
				all[i].digit = int(x)
			}
		}
	}
	n := len(all) - heldOut
	return all[:n], all[n:], nil
}

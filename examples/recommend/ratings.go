package main

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"fmt"
	"strconv"
)

//go:embed data/cuisines.csv
var table []byte

// rating is what a person gives a cuisine, 1 to 5 points.
type rating struct {
	person, cuisine int
	points          float64
}

// ratings is a table with gaps: most people know few of the cuisines.
type ratings struct {
	cuisines    []string
	people      int
	train, test []rating
	mean        float64 // of train
}

// load reads the table, line by line. Every tenth rating is held out.
func load() (*ratings, error) {
	lines, err := csv.NewReader(bytes.NewReader(table)).ReadAll() // all lines have as many fields as the first
	if err != nil {
		return nil, err
	}
	r := &ratings{cuisines: lines[0], people: len(lines) - 1}
	for person, line := range lines[1:] {
		for cuisine, field := range line {
			if field == "" {
				continue
			}
			points, err := strconv.ParseFloat(field, 64)
			if err != nil {
				return nil, fmt.Errorf("cuisines.csv: line %d: %w", person+2, err)
			}
			x := rating{person, cuisine, points}
			if (len(r.train)+len(r.test))%10 == 9 {
				r.test = append(r.test, x)
			} else {
				r.train = append(r.train, x)
				r.mean += points
			}
		}
	}
	r.mean /= float64(len(r.train))
	return r, nil
}

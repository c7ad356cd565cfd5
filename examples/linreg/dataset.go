package main

import (
	"embed"
	"encoding/csv"
	"fmt"
	"io/fs"
	"strconv"
)

//go:embed data/*.csv
var files embed.FS

// certified are NIST's coefficients of ordinary least squares: the intercept, then one a column.
var certified = map[string][]float64{
	"norris": {-0.262323073774029, 1.00211681802045},
	"longley": {-3482258.63459582, 15.0618722713733, -0.0358191792925910, -2.02022980381683, -1.03322686717359,
		-0.0511041056535807, 1829.15146461355},
}

// dataset is a response and the columns that explain it, in their own units.
type dataset struct {
	name    string
	columns []string    // names of x
	y       []float64   // per row
	x       [][]float64 // per row and column
}

func load(name string) (*dataset, error) {
	f, err := files.Open("data/" + name + ".csv")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parse(name, f)
}

// parse reads comma-separated values under a line of names. The response is the first column.
func parse(name string, f fs.File) (*dataset, error) {
	records, err := csv.NewReader(f).ReadAll() // all records have as many fields as the first
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d := &dataset{name: name, columns: records[0][1:]}
	for i, rec := range records[1:] {
		row := make([]float64, len(rec))
		for k, s := range rec {
			if row[k], err = strconv.ParseFloat(s, 64); err != nil {
				return nil, fmt.Errorf("%s: row %d: %w", name, i+1, err)
			}
		}
		d.y, d.x = append(d.y, row[0]), append(d.x, row[1:])
	}
	return d, nil
}

package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/models"
)

// What -list prints with -format json, for programs that measure the same shapes.
type (
	listedModel struct {
		Name   string  `json:"name"`
		Doc    string  `json:"doc"`
		Params int64   `json:"params"`
		Shapes [][]int `json:"shapes"`
	}
	listedOptimizer struct {
		Name  string   `json:"name"`
		Doc   string   `json:"doc"`
		Bytes int      `json:"f32_bytes_per_param"`
		State []string `json:"state"`
	}
)

// printListJSON prints an object with a line for each model and optimizer.
func printListJSON(w io.Writer) error {
	var all, steps []any
	for _, m := range models.List() {
		l := listedModel{Name: m.Name, Doc: m.Doc, Params: m.Params()}
		for _, t := range m.Tensors {
			l.Shapes = append(l.Shapes, t.Shape)
		}
		all = append(all, l)
	}
	for _, o := range optimizers() {
		p, err := o.plan(plain(device.Float32))
		if err != nil {
			return err
		}
		steps = append(steps, listedOptimizer{o.Name, o.Doc, p.matrix.Bytes, append([]string{}, p.matrix.State()...)})
	}
	fmt.Fprintln(w, `{"models": [`)
	if err := jsonLines(w, all); err != nil {
		return err
	}
	fmt.Fprintln(w, `], "optimizers": [`)
	if err := jsonLines(w, steps); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, `]}`)
	return err
}

func jsonLines[T any](w io.Writer, items []T) error {
	for i, x := range items {
		line, err := json.Marshal(x)
		if err != nil {
			return err
		}
		comma := ","
		if i == len(items)-1 {
			comma = ""
		}
		if _, err := fmt.Fprintf(w, "%s%s\n", line, comma); err != nil {
			return err
		}
	}
	return nil
}

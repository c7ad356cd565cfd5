package models

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/fusestep/fusestep/internal/cli"
)

// ParseShapes reads the value of the flag -shape: the dimensions of a tensor
// joined by x, such as 10000x1024, or several tensors separated by commas, such as
// 768x768,768. Every dimension is a whole number, 1 or more, and all tensors
// together have at most 2^62 elements. The model is named by its shapes,
// written as ParseShapes reads them.
func ParseShapes(s string) (Model, error) {
	m, err := parseShapes(s)
	if err != nil {
		return Model{}, cli.Usagef("-shape %s: %w", cli.Shown(s), err)
	}
	return m, nil
}

func parseShapes(s string) (Model, error) {
	if strings.TrimSpace(s) == "" {
		return Model{}, errors.New("want dimensions such as 768x3072, or several shapes such as 768x768,768")
	}
	var (
		inv   inventory
		names []string
		total int64
	)
	for i, text := range strings.Split(s, ",") {
		shape, n, err := parseShape(strings.TrimSpace(text))
		if err != nil {
			return Model{}, err
		}
		if n > maxLen-total {
			return Model{}, errTooLarge
		}
		total += n
		inv.add(fmt.Sprintf("tensor.%d", i), shape...)
		names = append(names, inv[i].Dims())
	}
	return Model{
		Name:    strings.Join(names, ","),
		Doc:     fmt.Sprintf("shapes given by hand, %d in all", len(inv)),
		Tensors: inv,
	}, nil
}

// parseShape reads the dimensions of one tensor and returns their product too.
func parseShape(s string) (shape []int, n int64, err error) {
	if s == "" {
		return nil, 0, errors.New("a shape is empty")
	}
	n = 1
	for _, text := range strings.Split(s, "x") {
		d, err := strconv.ParseUint(text, 10, 64)
		if errors.Is(err, strconv.ErrRange) {
			return nil, 0, errTooLarge
		}
		if err != nil || d == 0 {
			return nil, 0, fmt.Errorf("dimension %s must be a whole number, 1 or more", cli.Shown(text))
		}
		if d > uint64(maxLen/n) {
			return nil, 0, errTooLarge
		}
		shape = append(shape, int(d))
		n *= int64(d)
	}
	return shape, n, nil
}

var errTooLarge = fmt.Errorf("must have at most %d elements", int64(maxLen))

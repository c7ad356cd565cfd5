// Package models holds the shapes that gpubench measures: the parameter
// inventories of well-known networks, computed from the numbers of their
// published configurations, and shapes given by hand.
//
// An optimizer sees a network as a list of tensors, and nothing about the
// list but its names and shapes matters to a step. Names, shapes and order
// are those of the reference implementation's named parameters: weights that
// are tied appear once, and buffers, which no optimizer updates, not at all.
package models

import (
	"strconv"
	"strings"
)

// Model is a named list of parameter tensors.
type Model struct {
	// Name is what selects the model on the command line.
	Name string
	// Doc says in one line what the model is.
	Doc string
	// Tensors are the parameters, in the order of the reference model.
	Tensors []Tensor
}

// Params returns the number of parameters: the elements of all tensors.
func (m Model) Params() int64 {
	var n int64
	for _, t := range m.Tensors {
		n += t.Len()
	}
	return n
}

// Tensor is the name and shape of one parameter tensor.
type Tensor struct {
	Name  string
	Shape []int
}

// Len returns the number of elements, the product of the dimensions.
func (t Tensor) Len() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= int64(d)
	}
	return n
}

// Rows returns the rows of the matrix that the tensor is to optim.Param, the product of all axes but the last; 0 of one axis.
func (t Tensor) Rows() int64 {
	if len(t.Shape) < 2 {
		return 0
	}
	return t.Len() / int64(t.Shape[len(t.Shape)-1])
}

// Matrices returns the matrices that these rows are of to optim.Param, one for each place on the axes before the last two; 1 where there are none.
func (t Tensor) Matrices() int64 {
	n := int64(1)
	for i := range len(t.Shape) - 2 {
		n *= int64(t.Shape[i])
	}
	return n
}

// Dims returns the shape as [ParseShapes] reads it, such as "768x3072".
func (t Tensor) Dims() string {
	dims := make([]string, len(t.Shape))
	for i, d := range t.Shape {
		dims[i] = strconv.Itoa(d)
	}
	return strings.Join(dims, "x")
}

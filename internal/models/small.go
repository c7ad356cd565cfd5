package models

import "fmt"

// Small10000 is no network: 10,000 tensors of 1,024 elements, 10,240,000
// parameters. Each tensor is too small to hide the cost of a launch, so it
// shows what a step costs per tensor.
func Small10000() Model {
	const (
		count  = 10000
		length = 1024
	)
	inv := make(inventory, 0, count)
	for i := range count {
		inv.add(fmt.Sprintf("tensor.%d", i), length)
	}
	return Model{
		Name:    "small-10000",
		Doc:     fmt.Sprintf("%d tensors of %d elements, no network", count, length),
		Tensors: inv,
	}
}

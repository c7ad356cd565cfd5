package models

// inventory collects the tensors of a model under construction, in order.
type inventory []Tensor

func (inv *inventory) add(name string, shape ...int) {
	*inv = append(*inv, Tensor{Name: name, Shape: shape})
}

// linear adds the weight and bias of a fully connected layer. The weight is
// stored as torch.nn.Linear does: one row for each output.
func (inv *inventory) linear(name string, in, out int) {
	inv.add(name+".weight", out, in)
	inv.add(name+".bias", out)
}

// norm adds the scale and shift of a layer or batch normalization.
func (inv *inventory) norm(name string, width int) {
	inv.add(name+".weight", width)
	inv.add(name+".bias", width)
}

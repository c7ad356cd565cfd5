package models

import "fmt"

// Mixtral8x7B is Mixtral 8x7B, 46,702,792,704 parameters, after Jiang et al.,
// "Mixtral of Experts" (arXiv:2401.04088), table 1, and config.json of
// mistralai/Mixtral-8x7B-v0.1. The names are the published checkpoint's, with
// three matrices for every expert; transformers 5 fuses the experts of a layer
// into two tensors when it loads them.
func Mixtral8x7B() Model {
	const experts = 8
	c := llamaConfig{
		layers: 32, width: 4096, hidden: 14336,
		heads: 32, kvHeads: 8, vocab: 32000,
	}
	tensors := c.decoder(func(inv *inventory, layer string) {
		moe := layer + "block_sparse_moe."
		inv.add(moe+"gate.weight", experts, c.width)
		for e := range experts {
			expert := fmt.Sprintf("%sexperts.%d.", moe, e)
			inv.add(expert+"w1.weight", c.hidden, c.width)
			inv.add(expert+"w2.weight", c.width, c.hidden)
			inv.add(expert+"w3.weight", c.hidden, c.width)
		}
	})
	return Model{
		Name:    "mixtral-8x7b",
		Doc:     fmt.Sprintf("Mixtral 8x7B, %d layers of width %d with %d experts", c.layers, c.width, experts),
		Tensors: tensors,
	}
}

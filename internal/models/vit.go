package models

import "fmt"

// ViTB16 is ViT-B/16 for 224 by 224 images and 1,000 classes, 86,567,656
// parameters, after Dosovitskiy et al., "An Image is Worth 16x16 Words"
// (arXiv:2010.11929), table 1, and torchvision.models.vit_b_16.
func ViTB16() Model {
	const (
		layers   = 12
		width    = 768
		hidden   = 3072
		image    = 224
		patch    = 16
		channels = 3
		classes  = 1000
		patches  = (image / patch) * (image / patch)
	)
	var inv inventory
	inv.add("class_token", 1, 1, width)
	inv.add("conv_proj.weight", width, channels, patch, patch)
	inv.add("conv_proj.bias", width)
	inv.add("encoder.pos_embedding", 1, patches+1, width) // one more for the class token
	for i := range layers {
		layer := fmt.Sprintf("encoder.layers.encoder_layer_%d.", i)
		inv.norm(layer+"ln_1", width)
		inv.add(layer+"self_attention.in_proj_weight", 3*width, width)
		inv.add(layer+"self_attention.in_proj_bias", 3*width)
		inv.linear(layer+"self_attention.out_proj", width, width)
		inv.norm(layer+"ln_2", width)
		inv.linear(layer+"mlp.0", width, hidden)
		inv.linear(layer+"mlp.3", hidden, width)
	}
	inv.norm("encoder.ln", width)
	inv.linear("heads.head", width, classes)

	return Model{
		Name:    "vit-b16",
		Doc:     fmt.Sprintf("ViT-B/16, %d layers of width %d, %d classes", layers, width, classes),
		Tensors: inv,
	}
}

package models

import "fmt"

// ResNet50 is ResNet-50 for 1,000 classes, 25,557,032 parameters, after He et
// al., "Deep Residual Learning for Image Recognition" (arXiv:1512.03385),
// table 1, and torchvision.models.resnet50.
func ResNet50() Model {
	const (
		channels  = 3
		stem      = 64
		expansion = 4 // outputs of a block over its inner width
		classes   = 1000
	)
	blocks := [...]int{3, 4, 6, 3}

	var inv inventory
	conv := func(name string, in, out, kernel int) {
		inv.add(name+".weight", out, in, kernel, kernel)
	}

	conv("conv1", channels, stem, 7)
	inv.norm("bn1", stem)
	in := stem
	for stage, count := range blocks {
		inner := stem << stage
		out := expansion * inner
		for b := range count {
			block := fmt.Sprintf("layer%d.%d.", stage+1, b)
			conv(block+"conv1", in, inner, 1)
			inv.norm(block+"bn1", inner)
			conv(block+"conv2", inner, inner, 3)
			inv.norm(block+"bn2", inner)
			conv(block+"conv3", inner, out, 1)
			inv.norm(block+"bn3", out)
			if in != out {
				conv(block+"downsample.0", in, out, 1)
				inv.norm(block+"downsample.1", out)
			}
			in = out
		}
	}
	inv.linear("fc", in, classes)

	return Model{
		Name:    "resnet50",
		Doc:     fmt.Sprintf("ResNet-50, bottleneck blocks %v, %d classes", blocks, classes),
		Tensors: inv,
	}
}

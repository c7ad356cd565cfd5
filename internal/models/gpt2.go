package models

import "fmt"

// GPT2 is the smallest GPT-2, 124,439,808 parameters, after Radford et al.,
// "Language Models are Unsupervised Multitask Learners" (2019) and config.json
// of openai-community/gpt2.
func GPT2() Model {
	return gpt2("gpt2", gpt2Config{layers: 12, width: 768})
}

// GPT2Medium is GPT-2 with 354,823,168 parameters: config.json of
// openai-community/gpt2-medium.
func GPT2Medium() Model {
	return gpt2("gpt2-medium", gpt2Config{layers: 24, width: 1024})
}

// GPT2Large is GPT-2 with 774,030,080 parameters: config.json of
// openai-community/gpt2-large.
func GPT2Large() Model {
	return gpt2("gpt2-large", gpt2Config{layers: 36, width: 1280})
}

// GPT2XL is the largest GPT-2, 1,557,611,200 parameters: config.json of
// openai-community/gpt2-xl.
func GPT2XL() Model {
	return gpt2("gpt2-xl", gpt2Config{layers: 48, width: 1600})
}

type gpt2Config struct {
	layers, width int
}

// gpt2 lists the parameters of GPT2Model in transformers, which are those of
// the published checkpoints. The output head is tied to wte.
func gpt2(name string, c gpt2Config) Model {
	const (
		vocab   = 50257
		context = 1024
	)
	var inv inventory
	// Conv1D, unlike a linear layer, stores one row for each input.
	conv1D := func(name string, in, out int) {
		inv.add(name+".weight", in, out)
		inv.add(name+".bias", out)
	}

	inv.add("wte.weight", vocab, c.width)
	inv.add("wpe.weight", context, c.width)
	for i := range c.layers {
		h := fmt.Sprintf("h.%d.", i)
		inv.norm(h+"ln_1", c.width)
		conv1D(h+"attn.c_attn", c.width, 3*c.width)
		conv1D(h+"attn.c_proj", c.width, c.width)
		inv.norm(h+"ln_2", c.width)
		conv1D(h+"mlp.c_fc", c.width, 4*c.width)
		conv1D(h+"mlp.c_proj", 4*c.width, c.width)
	}
	inv.norm("ln_f", c.width)

	return Model{
		Name:    name,
		Doc:     fmt.Sprintf("GPT-2, %d layers of width %d, tied embeddings", c.layers, c.width),
		Tensors: inv,
	}
}

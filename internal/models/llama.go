package models

import "fmt"

// Llama1B is Llama 3.2 1B, 1,235,814,400 parameters: config.json of
// meta-llama/Llama-3.2-1B. Its output head is tied to the embedding.
func Llama1B() Model {
	return llama("llama-3.2-1b", "Llama 3.2 1B", llamaConfig{
		layers: 16, width: 2048, hidden: 8192,
		heads: 32, kvHeads: 8, vocab: 128256, tied: true,
	})
}

// Llama8B is Llama 3 8B, 8,030,261,248 parameters, after Grattafiori et al.,
// "The Llama 3 Herd of Models" (arXiv:2407.21783), table 3, and config.json of
// meta-llama/Meta-Llama-3-8B.
func Llama8B() Model {
	return llama("llama-3-8b", "Llama 3 8B", llamaConfig{
		layers: 32, width: 4096, hidden: 14336,
		heads: 32, kvHeads: 8, vocab: 128256,
	})
}

type llamaConfig struct {
	layers, width  int
	hidden         int // width inside the feed-forward network
	heads, kvHeads int
	vocab          int
	tied           bool // the output head is the embedding
}

// llama lists the parameters of LlamaForCausalLM in transformers.
func llama(name, title string, c llamaConfig) Model {
	tensors := c.decoder(func(inv *inventory, layer string) {
		inv.add(layer+"mlp.gate_proj.weight", c.hidden, c.width)
		inv.add(layer+"mlp.up_proj.weight", c.hidden, c.width)
		inv.add(layer+"mlp.down_proj.weight", c.width, c.hidden)
	})
	return Model{
		Name: name,
		Doc: fmt.Sprintf("%s, %d layers of width %d, %d query heads on %d key-value heads",
			title, c.layers, c.width, c.heads, c.kvHeads),
		Tensors: tensors,
	}
}

// decoder lists a causal decoder with grouped-query attention and RMS norms;
// feedForward adds what a layer has between its attention and its norms.
func (c llamaConfig) decoder(feedForward func(inv *inventory, layer string)) []Tensor {
	kv := c.width / c.heads * c.kvHeads
	var inv inventory
	inv.add("model.embed_tokens.weight", c.vocab, c.width)
	for i := range c.layers {
		layer := fmt.Sprintf("model.layers.%d.", i)
		inv.add(layer+"self_attn.q_proj.weight", c.width, c.width)
		inv.add(layer+"self_attn.k_proj.weight", kv, c.width)
		inv.add(layer+"self_attn.v_proj.weight", kv, c.width)
		inv.add(layer+"self_attn.o_proj.weight", c.width, c.width)
		feedForward(&inv, layer)
		inv.add(layer+"input_layernorm.weight", c.width)
		inv.add(layer+"post_attention_layernorm.weight", c.width)
	}
	inv.add("model.norm.weight", c.width)
	if !c.tied {
		inv.add("lm_head.weight", c.vocab, c.width)
	}
	return inv
}

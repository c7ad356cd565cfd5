package models

import "fmt"

// BERTBase is BERT base, uncased, 109,482,240 parameters, after Devlin et al.,
// "BERT: Pre-training of Deep Bidirectional Transformers" (arXiv:1810.04805)
// and config.json of google-bert/bert-base-uncased. The parameters are those
// of BertModel in transformers: the encoder and pooler without a task's head.
func BERTBase() Model {
	const (
		layers  = 12
		width   = 768
		hidden  = 3072
		vocab   = 30522
		context = 512
		types   = 2
	)
	var inv inventory
	inv.add("embeddings.word_embeddings.weight", vocab, width)
	inv.add("embeddings.position_embeddings.weight", context, width)
	inv.add("embeddings.token_type_embeddings.weight", types, width)
	inv.norm("embeddings.LayerNorm", width)
	for i := range layers {
		layer := fmt.Sprintf("encoder.layer.%d.", i)
		inv.linear(layer+"attention.self.query", width, width)
		inv.linear(layer+"attention.self.key", width, width)
		inv.linear(layer+"attention.self.value", width, width)
		inv.linear(layer+"attention.output.dense", width, width)
		inv.norm(layer+"attention.output.LayerNorm", width)
		inv.linear(layer+"intermediate.dense", width, hidden)
		inv.linear(layer+"output.dense", hidden, width)
		inv.norm(layer+"output.LayerNorm", width)
	}
	inv.linear("pooler.dense", width, width)

	return Model{
		Name:    "bert-base",
		Doc:     fmt.Sprintf("BERT base uncased, %d layers of width %d, no task head", layers, width),
		Tensors: inv,
	}
}

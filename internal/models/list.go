package models

import (
	"github.com/fusestep/fusestep/internal/cli"
)

// List returns all named models in a fixed order: language models, image models, then the list of small tensors. The caller
// may change the result.
func List() []Model {
	return []Model{
		GPT2(),
		GPT2Medium(),
		GPT2Large(),
		GPT2XL(),
		Llama1B(),
		Llama8B(),
		Mixtral8x7B(),
		BERTBase(),
		ResNet50(),
		ViTB16(),
		Small10000(),
	}
}

// ByName returns the model that the flag -model names. The error of an unknown name is a cli.UsageError, which lists the known
// names.
func ByName(name string) (Model, error) {
	var names []string
	for _, m := range List() {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return Model{}, cli.Unknown("-model", name, "model", names)
}

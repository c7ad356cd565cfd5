package models

import (
	"fmt"
	"strings"
)

// List returns all named models, always in the same order: language models,
// image models, and last the list of small tensors. The result is the
// caller's own.
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

// ByName returns the model of that name, the value of the flag -model. For a
// name it does not know the error lists the ones it does, and the closest.
func ByName(name string) (Model, error) {
	var names []string
	for _, m := range List() {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	hint := ""
	if near := closest(name, names); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return Model{}, fmt.Errorf("-model %s: unknown model%s (known: %s)",
		shown(name), hint, strings.Join(names, ", "))
}

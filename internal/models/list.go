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
	return Model{}, Unknown("-model", name, "model", names)
}

// Unknown is the error for a flag's value that is none of the known names of
// a kind of thing: it lists them, and the closest.
func Unknown(flag, value, kind string, known []string) error {
	hint := ""
	if near := closest(value, known); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("%s %s: unknown %s%s (known: %s)",
		flag, Shown(value), kind, hint, strings.Join(known, ", "))
}

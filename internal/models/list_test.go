package models

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestListOrder(t *testing.T) {
	list := List()
	require.Len(t, list, len(known))
	for i, want := range known {
		assert.Equal(t, want.name, list[i].Name, "position %d", i)
	}
}

func TestListIsTheCallers(t *testing.T) {
	list := List()
	list[0].Tensors[0].Shape[0] = -1
	assert.Equal(t, 50257, List()[0].Tensors[0].Shape[0])
}

func TestByNameUnknown(t *testing.T) {
	const all = " (known: gpt2, gpt2-medium, gpt2-large, gpt2-xl, llama-3.2-1b, llama-3-8b," +
		" mixtral-8x7b, bert-base, resnet50, vit-b16, small-10000)"
	for _, test := range []struct{ name, want string }{
		{"gtp2", "-model gtp2: unknown model; did you mean gpt2?"},
		{"GPT2", "-model GPT2: unknown model; did you mean gpt2?"},
		{"gpt2-x", "-model gpt2-x: unknown model; did you mean gpt2-xl?"},
		{"resnet-50", "-model resnet-50: unknown model; did you mean resnet50?"},
		{"llama-3", "-model llama-3: unknown model; did you mean llama-3.2-1b or llama-3-8b?"},
		{"llama3-8b", "-model llama3-8b: unknown model; did you mean llama-3-8b?"},
		{"Mixtral", "-model Mixtral: unknown model; did you mean mixtral-8x7b?"},
		{"alexnet", "-model alexnet: unknown model"},
		{"g", "-model g: unknown model"},
		{"", `-model "": unknown model`},
		{"a b\n", `-model "a b\n": unknown model`},
	} {
		m, err := ByName(test.name)
		assert.EqualError(t, err, test.want+all, "%q", test.name)
		assert.Zero(t, m, "%q", test.name)
	}
}

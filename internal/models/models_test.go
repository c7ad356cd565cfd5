package models

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// known is what each named model must be, in the order of List. The digest
// covers every name and shape in order; it was computed from the named
// parameters of the reference model, built by transformers 4.57 or torchvision
// 0.29 from the configuration, not from this package. Small10000 has no
// reference, and so no digest.
var known = []struct {
	name        string
	params      int64
	tensors     int
	first, last string
	digest      string
}{
	{"gpt2", 124_439_808, 148, "wte.weight 50257x768", "ln_f.bias 768", "5c09b88c9a12ab8e"},
	{"gpt2-medium", 354_823_168, 292, "wte.weight 50257x1024", "ln_f.bias 1024", "b70480e5df411a17"},
	{"gpt2-large", 774_030_080, 436, "wte.weight 50257x1280", "ln_f.bias 1280", "8b077694ed0cbb58"},
	{"gpt2-xl", 1_557_611_200, 580, "wte.weight 50257x1600", "ln_f.bias 1600", "3a81f13f37f7401b"},
	{"llama-3.2-1b", 1_235_814_400, 146, "model.embed_tokens.weight 128256x2048", "model.norm.weight 2048", "6033b2dbdd9ca3fa"},
	{"llama-3-8b", 8_030_261_248, 291, "model.embed_tokens.weight 128256x4096", "lm_head.weight 128256x4096", "6db309f10f18079c"},
	{"mixtral-8x7b", 46_702_792_704, 995, "model.embed_tokens.weight 32000x4096", "lm_head.weight 32000x4096", "8eb6e4ae5667214e"},
	{"bert-base", 109_482_240, 199, "embeddings.word_embeddings.weight 30522x768", "pooler.dense.bias 768", "1932e5863293226e"},
	{"resnet50", 25_557_032, 161, "conv1.weight 64x3x7x7", "fc.bias 1000", "a319189564c1d0ab"},
	{"vit-b16", 86_567_656, 152, "class_token 1x1x768", "heads.head.bias 1000", "4b2a890e62ce375d"},
	{"small-10000", 10_240_000, 10_000, "tensor.0 1024", "tensor.9999 1024", ""},
}

func describe(t Tensor) string {
	return t.Name + " " + t.Dims()
}

func digest(m Model) string {
	h := sha256.New()
	for _, t := range m.Tensors {
		fmt.Fprintln(h, describe(t))
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func TestKnownModels(t *testing.T) {
	for _, want := range known {
		t.Run(want.name, func(t *testing.T) {
			m, err := ByName(want.name)
			require.NoError(t, err)

			assert.Equal(t, want.name, m.Name)
			assert.NotEmpty(t, m.Doc)
			assert.NotContains(t, m.Doc, "\n")
			assert.Equal(t, want.params, m.Params(), "parameters")
			require.Len(t, m.Tensors, want.tensors)
			assert.Equal(t, want.first, describe(m.Tensors[0]))
			assert.Equal(t, want.last, describe(m.Tensors[want.tensors-1]))
			if want.digest != "" {
				assert.Equal(t, want.digest, digest(m), "names and shapes differ from the reference model")
			}

			seen := map[string]bool{}
			for _, tensor := range m.Tensors {
				assert.False(t, seen[tensor.Name], "%s appears twice", tensor.Name)
				seen[tensor.Name] = true
				assert.Positive(t, tensor.Len(), tensor.Name)
			}
		})
	}
}

func TestTensor(t *testing.T) {
	for _, test := range []struct {
		shape []int
		len   int64
		dims  string
	}{
		{nil, 1, ""}, // a scalar
		{[]int{7}, 7, "7"},
		{[]int{768, 3072}, 2_359_296, "768x3072"},
		{[]int{64, 3, 7, 7}, 9408, "64x3x7x7"},
		{[]int{1 << 20, 1 << 20}, 1 << 40, "1048576x1048576"}, // beyond 32 bits
	} {
		tensor := Tensor{Shape: test.shape}
		assert.Equal(t, test.len, tensor.Len(), "%v", test.shape)
		assert.Equal(t, test.dims, tensor.Dims(), "%v", test.shape)
	}
}

func TestParamsOfEmptyModel(t *testing.T) {
	assert.Zero(t, Model{}.Params())
}

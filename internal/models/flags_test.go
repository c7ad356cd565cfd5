package models

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	const exactlyOne = "give exactly one of -model, -shape and -n"
	for _, test := range []struct {
		model, shape, n string
		want            string // the model's name
		err             string
	}{
		{model: "gpt2-xl", want: "gpt2-xl"},
		{shape: "10000x1024", want: "10000x1024"},
		{n: "1e8", want: "100000000"},
		{err: exactlyOne},
		{model: "gpt2", n: "1e8", err: exactlyOne},
		{model: "gpt2", shape: "3", err: exactlyOne},
		{shape: "3", n: "3", err: exactlyOne},
		{model: "gpt2", shape: "3", n: "3", err: exactlyOne},
		{n: "-5", err: "-n -5: must be a positive whole number"},
	} {
		m, err := Parse(test.model, test.shape, test.n)
		if test.err != "" {
			assert.EqualError(t, err, test.err, "%+v", test)
			continue
		}
		require.NoError(t, err, "%+v", test)
		assert.Equal(t, test.want, m.Name)
	}
}

// checkParsed asserts what holds for whatever a parser of a flag returns: a
// refusal is an error of one line that names the flag, and a model is not
// empty, adds up without overflow, and reads back from its name.
func checkParsed(t *testing.T, parse func(string) (Model, error), flag, input string) {
	t.Helper()
	m, err := parse(input)
	if err != nil {
		require.Zero(t, m)
		require.True(t, strings.HasPrefix(err.Error(), flag+" "), err.Error())
		require.NotContains(t, err.Error(), "\n")
		require.Less(t, len(err.Error()), 1000)
		return
	}
	require.NotEmpty(t, m.Tensors)
	for _, tensor := range m.Tensors {
		require.Positive(t, tensor.Len())
	}
	require.Positive(t, m.Params())
	require.LessOrEqual(t, m.Params(), int64(maxLen))

	again, err := parse(m.Name)
	require.NoError(t, err)
	require.Equal(t, m, again)
}

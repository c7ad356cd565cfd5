package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/internal/models"
)

// Whoever measures the same shapes must get the same ones.
func TestListJSON(t *testing.T) {
	var stdout, stderr bytes.Buffer
	c := command{}
	require.Zero(t, cli.Run("gpubench", []string{"-list", "-format", "json"}, &stdout, &stderr, c.main), stderr.String())
	var got struct {
		Models     []listedModel
		Optimizers []listedOptimizer
	}
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &got))
	require.Len(t, got.Models, len(models.List()))
	for i, m := range models.List() {
		l := got.Models[i]
		assert.Equal(t, m.Name, l.Name)
		require.Len(t, l.Shapes, len(m.Tensors))
		elements := int64(0)
		for _, s := range l.Shapes {
			n := int64(1)
			for _, d := range s {
				n *= int64(d)
			}
			elements += n
		}
		assert.Equal(t, m.Params(), elements, m.Name)
		assert.Equal(t, m.Params(), l.Params, m.Name)
	}
	require.Len(t, got.Optimizers, len(optimizers()))
	assert.Contains(t, got.Optimizers, listedOptimizer{"adamw", "Adam with decoupled weight decay 0.01", 28, []string{"exp_avg", "exp_avg_sq"}})
	assert.Contains(t, got.Optimizers, listedOptimizer{"sgd", "stochastic gradient descent", 12, []string{}})
}

package main

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/internal/models"
)

// planJSON is what -plan prints with the arguments and -format json.
func planJSON(t *testing.T, args ...string) (out struct {
	Model   string
	Params  int64
	Tensors int
	Forms   []plannedForm
	Peers   []plannedPeer
}) {
	var stdout, stderr bytes.Buffer
	c := command{}
	status := cli.Run("gpubench", append([]string{"-plan", "-format", "json"}, args...), &stdout, &stderr, c.main)
	require.Zero(t, status, stderr.String())
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &out))
	return out
}

// What AdamW's forms take, by hand: bytes of the parameter, its gradient and two moments, and of what is beside the parameter.
func TestPlanOfForms(t *testing.T) {
	want := map[form][3]int{ // resident, moved, for the norm
		{"f32", "f32", "f32"}:          {16, 28, 4},
		{"f32", "bf16", "f32"}:         {14, 26, 2},
		{"f32", "bf16", "bf16"}:        {10, 18, 2},
		{"bf16+f32", "bf16", "f32"}:    {16, 28, 2},
		{"bf16+f32", "bf16", "bf16"}:   {12, 20, 2},
		{"bf16+i16", "bf16", "f32"}:    {14, 26, 2},
		{"bf16+i16", "bf16", "bf16"}:   {10, 18, 2},
		{"bf16+i8", "bf16", "f32"}:     {13, 24, 2},
		{"bf16+i8", "bf16", "bf16"}:    {9, 16, 2},
		{"bf16", "bf16", "f32"}:        {12, 22, 2},
		{"bf16", "bf16", "bf16"}:       {8, 14, 2},
		{"bf16/sr", "bf16", "f32"}:     {12, 22, 2},
		{"bf16/sr", "bf16", "bf16/sr"}: {8, 14, 2},
		{"f16+f32", "f16", "f32"}:      {16, 28, 2},
		{"f16", "f16", "f32"}:          {12, 22, 2},
		{"f16", "f16", "f16"}:          {8, 14, 2},
		{"f16/sr", "f16", "f16/sr"}:    {8, 14, 2},
	}
	require.Len(t, forms, len(want))
	got := planJSON(t, "-model", "gpt2")
	var planned []form
	for _, f := range got.Forms {
		require.Equal(t, "adamw", f.Optimizer)
		of := form{f.Param, f.Grad, f.State}
		require.Equal(t, want[of], [3]int{int(f.ResidentPerParam), int(f.ReadPerParam + f.WrittenPerParam), f.NormPerParam}, "%v", of)
		planned = append(planned, of)
	}
	require.Equal(t, forms, planned)
}

// In all, a model takes its parameters times the bytes of each, and for each buffer of state less than a line of 128 elements a tensor, and
// what large buffers are shifted by: less than 128 Ki elements.
func TestPlanOfModels(t *testing.T) {
	for _, m := range models.List() {
		if m.Params() > math.MaxInt-1<<20 {
			continue // no buffer has so many elements where an int has 32 bits
		}
		got := planJSON(t, "-model", m.Name, "-optimizer", "sgd,sgd-momentum,adamw,adamw-amsgrad")
		require.Equal(t, m.Name, got.Model)
		require.Equal(t, m.Params(), got.Params)
		require.Equal(t, len(m.Tensors), got.Tensors)
		for _, f := range got.Forms {
			least := m.Params() * int64(f.ResidentPerParam) // whole numbers, as none of these optimizers has rows
			require.GreaterOrEqual(t, f.Resident, least)
			require.LessOrEqual(t, f.Resident, least+int64(f.ResidentPerParam)*(128*int64(len(m.Tensors))+128<<10)+64)
			require.Equal(t, m.Params()*int64(f.ReadPerParam+f.WrittenPerParam), f.Moved)
			require.Equal(t, m.Params()*int64(f.NormPerParam), f.Norm)
			require.Equal(t, f.State == "none", f.Optimizer == "sgd")
			var sum int64
			for _, b := range f.Buffers {
				sum += b.Bytes
			}
			require.Equal(t, f.Resident, sum)
			for _, card := range cards {
				require.Equal(t, f.Resident <= int64(card)*1e9, slices.Contains(f.Fits, card))
			}
		}
		require.Len(t, got.Peers, len(peers))
		for i, p := range got.Peers {
			require.Equal(t, peers[i], p.peer)
			require.InDelta(t, p.ResidentPerParam*float64(m.Params()), p.Resident, 1)
			require.InDelta(t, p.MovedPerParam*float64(m.Params()), p.Moved, 1)
		}
	}
}

// What -plan says is what a measurement says that it moves.
func TestPlanIsMeasured(t *testing.T) {
	got := planJSON(t, "-optimizer", "all", "-n", "1000")
	at := 0
	for _, o := range optimizers() {
		require.Equal(t, o.Name, got.Forms[at].Optimizer)
		for ; at < len(got.Forms) && got.Forms[at].Optimizer == o.Name; at++ {
			f := got.Forms[at]
			types, err := form{f.Param, f.Grad, strings.TrimPrefix(f.State, "none")}.types()
			require.NoError(t, err)
			p, err := o.plan(types)
			require.NoError(t, err)
			require.EqualValues(t, p.program.Bytes, f.ReadPerParam+f.WrittenPerParam, "%s %s", o.Name, types)
		}
	}
	require.Len(t, got.Forms, at)
}

// Peers are shown beside what they are peers of.
func TestPlanPeers(t *testing.T) {
	require.Empty(t, planJSON(t, "-optimizer", "lion", "-n", "1").Peers)
	for _, p := range peers {
		require.Contains(t, optimizerNames(), p.Optimizer)
		require.NotEmpty(t, p.Source, p.Who)
		require.Greater(t, p.MovedPerParam, p.ResidentPerParam, p.Who)
	}
}

package optim_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// N1: clipping by a norm whose squares float64 does not have.
func TestClipNormBeyondSquares(t *testing.T) {
	for _, c := range []struct {
		name       string
		n          int
		grad       float64
		norm, want float64
	}{
		{"8 of 1e160", 8, 1e160, 2.8284271247461903e160, -0.35355339059327373},
		{"4 of 1e-170", 4, 1e-170, 2e-170, -1e-170},
		{"16 subnormals", 16, 1e-310, 4e-310, 0}, // a parameter below the smallest normal number becomes 0
		{"8 of 1e3", 8, 1e3, 2828.42712474619, -0.3535533904682745},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := cpu.New()
			defer dev.Close()
			s := dev.DefaultStream()
			p, err := dev.Alloc(device.Float64, c.n)
			require.NoError(t, err)
			g, err := dev.Alloc(device.Float64, c.n)
			require.NoError(t, err)
			require.NoError(t, s.Zero(p))
			require.NoError(t, device.Upload(s, g, slices.Repeat([]float64{c.grad}, c.n)))
			opt, err := optim.New(dev, sgd(1), []optim.Param{{Name: "p", Value: p, Grad: g}})
			require.NoError(t, err)
			require.NoError(t, opt.SetClipNorm(1))
			require.NoError(t, opt.Step(s))
			norm, err := opt.GradNorm(s)
			require.NoError(t, err)
			require.InEpsilon(t, c.norm, norm, 1e-14)
			out := make([]float64, c.n)
			require.NoError(t, device.Download(s, out, p))
			require.NoError(t, s.Synchronize())
			for i, x := range out {
				if !(math.Abs(x-c.want) <= 1e-14*math.Abs(c.want)) {
					t.Errorf("p[%d] = %v, want %v", i, x, c.want)
				}
			}
		})
	}
}

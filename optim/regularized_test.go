package optim_test

import (
	_ "embed"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

//go:embed regularized_test.go
var driftSource string

type driftElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"mean"`
}
type driftScalars[F rule.Float] struct{ LR F }
type driftHyper struct{ LR float64 }

// drift is a user's own rule, which knows nothing of penalties.
func drift[F rule.Float](e *driftElem[F], s *driftScalars[F], _ struct{}) {
	e.M = F(0.5*e.M) + e.G
	e.P -= F(s.LR * e.M)
}

func driftPrologue(h *driftHyper, _ *struct{}, s *driftScalars[float64], _ struct{}) { s.LR = h.LR }

// own is an algorithm of the user's own.
type own struct {
	def rule.Definition[driftHyper, struct{}]
	lr  float64
}

func (o own) Setting() (rule.Setting, error) { return o.def.With(driftHyper{o.lr}, struct{}{}), nil }

func driftRule(t *testing.T) own {
	def, err := rule.New(drift[float32], drift[float64], driftPrologue, driftSource)
	require.NoError(t, err)
	return own{def, 0.25}
}

// A user's own rule has all penalties, on every executor: here against the same numbers by hand.
func TestRegularizedOwnRule(t *testing.T) {
	alg := driftRule(t)
	tests := []struct {
		name                string
		alg                 optim.Algorithm
		l1, decay, decouple float64
	}{
		{"none", optim.Regularized{Algorithm: alg}, 0, 0, 0},
		{"l1", optim.Regularized{Algorithm: alg, L1: 0.1}, 0.1, 0, 0},
		{"l2", optim.Regularized{Algorithm: alg, WeightDecay: 0.3}, 0, 0.3, 0},
		{"both", optim.Regularized{Algorithm: alg, L1: 0.1, WeightDecay: 0.3}, 0.1, 0.3, 0},
		{"decoupled", optim.Regularized{Algorithm: alg, WeightDecay: 0.3, Decoupled: true}, 0, 0, 0.3},
		{"all", optim.Regularized{Algorithm: optim.Regularized{Algorithm: alg, L1: 0.1, WeightDecay: 0.3}, WeightDecay: 0.7, Decoupled: true}, 0.1, 0.3, 0.7},
	}
	const n = 35 // whole vectors, and a rest
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onExecutors(t, func(t *testing.T, b kernels.Backend) {
				p, g, m := make([]float64, n), make([]float64, n), make([]float64, n)
				for i := range n {
					p[i], g[i] = math.Sin(float64(i)), math.Cos(float64(7*i))
				}
				s := b.Device().DefaultStream()
				value, err := b.Device().Alloc(device.Float64, n)
				require.NoError(t, err)
				grad, err := b.Device().Alloc(device.Float64, n)
				require.NoError(t, err)
				require.NoError(t, device.Upload(s, value, p))
				require.NoError(t, device.Upload(s, grad, g))
				o, err := optim.New(b, tt.alg, []optim.Param{{Value: value, Grad: grad}})
				require.NoError(t, err)
				for range 3 {
					require.NoError(t, o.Step(s))
					for i := range n {
						gi := g[i]
						if tt.decay != 0 {
							gi += float64(tt.decay * p[i])
						}
						if tt.l1 != 0 {
							gi += float64(tt.l1 * rule.Sign(p[i]))
						}
						m[i] = float64(0.5*m[i]) + gi
						p[i] = float64(p[i]*(1-float64(0.25*tt.decouple))) - float64(0.25*m[i])
					}
				}
				got := make([]float64, n)
				require.NoError(t, device.Download(s, got, value))
				require.NoError(t, s.Synchronize())
				require.Equal(t, p, got)
				require.NoError(t, o.Close())
			})
		})
	}
}

// A penalty that would count twice is refused, and so is one out of range.
func TestRegularizedRefuses(t *testing.T) {
	sgd := optim.DefaultSGD()
	sgd.L1, sgd.WeightDecay = 0.5, 0.5
	for _, tt := range []struct {
		alg  optim.Regularized
		want string
	}{
		{optim.Regularized{Algorithm: sgd, L1: 1}, "optim: regularized sgd: l1 is 1, must be 0, as the algorithm has this penalty already"},
		{optim.Regularized{Algorithm: sgd, WeightDecay: 1}, "optim: regularized sgd: weight_decay is 1, must be 0, as the algorithm has this penalty already"},
		{optim.Regularized{Algorithm: optim.DefaultAdamW(), WeightDecay: 1, Decoupled: true}, "optim: regularized adamw: weight_decay is 1, must be 0, as the algorithm has this penalty already"},
		{optim.Regularized{Algorithm: optim.DefaultLion(), L1: -1}, "optim: regularized lion: l1 is -1, must be at least 0, and finite"},
		{optim.Regularized{Algorithm: optim.DefaultLion(), WeightDecay: math.Inf(1)}, "optim: regularized lion: weight_decay is +Inf, must be at least 0, and finite"},
	} {
		_, err := tt.alg.Setting()
		var e *optim.HyperparameterError
		require.ErrorAs(t, err, &e)
		require.EqualError(t, err, tt.want)
	}
	_, err := optim.Regularized{L1: 1}.Setting()
	require.EqualError(t, err, "optim: regularized: the algorithm is nil")
}

// N4: decoupled decay is lost to rounding where lr·weight_decay is at most half a unit in the last place below 1, whatever the
// parameter, and not where it is larger.
func TestDecayIsLostToRounding(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		decayIsLost[float32](t, b, device.Float32, 0x1p-25)
		decayIsLost[float64](t, b, device.Float64, 0x1p-54)
	})
}

func decayIsLost[F rule.Float](t *testing.T, b kernels.Backend, dtype device.DType, limit float64) {
	p := []F{1, 1.25, 1.999, -1.5, 3e-20, -7e20}
	for _, lost := range []bool{true, false} {
		r := train(t, b, with(optim.DefaultAdamW(), func(c *optim.AdamW) {
			c.LR, c.WeightDecay = 0.5, 2*limit
			if !lost {
				c.WeightDecay = 2.02 * limit
			}
		}), dtype, p)
		for range 10 {
			r.step()
		}
		for i, x := range r.get(r.value) {
			require.Equal(t, lost, x == p[i], "%v became %v", p[i], x)
		}
	}
}

// A learning rate below 0 of a user's own algorithm, which checks nothing, is New's error, as it is SetLR's and Step's.
func TestOwnRuleLearningRate(t *testing.T) {
	alg := driftRule(t)
	dev := cpu.New()
	defer dev.Close()
	opt, err := optim.New(dev, alg, nil)
	require.NoError(t, err)
	const want = "optim: drift: lr is -1, must be at least 0, and finite"
	require.EqualError(t, opt.SetLR(-1), want)
	alg.lr = -1
	require.EqualError(t, opt.SetAlgorithm(0, alg), want)
	require.EqualError(t, opt.AddGroup(alg, nil), want)
	_, err = optim.New(dev, alg, nil)
	require.EqualError(t, err, want)
	require.ErrorAs(t, err, new(*optim.HyperparameterError))
}

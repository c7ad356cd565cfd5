// Package comparetest holds the tests that the examples of package compare have in common.
package comparetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/examples/internal/compare"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/optim"
)

// Gradient holds a model's gradient against differences of its loss, for each parameter, at a random place.
//
// (f(x+h) - f(x-h))/2h is off by h²/6 times the third derivative, and by what rounding does to f, some 2⁻⁵³·f/h. With h = 2⁻¹⁷
// and a loss and derivatives near 1 both are near 10⁻¹¹; the bound is a hundred times that.
func Gradient(t *testing.T, m compare.Model[float64], rows []int) {
	const h, bound = 0x1p-17, 1e-9
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range m.Params() {
		for i := range p.Value {
			p.Value[i] += rng.Float64() - 0.5
		}
	}
	m.Gradient(rows)
	for _, p := range m.Params() {
		zeros := 0
		for i, x := range p.Value {
			p.Value[i] = x + h
			up := m.Loss(rows)
			p.Value[i] = x - h
			down := m.Loss(rows)
			p.Value[i] = x
			require.InDelta(t, (up-down)/(2*h), p.Grad[i], bound, "%s[%d]", p.Name, i)
			if p.Grad[i] == 0 {
				zeros++
			}
		}
		require.Less(t, zeros, len(p.Grad), "no gradient of %s", p.Name)
	}
}

// References trains with every optimizer that the problem has a reference of, and holds each epoch against it; in short tests
// the first alone.
func References(t *testing.T, p *compare.Problem, epochs int) {
	if testing.Short() {
		epochs = 1
	}
	dev := cpu.New()
	checked := 0
	for _, c := range optim.Cases() {
		want, ok := p.Expected.Optimizers[c.Name]
		if !ok {
			continue
		}
		checked++
		t.Run(c.Name, func(t *testing.T) {
			require.Equal(t, p.Rates[c.Name], want.LR, "the learning rate has changed: run reference.py")
			require.Len(t, want.Loss, p.Epochs+1, "the epochs have changed: run reference.py")
			run, err := p.Train(dev, c, compare.Precision{}, 0, p.Expected.Seed, epochs, nil)
			require.NoError(t, err)
			require.NoError(t, want.Check(run))
			require.Less(t, want.Loss[p.Epochs], want.Loss[0], "it has learned nothing")
		})
	}
	require.Len(t, p.Expected.Optimizers, checked, "the reference has optimizers that optim.Cases has not")
}

// Sessions runs the shell sessions in testdata, for which TestMain must name the program. [cuda] says whether this build can have
// GPUs, [full] whether the machine has a full device.
func Sessions(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:       "testdata",
		Condition: condition,
	})
}

func condition(name string) (bool, error) {
	switch name {
	case "cuda":
		return gpu.Built, nil
	case "full":
		_, err := os.Stat("/dev/full")
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

//go:build cuda && cgo && linux

package emu_test

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
	"github.com/fusestep/fusestep/optim"
)

// TestSoak takes thousands of steps while groups, streams, clipping and tensors come and go, one optimizer after the other, and
// then looks for memory, handles and goroutines that were left: some steps later there may be no more of them than before.
func TestSoak(t *testing.T) {
	steps := 10_000
	if testing.Short() {
		steps = 1000
	}
	d := install(t, emu.Config{Checks: ptxvm.AllChecks})
	dev := open(t)
	rng := rand.New(rand.NewPCG(1, 2))
	tensor := func(n int) optim.Param {
		x := make([]float32, n)
		for i := range x {
			x[i] = rng.Float32()
		}
		p := optim.Param{Value: alloc(t, dev.Device(), n), Grad: alloc(t, dev.Device(), n)}
		upload(t, dev.DefaultStream(), p.Value, x)
		upload(t, dev.DefaultStream(), p.Grad, x)
		return p
	}

	// life is an optimizer from its beginning to its end.
	life := func(steps int) {
		params := []optim.Param{tensor(1 + rng.IntN(100))}
		opt, err := optim.New(dev, optim.DefaultAdamW(), params)
		require.NoError(t, err)
		s, err := dev.NewStream()
		require.NoError(t, err)
		for k := range steps {
			switch {
			case k%100 == 10:
				params = append(params, tensor(1+rng.IntN(100)))
				var alg optim.Algorithm = optim.DefaultAdam()
				if k%200 == 10 {
					sgd := optim.DefaultSGD()
					sgd.LR, sgd.Momentum = 0.1, 0.9
					alg = sgd
				}
				require.NoError(t, opt.AddGroup(alg, params[len(params)-1:]))
			case k%50 == 20:
				require.NoError(t, opt.SetClipNorm(float64(k%100/50)))
			case k%50 == 30: // the next steps are on another stream, after those on this one
				next, err := dev.NewStream()
				require.NoError(t, err)
				e, err := dev.NewEvent()
				require.NoError(t, err)
				require.NoError(t, s.Record(e))
				require.NoError(t, next.Wait(e))
				require.NoError(t, e.Close())
				if k%100 == 30 {
					require.NoError(t, next.Synchronize())
				}
				require.NoError(t, s.Close())
				s = next
			case k%50 == 40:
				old := params[0]
				params[0] = tensor(old.Value.Len())
				params[0].Name = "0.0"
				require.NoError(t, opt.Rebind(params[:1]))
				require.NoError(t, old.Value.Close())
				require.NoError(t, old.Grad.Close())
				if k%100 == 90 { // clipping is on
					norm, err := opt.GradNorm(s)
					require.NoError(t, err)
					require.Zero(t, norm, "no step has been taken since")
				}
			}
			require.NoError(t, opt.Step(s))
		}
		require.NoError(t, opt.Close())
		require.NoError(t, s.Close())
		for _, p := range params {
			require.NoError(t, p.Value.Close())
			require.NoError(t, p.Grad.Close())
		}
	}

	const each = 250
	life(each)
	before, goroutines := d.Live(), runtime.NumGoroutine()
	for range steps/each - 1 {
		life(each)
	}
	require.Equal(t, before, d.Live())
	for began := time.Now(); runtime.NumGoroutine() > goroutines && time.Since(began) < time.Minute; { // those that are about to end
		time.Sleep(10 * time.Millisecond)
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), goroutines)
	require.Empty(t, d.Faults())
	require.NoError(t, dev.Close())
	_, err := dev.Alloc(device.Float32, 1)
	require.ErrorIs(t, err, device.ErrClosed)
}

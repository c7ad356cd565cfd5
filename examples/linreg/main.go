// Linreg fits a linear regression by gradient descent, mini-batch stochastic gradient descent or Adam, and holds the result
// against the certified one.
//
//	linreg [-data norris|longley] [-method gd|sgd|adam] [-l1 x] [-l2 x] [-dtype f32|f64] [-device cpu|cuda|cuda:N|emu]
//	       [-steps n] [-lr x] [-decay x] [-batch n] [-seed n]
//
// The data are two of NIST's Statistical Reference Datasets, norris (36 rows, 1 column) and longley (16 rows, 6 columns,
// badly conditioned), for which NIST publishes the coefficients of ordinary least squares to 15 digits.
//
// The optimizer runs on the processors, on an NVIDIA GPU, or on an emulated one; the latter two need a build with CUDA
// (device/cuda/gocuda). The numbers are the same everywhere, to the last bit.
//
// # What is minimised
//
// Over n rows and k columns, all of which, the response too, are first brought to mean 0 and variance 1:
//
//	1/(2n) Σᵢ (yᵢ - b₀ - Σⱼ xᵢⱼ·bⱼ)²  +  l2/2 Σⱼ bⱼ²  +  l1 Σⱼ |bⱼ|,   j = 1 … k
//
// The penalties are on the slopes alone: the intercept b₀ is a parameter group of its own, without them. All coefficients start at
// 1. The host calculates the gradient of the squared error, in the parameters' type, and uploads it; the penalties and the
// update are the optimizer's, optim.SGD or optim.Adam. The table shows the coefficients in the data's own units. Without
// penalties it shows them beside NIST's; with l2 (ridge) beside a QR factorisation's, and with l1 (lasso) beside those of
// coordinate descent, both in float64.
//
// # When it has converged
//
// The exit status is 0 if every coefficient's relative error is within its bound, 1 if one is not, and 2 for wrong flags.
// Where the reference is exactly 0 the standardised coefficient itself is held to the bound. A bound is the sum of two
// parts. One is the method's own error after its default steps:
//
//	         gd      adam    sgd
//	norris   1e-9    1e-6    1e-4
//	longley  1e-9    1e-6    2e-2    condition number 12,220: batches of 4 rows are a noisy view of its flat direction
//	-l1      1e-2    1e-4    5e-2    1e-6, 1e-6 and 1e-4 on norris
//
// The other is what rounding can do, derived from the data (rounding.go): in float64 about 1e-12 for norris and 1e-9
// for longley, in float32 much more. A float32 gradient of n rows is wrong by up to G = (k+4)·2⁻²⁴ times the size of
// the terms it is summed from, and a method that ends where this gradient is 0 ends up to G/λ from the minimum, where
// λ is the least eigenvalue of the Hessian: 1 for norris, 1/2655 for longley. Besides, each step rounds the
// coefficient, by 2⁻²⁴ of it, and at worst all roundings of the last 1/(lr·λ) steps go the same way. Last, the
// intercept in the data's own units is ȳ - Σ bⱼ·x̄ⱼ, for norris -0.26 as a difference of two numbers near 430, which
// multiplies relative errors by 1,640. So in float32 gd finds norris's slope to about 1e-6 and its intercept to about
// 2e-3, and longley's least coefficient for certain to hardly one digit; the errors met are ten to some hundred times
// smaller than these bounds, as roundings seldom agree. Where a bound exceeds 1, nothing is promised and the program
// says so.
//
// # Penalties by the subgradient
//
// The optimizers add l1·sign(b) to the gradient. That gives no exact zeros: a coefficient that should be 0 steps over
// it and back, by up to 2·lr·l1 with gd, forever if lr stays as it is. So with -l1 the learning rate decays,
// geometrically, from -lr to -lr times -decay in the last step, and the oscillation with it. Mini-batches oscillate as
// well, by their noise times lr, and Adam by lr itself: these always decay. In float32 gd and sgd stop decaying at
// 1e-2, with an error of their own of 1e-2 at least: with a smaller lr the roundings would outweigh the gradients.
package main

import (
	"errors"
	"io"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/examples/internal/host"
	"github.com/fusestep/fusestep/internal/cli"
)

func main() { cli.Main("linreg", fit) }

func fit(args []string, stdout io.Writer) error {
	p, err := parseFlags(args, stdout)
	if err != nil {
		return err
	}
	backend, err := host.Open(p.device)
	if err != nil {
		return err
	}
	s, err := p.complete()
	if err != nil {
		return err
	}
	var got []float64
	if p.dtype == device.Float32 {
		got, err = train[float32](backend, s, p)
	} else {
		got, err = train[float64](backend, s, p)
	}
	if err := errors.Join(err, backend.Device().Close()); err != nil {
		return err
	}
	ref, err := solve(s, p)
	if err != nil {
		return err
	}
	return report(stdout, s, p, got, ref)
}

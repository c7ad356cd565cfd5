package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed adafactor.go
var adafactorSource string

// AdafactorRule is Adafactor.
var AdafactorRule = defineStaged(AdafactorPrologue, adafactorSource,
	rule.MatrixElements(AdafactorSquares[float32], AdafactorSquares[float64]),
	rule.Rows(AdafactorRows[float32], AdafactorRows[float64]), rule.Columns(AdafactorColumns[float32], AdafactorColumns[float64]),
	rule.MatrixElements(AdafactorNorm[float32], AdafactorNorm[float64]),
	rule.Tensors(AdafactorRate),
	rule.MatrixElements(Adafactor[float32], Adafactor[float64]))

// AdafactorElem is one element of a parameter under Adafactor. V is of a vector alone.
type AdafactorElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
	V F `slot:"variance"`
}

// AdafactorRow is a row of a matrix: the mean of its gradients' squares, and the average of that.
type AdafactorRow[F rule.Float] struct {
	G F `fill:"mean"`
	V F `slot:"row_var"`
}

// AdafactorColumn is a column of a matrix, likewise, with the mean of the matrix's row_var and what each of these is multiplied by.
type AdafactorColumn[F rule.Float] struct {
	G   F `fill:"mean"`
	V   F `slot:"col_var"`
	Row F `rows:"mean V"`
	By  F
}

// AdafactorTensor is what a tensor has to itself under Adafactor: the squares of its parameter and of its update, and the step's rate.
type AdafactorTensor[F rule.Float] struct {
	P    F `fill:"squares"`
	U    F `fill:"squares"`
	N    F `count:"elements"`
	Rate F
}

// AdafactorScalars are what Adafactor's prologue computes. Share is what a new square has of an average. Least is what the root is taken of at
// least.
type AdafactorScalars[F rule.Float] struct {
	Rest, Share, Eps1, Least, Eps2, Rho, D, Beta1, OneMinusBeta1 F
}

// AdafactorOptions say which state there is.
type AdafactorOptions struct {
	Matrix   bool
	Momentum bool
}

// AdafactorSquares is the first of three passes. It does not store the update, which the two others compute each from the gradient: 4 bytes of
// float32 in either, where to store it would move 4 more and take 4 of memory.
func AdafactorSquares[F rule.Float](e *AdafactorElem[F], s *AdafactorScalars[F], t *AdafactorTensor[F], r *AdafactorRow[F], c *AdafactorColumn[F], o AdafactorOptions) {
	t.P = e.P
	square := F(e.G * e.G)
	if o.Matrix {
		r.G = square
		c.G = square
		return
	}
	e.V = rule.FlushWith(F(s.Rest*e.V)+F(s.Share*square), e.G)
}

// AdafactorRows averages the rows' squares.
func AdafactorRows[F rule.Float](r *AdafactorRow[F], s *AdafactorScalars[F], t *AdafactorTensor[F], o AdafactorOptions) {
	r.V = rule.Flush(F(s.Rest*r.V) + F(s.Share*r.G))
}

// AdafactorColumns averages the columns' squares, and divides them by the mean of the rows' averages.
func AdafactorColumns[F rule.Float](c *AdafactorColumn[F], s *AdafactorScalars[F], t *AdafactorTensor[F], o AdafactorOptions) {
	c.V = rule.Flush(F(s.Rest*c.V) + F(s.Share*c.G))
	c.By = c.V / rule.Max(c.Row, s.Eps1)
}

// AdafactorNorm adds up the update's squares.
func AdafactorNorm[F rule.Float](e *AdafactorElem[F], s *AdafactorScalars[F], t *AdafactorTensor[F], r *AdafactorRow[F], c *AdafactorColumn[F], o AdafactorOptions) {
	if o.Matrix {
		t.U = adafactorUpdate(e.G, F(r.V*c.By), s.Least)
	} else {
		t.U = adafactorUpdate(e.G, e.V, s.Least)
	}
}

// AdafactorRate clips the update to a root mean square of d, and scales it by that of the parameter.
func AdafactorRate(t *AdafactorTensor[float64], s *AdafactorScalars[float64], o AdafactorOptions) {
	n := rule.Sqrt(rule.Max(t.N, 1))
	alpha := rule.Max(s.Eps2, rule.Sqrt(t.P)/n) * s.Rho
	t.Rate = alpha / rule.Max(1, rule.Sqrt(t.U)/float64(n*s.D))
}

// Adafactor: Shazeer & Stern 2018, algorithms 4 and 5, in the order of PyTorch's code: the second moment of a matrix is the product of averages of
// its rows' and its columns' squares. Momentum is that of the authors' code, of the scaled update.
func Adafactor[F rule.Float](e *AdafactorElem[F], s *AdafactorScalars[F], t *AdafactorTensor[F], r *AdafactorRow[F], c *AdafactorColumn[F], o AdafactorOptions) {
	v := e.V
	if o.Matrix {
		v = F(r.V * c.By)
	}
	u := F(t.Rate * adafactorUpdate(e.G, v, s.Least))
	if o.Momentum {
		u = rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*u))
		e.M = u
	}
	e.P -= u
}

// adafactorUpdate is the gradient over the root of its second moment. A square of eps1 that F cannot hold is no divisor of 0.
func adafactorUpdate[F rule.Float](g, v, least F) F {
	return g / rule.Sqrt(rule.Max(v, rule.Max(least, rule.SmallestNormal[F]())))
}

// AdafactorHyper are Adafactor's hyperparameters.
type AdafactorHyper struct{ LR, Beta2Decay, Eps1, Eps2, D, Beta1 float64 }

// AdafactorCounters are what Adafactor keeps for a group.
type AdafactorCounters struct {
	Step float64 `counter:"step"`
}

// AdafactorPrologue computes the scalars of a step.
func AdafactorPrologue(h *AdafactorHyper, t *AdafactorCounters, s *AdafactorScalars[float64], o AdafactorOptions) {
	t.Step += 1
	s.Share = rule.Pow(t.Step, h.Beta2Decay)
	s.Rest = 1 - s.Share
	s.Eps1, s.Least, s.Eps2 = h.Eps1, h.Eps1*h.Eps1, h.Eps2
	s.Rho = rule.Min(h.LR, 1/rule.Sqrt(t.Step))
	s.D = h.D
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
}

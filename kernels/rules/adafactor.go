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

// AdafactorRow is a row of a matrix: the mean of its gradients' squares, the average of that and, with EpsAdded, what each gradient is multiplied by.
type AdafactorRow[F rule.Float] struct {
	G  F `fill:"mean"`
	V  F `slot:"row_var"`
	By F
}

// AdafactorColumn is a column of a matrix, likewise, with the mean of the matrix's row_var and what each of these, or with EpsAdded each gradient, is
// multiplied by.
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
// least. Scale is 1 where steps are scaled by the parameter's root mean square, and 0 where they are not.
type AdafactorScalars[F rule.Float] struct {
	Rest, Share, Eps1, Least, EpsSquare, Eps2, Rho, Scale, D, Beta1, OneMinusBeta1 F
}

// AdafactorOptions say which state there is, and with EpsAdded that EpsSquare is added to each square. No average is below that, and a gradient is
// multiplied by inverse roots of its row's and its column's: the product of the two may be too small for F.
type AdafactorOptions struct {
	Matrix   bool
	Momentum bool
	EpsAdded bool
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
	if o.EpsAdded {
		square += s.EpsSquare
	}
	e.V = rule.FlushWith(F(s.Rest*e.V)+F(s.Share*square), e.G)
}

// AdafactorRows averages the rows' squares. The mean of squares that eps is added to is their mean, and eps.
func AdafactorRows[F rule.Float](r *AdafactorRow[F], s *AdafactorScalars[F], t *AdafactorTensor[F], o AdafactorOptions) {
	g := r.G
	if o.EpsAdded {
		g += s.EpsSquare
	}
	r.V = rule.Flush(F(s.Rest*r.V) + F(s.Share*g))
	if o.EpsAdded {
		r.By = 1 / adafactorRoot(r.V, s.Least)
	}
}

// AdafactorColumns averages the columns' squares, and divides them by the mean of the rows' averages.
func AdafactorColumns[F rule.Float](c *AdafactorColumn[F], s *AdafactorScalars[F], t *AdafactorTensor[F], o AdafactorOptions) {
	g := c.G
	if o.EpsAdded {
		g += s.EpsSquare
	}
	c.V = rule.Flush(F(s.Rest*c.V) + F(s.Share*g))
	if o.EpsAdded {
		c.By = rule.Sqrt(c.Row) / adafactorRoot(c.V, s.Least)
	} else {
		c.By = c.V / rule.Max(c.Row, s.Eps1)
	}
}

// AdafactorNorm adds up the update's squares.
func AdafactorNorm[F rule.Float](e *AdafactorElem[F], s *AdafactorScalars[F], t *AdafactorTensor[F], r *AdafactorRow[F], c *AdafactorColumn[F], o AdafactorOptions) {
	if o.Matrix && o.EpsAdded {
		t.U = F(e.G*r.By) * c.By
	} else if o.Matrix {
		t.U = e.G / adafactorRoot(F(r.V*c.By), s.Least)
	} else {
		t.U = e.G / adafactorRoot(e.V, s.Least)
	}
}

// AdafactorRate clips the update to a root mean square of d, and scales it by that of the parameter where Scale says so.
func AdafactorRate(t *AdafactorTensor[float64], s *AdafactorScalars[float64], o AdafactorOptions) {
	n := rule.Sqrt(rule.Max(t.N, 1))
	alpha := s.Rho
	if s.Scale != 0 {
		alpha = rule.Max(s.Eps2, rule.Sqrt(t.P)/n) * s.Rho
	}
	t.Rate = alpha / rule.Max(1, rule.Sqrt(t.U)/float64(n*s.D))
}

// Adafactor: Shazeer & Stern 2018, algorithms 4 and 5, in the order of PyTorch's code: the second moment of a matrix is the product of averages of
// its rows' and its columns' squares. Momentum is that of the authors' code, of the scaled update.
func Adafactor[F rule.Float](e *AdafactorElem[F], s *AdafactorScalars[F], t *AdafactorTensor[F], r *AdafactorRow[F], c *AdafactorColumn[F], o AdafactorOptions) {
	var u F
	if o.Matrix && o.EpsAdded {
		u = F(e.G*r.By) * c.By
	} else if o.Matrix {
		u = e.G / adafactorRoot(F(r.V*c.By), s.Least)
	} else {
		u = e.G / adafactorRoot(e.V, s.Least)
	}
	u = F(t.Rate * u)
	if o.Momentum {
		u = rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*u))
		e.M = u
	}
	e.P -= u
}

// adafactorRoot is the root of a second moment. A square of eps1 that F cannot hold is no divisor of 0.
func adafactorRoot[F rule.Float](v, least F) F {
	return rule.Sqrt(rule.Max(v, rule.Max(least, rule.SmallestNormal[F]())))
}

// AdafactorHyper are Adafactor's hyperparameters. NoRelativeStep and NoScaleParameter are off when 0.
type AdafactorHyper struct {
	LR, Beta2Decay, Eps1, EpsSquare, Eps2, D, Beta1, NoRelativeStep, NoScaleParameter float64
}

// AdafactorCounters are what Adafactor keeps for a group.
type AdafactorCounters struct {
	Step float64 `counter:"step"`
}

// AdafactorPrologue computes the scalars of a step.
func AdafactorPrologue(h *AdafactorHyper, t *AdafactorCounters, s *AdafactorScalars[float64], o AdafactorOptions) {
	t.Step += 1
	s.Share = rule.Pow(t.Step, h.Beta2Decay)
	s.Rest = 1 - s.Share
	s.Eps1, s.Least, s.EpsSquare, s.Eps2 = h.Eps1, h.Eps1*h.Eps1, h.EpsSquare, h.Eps2
	s.Rho, s.Scale = h.LR, 1
	if h.NoRelativeStep == 0 {
		s.Rho = rule.Min(h.LR, 1/rule.Sqrt(t.Step))
	}
	if h.NoScaleParameter != 0 {
		s.Scale = 0
	}
	s.D = h.D
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
}

package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed came.go
var cameSource string

// CAMERule is CAME.
var CAMERule = defineStaged(CAMEPrologue, cameSource,
	rule.MatrixElements(CAMESquares[float32], CAMESquares[float64]),
	rule.Rows(CAMERows[float32], CAMERows[float64]), rule.Columns(CAMEColumns[float32], CAMEColumns[float64]),
	rule.MatrixElements(CAMENorm[float32], CAMENorm[float64]),
	rule.Tensors(CAMEClip),
	rule.MatrixElements(CAMEMoment[float32], CAMEMoment[float64]),
	rule.Rows(CAMEResidualRows[float32], CAMEResidualRows[float64]), rule.Columns(CAMEResidualColumns[float32], CAMEResidualColumns[float64]),
	rule.MatrixElements(CAME[float32], CAME[float64]))

// CAMEElem is one element of a parameter under CAME. V is of a vector alone.
type CAMEElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
	V F `slot:"exp_avg_sq"`
}

// CAMERow is a row of a matrix: the means of its gradients' squares and of its residuals' squares, their averages, and one over the roots of these.
type CAMERow[F rule.Float] struct {
	G      F `fill:"mean"`
	R      F `fill:"mean"`
	V      F `slot:"exp_avg_sq_row"`
	S      F `slot:"exp_avg_res_row"`
	InvG   F
	InvRes F
}

// CAMEColumn is a column of a matrix, likewise, with the means of the rows' averages, by whose roots the inverse roots are multiplied.
type CAMEColumn[F rule.Float] struct {
	G      F `fill:"mean"`
	R      F `fill:"mean"`
	V      F `slot:"exp_avg_sq_col"`
	S      F `slot:"exp_avg_res_col"`
	Row    F `rows:"mean V"`
	Res    F `rows:"mean S"`
	InvG   F
	InvRes F
}

// CAMETensor is what a tensor has to itself under CAME: the squares of its update, and what the update is multiplied by.
type CAMETensor[F rule.Float] struct {
	U    F `fill:"squares"`
	N    F `count:"elements"`
	Clip F
}

// CAMEScalars are what CAME's prologue computes.
type CAMEScalars[F rule.Float] struct {
	LR, Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, Beta3, OneMinusBeta3, Eps1, Eps2, D F
}

// CAMEOptions say whether the tensor has rows.
type CAMEOptions struct{ Matrix bool }

// CAMESquares is the first of four passes. None stores the update, which the next two compute from the gradient. No square is flushed, as eps is
// added to each: an average does not fall below that.
func CAMESquares[F rule.Float](e *CAMEElem[F], s *CAMEScalars[F], t *CAMETensor[F], r *CAMERow[F], c *CAMEColumn[F], o CAMEOptions) {
	square := F(e.G*e.G) + s.Eps1
	if o.Matrix {
		r.G = square
		c.G = square
		return
	}
	e.V = F(s.Beta2*e.V) + F(s.OneMinusBeta2*square)
}

// CAMERows averages the rows' squares.
func CAMERows[F rule.Float](r *CAMERow[F], s *CAMEScalars[F], t *CAMETensor[F], o CAMEOptions) {
	v := F(s.Beta2*r.V) + F(s.OneMinusBeta2*r.G)
	r.V, r.InvG = v, 1/rule.Sqrt(v)
}

// CAMEColumns averages the columns' squares.
func CAMEColumns[F rule.Float](c *CAMEColumn[F], s *CAMEScalars[F], t *CAMETensor[F], o CAMEOptions) {
	v := F(s.Beta2*c.V) + F(s.OneMinusBeta2*c.G)
	c.V, c.InvG = v, rule.Sqrt(c.Row)/rule.Sqrt(v)
}

// CAMENorm adds up the update's squares.
func CAMENorm[F rule.Float](e *CAMEElem[F], s *CAMEScalars[F], t *CAMETensor[F], r *CAMERow[F], c *CAMEColumn[F], o CAMEOptions) {
	if o.Matrix {
		t.U = F(r.InvG*c.InvG) * e.G
	} else {
		t.U = e.G / rule.Sqrt(e.V)
	}
}

// CAMEClip clips the update to a root mean square of d.
func CAMEClip(t *CAMETensor[float64], s *CAMEScalars[float64], o CAMEOptions) {
	t.Clip = 1 / rule.Max(1, rule.Sqrt(t.U)/float64(rule.Sqrt(rule.Max(t.N, 1))*s.D))
}

// CAMEMoment averages the update. The residual is how far it is from its average.
func CAMEMoment[F rule.Float](e *CAMEElem[F], s *CAMEScalars[F], t *CAMETensor[F], r *CAMERow[F], c *CAMEColumn[F], o CAMEOptions) {
	if o.Matrix {
		u := F(t.Clip * F(F(r.InvG*c.InvG)*e.G))
		m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*u))
		square := F((u-m)*(u-m)) + s.Eps2
		r.R = square
		c.R = square
		e.M = m
	} else {
		u := F(t.Clip * (e.G / rule.Sqrt(e.V)))
		e.M = rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*u))
	}
}

// CAMEResidualRows averages the residuals' squares of rows.
func CAMEResidualRows[F rule.Float](r *CAMERow[F], s *CAMEScalars[F], t *CAMETensor[F], o CAMEOptions) {
	v := F(s.Beta3*r.S) + F(s.OneMinusBeta3*r.R)
	r.S, r.InvRes = v, 1/rule.Sqrt(v)
}

// CAMEResidualColumns averages those of columns.
func CAMEResidualColumns[F rule.Float](c *CAMEColumn[F], s *CAMEScalars[F], t *CAMETensor[F], o CAMEOptions) {
	v := F(s.Beta3*c.S) + F(s.OneMinusBeta3*c.R)
	c.S, c.InvRes = v, rule.Sqrt(c.Res)/rule.Sqrt(v)
}

// CAME: Luo et al. 2023, algorithm 2, as the authors' code has it: Adafactor's update is averaged, and the average divided by the root of the product
// of averages of rows' and columns' residuals.
func CAME[F rule.Float](e *CAMEElem[F], s *CAMEScalars[F], t *CAMETensor[F], r *CAMERow[F], c *CAMEColumn[F], o CAMEOptions) {
	if o.Matrix {
		e.P -= F(s.LR * F(F(r.InvRes*c.InvRes)*e.M))
	} else {
		e.P -= F(s.LR * e.M)
	}
}

// CAMEHyper are CAME's hyperparameters.
type CAMEHyper struct{ LR, Beta1, Beta2, Beta3, Eps1, Eps2, Clip float64 }

// CAMECounters are what CAME keeps for a group.
type CAMECounters struct {
	Step float64 `counter:"step"`
}

// CAMEPrologue computes the scalars of a step.
func CAMEPrologue(h *CAMEHyper, t *CAMECounters, s *CAMEScalars[float64], o CAMEOptions) {
	t.Step += 1
	s.LR, s.D = h.LR, h.Clip
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	s.Beta3, s.OneMinusBeta3 = h.Beta3, 1-h.Beta3
	s.Eps1, s.Eps2 = h.Eps1, h.Eps2
}

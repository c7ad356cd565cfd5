package main

import (
	_ "embed"
	"fmt"
	"sync"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed layer.go
var layerSource string

// layerRule is the rule, made when it is first asked for.
var layerRule = sync.OnceValues(func() (rule.Definition[Layer, struct{}], error) {
	return rule.NewStaged(LayerPrologue, layerSource, rule.Elements(LayerSums[float32], LayerSums[float64]), rule.Tensors(LayerRate),
		rule.Elements(LayerStep[float32], LayerStep[float64]))
})

// LayerElem is one element of a parameter.
type LayerElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
}

// LayerTensor is what a tensor has to itself.
type LayerTensor[F rule.Float] struct {
	P    F `fill:"squares"`
	G    F `fill:"squares"`
	Rate F
}

// LayerScalars are the numbers that all tensors share.
type LayerScalars[F rule.Float] struct{ LR F }

// Layer moves each tensor by LR times its own norm, against its gradient.
type Layer struct{ LR float64 }

// LayerPrologue runs once a step.
func LayerPrologue(h *Layer, _ *struct{}, s *LayerScalars[float64], _ struct{}) { s.LR = h.LR }

// LayerSums is what an element adds to its tensor's sums.
func LayerSums[F rule.Float](e *LayerElem[F], s *LayerScalars[F], t *LayerTensor[F], _ struct{}) {
	t.P, t.G = e.P, e.G
}

// LayerRate runs once for each tensor, in float64, when its elements have filled the sums.
func LayerRate(t *LayerTensor[float64], s *LayerScalars[float64], _ struct{}) {
	t.Rate = s.LR
	if t.P > 0 && t.G > 0 {
		t.Rate *= rule.Sqrt(t.P / t.G)
	}
}

// LayerStep is how the element changes.
func LayerStep[F rule.Float](e *LayerElem[F], s *LayerScalars[F], t *LayerTensor[F], _ struct{}) {
	e.P -= F(t.Rate * e.G)
}

// Setting implements optim.Algorithm.
func (h Layer) Setting() (rule.Setting, error) {
	if !(h.LR >= 0) {
		return rule.Setting{}, fmt.Errorf("layer: LR is %v, must be at least 0", h.LR)
	}
	def, err := layerRule()
	return def.With(h, struct{}{}), err
}

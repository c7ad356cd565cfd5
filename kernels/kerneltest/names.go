package kerneltest

import (
	_ "embed"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed names.go
var namesSource string

// Names is a rule that calls its things what an emitter might call its own, what two of them might be called after a mangling, and
// what only Go has letters for. I16, W3: what a name is changes no number.
func Names(t T) *rule.Rule {
	d, err := rule.New(Όνομα[float32], Όνομα[float64], Όνομα0, namesSource)
	require.NoError(t, err)
	return d.Rule
}

// NameElem is e below, and NameScalars e_M: e.M_x beside e_M.x, and e.M_x_0 beside e_M.x_0 and lane 0 of e.M_x.
type NameElem[F rule.Float] struct {
	P     F `slot:"param"`
	G     F `slot:"grad"`
	M_x   F `slot:"m"`
	M_x_0 F `slot:"β1"`
	Δ     F `slot:"δ"`
}

// NameScalars has letters that look the same: U+00B5 and U+03BC.
type NameScalars[F rule.Float] struct {
	x, x_0, x_1, β1, λ, B_, 数, µ, μ F
}

// NameOptions differ in case alone.
type NameOptions struct{ M, Ω, ω bool }

// Όνομα has locals called as registers of the update are.
func Όνομα[F rule.Float](e *NameElem[F], e_M *NameScalars[F], v1 NameOptions) {
	v2_0, v2, e_G := e.G, F(e.G*e_M.x), e.P
	β1, b1, at_e_P := F(e_M.β1*e.M_x), F(e_M.x_0*e.M_x_0), F(e_M.B_*e.Δ)
	δ, tid := β1+b1, v2_0+at_e_P
	group, chunk, head := δ+tid, F(e_M.数*v2), e_G
	if v1.Ω {
		group = rule.Max(group, F(e_M.µ*δ))
	}
	if v1.ω {
		group = F(group*e_M.μ) + chunk
	}
	// A choice between conditions has registers called yes and no.
	yes, no := δ > head, tid < chunk
	if v1.M {
		if yes {
			no = group == head
		}
		if no {
			head += 1
		}
	}
	e.M_x, e.M_x_0, e.Δ = δ, tid, rule.Flush(group)
	e.P = head - F(e_M.λ*group) + F(e_M.x_1*chunk)
}

// NameHyper is no below: no.norm.
type NameHyper struct{ LR, norm, β2, Norm, no_norm float64 }

// NameCounters is in below: in.Norm and in.Scale are also fields of what the gradient scale is computed from.
type NameCounters struct {
	Norm  float64 `counter:"norm"`
	Scale float64 `counter:"scale" init:"1"`
	group float64 `counter:"group"`
}

// Όνομα0 has parameters called as registers of the prologue are.
func Όνομα0(no *NameHyper, in *NameCounters, rounded *NameScalars[float64], scalars NameOptions) {
	v3, x_scale, in_Norm := in.Norm+no.norm, float64(in.Scale*no.β2), no.Norm
	in.Norm, in.Scale = v3, x_scale
	v3_x := v3 + x_scale
	in.group = v3_x - in_Norm
	rounded.x, rounded.x_0, rounded.x_1 = no.norm, no.β2, no.no_norm
	rounded.β1, rounded.λ, rounded.B_ = in.Scale, no.LR, no.Norm
	rounded.数, rounded.µ, rounded.μ = v3_x, in.group, 1-no.β2
}

package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Adam is Adam as torch.optim.Adam has it (Kingma & Ba 2015). Its state is exp_avg and exp_avg_sq, with AMSGrad also
// max_exp_avg_sq.
//
// Start from DefaultAdam: a value that does not is refused.
type Adam struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1
	Eps         float64    // at least 0; added to the root
	WeightDecay float64    // L2 penalty: weight_decay·p is added to the gradient
	L1          float64    // L1 penalty: l1·sign(p) is added to the gradient, 0 where p is 0
	AMSGrad     bool
	Maximize    bool

	// What other libraries do otherwise (docs/coming-from.md).

	// EpsHat adds eps to the root before its bias correction, as Keras, TensorFlow, scikit-learn and ONNX do: the ε̂ of the paper's
	// section 2.
	EpsHat bool
	// EpsRoot, at least 0, is added below the root, to exp_avg_sq after its bias correction: optax's eps_root.
	EpsRoot float64
	// CorrectedMax, with AMSGrad and without EpsHat, keeps the maximum of exp_avg_sq after its bias correction, as optax does.
	CorrectedMax bool
	// NoBiasCorrection takes the moments as they are: apex' bias_correction=False.
	NoBiasCorrection bool
	// NormCoefficientPost, at least 0, is ONNX' norm_coefficient_post: after the step p is multiplied by 1 - it, whatever the
	// learning rate.
	NormCoefficientPost float64

	from fromDefault
}

// DefaultAdam has torch.optim.Adam's defaults.
func DefaultAdam() Adam { return Adam{LR: 1e-3, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, from: true} }

// Setting implements Algorithm.
func (c Adam) Setting() (rule.Setting, error) {
	return c.setting(c.from.ranges("adam", "DefaultAdam"), false)
}

// AdamW is Adam with decoupled weight decay as torch.optim.AdamW has it (Loshchilov & Hutter 2019): each step first
// multiplies p by 1 - lr·weight_decay. The fields and the state are Adam's.
//
// The factor is rounded to the type of p, here as in PyTorch, and to float32 for 16 bits. It is 1, and nothing decays, where lr·weight_decay
// is at most 2^-25 (3.0e-8) for float32 and 2^-54 for float64: with an lr of 1e-4 in float32, where weight_decay is below 3e-4. That holds for
// every algorithm with decoupled decay.
//
// Start from DefaultAdamW: a value that does not is refused.
type AdamW Adam

// DefaultAdamW has torch.optim.AdamW's defaults.
func DefaultAdamW() AdamW {
	c := AdamW(DefaultAdam())
	c.WeightDecay = 1e-2
	return c
}

// Setting implements Algorithm.
func (c AdamW) Setting() (rule.Setting, error) {
	return Adam(c).setting(c.from.ranges("adamw", "DefaultAdamW"), true)
}

func (c Adam) setting(r ranges, decoupled bool) (rule.Setting, error) {
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	r.atLeast0("l1", c.L1)
	r.atLeast0("eps_root", c.EpsRoot)
	r.atLeast0("norm_coefficient_post", c.NormCoefficientPost)
	r.needs("corrected_max", c.CorrectedMax, c.AMSGrad && !c.EpsHat, "amsgrad, without eps_hat")
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.AdamHyper{
		LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps, EpsRoot: c.EpsRoot, PostDecay: c.NormCoefficientPost,
		EpsHat: flag(c.EpsHat), CorrectedMax: flag(c.CorrectedMax), NoBiasCorrection: flag(c.NoBiasCorrection)}
	s := rules.AdamRule().With(h, rules.AdamOptions{AMSGrad: c.AMSGrad})
	s.Name, s.Maximize, s.L1 = r.algorithm, c.Maximize, c.L1
	s.WeightDecay, s.DecoupledDecay = decay(c.WeightDecay, decoupled)
	return s, nil
}

package optim

import (
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Case is an algorithm with the options that change what a step computes or moves.
type Case struct {
	Name      string // the algorithm's, and the options'
	Doc       string
	Source    string // the paper
	Algorithm Algorithm
}

// Cases is the one table of what there is. Gpubench's -optimizer and the
// README's table list it, and the tests of every backend run its rules, those with all sets of options. Hyperparameters are
// PyTorch's defaults where it has any; what a step costs does not depend on them, only on the options that they turn on.
func Cases() []Case {
	const (
		robbins   = "Robbins & Monro 1951"
		sutskever = "Sutskever et al. 2013"
		kingma    = "Kingma & Ba 2015"
		hutter    = "Loshchilov & Hutter 2019"
		reddi     = "Reddi et al. 2018"
		bernstein = "Bernstein et al. 2018"
		liang     = "Liang et al. 2024"
	)
	sgd := func(momentum float64, nesterov bool, l1, l2 float64) SGD {
		c := DefaultSGD()
		c.Momentum, c.Nesterov, c.L1, c.WeightDecay = momentum, nesterov, l1, l2
		return c
	}
	adam := func(amsgrad bool, l1, l2 float64) Adam {
		c := DefaultAdam()
		c.AMSGrad, c.L1, c.WeightDecay = amsgrad, l1, l2
		return c
	}
	adamwAMSGrad := DefaultAdamW()
	adamwAMSGrad.AMSGrad = true
	rmsprop := func(momentum float64, centered bool) RMSprop {
		c := DefaultRMSprop()
		c.Momentum, c.Centered = momentum, centered
		return c
	}
	adafactorMomentum := DefaultAdafactor()
	adafactorMomentum.Beta1 = 0.9
	rprop := DefaultRprop()
	rprop.StepSizes[1] = rprop.LR // so that a benchmark's constant gradient does not run away
	return []Case{
		{"sgd", "stochastic gradient descent", robbins, DefaultSGD()},
		{"sgd-l1", "SGD with an L1 penalty", robbins, sgd(0, false, 1e-4, 0)},
		{"sgd-l2", "SGD with an L2 penalty", robbins, sgd(0, false, 0, 1e-4)},
		{"sgd-momentum", "SGD with momentum 0.9", sutskever, sgd(0.9, false, 0, 0)},
		{"sgd-momentum-l2", "SGD with momentum 0.9 and an L2 penalty", sutskever, sgd(0.9, false, 0, 1e-4)},
		{"sgd-nesterov", "SGD with Nesterov momentum 0.9", sutskever, sgd(0.9, true, 0, 0)},
		{"sgd-nesterov-l2", "SGD with Nesterov momentum 0.9 and an L2 penalty", sutskever, sgd(0.9, true, 0, 1e-4)},
		{"asgd", "averaged SGD", "Polyak & Juditsky 1992", DefaultASGD()},
		{"sgdw", "SGD with momentum 0.9 and decoupled weight decay 0.01", hutter, DefaultSGDW()},
		{"adam", "Adam", kingma, DefaultAdam()},
		{"adam-l1", "Adam with an L1 penalty", kingma, adam(false, 1e-4, 0)},
		{"adam-l2", "Adam with an L2 penalty", kingma, adam(false, 0, 1e-4)},
		{"adam-amsgrad", "Adam with AMSGrad", reddi, adam(true, 0, 0)},
		{"adamw", "Adam with decoupled weight decay 0.01", hutter, DefaultAdamW()},
		{"adamw-amsgrad", "AdamW with AMSGrad", reddi, adamwAMSGrad},
		{"lion", "Lion", "Chen et al. 2023", DefaultLion()},
		{"lamb", "LAMB with weight decay 0.01", "You et al. 2020", DefaultLAMB()},
		{"lars", "LARS with momentum 0.9", "You, Gitman & Ginsburg 2017", DefaultLARS()},
		{"novograd", "NovoGrad", "Ginsburg et al. 2019", DefaultNovoGrad()},
		{"adafactor", "Adafactor", "Shazeer & Stern 2018", DefaultAdafactor()},
		{"adafactor-momentum", "Adafactor with momentum 0.9", "Shazeer & Stern 2018", adafactorMomentum},
		{"came", "CAME", "Luo et al. 2023", DefaultCAME()},
		{"adammini", "Adam-mini, of one block for each row", "Zhang et al. 2024", DefaultAdamMini()},
		{"stableadamw", "AdamW with update clipping, and decoupled weight decay 0.01", "Wortsman et al. 2023", DefaultStableAdamW()},
		{"cautiousadamw", "cautious AdamW", liang, DefaultCautiousAdamW()},
		{"cautiouslion", "cautious Lion", liang, DefaultCautiousLion()},
		{"signsgd", "SGD by the gradient's sign", bernstein, DefaultSignSGD()},
		{"signum", "SGD by the sign of a momentum of 0.9", bernstein, DefaultSignum()},
		{"rmsprop", "RMSprop", "Tieleman & Hinton 2012", DefaultRMSprop()},
		{"rmsprop-momentum", "RMSprop with momentum 0.9", "Tieleman & Hinton 2012", rmsprop(0.9, false)},
		{"rmsprop-centered", "RMSprop, centered", "Graves 2013", rmsprop(0, true)},
		{"adagrad", "Adagrad", "Duchi, Hazan & Singer 2011", DefaultAdagrad()},
		{"adamax", "Adamax", kingma, DefaultAdamax()},
		{"nadam", "NAdam", "Dozat 2016", DefaultNAdam()},
		{"radam", "RAdam", "Liu et al. 2020", DefaultRAdam()},
		{"adabelief", "AdaBelief", "Zhuang et al. 2020", DefaultAdaBelief()},
		{"ademamix", "AdEMAMix", "Pagliardini et al. 2024", DefaultAdEMAMix()},
		{"adopt", "ADOPT", "Taniguchi et al. 2024", DefaultADOPT()},
		{"prodigy", "Prodigy", "Mishchenko & Defazio 2023", DefaultProdigy()},
		{"adan", "Adan", "Xie et al. 2022", DefaultAdan()},
		{"yogi", "Yogi", "Zaheer et al. 2018", DefaultYogi()},
		{"adadelta", "Adadelta", "Zeiler 2012", DefaultAdadelta()},
		{"rprop", "Rprop, steps of at most 0.01", "Riedmiller & Braun 1993", rprop},
		{"ftrl", "FTRL-Proximal", "McMahan et al. 2013", DefaultFTRL()},
		{"proximalsgd", "proximal SGD", "Duchi & Singer 2009", DefaultProximalSGD()},
		{"proximaladagrad", "proximal Adagrad", "Duchi, Hazan & Singer 2011", DefaultProximalAdagrad()},
		{"sophia", "Sophia, given the Hessian's diagonal", "Liu et al. 2023", DefaultSophia()},
		{"schedulefreesgd", "schedule-free SGD", "Defazio et al. 2024", DefaultScheduleFreeSGD()},
		{"schedulefreeadamw", "schedule-free AdamW", "Defazio et al. 2024", DefaultScheduleFreeAdamW()},
	}
}

// Program is what a step of the case runs on elements of a type.
func (c Case) Program(t device.DType) (*kernels.Program, error) {
	s, err := c.Algorithm.Setting()
	if err != nil {
		return nil, err
	}
	return kernels.New(kernels.SpecOf(s, t))
}

// Rules lists the rules of all cases, those for evaluation among them, each once.
func Rules() (out []*rule.Rule) {
	for _, c := range Cases() {
		s, err := c.Algorithm.Setting()
		if err != nil {
			panic("optim: case " + c.Name + ": " + err.Error())
		}
		for _, r := range []*rule.Rule{s.Rule, s.Eval} {
			if r != nil && !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}

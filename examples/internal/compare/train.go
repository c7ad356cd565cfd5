package compare

import (
	"errors"

	"github.com/fusestep/fusestep/examples/internal/batches"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// Run is how one optimizer fared.
type Run struct {
	Optimizer     string
	Precision     Precision
	Rule          string // that the optimizer is a variant of
	LR            float64
	Loss, Quality []float64 // after each epoch, over all rows; the first are before any step
	Model         Model[float32]
}

// name is what a run is called beside others.
func (r *Run) name() string {
	if r.Precision.plain() {
		return r.Optimizer
	}
	return r.Optimizer + " " + r.Precision.Name
}

// at is an algorithm at another learning rate than its own.
type at struct {
	optim.Algorithm
	lr float64
}

// Setting implements optim.Algorithm.
func (a at) Setting() (rule.Setting, error) {
	s, err := a.Algorithm.Setting()
	if err == nil {
		s.Hyper[s.Rule.HyperIndex("LR")] = a.lr
	}
	return s, err
}

// algorithm is the case at the learning rate that is asked for, or else the problem's, or else its own.
func (p *Problem) algorithm(c optim.Case, lr float64) optim.Algorithm {
	if lr == 0 {
		lr = p.Rates[c.Name]
	}
	if lr == 0 {
		return c.Algorithm
	}
	return at{c.Algorithm, lr}
}

// Train trains a new model. Each epoch's end is reported to progress, if that is not nil.
func (p *Problem) Train(b kernels.Backend, c optim.Case, held Precision, lr float64, seed uint64, epochs int, progress func(*Run)) (run *Run, err error) {
	run = &Run{Optimizer: c.Name, Precision: held, Model: p.New(seed)}
	alg := held.of(p.algorithm(c, lr))
	setting, err := alg.Setting()
	if err != nil {
		return nil, err
	}
	run.Rule, run.LR = setting.Rule.Name, setting.Hyper[setting.Rule.HyperIndex("LR")]
	placed, err := held.place(b, run.Model.Params())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, placed.Close()) }()
	opt, err := optim.New(b, alg, placed.Params())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, opt.Close()) }()

	all, deal := batches.New(p.Rows, p.Rows, 0).Take(), batches.New(p.Rows, p.Batch, seed)
	for epoch := 0; ; epoch++ {
		if err := placed.Evaluate(opt); err != nil {
			return nil, err
		}
		run.Loss = append(run.Loss, run.Model.Loss(all))
		run.Quality = append(run.Quality, run.Model.Quality())
		if progress != nil {
			progress(run)
		}
		if epoch == epochs {
			return run, nil // whose model is as it was evaluated
		}
		placed.Resume()
		for range batches.InEpoch(p.Rows, p.Batch) {
			run.Model.Gradient(deal.Take())
			if err := placed.Step(opt); err != nil {
				return nil, err
			}
		}
	}
}

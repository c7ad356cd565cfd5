package main

import (
	"fmt"
	"math"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/examples/internal/batches"
	"github.com/fusestep/fusestep/optim"
)

// start is where every standardised coefficient begins. No data's solution is near it, not even in the intercept, which is 0.
const start = 1

// plan is a run: the flags, with the defaults that belong to the data and the method filled in.
type plan struct {
	data, method, device string
	dtype                device.DType
	l1, l2               float64
	training
	rows int
	seed uint64
}

// training is how a method is run. Zero fields of the flags are taken from the table of defaults.
type training struct {
	lr, decay float64
	steps     int
	batch     int     // 0: all rows
	own       float64 // the error left after the default steps if nothing were rounded: the method's part of a bound
}

type problem struct {
	data, method string
	lasso        bool
}

// defaults: gd's own error is what (1-lr·λ)^steps leaves, or more. The others' are measured, sgd's over several seeds, and given
// a factor of three to ten. With l1, an oscillation of size lr pushes the other coefficients aside, which Longley's flat
// direction forgets slowly.
var defaults = map[problem]training{
	{"norris", "gd", false}:    {lr: 0.5, decay: 1, steps: 200, own: 1e-9},
	{"norris", "adam", false}:  {lr: 0.1, decay: 1e-6, steps: 5_000, own: 1e-6},
	{"norris", "sgd", false}:   {lr: 0.1, decay: 1e-5, steps: 100_000, batch: 8, own: 1e-4},
	{"norris", "gd", true}:     {lr: 0.5, decay: 1e-6, steps: 2_000, own: 1e-6},
	{"norris", "adam", true}:   {lr: 0.1, decay: 1e-6, steps: 5_000, own: 1e-6},
	{"norris", "sgd", true}:    {lr: 0.1, decay: 1e-5, steps: 100_000, batch: 8, own: 1e-4},
	{"longley", "gd", false}:   {lr: 0.4, decay: 1, steps: 200_000, own: 1e-9},
	{"longley", "adam", false}: {lr: 0.1, decay: 1e-6, steps: 100_000, own: 1e-6},
	{"longley", "sgd", false}:  {lr: 0.1, decay: 1e-2, steps: 1_000_000, batch: 4, own: 2e-2},
	{"longley", "gd", true}:    {lr: 0.4, decay: 1e-4, steps: 500_000, own: 1e-2},
	{"longley", "adam", true}:  {lr: 0.1, decay: 1e-6, steps: 200_000, own: 1e-4},
	{"longley", "sgd", true}:   {lr: 0.1, decay: 1e-3, steps: 1_000_000, batch: 4, own: 5e-2},
}

// decay32 is where gd and sgd stop decaying in float32, and, as their own errors are in proportion to the last learning rate,
// the least of these.
const decay32 = 1e-2

// complete loads the data and fills in the defaults.
func (p *plan) complete() (*standard, error) {
	d, err := load(p.data)
	if err != nil {
		return nil, err
	}
	p.rows = len(d.y)
	def := defaults[problem{p.data, p.method, p.l1 > 0}]
	if p.dtype == device.Float32 && p.method != "adam" && def.decay < 1 {
		def.decay, def.own = max(def.decay, decay32), max(def.own, decay32)
	}
	p.own = def.own
	if p.lr == 0 {
		p.lr = def.lr
	}
	if p.decay == 0 {
		p.decay = def.decay
	}
	if p.steps == 0 {
		p.steps = def.steps
	}
	if p.batch == 0 {
		p.batch = def.batch
	}
	if p.batch > p.rows {
		return nil, usageError(fmt.Sprintf("-batch %d is more than the %d rows of %s", p.batch, p.rows, p.data))
	}
	if p.batch == 0 {
		p.batch = p.rows
	}
	return standardise(d), nil
}

// algorithms returns the method with the penalties, for the slopes, and without them, for the intercept.
func (p *plan) algorithms() (penalised, plain optim.Algorithm) {
	if p.method == "adam" {
		a := optim.DefaultAdam()
		a.LR = p.lr
		b := a
		b.L1, b.WeightDecay = p.l1, p.l2
		return b, a
	}
	a := optim.DefaultSGD()
	a.LR = p.lr
	b := a
	b.L1, b.WeightDecay = p.l1, p.l2
	return b, a
}

// Factor implements optim.Schedule: what step k multiplies the learning rate by. It is a geometric decay over the whole
// run, times a short batch's share.
func (p *plan) Factor(k int) float64 {
	return math.Pow(p.decay, float64(k)/float64(p.steps)) * share(p.rows, p.batch, k)
}

// share is the part of a whole batch that batch k of a run is. The learning rate is multiplied by it, so that each row weighs
// the same in an epoch, and so do the penalties.
func share(rows, size, k int) float64 {
	perEpoch := batches.InEpoch(rows, size)
	if k%perEpoch == perEpoch-1 && rows%size != 0 {
		return float64(rows%size) / float64(size)
	}
	return 1
}

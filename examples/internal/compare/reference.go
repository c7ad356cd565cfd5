package compare

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"strconv"
)

// Reference is what other libraries reach in float64 from the same initial weights on the same batches. A script of the example
// writes it, such as examples/bigram/reference/reference.py.
type Reference struct {
	Seed       uint64           `json:"seed"`
	Optimizers map[string]Curve `json:"optimizers"`
	Baselines  []Baseline       `json:"baselines"`
}

// Curve is a run of another library. A spread is how far rounding can move a figure up to that epoch. It was measured: eight more
// runs of the library were disturbed, and the spread is the most that any of them differed from the undisturbed run. A disturbed
// run changes the gradients, the parameters and the optimizer's state in each step by random parts of up to 2⁻²⁰, which is 16 times
// what rounding to float32 does. It also moves the parameters and the state by a part of 2⁻²⁴ in a direction that stays the same in
// all its steps. The script libraries.py beside this file says why.
type Curve struct {
	Library       string    `json:"library"`
	LR            float64   `json:"lr"`
	Loss          []float64 `json:"loss"`
	LossSpread    []float64 `json:"loss_spread"`
	Quality       []float64 `json:"quality"`
	QualitySpread []float64 `json:"quality_spread"`
}

// Load reads the tables of a problem: reference/NAME.json, and reference/NAME.csv, a line "optimizer,learning rate,…" each.
func Load(fsys fs.FS, name string) (rates map[string]float64, ref *Reference, err error) {
	text, err := fs.ReadFile(fsys, "reference/"+name+".json")
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(text, &ref); err != nil {
		return nil, nil, fmt.Errorf("%s.json: %w", name, err)
	}
	f, err := fsys.Open("reference/" + name + ".csv")
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, nil, fmt.Errorf("%s.csv: %w", name, err)
	}
	rates = map[string]float64{}
	for i, l := range lines {
		if rates[l[0]], err = strconv.ParseFloat(l[1], 64); err != nil {
			return nil, nil, fmt.Errorf("%s.csv: line %d: %w", name, i+1, err)
		}
	}
	return rates, ref, nil
}

// expected is the curve that a run must follow. It is nil where the reference has none: the seed, the learning rate or the precision is another,
// the optimizer is unknown to it, or the run is longer than the curve.
func (p *Problem) expected(r *Run, seed uint64) *Curve {
	if p.Expected == nil || p.Expected.Seed != seed || !r.Precision.plain() {
		return nil
	}
	c, ok := p.Expected.Optimizers[r.Optimizer]
	if !ok || c.LR != r.LR || len(c.Loss) < len(r.Loss) {
		return nil
	}
	return &c
}

// Check compares a run with the curve. Its error names the first epoch at which they differ by more than twice the spread.
//
// Twice, because a float32 run is like a ninth disturbed run. The spread is the largest difference of eight. Where signs decide, as
// with Lion or L1, the ninth difference is about as large as the others, so it exceeds the largest of them once in nine times. It
// hardly ever is twice as large.
func (c *Curve) Check(r *Run) error {
	for i := range r.Loss {
		for _, f := range []struct {
			name                 string
			ours, theirs, spread float64
		}{
			{"loss", r.Loss[i], c.Loss[i], c.LossSpread[i]},
			{"quality", r.Quality[i], c.Quality[i], c.QualitySpread[i]},
		} {
			if bound := 2 * f.spread; !(math.Abs(f.ours-f.theirs) <= bound) {
				return fmt.Errorf("%s: epoch %d: %s %.8g, %s's %.8g ± %.2g", r.Optimizer, i, f.name, f.ours, c.Library, f.theirs, bound)
			}
		}
	}
	return nil
}

package compare

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"strconv"
)

// Reference is what other libraries reach from the same initial weights on the same batches, in float64. An example's
// reference.py writes it.
type Reference struct {
	Seed       uint64           `json:"seed"`
	Optimizers map[string]Curve `json:"optimizers"`
	Baselines  []Baseline       `json:"baselines"`
}

// Curve is a run of another library. Each spread is the most that a figure moved in eight runs in which every step multiplied the
// gradients by random numbers within 1 ± 2⁻²⁰, 16 times what rounding to float32 does, and then the parameters and the
// optimizer's state by such numbers and, one way in all steps of a run, by 1 ± 2⁻²⁴: libraries.py says why.
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

// expected is the curve of the run that was asked for; nil if there is none: of another seed or learning rate, of an optimizer that
// the reference does not know, or longer.
func (p *Problem) expected(r *Run, seed uint64) *Curve {
	if p.Expected == nil || p.Expected.Seed != seed {
		return nil
	}
	c, ok := p.Expected.Optimizers[r.Optimizer]
	if !ok || c.LR != r.LR || len(c.Loss) < len(r.Loss) {
		return nil
	}
	return &c
}

// Check says at which epoch a run first differs from the other library's by more than rounding can explain: twice the spread. A
// run in float32 is one disturbed run more; where signs decide, as with Lion or L1, the noise's size hardly matters,
// and a ninth run then goes beyond the eight that the spread is the most of about once in nine times, but hardly ever twice as far.
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

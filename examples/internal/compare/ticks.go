package compare

import (
	"fmt"
	"math"
	"strconv"

	"gonum.org/v1/plot"
)

// mostTicks bounds what an axis has, whatever its ends are.
const mostTicks = 100

// linearTicks labels four to ten multiples of 1, 2 or 5 times a power of ten.
func linearTicks(lo, hi float64) (out []plot.Tick) {
	span := hi - lo
	if !(span > 0 && span <= math.MaxFloat64) {
		return nil
	}
	step := math.Pow(10, math.Floor(math.Log10(span)))
	switch {
	case span < 2*step:
		step /= 5
	case span < 4*step:
		step /= 2
	}
	if step == 0 {
		return nil
	}
	first := math.Ceil(lo / step)
	// As many digits as tell a tick from the next.
	digits := max(3, 1+int(math.Ceil(math.Log10(max(math.Abs(lo), math.Abs(hi))/step))))
	for i := range mostTicks {
		x := (first + float64(i)) * step
		if !(x <= hi) {
			break
		}
		label, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'g', digits, 64), 64)
		out = append(out, plot.Tick{Value: x, Label: strconv.FormatFloat(label, 'g', -1, 64)})
	}
	return out
}

// logTicks labels 1, 2 and 5 times each power of ten, between two logarithms; over many powers only these, or every so many of them.
func logTicks(lo, hi float64) (out []plot.Tick) {
	if !(hi-lo >= 0 && hi-lo <= math.MaxFloat64) {
		return nil
	}
	apart := max(1, math.Ceil((hi-lo)/12)) // powers of ten from a tick to the next
	multiples := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9}
	if apart > 1 {
		multiples = multiples[:1]
	}
	for e := math.Floor(lo/apart) * apart; e <= hi && len(out) < 2*mostTicks; e += apart {
		for _, m := range multiples {
			t := plot.Tick{Value: e + math.Log10(m)}
			if t.Value < lo || t.Value > hi {
				continue
			}
			if m == 1 || hi-lo <= 4 && (m == 2 || m == 5) {
				t.Label = fmt.Sprintf("%.3g", m*math.Pow(10, e))
			}
			out = append(out, t)
		}
	}
	return out
}

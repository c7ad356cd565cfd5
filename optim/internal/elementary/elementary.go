// Package elementary has the elementary functions that schedules and hyperparameters need, with the same bits on every machine.
//
// Package math has assembly of its own for some architectures, and the Go compiler fuses a product with a sum where the processor
// can: so math.Pow and math.Sin differ from machine to machine in the last bit. What is here is made of sums, products, quotients
// and shifts of the exponent, each rounded once to nearest even. Every product stands in float64(…), which forbids fusing.
//
// Each result is within 0.5001 units in the last place of the true value, but one below 2⁻¹⁰²², which is rounded twice. Numbers
// are sums of two float64 until the end.
package elementary

import "math"

// HalfCosine rises from 0 to 1 with x, from 0 to 1, along half a cosine: (1-cos(πx))/2, as the square of sin(πx/2), because the
// difference would cancel where it is small.
func HalfCosine(x float64) float64 {
	t := halfPi.times(wide{x, 0})
	minus := wide{-1, 0}.times(t).times(t)
	tail := 1.0 // t·(1 - t²/(2·3)·(1 - t²/(4·5)·(1 - …))); of what stands far within, 53 bits are enough
	for i := 34; i > 18; i -= 2 {
		tail = 1 + float64(tail*minus.high)/float64(i*(i+1))
	}
	s := wide{tail, 0}
	for i := 18; i > 0; i -= 2 {
		s = s.times(minus).times(inverse[i]).times(inverse[i+1]).plus(one)
	}
	s = s.times(t)
	return s.times(s).high
}

// Pow is x to the power of y; x is at least 0 and at most 1, y at least 0.
func Pow(x, y float64) float64 {
	switch {
	case y == 0 || x == 1:
		return 1
	case x == 0:
		return 0
	}
	l := logarithm(x)
	if float64(l.high*y) < -750 { // e to this is less than half of the smallest number
		return 0
	}
	l = l.times(wide{y, 0})
	k := math.Floor(l.high/ln2.high + 0.5)
	r := l.plus(ln2.times(wide{-k, 0})) // at most ln(2)/2
	tail := 1.0                         // e^r = 1 + r·(1 + r/2·(1 + r/3·(1 + …)))
	for i := 24; i > 12; i-- {
		tail = 1 + float64(tail*r.high)/float64(i)
	}
	s := wide{tail, 0}
	for i := 12; i > 0; i-- {
		s = s.times(r).times(inverse[i]).plus(one)
	}
	return math.Ldexp(s.high, int(k))
}

// Power is x^n; n is at least 0. What is too large is infinite.
func Power(x float64, n int) float64 {
	result, exponent := one, 0.0 // times 2 to the exponent
	f, e := math.Frexp(x)
	squared, twice := wide{f, 0}, float64(e) // x to the powers of two
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			result, exponent = scaled(result.times(squared), exponent+twice)
		}
		squared, twice = scaled(squared.times(squared), twice+twice)
	}
	return math.Ldexp(result.high, int(max(-1<<12, min(exponent, 1<<12))))
}

// LogRatio is ln(a)/ln(b) of two numbers between 0 and 1.
func LogRatio(a, b float64) float64 { return logarithm(a).over(logarithm(b)).high }

// logarithm is the natural logarithm of x, which is above 0.
func logarithm(x float64) wide {
	f, e := math.Frexp(x)
	if f < math.Sqrt2/2 {
		f, e = f+f, e-1
	}
	r := sum(f, -1).over(sum(f, 1)) // at most 0.172
	squared := r.times(r)
	tail := 0.0 // ln f = 2·(r + r³/3 + r⁵/5 + …)
	for i := 41; i > 21; i -= 2 {
		tail = float64(tail*squared.high) + 1/float64(i)
	}
	s := wide{tail, 0}
	for i := 21; i > 0; i -= 2 {
		s = s.times(squared).plus(inverse[i])
	}
	s = s.times(r)
	return s.plus(s).plus(ln2.times(wide{float64(e), 0}))
}

// wide is a number as the sum of two float64: high is the number rounded, low is what the rounding left. It has 104 bits or more.
type wide struct{ high, low float64 }

var (
	one    = wide{1, 0}
	halfPi = wide{0x1.921fb54442d18p+0, math.Pi/2 - 0x1.921fb54442d18p+0}
	ln2    = wide{0x1.62e42fefa39efp-1, math.Ln2 - 0x1.62e42fefa39efp-1}

	inverse = func() (of [22]wide) { // 1/i at i, but for 0
		for i := 1; i < len(of); i++ {
			of[i] = one.over(wide{float64(i), 0})
		}
		return of
	}()
)

// normalized is a + b, where a is not the smaller of the two, or is 0.
func normalized(a, b float64) wide {
	s := a + b
	return wide{s, b - (s - a)}
}

// sum is a + b, exactly.
func sum(a, b float64) wide {
	s := a + b
	t := s - a
	return wide{s, (a - (s - t)) + (b - t)}
}

// product is a·b, exactly (Dekker 1971), where neither it nor its last bit leaves float64's range.
func product(a, b float64) wide {
	p := float64(a * b)
	aHigh, aLow := halves(a)
	bHigh, bLow := halves(b)
	e := float64(aHigh*bHigh) - p
	e += float64(aHigh * bLow)
	e += float64(aLow * bHigh)
	return wide{p, e + float64(aLow*bLow)}
}

// halves splits a into two numbers of 26 bits, whose products are exact.
func halves(a float64) (high, low float64) {
	c := float64(a * (1<<27 + 1))
	high = c - (c - a)
	return high, a - high
}

func (a wide) plus(b wide) wide {
	high, low := sum(a.high, b.high), sum(a.low, b.low)
	s := normalized(high.high, high.low+low.high)
	return normalized(s.high, s.low+low.low)
}

func (a wide) times(b wide) wide {
	p := product(a.high, b.high)
	return normalized(p.high, p.low+(float64(a.high*b.low)+float64(a.low*b.high)))
}

func (a wide) over(b wide) wide {
	q := a.high / b.high
	a = a.plus(b.times(wide{-q, 0}))
	r := a.high / b.high
	a = a.plus(b.times(wide{-r, 0}))
	return normalized(q, r).plus(wide{a.high / b.high, 0})
}

// scaled is a·2^e with an a that is at least 1/2 or is 0: products of such do not underflow.
func scaled(a wide, e float64) (wide, float64) {
	if math.Abs(a.high) < 0.5 {
		return wide{a.high + a.high, a.low + a.low}, e - 1
	}
	return a, e
}

"""How far two implementations of one formula may be apart: numbers that carry a bound of their difference.

README.md, "more.json", says what is computed and why. A Number is torch's value, approximately, and a bound E of |ours -
torch's|. Operations on Numbers are operations that both sides perform, each rounded: they add no difference where the
operands are equal. An expression that the two sides evaluate differently goes through `differ`.
"""

import numpy as np

# Unit roundoff, smallest normal number, and half of the spacing of the subnormal numbers.
LIMITS = {
    "float32": (2.0**-24, 2.0**-126, 2.0**-150),
    "float64": (2.0**-53, 2.0**-1022, 2.0**-1075),
}


class Number:
    def __init__(self, arithmetic, x, e=0.0):
        self.a = arithmetic
        self.x = np.asarray(x, dtype=np.longdouble)
        self.e = np.broadcast_to(np.asarray(e, dtype=np.longdouble), self.x.shape)

    def number(self, other):
        return other if isinstance(other, Number) else self.a.scalar(other)

    def __neg__(self):
        return Number(self.a, -self.x, self.e)

    def __add__(self, other):
        o = self.number(other)
        return self.a.rounded(self.x + o.x, self.e + o.e)

    def __sub__(self, other):
        return self + -self.number(other)

    def __mul__(self, other):
        o = self.number(other)
        return self.a.rounded(self.x * o.x, np.abs(self.x) * o.e + np.abs(o.x) * self.e + self.e * o.e)

    def __truediv__(self, other):
        o = self.number(other)
        q = self.x / o.x
        return self.a.rounded(q, (self.e + np.abs(q) * o.e) / np.maximum(np.abs(o.x) - o.e, 1e-4900))

    def __radd__(self, other):
        return self + other

    def __rsub__(self, other):
        return self.number(other) - self

    def __rmul__(self, other):
        return self * other

    def __rtruediv__(self, other):
        return self.number(other) / self

    def sqrt(self):
        """The most that the root of any y >= 0 within e of x differs from x's. An x below 0 is a 0 that underflowed."""
        x = np.maximum(self.x, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            low = np.maximum(x - self.e, 0)
            below = np.where(self.e < x, self.e / (np.sqrt(x) + np.sqrt(low)), np.sqrt(x))
            above = np.where(self.e > 0, self.e / (np.sqrt(x) + np.sqrt(x + self.e)), 0)
        return self.a.rounded(np.sqrt(x), np.maximum(below, above))

    def total(self, u=None):
        """The sum, in any order, of additions that round by u, the type's unit roundoff if it is None. As each side adds up in its own order,
        it is for differ."""
        u = self.a.u if u is None else u
        return Number(self.a, self.x.sum(), (self.e + (self.x.size - 1) * u * (np.abs(self.x) + self.e)).sum())

    def abs(self):
        return Number(self.a, np.abs(self.x), self.e)

    def atmost(self, most):
        """The number, or most where it is above. On which side it is must not depend on rounding."""
        if (np.abs(self.x - most) <= self.e).any():
            raise ValueError("what is the least depends on rounding: choose other inputs")
        return Number(self.a, np.minimum(self.x, most), np.where(self.x > most, 0, self.e))

    def maximum(self, other):
        return Number(self.a, np.maximum(self.x, other.x), np.maximum(self.e, other.e))

    def sign(self, unsure=False):
        open = (self.e > 0) & (self.e >= np.abs(self.x))
        if open.any() and not unsure:
            raise ValueError("a sign depends on rounding: choose other inputs")
        return Number(self.a, np.sign(self.x), np.where(open, 2, 0))

    def stored(self, torchs):
        """The number as a slot: torch's value is known now."""
        out = Number(self.a, torchs, self.e)
        out.computed = self.x
        return out

    def flushed(self, torchs):
        """As stored, where ours sets a moment below the smallest normal number to 0 and torch keeps it."""
        near = (np.abs(torchs) <= self.a.tiny + self.e) & ((torchs != 0) | (self.e != 0))
        out = self.stored(torchs)
        out.e = self.e + np.where(near, self.a.tiny, 0)
        return out


def larger(x, y):
    """The larger of two numbers alone. Where both sides have the same one, that is all they are apart by."""
    if x.x - x.e > y.x + y.e:
        return x
    return y if y.x - y.e > x.x + x.e else x.maximum(y)


class Arithmetic:
    """Both sides perform the operation: no difference on equal operands, both roundings otherwise. A library that flushes sets what
    is subnormal to 0, whatever it is."""

    def __init__(self, dtype, flushes=False):
        self.dtype, self.flushes = dtype, flushes
        self.u, self.tiny, self.sub = LIMITS[dtype]

    def rounded(self, x, e):
        lost = np.where(self.flushes & (np.abs(x) - e < self.tiny) & ((x != 0) | (e > 0)), self.tiny, 0)
        return Number(self, x, e + lost + np.where(e > 0, 2 * (self.u * np.abs(x) + self.sub), 0))

    def scalar(self, c):
        """A scalar that both sides compute alike in double precision and round once."""
        return Number(self, c)

    def unlike(self, c, units):
        """A scalar that the two sides compute in double precision by different roundings, units of 2^-53 apart: rounded to
        float32 it may be a neighbour."""
        return Number(self, c, (units * 2.0**-53 + (2 * self.u if self.dtype == "float32" else 0)) * abs(c))

    def differ(self, ours, torchs, *operands):
        """One formula evaluated in two orders. Both results lie around the exact one: torch's as far as its own roundings
        reach, ours as far as its roundings and the operands' differences do."""
        a = ours(*[Number(OneSide(self.dtype), o.x, o.e) for o in operands])
        b = torchs(*[Number(OneSide(self.dtype, self.flushes), o.x) for o in operands])
        return Number(self, b.x, a.e + b.e)


class OneSide(Arithmetic):
    """One implementation beside exact arithmetic: every operation rounds, and so does every scalar. Only zeros are exact."""

    def rounded(self, x, e):
        small = self.tiny if self.flushes else self.sub
        return Number(self, x, e + np.where((x != 0) | (e > 0), self.u * (np.abs(x) + e) + small, 0))

    def scalar(self, c):
        return Number(self, c, self.u * abs(c))

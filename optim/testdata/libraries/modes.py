"""The frame of the scripts that back docs/coming-from.md, one a library: modes_keras.py and its like.

A case is a call of the library, which the script evaluates, and what fusestep has for it: an optimizer's name and its
hyperparameters, those that are not 0. Inputs, format and bounds are those of ../torch/more.py. "listed" cases are rows of the
document, which the Go tests write.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "torch"))

import more  # first: through it golden chooses torch's kernels

import numpy as np

import golden

from adafactor import POW, least, over
from inputs import ORDINARY
from steps import WIDE, norm


class Hyper(dict):
    """Hyperparameters; those that are not named are 0."""

    def __missing__(self, key):
        return 0


def starts(optimizer, hyper):
    """State that does not start at 0."""
    if optimizer == "rmsprop":
        return {"square_avg": hyper["initial_scale"]}
    if optimizer == "yogi":
        return dict.fromkeys(("exp_avg", "exp_avg_sq"), hyper["initial_accumulator"])
    return more.initial(optimizer, {"initial_accumulator_value": hyper["initial_accumulator"]} | hyper)


def write(stem, listed, others, rules, library, **versions):
    """Runs library(optimizer, call, hyper, init, dtype) for all cases, (call, optimizer, hyper), and writes them to a file."""
    more.check(stem, versions)
    cases = []
    for call, optimizer, hyper in listed + others:
        for dtype in golden.DTYPES:
            start = lambda name, *run: library(name, call, *run)
            case = more.case(f"{optimizer}/{call}", optimizer, Hyper(hyper), dtype, start, rules[optimizer], starts)
            if (call, optimizer, hyper) in listed:
                case = {"name": case.pop("name"), "listed": True, **case}
            cases.append(case)
    text = golden.encode(golden.header() | versions | {"cases": cases})
    (HERE / f"{stem}.json").write_text(text + "\n", encoding="ascii")


# --- Terms that several rules have -----------------------------------------------------------------------------------


def complement(k, beta):
    """1 - beta, by the library in the parameter's type, here in double and rounded."""
    f = np.dtype(k.a.dtype).type
    return k.number(f(1) - f(beta), abs(np.longdouble(f(1) - f(beta)) - f(1 - beta)))


def bias(k, theirs, beta):
    """1 - beta^t, of which the library's value is known. Ours is a running product, t units of 2^-53 from the true power."""
    theirs, ours, power = np.longdouble(theirs), np.longdouble(1 - beta**k.t), beta**k.t
    return k.number(theirs, abs(theirs - ours) + 2.0**-53 * (2 * abs(ours) + (k.t + 2) * power))


def squares(k, name, g, beta, theirs=lambda v, g, beta: beta * v + (1 - beta) * (g * g)):
    """The average of squares. Ours multiplies 1 - beta first."""
    ours = lambda v, g: beta * v + (1 - beta) * g * g
    return k.keep(name, k.a.differ(ours, lambda v, g: theirs(v, g, beta), k.slot(name), g))


def given(k, theirs, ours, units):
    """A scalar that the library computes as theirs. Ours is in double, so many units of 2^-53 from this one, and rounded."""
    theirs, ours, f = np.longdouble(theirs), np.longdouble(ours), np.dtype(k.a.dtype).type
    wide = (units * 2.0**-53 + (2 * k.a.u if units and k.a.dtype == "float32" else 0)) * abs(ours)
    return k.number(theirs, abs(theirs - ours) + abs(f(ours) - ours) + wide)


# So that no row and column of a matrix both have next to no gradients, of which Keras' second moment is 0.
SPREAD = [ORDINARY[i * 7 % 20] for i in range(20)]


def adafactor(k, share, rest, rate, update, step, last=None, across=False):
    """Adafactor with eps_square. Share and rest are the library's weights of a new square and of an average, rate is its learning rate, and
    update(g, variance) or update(g, row, col, mean) and step(h, u, p, rate) are what it does with them: step clips and scales, and last(p, u, decay) takes the
    step. Mean is that of the rows' averages; of the columns' where the library goes across."""
    h, g, p, n = k.h, k.g, k.slot("param"), k.g.x.size
    eps, eps2, beta1, wd = h["eps_square"], h["eps"][1], h["beta1"], h["weight_decay"]
    w = float(k.t) ** h["beta2_decay"]
    units = POW + 2 if k.t > 1 else 0
    share, rest = given(k, share, w, units), given(k, rest, 1 - w, units * w / (1 - w) + 1 if units else 0)
    absolute = h["no_relative_step"]
    rate = given(k, rate, k.lr if absolute else min(k.lr, 1 / k.t**0.5), 0 if absolute else 3)
    average = lambda m, x, rest, share: rest * m + share * x

    def mean(x, axis, u=None):
        return over(x, axis, u) / x.x.shape[axis]

    def lines(name, axis):
        ours = lambda m, g, rest, share: average(m, mean(g * g, axis, WIDE) + eps, rest, share)
        theirs = lambda m, g, rest, share: average(m, mean(g * g + eps, axis), rest, share)
        return k.keep(name, k.a.differ(ours, theirs, k.slot(name), g, rest, share))

    if g.x.ndim > 1:
        row, col = lines("row_var", -1), lines("col_var", -2)
        rows = k.a.differ(lambda x: mean(x, -2, WIDE), lambda x: mean(x, -2), row)
        columns = k.a.differ(lambda x: mean(x, -1), lambda x: mean(x, -1), col)
        theirs = columns if across else rows
        moments = row, col, k.number(theirs.x, abs(theirs.x - rows.x) + theirs.e + rows.e)
        our_update = lambda g, row, col, mean: g * (1 / row.sqrt()) * (mean.sqrt() / col.sqrt())
    else:
        moments = (k.keep("variance", average(k.slot("variance"), g * g + eps, rest, share)),)
        our_update = lambda g, v: g / v.sqrt()

    def our_step(u, p, rate):
        scale = rate if h["no_scale_parameter"] else least(norm(p, WIDE) / n**0.5, eps2) * rate
        return scale / least(norm(u, WIDE) / (n**0.5 * h["d"]), 1) * u

    ours = lambda p, g, rate, *moments: our_step(our_update(g, *moments), p, rate)
    theirs = lambda p, g, rate, *moments: step(h, update(g, *moments), p, rate)
    our_last = lambda p, u: (1 - k.lr * wd) * p - u if wd else p - u
    their_last = lambda p, u: last(p, u, wd * k.lr) if wd else p - u
    if beta1:
        u = k.a.differ(ours, theirs, p, g, rate, *moments)
        k.param(k.a.differ(our_last, their_last, p, k.keep("exp_avg", beta1 * k.slot("exp_avg") + (1 - beta1) * u)))
    else:
        k.param(k.a.differ(lambda *o: our_last(o[0], ours(*o)), lambda *o: their_last(o[0], theirs(*o)), p, g, rate, *moments))


def rms(x):
    return (x * x).total().sqrt() / x.x.size**0.5

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

"""Write adafactor.json: Adafactor with momentum (Shazeer & Stern 2018), of vectors, of matrices and of several.

The step is torch.optim's, _single_tensor_adafactor of torch/optim/_adafactor.py at 2.15.0, whose goldens are ../torch/adafactor.py's. Momentum, which
torch has not, is as transformers has it, src/transformers/optimization.py, and the paper's appendix: of the clipped update times the step's rate.
"""

import numpy as np

import steps
from difference import Number
from inputs import ORDINARY
from steps import WIDE, norm

POW = 72  # how far rule.Pow may be from the true power, relative, in units of 2^-53; Python's errs by less than 2


def stated(run, lr, g):
    """One tensor, with numpy's sums in place of torch's."""
    f, h, p, t = run.dtype, run.hyper, run.slots["param"], float(run.t)
    eps1, eps2 = h["eps"]
    w, rho = t ** h["beta2_decay"], min(lr, 1 / t**0.5)
    root = p.size**0.5
    alpha = max(eps2, float(np.sqrt((p * p).sum())) / root) * rho
    if h["weight_decay"] != 0:
        p = p * f(1 - lr * h["weight_decay"])

    def lerp(name, x):
        old = run.slots.get(name, np.zeros_like(x))
        new = old + f(w) * (x - old) if w < 0.5 else x - (x - old) * (f(1) - f(w))
        run.slots[name] = new
        return new

    if g.ndim > 1:
        row = lerp("row_var", np.sqrt((g * g).sum(-1, keepdims=True)) ** 2 / f(g.shape[-1]))
        col = lerp("col_var", np.sqrt((g * g).sum(-2, keepdims=True)) ** 2 / f(g.shape[-2]))
        v = row * col / np.maximum(row.mean(-2, keepdims=True, dtype=f), f(eps1))
    else:
        v = lerp("variance", g * g)
    u = f(1) / np.sqrt(np.maximum(v, f(eps1 * eps1))) * g
    u = u * f(alpha / max(1.0, float(np.sqrt((u * u).sum())) / (root * h["d"])))
    if h["beta1"] != 0:
        u = run.slots["exp_avg"] = f(h["beta1"]) * run.state("exp_avg") + f(1 - h["beta1"]) * u
    run.slots["param"] = p - u


def over(x, axis, u=None):
    """The sum over an axis, in any order, of additions that round by u: Number.total of lines."""
    u, n = x.a.u if u is None else u, x.x.shape[axis]
    return Number(x.a, x.x.sum(axis, keepdims=True), (x.e + (n - 1) * u * (np.abs(x.x) + x.e)).sum(axis, keepdims=True))


def least(x, c):
    return x.maximum(x.a.scalar(c))


def both(k):
    h, g, p, lr, wd = k.h, k.g, k.slot("param"), k.lr, k.h["weight_decay"]
    eps1, eps2 = h["eps"]
    w = float(k.t) ** h["beta2_decay"]
    share = k.a.unlike(w, POW + 2 if k.t > 1 else 0)
    rho = k.a.unlike(min(lr, 1 / k.t**0.5), 3)
    n, root = p.x.size, p.x.size**0.5

    def average(name, x):
        ours = lambda m, x, w: (1 - w) * m + w * x
        theirs = (lambda m, x, w: m + w * (x - m)) if w < 0.5 else (lambda m, x, w: x - (x - m) * (1 - w))
        return k.keep(name, k.a.differ(ours, theirs, k.slot(name), x, share))

    def lines(axis):
        count = g.x.shape[axis]

        def theirs(g):
            x = over(g * g, axis).sqrt()
            return x * x / count

        return k.a.differ(lambda g: over(g * g, axis, WIDE) / count, theirs, g)

    if g.x.ndim > 1:
        moments = average("row_var", lines(-1)), average("col_var", lines(-2))
        rows = g.x.shape[-2]
        ours = lambda row, col: row * (col / least(over(row, -2, WIDE) / rows, eps1))
        theirs = lambda row, col: row * col / least(over(row, -2) / rows, eps1)
    else:
        moments = (average("variance", g * g),)
        ours = theirs = lambda v: v

    def rate(p, u, rho, wide):
        return least(norm(p, wide) / root, eps2) * rho / least(norm(u, wide) / (root * h["d"]), 1)

    def step_ours(g, p, rho, *moments):
        u = g / least(ours(*moments), eps1 * eps1).sqrt()
        return rate(p, u, rho, WIDE) * u

    def step_theirs(g, p, rho, *moments):
        u = 1 / least(theirs(*moments), eps1 * eps1).sqrt() * g
        return rate(p, u, rho, None) * u

    decay = lambda p: (1 - lr * wd) * p if wd != 0 else p
    if h.get("beta1", 0) == 0:
        k.param(k.a.differ(lambda p, *o: decay(p) - step_ours(o[0], p, *o[1:]), lambda p, *o: decay(p) - step_theirs(o[0], p, *o[1:]), p, g, rho, *moments))
        return
    u = k.a.differ(step_ours, step_theirs, g, p, rho, *moments)
    k.param(decay(p) - k.keep("exp_avg", h["beta1"] * k.slot("exp_avg") + (1 - h["beta1"]) * u))


DEFAULTS = {
    "lr": 1e-2, "beta2_decay": -0.8, "eps": (2.0**-23, 1e-3), "d": 1.0, "weight_decay": 0.0, "beta1": 0.9, "maximize": False,
    "elements": ORDINARY, "shape": (4, 5),
}  # fmt: skip

CASES = {
    "matrix": {},
    "vector": {"shape": (20,)},
    "matrices": {"shape": (2, 2, 5)},
    "matrix, wd+maximize": {"weight_decay": 0.1, "maximize": True, "beta1": 0.5, "shape": (5, 4)},
    "vector, wd+maximize": {"weight_decay": 0.1, "maximize": True, "beta1": 0.5, "shape": (20,)},
}

if __name__ == "__main__":
    steps.write("adafactor", CASES, DEFAULTS, stated, both)

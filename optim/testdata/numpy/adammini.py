"""Write adammini.json: Adam-mini, by its authors' code (Zhang et al. 2024).

adam_mini/adam_mini.py at github.com/zyushun/Adam-mini, commit 11ee3058. A matrix is its query, whose rows are heads, and of one row its other blocks; a
vector is its embedding. Numpy's sums stand in place of torch's.
"""

import numpy as np

import steps
from adafactor import over
from inputs import ORDINARY
from steps import WIDE, average, bias


def authors(run, lr, g):
    f, h, p = run.dtype, run.hyper, run.slots["param"]
    beta1, beta2 = h["betas"]
    if h["weight_decay"] > 0:
        p = p * f(1 - lr * h["weight_decay"])
    name, square = ("vmean", (g * g).mean(-1, keepdims=True, dtype=f)) if g.ndim > 1 else ("exp_avg_sq", g * g)
    old = run.slots.get(name, np.zeros_like(square))
    v = run.slots[name] = f(beta2) * old + f(1 - beta2) * square
    m, w = run.state("exp_avg"), 1 - beta1
    m = run.slots["exp_avg"] = m + f(w) * (g - m) if w < 0.5 else g - (g - m) * (f(1) - f(w))
    d = np.sqrt(v) / f((1 - beta2**run.t) ** 0.5) + f(h["eps"])
    bias1 = 1 - beta1**run.t
    run.slots["param"] = p - m * (f(1 / bias1) / d) * f(lr) if g.ndim > 1 else p + f(-lr / bias1) * m / d


def both(k):
    h, g, lr, wd, p = k.h, k.g, k.lr, k.h["weight_decay"], k.slot("param")
    beta1, beta2 = h["betas"]
    if g.x.ndim > 1:
        count = g.x.shape[-1]
        mean = k.a.differ(lambda g: over(g * g, -1, WIDE) / count, lambda g: over(g * g, -1) / count, g)
        v = k.keep("vmean", beta2 * k.slot("vmean") + (1 - beta2) * mean)
    else:
        square = lambda v, g: beta2 * v + (1 - beta2) * g * g
        v = k.keep("exp_avg_sq", k.a.differ(square, lambda v, g: beta2 * v + (1 - beta2) * (g * g), k.slot("exp_avg_sq"), g))
    m = average(k, "exp_avg", g, beta1)
    decay = lambda p: (1 - lr * wd) * p if wd > 0 else p
    ours = lambda p, m, v, b1, b2: decay(p) - lr / b1 * (m * (1 / (v.sqrt() * (1 / b2.sqrt()) + h["eps"])))
    theirs = lambda p, m, v, b1, b2: decay(p) - m * (1 / b1 / (v.sqrt() / b2.sqrt() + h["eps"])) * lr
    k.param(k.a.differ(ours, theirs, p, m, v, bias(k, beta1), bias(k, beta2)))


DEFAULTS = {
    "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "maximize": False, "elements": ORDINARY, "shape": (4, 5),
}  # fmt: skip

CASES = {
    "matrix": {},
    "matrix, lr 0": {"lr": 0.0},
    "matrix, betas 0 0.9": {"betas": (0.0, 0.9), "shape": (10, 2)},
    "matrix, betas 0.3 0.8 eps 1e-3": {"betas": (0.3, 0.8), "eps": 1e-3, "shape": (5, 4)},
    "matrix, wd+maximize": {"weight_decay": 0.1, "maximize": True},
    "a block": {"shape": (1, 20)},
    "vector": {"shape": (20,)},
    "vector, wd+maximize": {"weight_decay": 0.1, "maximize": True, "shape": (20,)},
}

if __name__ == "__main__":
    steps.write("adammini", CASES, DEFAULTS, authors, both)

"""Write came.json: CAME, by its authors' code (Luo et al. 2023), of vectors, of matrices and of several.

came_pytorch/CAME.py at github.com/yangluo7/CAME, commit b368dc01. Matrices are its factored parameters, and numpy's sums stand in place of torch's.
"""

import numpy as np

import steps
from adafactor import least, over
from inputs import ORDINARY
from steps import WIDE, norm


def rms(x):
    return np.sqrt((x * x).sum()) / x.dtype.type(x.size**0.5)


def authors(run, lr, g):
    f, h, p = run.dtype, run.hyper, run.slots["param"]
    (beta1, beta2, beta3), (eps1, eps2) = h["betas"], h["eps"]

    def average(name, x, beta):
        old = run.slots.get(name, np.zeros_like(x))
        run.slots[name] = f(beta) * old + f(1 - beta) * x
        return run.slots[name]

    def factored(name, x, beta):
        row = average(name + "_row", x.mean(-1, keepdims=True, dtype=f), beta)
        col = average(name + "_col", x.mean(-2, keepdims=True, dtype=f), beta)
        return f(1) / np.sqrt(row / row.mean(-2, keepdims=True, dtype=f)) * (f(1) / np.sqrt(col))

    matrix = g.ndim > 1
    square = g * g + f(eps1)
    u = (factored("exp_avg_sq", square, beta2) if matrix else f(1) / np.sqrt(average("exp_avg_sq", square, beta2))) * g
    u = u / np.maximum(rms(u) / f(h["clip_threshold"]), f(1))
    m = average("exp_avg", u, beta1)
    step = factored("exp_avg_res", (u - m) * (u - m) + f(eps2), beta3) * m if matrix else m
    if h["weight_decay"] != 0:
        p = p + f(-h["weight_decay"] * lr) * p
    run.slots["param"] = p - step * f(lr)


def both(k):
    h, g, lr, wd = k.h, k.g, k.lr, k.h["weight_decay"]
    (beta1, beta2, beta3), (eps1, eps2) = h["betas"], h["eps"]
    matrix, root = g.x.ndim > 1, g.x.size**0.5

    def lines(name, x, beta):
        """The averages of rows and columns, and how each side divides by their product's root."""
        out = []
        for axis, end in ((-1, "_row"), (-2, "_col")):
            count = g.x.shape[axis]
            mean = k.a.differ(lambda x: over(x, axis, WIDE) / count, lambda x: over(x, axis) / count, x)
            out.append(k.keep(name + end, beta * k.slot(name + end) + (1 - beta) * mean))
        return out

    rows = g.x.shape[-2] if matrix else 1
    ours = lambda row, col: 1 / row.sqrt() * ((over(row, -2, WIDE) / rows).sqrt() / col.sqrt())
    theirs = lambda row, col: 1 / (row / (over(row, -2) / rows)).sqrt() * (1 / col.sqrt())
    square = g * g + eps1
    if matrix:
        u_ours, u_theirs = lambda g, *v: ours(*v) * g, lambda g, *v: theirs(*v) * g
        v = lines("exp_avg_sq", square, beta2)
    else:
        u_ours, u_theirs = lambda g, v: g / v.sqrt(), lambda g, v: 1 / v.sqrt() * g
        v = [k.keep("exp_avg_sq", beta2 * k.slot("exp_avg_sq") + (1 - beta2) * square)]
    d = h["clip_threshold"]

    def clipped_ours(g, *v):
        u = u_ours(g, *v)
        return 1 / least(norm(u, WIDE) / (root * d), 1) * u

    def clipped_theirs(g, *v):
        u = u_theirs(g, *v)
        return u / least(norm(u) / root / d, 1)

    u = k.a.differ(clipped_ours, clipped_theirs, g, *v)
    m = k.keep("exp_avg", beta1 * k.slot("exp_avg") + (1 - beta1) * u)
    p = k.slot("param")
    decay_ours = lambda p: (1 - lr * wd) * p if wd != 0 else p
    decay_theirs = lambda p: p - wd * lr * p if wd != 0 else p
    if not matrix:
        k.param(k.a.differ(lambda p, m: decay_ours(p) - lr * m, lambda p, m: decay_theirs(p) - m * lr, p, m))
        return
    s = lines("exp_avg_res", (u - m) * (u - m) + eps2, beta3)
    k.param(k.a.differ(lambda p, m, *s: decay_ours(p) - lr * (ours(*s) * m), lambda p, m, *s: decay_theirs(p) - theirs(*s) * m * lr, p, m, *s))


DEFAULTS = {
    "lr": 2e-4, "betas": (0.9, 0.999, 0.9999), "eps": (1e-30, 1e-16), "clip_threshold": 1.0, "weight_decay": 0.0, "maximize": False,
    "elements": ORDINARY, "shape": (4, 5),
}  # fmt: skip

CASES = {
    "matrix": {},
    "matrix, lr 0": {"lr": 0.0},
    "matrix, betas 0.5 0.9 0.7": {"betas": (0.5, 0.9, 0.7), "shape": (5, 4)},
    "matrix, clip 0.1 eps 1e-3 1e-2": {"clip_threshold": 0.1, "eps": (1e-3, 1e-2), "shape": (2, 10)},
    "matrix, wd+maximize": {"weight_decay": 0.1, "maximize": True},
    "a row": {"shape": (1, 20)},
    "matrices": {"shape": (2, 2, 5)},
    "matrices of 4 axes": {"betas": (0.5, 0.9, 0.7), "shape": (2, 1, 5, 2)},
    "vector": {"shape": (20,)},
    "vector, betas 0 0.9": {"betas": (0.0, 0.9, 0.9999), "shape": (20,)},
    "vector, wd+maximize": {"weight_decay": 0.1, "maximize": True, "shape": (20,)},
}

if __name__ == "__main__":
    steps.write("came", CASES, DEFAULTS, authors, both)

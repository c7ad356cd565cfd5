"""Write adopt.json: ADOPT, as its authors' code states it (Taniguchi et al. 2024).

Their adopt.py is at github.com/iShohei220/adopt, commit 6468572b. It clips by clip_lambda, step**0.25 by default; that default alone is
stated here. Other libraries' ADOPT is in ../libraries/adopt.py.
"""

import numpy as np

import steps
from steps import average, average_square, gradient


def authors(run, lr, g):
    """One tensor, foreach=False: the same bits in all cases."""
    f, h, p, (beta1, beta2) = run.dtype, run.hyper, run.slots["param"], run.hyper["betas"]
    m, v, wd = run.state("exp_avg"), run.state("exp_avg_sq"), h["weight_decay"]
    if wd and not h["decoupled_weight_decay"]:
        g = g + f(wd) * p
    if run.t == 1:  # the first step only fills exp_avg_sq
        run.slots |= {"exp_avg": m, "exp_avg_sq": v + g * g}
        return
    if wd and h["decoupled_weight_decay"]:
        p = p + f(-lr * wd) * p
    normed = g / np.maximum(np.sqrt(v), f(h["eps"]))  # by the squares before this gradient
    clip = f((run.t - 1) ** 0.25)
    normed = np.clip(normed, -clip, clip)
    w = f(1 - beta1)
    m = m + w * (normed - m) if w < 0.5 else normed - (normed - m) * (f(1) - w)
    run.slots |= {"param": p + f(-lr) * m, "exp_avg": m, "exp_avg_sq": f(beta2) * v + (f(1 - beta2) * g) * g}


def both(k):
    """Ours has the decoupled decay as a factor 1 - lr*wd, and the root of a root where the authors have a power."""
    h, g, t, lr, (beta1, beta2), wd = k.h, gradient(k), k.t, k.lr, k.h["betas"], k.h["weight_decay"]
    p, v = k.slot("param"), k.slot("exp_avg_sq")
    if t == 1:
        k.keep("exp_avg_sq", v + g * g)
        k.put("exp_avg", k.slot("exp_avg"))
        return k.param(p)
    normed = clipped(k, g / v.sqrt().maximum(k.number(h["eps"])), k.a.unlike((t - 1) ** 0.25, 4))
    m = average(k, "exp_avg", normed, beta1)
    average_square(k, "exp_avg_sq", g, beta2)
    if wd and k.decoupled:
        k.param(k.a.differ(lambda p, m: (1 - lr * wd) * p - lr * m, lambda p, m: p - lr * wd * p - lr * m, p, m))
    else:
        k.param(p - lr * m)


def clipped(k, x, limit):
    """x between -limit and limit. Where both sides clip they differ as their limits do; where neither does, as x does."""
    both, neither = np.abs(x.x) - x.e > limit.x + limit.e, np.abs(x.x) + x.e < limit.x - limit.e
    e = np.where(both, limit.e, np.where(neither, x.e, x.e + limit.e))
    return k.number(np.clip(x.x, -limit.x, limit.x), e)


DEFAULTS = {"lr": 1e-2, "betas": (0.9, 0.9999), "eps": 1e-6, "weight_decay": 0.0, "decoupled_weight_decay": False, "maximize": False}

CASES = {
    "defaults": {"lr": 1e-3},
    "lr 0": {"lr": 0.0, "weight_decay": 0.1},
    "betas 0.3 0.8": {"lr": 0.1, "betas": (0.3, 0.8)},
    "betas 0 0.9": {"betas": (0.0, 0.9)},
    "betas 0.95 0": {"betas": (0.95, 0.0)},
    "eps 1e-3": {"eps": 1e-3},
    "eps 1": {"eps": 1.0, "betas": (0.9, 0.99)},
    "wd": {"weight_decay": 0.1, "eps": 1e-2},
    "decoupled": {"weight_decay": 0.1, "decoupled_weight_decay": True},
    "maximize": {"maximize": True},
    "decoupled+maximize": {"lr": 0.1, "weight_decay": 0.5, "decoupled_weight_decay": True, "maximize": True},
}

if __name__ == "__main__":
    steps.write("adopt", CASES, DEFAULTS, authors, both)

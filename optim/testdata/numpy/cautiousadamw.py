"""Write cautiousadamw.json: cautious AdamW, as its authors' code states it (Liang et al. 2024).

Their c_adamw.py is at github.com/kyleliang919/C-Optim, commit 2c0517c5: c_adamw_update_foreach_async, whose mask is the one of its paper.
"""

import math

import numpy as np

import steps
from inputs import ORDINARY
from steps import average, average_square, bias


def authors(run, lr, g):
    """One tensor. Its mean is torch's, which is exact but for its last rounding."""
    f, h, p, (beta1, beta2) = run.dtype, run.hyper, run.slots["param"], run.hyper["betas"]
    m, w = run.state("exp_avg"), f(1 - beta1)
    m = run.slots["exp_avg"] = m + w * (g - m) if w < 0.5 else g - (g - m) * (f(1) - w)
    v, w, g2 = run.state("exp_avg_sq"), f(1 - beta2), g * g
    v = run.slots["exp_avg_sq"] = v + w * (g2 - v) if w < 0.5 else g2 - (g2 - v) * (f(1) - w)
    denominator = np.sqrt(v) / f(math.sqrt(1 - beta2**run.t)) + f(h["eps"])
    mask = (m * g > 0).astype(f)
    share = max(f(mask.sum(dtype=np.float64) / mask.size), f(1e-3))
    p = p * f(1 - lr * h["weight_decay"])
    run.slots["param"] = p - m * mask / denominator * f(lr / (1 - beta1**run.t)) / share


def masked(k, step, g):
    """Which elements move, and their share, or 1e-3: those whose product, which is rounded, is above 0. That must not depend on rounding."""
    product, error = step.x * g.x, np.abs(step.x) * g.e + np.abs(g.x) * step.e + step.e * g.e
    if ((error > 0) & (np.abs(product - k.a.sub) <= error)).any():
        raise ValueError("a sign depends on rounding: choose other inputs")
    mask = np.where(product > k.a.sub, 1.0, 0.0)
    return k.number(mask), k.a.unlike(max(mask.mean(), 1e-3), 1)


def both(k):
    h, g, lr, eps, wd, (beta1, beta2), p = k.h, k.g, k.lr, k.h["eps"], k.h["weight_decay"], k.h["betas"], k.slot("param")
    m = average(k, "exp_avg", g, beta1)
    lerp = (lambda v, g: v + (1 - beta2) * (g * g - v)) if 1 - beta2 < 0.5 else (lambda v, g: g * g - (g * g - v) * beta2)
    v = k.keep("exp_avg_sq", k.a.differ(lambda v, g: beta2 * v + (1 - beta2) * g * g, lerp, k.slot("exp_avg_sq"), g))
    mask, share = masked(k, m, g)

    def ours(p, m, v, mask, share, bias1, bias2):
        return (1 - lr * wd) * p - lr / bias1 / share * (m * mask / (v.sqrt() * (1 / bias2.sqrt()) + eps))

    def theirs(p, m, v, mask, share, bias1, bias2):
        return (1 - lr * wd) * p - m * mask / (v.sqrt() / bias2.sqrt() + eps) * (lr / bias1) / share

    k.param(k.a.differ(ours, theirs, p, m, v, mask, share, bias(k, beta1), bias(k, beta2)))


DEFAULTS = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.0, "maximize": False}

CASES = {
    "defaults": {"lr": 1e-3},
    "lr 0": {"lr": 0.0, "weight_decay": 0.1},
    "betas 0.3 0.8": {"lr": 0.1, "betas": (0.3, 0.8)},
    "betas 0 0.9": {"betas": (0.0, 0.9)},
    "betas 0.95 0.4": {"betas": (0.95, 0.4)},
    "eps 1e-3": {"eps": 1e-3},
    "wd": {"weight_decay": 0.1},
    "wd+maximize": {"lr": 0.1, "weight_decay": 0.5, "maximize": True},
    "ordinary": {"elements": ORDINARY, "weight_decay": 0.01},
}

if __name__ == "__main__":
    steps.write("cautiousadamw", CASES, DEFAULTS, authors, both)

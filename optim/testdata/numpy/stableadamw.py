"""Write stableadamw.json: StableAdamW, as optimi states it (Wortsman et al. 2023).

optimi/stableadamw.py and optimi/utils.py at github.com/warner-benjamin/optimi, commit 02d8e75b, without decouple_lr and kahan_sum.
"""

import numpy as np

import steps
from inputs import ORDINARY
from steps import WIDE


def optimi(run, lr, g):
    """_single_param_stableadamw. Its mean is torch's, which adds up in another order."""
    f, h, p, (beta1, beta2) = run.dtype, run.hyper, run.slots["param"], run.hyper["betas"]
    beta1, beta2 = debiased(beta1, run.t), debiased(beta2, run.t)
    m, w = run.state("exp_avg"), f(1 - beta1)
    m = run.slots["exp_avg"] = m + w * (g - m) if w < 0.5 else g - (g - m) * (f(1) - w)
    v = run.slots["exp_avg_sq"] = f(beta2) * run.state("exp_avg_sq") + (f(1 - beta2) * g) * g
    rms = np.sqrt(((g * g) / np.maximum(v, f(h["eps"] ** 2))).mean())
    lr = lr / max(1, float(rms))
    if h["weight_decay"]:
        p = p * f(1 - lr * h["weight_decay"])
    run.slots["param"] = p + f(-lr) * m / (np.sqrt(v) + f(h["eps"]))


def debiased(beta, t):
    return (beta**t - beta) / (beta**t - 1)


def beta(k, beta):
    """The beta of the step, and 1 minus it: ours is (1-beta)/(1-beta^t), theirs 1 minus the first."""
    one, power, t = debiased(beta, k.t), beta**k.t, k.t
    if t == 1:  # 0 and 1 on both sides
        return k.number(0.0), k.number(1.0)
    # In units of 2^-53: powers t + 2, of 1 - beta^t, and of the difference of two powers.
    units = (t + 2) * power / (1 - power) + (t + 2) * power / (beta - power) + 6 if beta else 0
    return k.a.unlike(one, units), k.a.unlike(1 - one, units * one / (1 - one) + (t + 2) * power / (1 - power) + 6)


def both(k):
    h, g, lr, eps, wd, p, (beta1, beta2) = k.h, k.g, k.lr, k.h["eps"], k.h["weight_decay"], k.slot("param"), k.h["betas"]
    beta1, one1 = beta(k, beta1)
    beta2, one2 = beta(k, beta2)
    if one1.x < 0.5:
        lerp = lambda m, g, b, w: m + w * (g - m)
    else:
        lerp = lambda m, g, b, w: g - (g - m) * b
    m = k.keep("exp_avg", k.a.differ(lambda m, g, b, w: b * m + w * g, lerp, k.slot("exp_avg"), g, beta1, one1))
    v = k.keep("exp_avg_sq", beta2 * k.slot("exp_avg_sq") + one2 * g * g)

    def step(ratio):
        def param(p, g, m, v):
            rate = lr / -((-(ratio(g, v) / g.x.size).sqrt()).atmost(-1))
            return (1 - rate * wd) * p - rate * (m / (v.sqrt() + eps))

        return param

    def ours(g, v):
        ratio = g / v.sqrt().maximum(g.a.scalar(eps))
        return (ratio * ratio).total(WIDE)

    k.param(k.a.differ(step(ours), step(lambda g, v: (g * g / v.maximum(g.a.scalar(eps**2))).total()), p, g, m, v))


DEFAULTS = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 1e-2, "maximize": False}

CASES = {
    "defaults": {"lr": 1e-3},
    "lr 0": {"lr": 0.0},
    "betas 0.3 0.8": {"lr": 0.1, "betas": (0.3, 0.8)},
    "betas 0 0.9": {"betas": (0.0, 0.9)},
    "betas 0.95 0": {"betas": (0.95, 0.0)},
    "eps 1e-3": {"eps": 1e-3},
    "eps 1": {"eps": 1.0, "weight_decay": 0.1},
    "wd 0": {"weight_decay": 0.0},
    "wd+maximize": {"weight_decay": 0.5, "maximize": True},
    "ordinary": {"elements": ORDINARY},
}

if __name__ == "__main__":
    steps.write("stableadamw", CASES, DEFAULTS, optimi, both)

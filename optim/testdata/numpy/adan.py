"""Write adan.json: Adan, as its authors' code states it (Xie et al. 2022). Optax has another: it weights differences by 1-beta2."""

import math

import numpy as np

import steps
from steps import bias


def authors(run, lr, g):
    """Their adan.py at commit 2c65beaf, one tensor, without clipping: the same bits in all cases."""
    f, h, p, (beta1, beta2, beta3) = run.dtype, run.hyper, run.slots["param"], run.hyper["betas"]
    diff = g + (run.state("neg_pre_grad") if run.t > 1 else -g)
    m = run.slots["exp_avg"] = f(beta1) * run.state("exp_avg") + f(1 - beta1) * g
    d = run.slots["exp_avg_diff"] = f(beta2) * run.state("exp_avg_diff") + f(1 - beta2) * diff
    ahead = f(beta2) * diff + g
    v = run.slots["exp_avg_sq"] = f(beta3) * run.state("exp_avg_sq") + (f(1 - beta3) * ahead) * ahead
    denominator = np.sqrt(v) / f(math.sqrt(1 - beta3**run.t)) + f(h["eps"])
    if h["no_prox"]:
        p = p * f(1 - lr * h["weight_decay"])
    p = p + f(-lr / (1 - beta1**run.t)) * m / denominator
    p = p + f(-lr * beta2 / (1 - beta2**run.t)) * d / denominator
    if not h["no_prox"]:
        p = p / f(1 + lr * h["weight_decay"])
    run.slots["param"], run.slots["neg_pre_grad"] = p, -g


def both(k):
    h, g, lr, (beta1, beta2, beta3), t = k.h, k.g, k.lr, k.h["betas"], k.t
    diff = g + (k.slot("neg_pre_grad") if t > 1 else -g)
    ahead = g + beta2 * diff
    m = k.keep("exp_avg", beta1 * k.slot("exp_avg") + (1 - beta1) * g)
    d = k.keep("exp_avg_diff", beta2 * k.slot("exp_avg_diff") + (1 - beta2) * diff)
    v = k.keep("exp_avg_sq", beta3 * k.slot("exp_avg_sq") + (1 - beta3) * ahead * ahead)
    k.put("neg_pre_grad", -g)
    decay = 1 - lr * h["weight_decay"] if h["no_prox"] else 1
    divisor = 1 if h["no_prox"] else 1 + lr * h["weight_decay"]

    def ours(p, m, d, v, bias1, bias2, bias3):
        step = (lr / bias1 * m + lr * beta2 / bias2 * d) / (v.sqrt() * (1 / bias3.sqrt()) + h["eps"])
        return (decay * p - step) * (1 / divisor)

    def theirs(p, m, d, v, bias1, bias2, bias3):
        denominator = v.sqrt() / bias3.sqrt() + h["eps"]
        return (decay * p - lr / bias1 * m / denominator - lr * beta2 / bias2 * d / denominator) / divisor

    k.param(k.a.differ(ours, theirs, k.slot("param"), m, d, v, bias(k, beta1), bias(k, beta2), bias(k, beta3)))


DEFAULTS = {"lr": 1e-2, "betas": (0.98, 0.92, 0.99), "eps": 1e-8, "weight_decay": 0.0, "no_prox": False, "maximize": False}

CASES = {
    "defaults": {"lr": 1e-3},
    "lr 0": {"lr": 0.0, "weight_decay": 0.1},
    "betas 0.3 0.5 0.8": {"lr": 0.1, "betas": (0.3, 0.5, 0.8)},
    "betas 0 0 0.9": {"betas": (0.0, 0.0, 0.9)},
    "eps 1e-3": {"eps": 1e-3, "betas": (0.9, 0.8, 0.999)},
    "wd": {"weight_decay": 0.5},
    "wd+maximize": {"lr": 0.1, "weight_decay": 0.1, "maximize": True},
    "wd+no_prox": {"lr": 0.1, "weight_decay": 0.1, "no_prox": True},
}

if __name__ == "__main__":
    steps.write("adan", CASES, DEFAULTS, authors, both)

"""Write prodigy.json: Prodigy, as its authors' code states it (Mishchenko & Defazio 2023).

prodigyopt/prodigy.py of the package prodigyopt 1.1.2 on PyPI, without fsdp_in_use and with slice_p 1. The code was run in PyTorch 2.15 on the cases:
README.md says how its numbers are beside these. With a beta1 of 0 it keeps no exp_avg, and multiplies the gradient by the d behind the step. Here it
is multiplied by the one before it, as with any other beta1. It does not run a first step whose learning rate is 0, after which all is as it was.
"""

import math

import numpy as np

import steps
from difference import Number, larger
from inputs import ORDINARY
from steps import WIDE, power_units


def authors(run, lr, g):
    """One tensor. Its sums are torch's, which add up in another order."""
    f, h, p, slots = run.dtype, run.hyper, run.slots["param"], run.slots
    beta1, beta2 = h["betas"]
    beta3 = h["beta3"] or math.sqrt(beta2)
    if "s" not in slots:
        slots |= {"s": np.zeros_like(p), "p0": p, "exp_avg": np.zeros_like(p), "exp_avg_sq": np.zeros_like(p)}
        slots |= {"d": np.float64(h["d0"]), "d_max": np.float64(h["d0"]), "d_numerator": np.float64(0.0)}
    d, d_max, numerator = float(slots["d"]), float(slots["d_max"]), float(slots["d_numerator"])
    if h["weight_decay"] != 0 and not h["decouple"]:
        g = g + f(h["weight_decay"]) * p
    if not lr > 0:
        return
    correction = (1 - beta2**run.t) ** 0.5 / (1 - beta1**run.t) if h["use_bias_correction"] else 1
    dlr = d * lr * correction
    delta = d / h["d0"] * dlr * float((g * (slots["p0"] - p)).sum())
    slots["exp_avg"] = f(beta1) * slots["exp_avg"] + f(d * (1 - beta1)) * g
    slots["exp_avg_sq"] = f(beta2) * slots["exp_avg_sq"] + f(d * d * (1 - beta2)) * g * g
    slots["s"] = f(beta3) * slots["s"] + f(d / h["d0"] * (d if h["safeguard_warmup"] else dlr)) * g
    total = float(np.abs(slots["s"]).sum())
    numerator = numerator * beta3 + delta
    hat = h["d_coef"] * numerator / total
    if d == h["d0"]:
        d = max(d, hat)
    d_max = max(d_max, hat)
    d = min(d_max, d * (h["growth_rate"] or math.inf))
    slots |= {"d": np.float64(d), "d_max": np.float64(d_max), "d_numerator": np.float64(numerator)}
    root = np.sqrt(slots["exp_avg_sq"]) + f(d * h["eps"])
    if h["weight_decay"] != 0 and h["decouple"]:
        p = p + f(-h["weight_decay"] * dlr) * p
    slots["param"] = p + f(-dlr) * slots["exp_avg"] / root


def both(k):
    h, a, p, g = k.h, k.a, k.slot("param"), k.g
    beta1, beta2 = h["betas"]
    beta3, wd, eps, d0, lr = h["beta3"] or math.sqrt(beta2), h["weight_decay"], h["eps"], h["d0"], k.lr
    d, d_max, p0 = k.slot("d"), k.slot("d_max"), k.slot("p0")
    if k.t == 1:  # ours rounds what d begins with to the type
        d = d_max = Number(a, d0, a.u * d0)
        p0 = p
    k.keep("p0", p0)
    if wd != 0 and not h["decouple"]:
        g = g + wd * p
    if lr == 0:
        for slot, x in {"exp_avg": k.slot("exp_avg"), "exp_avg_sq": k.slot("exp_avg_sq"), "s": k.slot("s"), "d": d, "d_max": d_max}.items():
            k.put(slot, x)
        k.put("d_numerator", k.slot("d_numerator"))
        k.param(p)
        return
    rate = a.scalar(lr)
    if h["use_bias_correction"]:
        units = power_units(beta1, k.t) + power_units(beta2, k.t) / 2 + 4
        rate = a.unlike(lr * math.sqrt(1 - beta2**k.t) / (1 - beta1**k.t), units)
    same = lambda f, *operands: a.differ(f, f, *operands)
    weight = lambda d, rate: 1.0 * d * (1.0 if h["safeguard_warmup"] else rate) * (1.0 * d / d0)
    m = k.keep("exp_avg", same(lambda m, d, g: beta1 * m + (1 - beta1) * (1.0 * d) * g, k.slot("exp_avg"), d, g))
    v = k.keep("exp_avg_sq", same(lambda v, d, g: beta2 * v + (1 - beta2) * (1.0 * d) * (1.0 * d) * g * g, k.slot("exp_avg_sq"), d, g))
    s = k.keep("s", same(lambda s, d, rate, g: beta3 * s + weight(d, rate) * g, k.slot("s"), d, rate, g))
    dot = a.differ(lambda g, p0, p: (g * (p0 - p)).total(WIDE), lambda g, p0, p: (g * (p0 - p)).total(), g, p0, p)
    total = a.differ(lambda s: s.abs().total(WIDE), lambda s: s.abs().total(), s)
    numerator = same(lambda n, d, rate, dot: beta3 * n + d / d0 * (d * rate) * dot, k.slot("d_numerator"), d, rate, dot)
    k.put("d_numerator", numerator)
    hat = same(lambda n, total: h["d_coef"] * n / total, numerator, total)
    begins = k.t == 1 or bool(k.slot("d").x == d0)
    most = larger(d_max, hat)
    now = larger(d, hat) if begins else d
    now = -larger(-most, -same(lambda d: d * h["growth_rate"], now)) if h["growth_rate"] != 0 else most
    k.put("d", now)
    k.put("d_max", most)
    if not h["decouple"]:
        wd = 0
    ours = lambda p, d, rate, m, v, now: p * (1 - wd * (1.0 * d * rate)) - 1.0 * d * rate * (m / (v.sqrt() + 1.0 * now * eps))
    theirs = lambda p, d, rate, m, v, now: p + -wd * (d * rate) * p + -(d * rate) * m / (v.sqrt() + now * eps)
    k.param(a.differ(ours, theirs, p, d, rate, m, v, now))


DEFAULTS = {
    "lr": 1.0, "betas": [0.9, 0.999], "beta3": 0.0, "eps": 1e-8, "weight_decay": 0.0, "d0": 1e-2, "d_coef": 1.0, "growth_rate": 0.0, "decouple": True,
    "use_bias_correction": False, "safeguard_warmup": False, "maximize": False, "elements": ORDINARY,
}  # fmt: skip

CASES = {
    "d0 1e-2": {},
    "defaults": {"d0": 1e-6, "dtypes": ["float64"]},  # in float32 the first steps are a few roundings of the parameter long, and so is d
    "lr 0": {"lr": 0.0},
    "lr 0.5": {"lr": 0.5},
    "bias correction coef 2": {"use_bias_correction": True, "d_coef": 2.0},
    "safeguard lr 0.5": {"safeguard_warmup": True, "lr": 0.5, "d_coef": 2.0},
    "wd 0.1": {"weight_decay": 0.1},
    "wd 0.1 coupled": {"weight_decay": 0.1, "decouple": False, "d_coef": 0.01, "elements": [0, 1, 2, 3, 4, 5, 6, 7]},
    "wd 0.1 coupled, d grows": {"weight_decay": 0.1, "decouple": False, "dtypes": ["float64"]},
    "betas 0.5 0.9 beta3 0.8": {"betas": [0.5, 0.9], "beta3": 0.8},
    "beta1 0": {"betas": [0.0, 0.99]},
    "d0 0.1 coef 0.5": {"d0": 0.1, "d_coef": 0.5},
    "growth 1.02": {"growth_rate": 1.02},
    "growth 1.5": {"growth_rate": 1.5, "d0": 5e-3},
    "eps 1e-3": {"eps": 1e-3, "maximize": True},
}

if __name__ == "__main__":
    steps.write("prodigy", CASES, DEFAULTS, authors, both)

"""Write schedule_free.json: what the authors' schedule-free optimizers compute.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python schedule_free.py

Inputs, format and bounds are those of ../torch/more.py, and torch's kernels as there. "eval_params" stands among the state: what
the parameter is after the package's eval(), from which it is put back by hand.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "torch"))

import more  # first: through it golden chooses torch's kernels

import numpy as np
import schedulefree
import torch

import golden

SCHEDULEFREE = "1.4.1"


# --- What both sides do ---------------------------------------------------------------------------------------------


def units(power):
    """How far apart the two powers of one number may be, in units of 2^-53: rule.Pow's bound and one for Python's."""
    return {0: 0, 1: 0, 2: 3}.get(power, 75)


def average(k):
    """The step's learning rate, its weight in the average, and how far apart that may be, in units of 2^-53."""
    h, longest, total = k.h, 0.0, 0.0
    for t, factor in enumerate(golden.LR_FACTOR[: k.t], start=1):
        lr = h["lr"] * factor * (t / h["warmup_steps"] if t < h["warmup_steps"] else 1.0)
        longest = max(longest, lr)
        weight = t ** h["r"] * longest ** h["weight_lr_power"]
        total += weight
    if total == 0:
        return lr, 0.0, 0
    if k.t == 1:
        return lr, 1.0, 0
    return lr, weight / total, 2 * (units(h["r"]) + units(h["weight_lr_power"]) + 2) + 2 * k.t + 2


def schedulefree_step(k, beta, g):
    """What follows from a step's direction: y moves to where z was and along the step, z takes the step."""
    lr, c, apart = average(k)
    y = k.slot("param")
    z = y if k.t == 1 else k.slot("z")
    # y's step, lr*(beta*(1-c) - 1), errs by what c does and by four roundings on either side.
    ahead = beta * (1 - c)
    error = (beta * c * apart + 6 * ahead) / (1 - ahead) + 4
    move = lr * (ahead - 1)
    weight = k.a.unlike(c, apart) if apart else k.number(c)
    move = k.a.unlike(move, error) if apart else k.number(move)
    if k.t > 1 and np.dtype(k.a.dtype).type(c) >= 0.5:
        between = k.a.differ(lambda y, z, c: y + c * (z - y), lambda y, z, c: z - (z - y) * (1 - c), y, z, weight)
    else:
        between = y + weight * (z - y)
    y, z = between + move * g, k.put("z", z - lr * g)
    k.param(y)
    beyond = 1 - 1 / beta
    y = k.next["param"]
    if abs(beyond) < 0.5:
        k.put("eval_params", y + beyond * (z - y))
    else:
        ours, theirs = lambda y, z: y + beyond * (z - y), lambda y, z: z - (z - y) * (1 - y.number(beyond))
        k.put("eval_params", k.a.differ(ours, theirs, y, z))


def sgd(k):
    schedulefree_step(k, k.h["momentum"], more.gradient(k))


def adamw(k):
    h = k.h
    beta1, beta2 = h["betas"]
    g = k.g
    v = more.average_square(k, "exp_avg_sq", g, beta2)
    g = g / more.denominator(k, v, beta2)
    if h["weight_decay"] != 0:
        g = g + h["weight_decay"] * k.slot("param")
    schedulefree_step(k, beta1, g)


RULES = {"schedulefreesgd": sgd, "schedulefreeadamw": adamw}

# --- Cases ----------------------------------------------------------------------------------------------------------

BOTH = {"weight_decay": 0.0, "warmup_steps": 0, "r": 0.0, "weight_lr_power": 2.0, "maximize": False}
DEFAULTS = {
    "schedulefreesgd": {"lr": 0.1, "momentum": 0.9, **BOTH},
    "schedulefreeadamw": {"lr": 2.5e-3, "betas": (0.9, 0.999), "eps": 1e-8, **BOTH},
}

CASES = {
    "schedulefreesgd": {
        "defaults": {"lr": 1.0},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "momentum 0.4": {"momentum": 0.4},
        "warmup": {"warmup_steps": 12},
        "r 1 weight_lr_power 0": {"r": 1.0, "weight_lr_power": 0.0},
        "r 0.3 weight_lr_power 1.7": {"r": 0.3, "weight_lr_power": 1.7},
        "wd": {"weight_decay": 0.1},
        "wd+maximize+warmup": {"weight_decay": 0.01, "warmup_steps": 5, "r": -0.6, "momentum": 0.98, "maximize": True},
    },
    "schedulefreeadamw": {
        "defaults": {},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "betas 0.4 0.9": {"lr": 0.1, "betas": (0.4, 0.9)},
        "betas 0.98 0": {"betas": (0.98, 0.0)},
        "eps 1e-3 warmup": {"eps": 1e-3, "warmup_steps": 20},
        "r 2 weight_lr_power 1": {"r": 2.0, "weight_lr_power": 1.0},
        "r 0.7 weight_lr_power 0.5": {"r": 0.7, "weight_lr_power": 0.5},
        "wd": {"weight_decay": 0.1},
        "wd+maximize+warmup": {"weight_decay": 0.05, "warmup_steps": 5, "lr": 0.1, "maximize": True},
    },
}
CLASSES = {"schedulefreesgd": schedulefree.SGDScheduleFree, "schedulefreeadamw": schedulefree.AdamWScheduleFree}


class ScheduleFree(more.Torch):
    def __init__(self, name, hyper, init, dtype):
        self.maximize = hyper["maximize"]
        super().__init__(CLASSES[name], {key: x for key, x in hyper.items() if key != "maximize"}, init, dtype)
        self.opt.train()

    def step(self, lr, grad):
        super().step(lr, -grad if self.maximize else grad)

    def values(self):
        out = super().values()
        with torch.no_grad():
            trained = self.param.clone()
            self.opt.eval()
            out["eval_params"] = self.param.detach().double().numpy().copy()
            self.opt.train()
            self.param.copy_(trained)
        return out


if __name__ == "__main__":
    start = lambda name, hyper: {}
    more.write("../libraries/schedule_free.json", CASES, DEFAULTS, RULES, ScheduleFree, start, schedulefree=SCHEDULEFREE)

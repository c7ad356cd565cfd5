"""Write lars.json: LARS, as Lightning Bolts states it (You, Gitman & Ginsburg 2017).

pl_bolts/optimizers/lars.py at github.com/Lightning-Universe/lightning-bolts, commit 2c8b0227. It takes no ratio where weight_decay is 0, and no case
has that; nor does one have its dampening. Optax' LARS and apex' LARC are in ../libraries.
"""

import numpy as np

import steps
from inputs import ORDINARY
from steps import WIDE, norm


def bolts(run, lr, g):
    """One tensor. Its norms are torch's, which add up in another order."""
    f, h, p = run.dtype, run.hyper, run.slots["param"]
    pnorm, gnorm, decay = np.sqrt((p * p).sum()), np.sqrt((g * g).sum()), f(h["weight_decay"])
    if pnorm != 0 and gnorm != 0:
        scale = pnorm / (gnorm + pnorm * decay + f(h["eps"])) * f(h["trust_coefficient"])
        g = (g + decay * p) * scale
    buf = run.slots["momentum_buffer"] = f(h["momentum"]) * run.state("momentum_buffer") + g
    run.slots["param"] = p + f(-lr) * (g + f(h["momentum"]) * buf if h["nesterov"] else buf)


def both(k):
    h, mu, wd, eps, trust, p = k.h, k.h["momentum"], k.h["weight_decay"], k.h["eps"], k.h["trust_coefficient"], k.slot("param")
    ours = lambda p, g: trust * norm(p, WIDE) / (norm(g, WIDE) + norm(p, WIDE) * wd + eps) * (g + wd * p)
    theirs = lambda p, g: (g + wd * p) * (norm(p) / (norm(g) + norm(p) * wd + eps) * trust)
    g = k.a.differ(ours, theirs, p, k.g)
    buf = k.keep("momentum_buffer", mu * k.slot("momentum_buffer") + g)
    k.param(p - k.lr * (g + mu * buf if h["nesterov"] else buf))


DEFAULTS = {
    "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "trust_coefficient": 1e-3, "eps": 1e-8, "nesterov": False, "maximize": False,
    "elements": ORDINARY,
}  # fmt: skip

CASES = {
    "defaults": {},
    "lr 0": {"lr": 0.0},
    "lr 30": {"lr": 30.0},
    "momentum 0": {"momentum": 0.0, "lr": 1.0},
    "trust 0.1 eps 1": {"trust_coefficient": 0.1, "eps": 1.0},
    "wd 0.1": {"weight_decay": 0.1},
    "nesterov": {"nesterov": True},
    "nesterov+maximize": {"nesterov": True, "maximize": True, "momentum": 0.5, "weight_decay": 0.01},
    "all elements": {"elements": list(range(24))},
}

if __name__ == "__main__":
    steps.write("lars", CASES, DEFAULTS, bolts, both)

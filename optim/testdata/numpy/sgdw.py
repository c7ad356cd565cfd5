"""Write sgdw.json: SGD with decoupled weight decay, as its paper states it (Loshchilov & Hutter 2019)."""

import steps


def paper(run, lr, g):
    """Algorithm 1, lines 8 and 9. Its alpha*eta is lr, its eta*lambda is lr*weight_decay."""
    f, h, p = run.dtype, run.hyper, run.slots["param"]
    buf = run.slots["momentum_buffer"] = f(h["momentum"]) * run.state("momentum_buffer") + f(lr) * g
    run.slots["param"] = p - buf - f(lr * h["weight_decay"]) * p


def both(k):
    wd, lr = k.h["weight_decay"], k.lr
    buf = k.keep("momentum_buffer", k.h["momentum"] * k.slot("momentum_buffer") + lr * k.g)
    ours = lambda p, buf: (1 - lr * wd) * p - buf
    k.param(k.a.differ(ours, lambda p, buf: p - buf - lr * wd * p, k.slot("param"), buf))


DEFAULTS = {"lr": 1e-2, "momentum": 0.9, "weight_decay": 0.0, "maximize": False}

CASES = {
    "defaults": {"lr": 1e-3, "weight_decay": 1e-2},
    "lr 0": {"lr": 0.0, "weight_decay": 0.1},
    "momentum 0": {"momentum": 0.0, "weight_decay": 0.1},
    "momentum 0.5": {"momentum": 0.5},
    "wd": {"lr": 0.3, "weight_decay": 0.5},
    "wd+maximize": {"weight_decay": 0.1, "maximize": True},
}

if __name__ == "__main__":
    steps.write("sgdw", CASES, DEFAULTS, paper, both)

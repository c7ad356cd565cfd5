"""Write variants.json: what variants of SGD and Adam compute, for the Go tests to compare with.

    venv/bin/pip install torch==2.15.0 numpy==2.4.6 optax==0.2.8 jax==0.10.2
    venv/bin/python variants.py

Frame and format are more.py's: RULES says the operations of each side, and a bound stands beside each result.
"""

import golden  # first: it chooses torch's kernels

import torch

import more

# --- What both sides do ---------------------------------------------------------------------------------------------

POW = 72  # how far rule.Pow may be from the true power, relative, in units of 2^-53; Python's errs by less than 2


def asgd(k):
    h, g, t = k.h, more.gradient(k), k.t
    if t == 1:
        eta, decay = k.a.scalar(k.lr), k.a.scalar(1 - h["lambd"] * k.lr)
    else:  # by the last step's learning rate
        lr, units = h["lr"] * golden.LR_FACTOR[t - 2], POW + 2 + 2  # a division on each side
        eta = lr / (1 + h["lambd"] * lr * (t - 1)) ** h["alpha"]
        shrunk = h["lambd"] * eta
        decay = k.a.unlike(1 - shrunk, (units + 2) * shrunk / abs(1 - shrunk) + 2)
        eta = k.a.unlike(eta, units)
    p = decay * k.slot("param") - eta * g
    mu = 1 / max(1, t - 1 - h["t0"])
    k.put("ax", p if mu == 1 else k.slot("ax") + mu * (p - k.slot("ax")))
    k.param(p)


RULES = {"asgd": asgd}

# --- Cases ----------------------------------------------------------------------------------------------------------

DEFAULTS = {
    "asgd": {"lr": 1e-2, "lambd": 1e-4, "alpha": 0.75, "t0": 1e6, "weight_decay": 0.0, "maximize": False},
}
CLASSES = {"asgd": torch.optim.ASGD}

CASES = {
    "asgd": {
        "defaults": {},
        "lr 0": {"lr": 0.0, "lambd": 0.1, "t0": 2.0},
        "lambd 2": {"lambd": 2.0, "lr": 0.3},
        "lambd 0": {"lambd": 0.0, "t0": 7.0},
        "alpha 0 t0 0": {"alpha": 0.0, "lambd": 0.1, "t0": 0.0},
        "alpha 2 t0 10": {"alpha": 2.0, "lambd": 1.0, "lr": 0.1, "t0": 10.0},
        "wd": {"weight_decay": 0.1, "t0": 3.0},
        "wd+maximize": {"weight_decay": 0.1, "maximize": True, "t0": -1.0},
    },
}


def library(name, hyper, init, dtype):
    return more.Torch(CLASSES[name], hyper, init, dtype)


def initial(name, hyper):
    return {}


if __name__ == "__main__":
    more.write("variants.json", CASES, DEFAULTS, RULES, library, initial, optax=more.OPTAX, jax=more.JAX)

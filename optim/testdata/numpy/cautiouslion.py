"""Write cautiouslion.json: cautious Lion (Liang et al. 2024).

The authors' c_lion.py (github.com/kyleliang919/C-Optim, commit 2c0517c5), with the mask of their AdamW, as timm's Lion has it: theirs there is
multiplied by the number of elements over that of those that move and one more.
"""

import numpy as np

import cautiousadamw
import steps
from inputs import ORDINARY


def authors(run, lr, g):
    """One tensor."""
    f, h, p, m, (beta1, beta2) = run.dtype, run.hyper, run.slots["param"], run.state("exp_avg"), run.hyper["betas"]
    p = p * f(1 - lr * h["weight_decay"])
    update = np.sign(f(beta1) * m + f(1 - beta1) * g)
    mask = (update * g > 0).astype(f)
    mask = mask / max(f(mask.sum(dtype=np.float64) / mask.size), f(1e-3))
    run.slots["param"] = p + f(-lr) * (update * mask)
    run.slots["exp_avg"] = f(beta2) * m + f(1 - beta2) * g


def both(k):
    h, g, m, lr, wd, (beta1, beta2) = k.h, k.g, k.slot("exp_avg"), k.lr, k.h["weight_decay"], k.h["betas"]
    step = (beta1 * m + (1 - beta1) * g).sign()
    mask, share = cautiousadamw.masked(k, step, g)
    k.keep("exp_avg", beta2 * m + (1 - beta2) * g)
    ours = lambda p, step, mask, share: (1 - lr * wd) * p - lr / share * (mask * step)
    k.param(k.a.differ(ours, lambda p, step, mask, share: (1 - lr * wd) * p - lr * (step * (mask / share)), k.slot("param"), step, mask, share))


DEFAULTS = {"lr": 1e-2, "betas": (0.9, 0.99), "weight_decay": 0.0, "maximize": False}

CASES = {
    "defaults": {"lr": 1e-4},
    "lr 0": {"lr": 0.0, "weight_decay": 0.1},
    "betas 0.3 0.8": {"betas": (0.3, 0.8)},
    "betas 0 0.9": {"betas": (0.0, 0.9)},
    "wd": {"weight_decay": 0.1},
    "wd+maximize": {"weight_decay": 0.1, "maximize": True},
    "ordinary": {"elements": ORDINARY},
}

if __name__ == "__main__":
    steps.write("cautiouslion", CASES, DEFAULTS, authors, both)

"""Write adopt_optax.json: what optax's ADOPT computes. It has neither weight decay nor maximize; the gradient is negated before.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python adopt_optax.py

Nothing is jitted: each operation runs, and is rounded, by itself. Inputs, format and bounds are those of ../torch/more.py. The
authors' ADOPT is in ../numpy/adopt.py.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "torch"))

import more  # first: through it golden chooses torch's kernels

import adopt


def both(k):
    """Optax squares before it weights, adds in the other order, and its moment is no lerp."""
    h, g, t, (beta1, beta2) = k.h, k.g, k.t, k.h["betas"]
    p, m, v = k.slot("param"), k.slot("exp_avg"), k.slot("exp_avg_sq")
    if t == 1:
        k.keep("exp_avg_sq", v + g * g)
        k.put("exp_avg", m)
        return k.param(p)
    normed = adopt.clipped(k, g / v.sqrt().maximum(k.number(h["eps"])), k.a.unlike((t - 1) ** 0.25, 4))
    k.keep("exp_avg_sq", k.a.differ(lambda v, g: beta2 * v + (1 - beta2) * g * g, lambda v, g: (1 - beta2) * (g * g) + beta2 * v, v, g))
    k.param(p - k.lr * k.keep("exp_avg", beta1 * m + (1 - beta1) * normed))


def optax_adopt(optax, h, lr, t):
    return optax.contrib.adopt(lr, *h["betas"], eps=h["eps"])


def library(name, hyper, init, dtype):
    run = more.Optax(optax_adopt, {"exp_avg": "mu", "exp_avg_sq": "nu"}, hyper, init, dtype)
    run.flushes = True  # XLA sets what is subnormal to 0
    return run


CASES = {label: hyper for label, hyper in adopt.CASES.items() if not hyper.get("weight_decay")}

if __name__ == "__main__":
    more.write("../libraries/adopt_optax.json", {"adopt": CASES}, {"adopt": adopt.DEFAULTS}, {"adopt": both}, library, lambda name, hyper: {}, optax=more.OPTAX, jax=more.JAX)

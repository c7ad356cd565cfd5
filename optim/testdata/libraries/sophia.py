"""Write sophia.json: what optax's Sophia computes, given the Hessian's diagonal.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python sophia.py

Nothing is jitted: each operation runs, and is rounded, by itself. Inputs, format and bounds are those of ../torch/more.py. The
cases have another input, the diagonals, which stand in "input" by the step before which they come into force.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "torch"))

import more  # first: through it golden chooses torch's kernels

import jax
import numpy as np
import optax

import golden

jax.config.update("jax_enable_x64", True)

# The steps before which there is a new diagonal. Before the first of them it is 0.
ESTIMATED = (3, 7, 8, 20)


def diagonals(dtype):
    """Of the gradients' magnitude, so that some quotients are clipped and some are not; some are 0, some negative."""
    rng = golden.Random(4096)
    grads = np.abs(golden.inputs()[1])
    out = {}
    for t in ESTIMATED:
        scale = [(-1.0, 0.0, 1.0, 100.0, 100.0, 1e3, 1e4)[rng.bits() % 7] * (1.0 + rng.uniform()) for _ in grads[t]]
        out[t] = (grads[t] * scale).astype(dtype).astype(np.float64)
    return out


# --- What both sides do ---------------------------------------------------------------------------------------------


def sophia(k):
    h, p, lr, wd = k.h, k.slot("param"), k.lr, k.h["weight_decay"]
    g = k.g
    beta = h["beta1"]
    m = k.keep("exp_avg", beta * k.slot("exp_avg") + (1 - beta) * g)
    diagonal = k.put("hessian", k.number(k.after["hessian"]))
    if h["bias_correction"]:
        # Two more units for jax's power, which is not rounded correctly.
        bias = k.a.unlike(1 - beta**k.t, 2 + more.power_units(beta, k.t))
        m = k.a.differ(lambda m, bias: m * (1 / bias), lambda m, bias: m / bias, m, bias)
    step = m / (h["gamma"] * diagonal).maximum(k.number(h["eps"]))
    if h["clip_threshold"] != 0:
        clipped = np.abs(step.x) - step.e > h["clip_threshold"]
        step.x = np.clip(step.x, -h["clip_threshold"], h["clip_threshold"])
        step.e = np.where(clipped, 0, step.e)
    ours = lambda p, s: (1 - lr * wd) * p - lr * s
    k.param(k.a.differ(ours, lambda p, s: p - lr * (s + wd * p), p, step))


# --- Cases ----------------------------------------------------------------------------------------------------------

DEFAULTS = {
    "sophia": {
        "lr": 1e-2, "beta1": 0.965, "gamma": 0.01, "eps": 1e-8, "clip_threshold": 1.0, "weight_decay": 1e-4,
        "bias_correction": True, "maximize": False},
}  # fmt: skip

CASES = {
    "sophia": {
        "defaults": {},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "beta1 0.3 gamma 0.05": {"beta1": 0.3, "gamma": 0.05},
        "beta1 0": {"beta1": 0.0},
        "eps 1 clip_threshold 0.04": {"eps": 1.0, "clip_threshold": 0.04},
        "no clip_threshold": {"lr": 1e-4, "eps": 1e-2, "clip_threshold": 0.0},
        "wd+maximize": {"weight_decay": 0.1, "maximize": True},
        "no bias_correction": {"bias_correction": False, "weight_decay": 0.0},
        "no bias_correction+wd+maximize": {"bias_correction": False, "weight_decay": 0.1, "gamma": 0.002, "maximize": True},
    },
}


class Optax:
    def __init__(self, name, hyper, init, dtype):
        self.hyper, self.dtype, self.t = hyper, dtype, 0
        self.given = {t: {"hessian": x.tolist()} for t, x in diagonals(dtype).items()}
        self.value = jax.numpy.asarray(init, dtype=dtype)
        self.state = self.optimizer(0.0).init(self.value)
        self.diagonal = jax.numpy.zeros_like(self.value)

    def optimizer(self, lr):
        h = self.hyper
        none = optax.GradientTransformation(lambda params: (), lambda updates, state, params: (updates, state))
        return optax.contrib.sophia(
            lr, b1=h["beta1"], eps=h["eps"], gamma=h["gamma"], weight_decay=h["weight_decay"],
            clip_threshold=h["clip_threshold"] or None, hessian_diagonal_fn=none,
        )  # fmt: skip

    def step(self, lr, grad):
        self.t += 1
        momentum = self.state[0]
        if self.t in self.given:
            self.diagonal = jax.numpy.asarray(self.given[self.t]["hessian"], dtype=self.dtype)
        # The power of so large a count is 0, and dividing by 1 minus it corrects nothing.
        count = momentum.count if self.hyper["bias_correction"] else np.int32(10**6)
        state = (momentum._replace(nu=self.diagonal, count=count), *self.state[1:])
        g = jax.numpy.asarray(-grad if self.hyper["maximize"] else grad, dtype=self.dtype)
        updates, self.state = self.optimizer(lr).update(g, state, self.value)
        self.value = optax.apply_updates(self.value, updates)

    def values(self):
        slots = {"param": self.value, "exp_avg": self.state[0].mu, "hessian": self.diagonal}
        return {name: np.array(slot, dtype=np.float64) for name, slot in slots.items()}


if __name__ == "__main__":
    rules = {"sophia": sophia}
    more.write("../libraries/sophia.json", CASES, DEFAULTS, rules, Optax, lambda name, hyper: {}, optax=more.OPTAX, jax=more.JAX)

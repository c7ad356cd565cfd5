"""Write sparse.json: what the optimizers compute that set weights to exactly 0.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python sparse.py

FTRL is Keras', on TensorFlow, without which Keras has no float64; the proximal optimizers are TensorFlow's. Nothing is
compiled: each operation is rounded by itself.
Inputs, format and bounds are those of ../torch/more.py. Where a weight is 0 its bound is 0, elsewhere it is less than the
weight, and the script raises where rounding could decide between the two.
"""

import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "torch"))

import more  # first: through it golden chooses torch's kernels

import keras
import numpy as np
import tensorflow as tf

import difference

KERAS, TENSORFLOW = "3.15.1", "2.21.0"


# --- What both sides do ---------------------------------------------------------------------------------------------


def gradient(k):
    return k.g


def alike(k, operation, *numbers):
    """What both sides compute from equal numbers by the same operations: rounded, since a difference magnifies roundings."""
    if any((x.e != 0).any() for x in numbers):
        raise ValueError("the sides differ")
    return k.number(operation(*[x.x.astype(k.a.dtype) for x in numbers]))


def beyond(x, limit):
    """How far x is outside of ±limit: exactly 0 within, on both sides."""
    excess = x.abs() - limit
    if ((excess.e > 0) & (excess.e >= np.abs(excess.x))).any():
        raise ValueError("whether a weight is 0 depends on rounding: choose other inputs")
    outside = excess.x > 0
    return difference.Number(x.a, np.where(outside, np.sign(x.x) * excess.x, 0), np.where(outside, excess.e, 0))


def weight(k, x):
    """The new parameter. No bound lets a weight be 0 on one side alone."""
    if ((x.x != 0) & (np.abs(x.x) <= 1.02 * x.e)).any():
        raise ValueError("a weight's bound reaches 0: choose other inputs")
    k.param(x)


def ftrl(k):
    h, g, p, lr = k.h, gradient(k), k.slot("param"), k.lr
    before = k.slot("accumulator")
    n = k.put("accumulator", before + g * g)
    root, step = alike(k, np.sqrt, n), alike(k, lambda n, before: np.sqrt(n) - np.sqrt(before), n, before)
    sigma = k.a.differ(lambda x: x * (1 / x.a.scalar(lr)), lambda x: x / lr, step)
    z = k.put("linear", k.slot("linear") + (g + 2 * h["l2_shrinkage"] * p - sigma * p))
    ours = lambda root: root * (1 / root.a.scalar(lr)) + (2 * h["l2"] + h["beta"] / root.a.scalar(lr))
    keras = lambda root: root / lr + 2 * (h["l2"] + h["beta"] / (2 * root.a.scalar(lr)))
    l1 = np.dtype(k.a.dtype).type(h["l1"])
    weight(k, -beyond(z, l1) / k.a.differ(ours, keras, root))


def proximalsgd(k):
    h, lr = k.h, k.lr
    limit = lr * h["l1"]  # ours is rounded once, TensorFlow's is a product of rounded factors
    limit = k.number(limit, 0 if k.a.dtype == "float64" else 4 * k.a.u * limit)
    x = beyond(k.slot("param") - lr * gradient(k), limit)
    if h["l2"] != 0:
        ours = lambda x: x * (1 / (1 + lr * x.a.scalar(h["l2"])))
        x = k.a.differ(ours, lambda x: x / (1 + lr * x.a.scalar(h["l2"])), x)
    weight(k, x)


def proximaladagrad(k):
    """Both sides perform the same operations on equal numbers: nothing differs, and the rule serves to check that alone."""
    rounded = np.dtype(k.a.dtype).type
    lr, l1, l2, one = rounded(k.lr), rounded(k.h["l1"]), rounded(k.h["l2"]), rounded(1)

    def step(p, n, g):
        rate = lr * (one / np.sqrt(n))
        x = p - rate * g
        return np.sign(x) * np.maximum(np.abs(x) - rate * l1, 0) / (one + rate * l2)

    g = gradient(k)
    n = k.put("accumulator", alike(k, lambda n, g: n + g * g, k.slot("accumulator"), g))
    weight(k, alike(k, step, k.slot("param"), n, g))


RULES = {"ftrl": ftrl, "proximalsgd": proximalsgd, "proximaladagrad": proximaladagrad}

# --- Cases ----------------------------------------------------------------------------------------------------------

DEFAULTS = {
    "ftrl": {"lr": 1e-2, "initial_accumulator_value": 0.1, "l1": 0.0, "l2": 0.0, "l2_shrinkage": 0.0, "beta": 0.0, "maximize": False},
    "proximalsgd": {"lr": 1e-2, "l1": 0.0, "l2": 0.0, "maximize": False},
    "proximaladagrad": {"lr": 1e-2, "initial_accumulator_value": 0.1, "l1": 0.0, "l2": 0.0, "maximize": False},
}

CASES = {
    "ftrl": {
        "defaults": {"lr": 1e-3},
        "lr 0.5": {"lr": 0.5, "initial_accumulator_value": 1.0},
        "l1": {"l1": 0.1},
        "l1+maximize": {"lr": 0.1, "l1": 2.0, "maximize": True},
        "l2": {"l2": 0.3},
        "l2_shrinkage": {"l2_shrinkage": 0.01},
        "beta": {"beta": 1.0, "initial_accumulator_value": 1e-6},
        "l1+l2+l2_shrinkage+beta+maximize": {
            "lr": 0.1, "initial_accumulator_value": 0.5, "l1": 0.5, "l2": 0.1, "l2_shrinkage": 0.05, "beta": 0.3, "maximize": True},
    },
    "proximalsgd": {
        "defaults": {},
        "lr 0": {"lr": 0.0, "l1": 0.1, "l2": 0.1},
        "l1": {"l1": 0.3},
        "l1+maximize": {"lr": 0.1, "l1": 1.0, "maximize": True},
        "l2": {"l2": 0.3},
        "l1+l2": {"lr": 0.1, "l1": 0.2, "l2": 0.5},
        "l1+l2+maximize": {"lr": 0.5, "l1": 0.05, "l2": 3.0, "maximize": True},
    },
    "proximaladagrad": {
        "defaults": {},
        "initial 3": {"lr": 0.5, "initial_accumulator_value": 3.0},
        "l1": {"l1": 0.3},
        "l1+maximize": {"lr": 0.1, "l1": 1.0, "maximize": True},
        "l2": {"lr": 0.1, "l2": 0.3},
        "l1+l2": {"lr": 0.1, "l1": 0.2, "l2": 0.5},
        "l1+l2+maximize": {"lr": 0.5, "initial_accumulator_value": 1.0, "l1": 0.05, "l2": 3.0, "maximize": True},
    },
}  # fmt: skip


class Keras:
    def __init__(self, name, hyper, init, dtype):
        self.hyper, self.dtype = hyper, dtype
        self.value = keras.Variable(init, dtype=dtype)
        # numpy's float64, since TensorFlow makes a float32 of Python's float before it casts it.
        start = np.float64(hyper["initial_accumulator_value"])
        strength = {f"{x}_regularization_strength": hyper[x] for x in ("l1", "l2", "l2_shrinkage")}
        self.opt = keras.optimizers.Ftrl(initial_accumulator_value=start, beta=hyper["beta"], **strength)
        self.opt.build([self.value])

    def step(self, lr, grad):
        grad = tf.constant(-grad if self.hyper["maximize"] else grad, dtype=self.dtype)
        self.opt.update_step(grad, self.value, np.float64(lr))

    def values(self):
        slots = {"param": self.value, "accumulator": self.opt._accumulators[0], "linear": self.opt._linears[0]}
        return {name: slot.numpy().astype(np.float64) for name, slot in slots.items()}


class TensorFlow:
    """One element at a time, because the vector code estimates reciprocals of roots as the processor does."""

    def __init__(self, name, hyper, init, dtype):
        self.hyper, self.dtype = hyper, dtype
        self.slots = {"param": [tf.Variable([x], dtype=dtype) for x in init]}
        if name == "proximaladagrad":
            start = np.float64(hyper["initial_accumulator_value"])
            self.slots["accumulator"] = [tf.Variable([start], dtype=dtype) for _ in init]

    def step(self, lr, grad):
        h = self.hyper
        lr, l1, l2 = (tf.constant(np.float64(x), self.dtype) for x in (lr, h["l1"], h["l2"]))
        for *slots, g in zip(*self.slots.values(), -grad if h["maximize"] else grad):
            handles = [x.handle for x in slots]
            g = tf.constant([g], self.dtype)
            if len(handles) == 1:
                tf.raw_ops.ResourceApplyProximalGradientDescent(var=handles[0], alpha=lr, l1=l1, l2=l2, delta=g)
            else:
                tf.raw_ops.ResourceApplyProximalAdagrad(var=handles[0], accum=handles[1], lr=lr, l1=l1, l2=l2, grad=g)

    def values(self):
        return {name: np.concatenate([x.numpy() for x in slot]).astype(np.float64) for name, slot in self.slots.items()}


LIBRARIES = {"ftrl": Keras, "proximalsgd": TensorFlow, "proximaladagrad": TensorFlow}


def power(x, exponent):
    """Of the exponents a half alone is used. TensorFlow's power does not round correctly, and depends on the CPU."""
    if exponent != 0.5:
        raise ValueError(f"a power of {exponent}")
    return tf.constant(np.sqrt(x.numpy()))


if __name__ == "__main__":
    keras.src.optimizers.ftrl.ops.power = power
    versions = {"keras": KERAS, "tensorflow_cpu": TENSORFLOW}
    library = lambda name, *run: LIBRARIES[name](name, *run)
    more.write("../libraries/sparse.json", CASES, DEFAULTS, RULES, library, lambda name, hyper: {}, **versions)

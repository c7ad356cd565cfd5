"""Write modes_apex.json: what apex' fused optimizers compute.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python modes_apex.py

Apex runs on NVIDIA's GPUs alone, and was not run. The classes here state, in numpy, each operation rounded, what its source at commit
6424da3b says: csrc/multi_tensor_adam.cu, multi_tensor_sgd_kernel.cu and multi_tensor_adagrad.cu. Its compiler may join a
product and the addition that follows, which rounds once less. Apex has no float64: those numbers are the same formulas'.
"""

import modes  # first: through it golden chooses torch's kernels

import numpy as np

import more

from modes import bias, complement

# --- What both sides do ---------------------------------------------------------------------------------------------


def last(k, ours, apexs, *operands):
    """The parameter. Decoupled decay is a factor of it here; apex adds decay*p to the step before the learning rate multiplies it."""
    lr, wd = k.lr, k.h["weight_decay"] if k.decoupled else 0
    if wd:
        both = lambda p, *o: (1 - lr * wd) * p - ours(*o), lambda p, *o: p - lr * (apexs(*o) + wd * p)
    else:
        both = lambda p, *o: p - ours(*o), lambda p, *o: p - lr * apexs(*o)
    k.param(k.a.differ(*both, k.slot("param"), *operands))


def sgd(k):
    h, g, mu = k.h, more.gradient(k), k.h["momentum"]
    if mu:
        buf = k.keep("momentum_buffer", mu * k.slot("momentum_buffer") + complement(k, h["dampening"]) * g if k.t > 1 else g)
        g = g + mu * buf if h["nesterov"] else buf
    if k.decoupled:
        last(k, lambda g: k.lr * g, lambda g: g, g)
    else:
        k.param(k.slot("param") - k.lr * g)


def adam(k):
    g, lr, eps, (beta1, beta2) = more.gradient(k), k.lr, k.h["eps"], k.h["betas"]
    m = [lambda m, g, w: beta1 * m + w * g] * 2
    m = k.keep("exp_avg", k.a.differ(*m, k.slot("exp_avg"), g, complement(k, beta1)))
    v = [lambda v, g, w: beta2 * v + w * g * g] * 2
    v = k.keep("exp_avg_sq", k.a.differ(*v, k.slot("exp_avg_sq"), g, complement(k, beta2)))
    ours = lambda m, v, bias1, bias2: lr / bias1 * (m / (v.sqrt() * (1 / bias2.sqrt()) + eps))
    last(k, ours, lambda m, v, bias1, bias2: m / bias1 / ((v / bias2).sqrt() + eps), m, v, correction(k, beta1), correction(k, beta2))


def correction(k, beta):
    """1 - beta^t: apex computes it in double from a float beta, and rounds it."""
    if k.h["no_bias_correction"]:
        return k.number(1.0)
    f = np.dtype(k.a.dtype).type
    return bias(k, f(1 - float(f(beta)) ** k.t), beta)


def adamw(k):
    k.decoupled = True
    adam(k)


def adagrad(k):
    g, eps = more.gradient(k), k.h["eps"]
    total = k.keep("sum", k.slot("sum") + g * g)
    last(k, lambda g, s: k.lr * g / (s.sqrt() + eps), lambda g, s: g / (s.sqrt() + eps), g, total)


RULES = {"sgd": sgd, "adam": adam, "adamw": adamw, "adagrad": adagrad}

# --- Apex -----------------------------------------------------------------------------------------------------------


def FusedSGD(params, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, wd_after_momentum=False):
    def step(run, f, lr, p, g):
        if weight_decay and not wd_after_momentum:
            g = g + f(weight_decay) * p
        if momentum:
            buf = run.slots["momentum_buffer"]
            buf = buf * f(momentum) + (f(1) - f(dampening)) * g if run.t > 1 else g
            run.slots["momentum_buffer"] = buf
            g = g + f(momentum) * buf if nesterov else buf
        if weight_decay and wd_after_momentum:
            g = g + f(weight_decay) * p
        return p + -lr * g

    return lr, ("momentum_buffer",) if momentum else (), step


def FusedAdam(params, lr=1e-3, bias_correction=True, betas=(0.9, 0.999), eps=1e-8, adam_w_mode=True, weight_decay=0.0):
    def step(run, f, lr, p, g):
        beta1, beta2, decay = f(betas[0]), f(betas[1]), f(weight_decay)
        if not adam_w_mode:
            g = g + decay * p
        m = run.slots["exp_avg"] = beta1 * run.slots["exp_avg"] + (f(1) - beta1) * g
        v = run.slots["exp_avg_sq"] = beta2 * run.slots["exp_avg_sq"] + (f(1) - beta2) * g * g
        if bias_correction:
            m, v = m / f(1 - float(beta1) ** run.t), v / f(1 - float(beta2) ** run.t)
        update = m / (np.sqrt(v) + f(eps))
        return p - lr * (update + decay * p if adam_w_mode else update)

    return lr, ("exp_avg", "exp_avg_sq"), step


def FusedAdagrad(params, lr=1e-2, eps=1e-10, weight_decay=0.0, adagrad_w_mode=False):
    def step(run, f, lr, p, g):
        decay = f(weight_decay)
        if not adagrad_w_mode:
            g = g + decay * p
        h = run.slots["sum"] = run.slots["sum"] + g * g
        update = g / (np.sqrt(h) + f(eps))
        return p - lr * (update + decay * p if adagrad_w_mode else update)

    return lr, ("sum",), step


class Apex:
    def __init__(self, name, call, hyper, init, dtype):
        self.f, self.t = np.dtype(dtype).type, 0
        lr, slots, self.apply = eval(call, globals(), {"params": None})
        if lr != hyper["lr"]:
            raise ValueError(f"{call}: the learning rate is {lr}")
        self.slots = {name: np.zeros_like(init, dtype=dtype) for name in slots} | {"param": np.array(init, dtype=dtype)}

    def step(self, lr, grad):
        self.t += 1
        with np.errstate(under="ignore"):
            self.slots["param"] = self.apply(self, self.f, self.f(lr), self.slots["param"], grad.astype(self.f))

    def values(self):
        return {name: x.astype(np.float64) for name, x in self.slots.items()}


# --- Cases ----------------------------------------------------------------------------------------------------------

ADAM = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8}

LISTED = [
    ("FusedSGD(params, lr=0.1)", "sgd", {"lr": 0.1}),
    ("FusedSGD(params, lr=0.1, momentum=0.9, weight_decay=0.01)", "sgd", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("FusedSGD(params, lr=0.1, momentum=0.9, nesterov=True)", "sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("FusedSGD(params, lr=0.1, momentum=0.9, weight_decay=0.01, wd_after_momentum=True)", "sgd",
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "decoupled": True}),
    ("FusedAdam(params)", "adam", ADAM),
    ("FusedAdam(params, weight_decay=0.01)", "adamw", ADAM | {"weight_decay": 0.01}),
    ("FusedAdam(params, eps=1e-3, weight_decay=0.01, adam_w_mode=False)", "adam", ADAM | {"eps": 1e-3, "weight_decay": 0.01}),
    ("FusedAdam(params, bias_correction=False)", "adam", ADAM | {"no_bias_correction": True}),
    ("FusedAdagrad(params)", "adagrad", {"lr": 0.01, "eps": 1e-10}),
    ("FusedAdagrad(params, weight_decay=0.01, adagrad_w_mode=True)", "adagrad",
        {"lr": 0.01, "eps": 1e-10, "weight_decay": 0.01, "decoupled": True}),
]  # fmt: skip

OTHERS = [
    ("FusedSGD(params, lr=0.3, momentum=0.5, dampening=0.3, weight_decay=0.1, wd_after_momentum=True)", "sgd",
        {"lr": 0.3, "momentum": 0.5, "dampening": 0.3, "weight_decay": 0.1, "decoupled": True}),
    ("FusedAdam(params, lr=0.1, bias_correction=False, betas=(0.3, 0.8), eps=1e-3, weight_decay=0.1)", "adamw",
        {"lr": 0.1, "betas": (0.3, 0.8), "eps": 1e-3, "no_bias_correction": True, "weight_decay": 0.1}),
]  # fmt: skip

if __name__ == "__main__":
    modes.write("modes_apex", LISTED, OTHERS, RULES, Apex)

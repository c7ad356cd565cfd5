"""Write modes_apex.json: what apex' fused optimizers compute.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python modes_apex.py

Apex runs on NVIDIA's GPUs alone, and was not run. The classes here state, in numpy, each operation rounded, what its source at commit
6424da3b says: csrc/multi_tensor_adam.cu, multi_tensor_sgd_kernel.cu, multi_tensor_adagrad.cu, multi_tensor_lamb.cu and multi_tensor_novograd.cu. Its
compiler may join a product and the addition that follows, which rounds once less, and its norms add up in another order. Apex has no float64:
those numbers are the same formulas'. LARC, apex/parallel/LARC.py, is of commit 0bfb8300: later ones have none.
"""

import modes  # first: through it golden chooses torch's kernels

import numpy as np

import more

from inputs import ORDINARY
from modes import bias, complement
from steps import WIDE, norm

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


def share(k, beta):
    """What of a gradient enters exp_avg."""
    return k.number(1.0) if k.h["grad_sum"] else complement(k, beta)


def lamb(k):
    h, lr, eps, (beta1, beta2), p, wd = k.h, k.lr, k.h["eps"], k.h["betas"], k.slot("param"), k.h["weight_decay"]
    g, wd = (k.g + wd * p, 0) if wd and h["l2"] else (k.g, wd)
    m = [lambda m, g, w: beta1 * m + w * g] * 2
    m = k.keep("exp_avg", k.a.differ(*m, k.slot("exp_avg"), g, share(k, beta1)))
    v = [lambda v, g, w: beta2 * v + w * g * g] * 2
    v = k.keep("exp_avg_sq", k.a.differ(*v, k.slot("exp_avg_sq"), g, complement(k, beta2)))
    adapts = h["nvlamb"] or h["weight_decay"]

    def ours(p, m, v, bias1, bias2):
        u = 1 / bias1 * (m / (v.sqrt() * (1 / bias2.sqrt()) + eps)) + wd * p
        return p - (lr * (norm(p, WIDE) / norm(u, WIDE)) if adapts else lr) * u

    def apex(p, m, v, bias1, bias2):
        u = m / bias1 / ((v / bias2).sqrt() + eps) + wd * p
        return p - (lr * (norm(p) / norm(u)) if adapts else lr) * u

    k.param(k.a.differ(ours, apex, p, m, v, correction(k, beta1), correction(k, beta2)))


def larc(k):
    h, lr, wd, eps, mu, trust, p = k.h, k.lr, k.h["weight_decay"], k.h["eps"], k.h["momentum"], k.h["trust_coefficient"], k.slot("param")

    def scaled(u):
        def gradient(p, g):
            scale = trust * norm(p, u) / (norm(g, u) + norm(p, u) * wd + eps)
            return (g + wd * p) * ((scale / lr).atmost(1) if h["clip"] else scale)

        return gradient

    buf = k.keep("momentum_buffer", mu * k.slot("momentum_buffer") + k.a.differ(scaled(WIDE), scaled(None), p, k.g))
    k.param(p - lr * buf)


def novograd(k):
    h, g, lr, wd, eps, (beta1, beta2), p = k.h, k.g, k.lr, k.h["weight_decay"], k.h["eps"], k.h["betas"], k.slot("param")
    first = k.t == 1 and not h["init_zero"]

    def ours(v, g, w):
        return (g * g).total(WIDE) if first else beta2 * v + w * (g * g).total(WIDE)

    def apex(v, g, w):
        before = norm(g) if first else v.sqrt()
        root = (beta2 * before * before + w * (g * g).total()).sqrt()
        return root * root

    v = k.put("exp_avg_sq", k.a.differ(ours, apex, k.slot("exp_avg_sq"), g, complement(k, beta2)))
    bias1, bias2 = correction(k, beta1), correction(k, beta2)
    if h["reg_inside_moment"]:
        ours = lambda p, g, m, v, bias2, w: beta1 * m + w * (1 / (v.sqrt() * (1 / bias2.sqrt()) + eps) * g + wd * p)
        apex = lambda p, g, m, v, bias2, w: beta1 * m + w * (g / (v.sqrt() / bias2.sqrt() + eps) + wd * p)
        m = k.keep("exp_avg", k.a.differ(ours, apex, p, g, k.slot("exp_avg"), v, bias2, share(k, beta1)))
        k.param(k.a.differ(lambda p, m, b: p - lr / b * m, lambda p, m, b: p - lr * (m / b), p, m, bias1))
        return
    m = [lambda m, g, w: beta1 * m + w * g] * 2
    m = k.keep("exp_avg", k.a.differ(*m, k.slot("exp_avg"), g, share(k, beta1)))
    ours = lambda p, m, v, bias1, bias2: (1 - lr * wd) * p - lr / bias1 * (1 / (v.sqrt() * (1 / bias2.sqrt()) + eps)) * m
    apex = lambda p, m, v, bias1, bias2: p - lr * (m / bias1 / (v.sqrt() / bias2.sqrt() + eps) + wd * p)
    k.param(k.a.differ(ours, apex, p, m, v, bias1, bias2))


RULES = {"sgd": sgd, "adam": adam, "adamw": adamw, "adagrad": adagrad, "lamb": lamb, "lars": larc, "novograd": novograd}

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


def FusedLAMB(params, lr=1e-3, bias_correction=True, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, adam_w_mode=True, grad_averaging=True,
              max_grad_norm=1.0, use_nvlamb=False):  # fmt: skip
    if max_grad_norm != np.inf:
        raise ValueError("the gradients' global norm is clipped")

    def step(run, f, lr, p, g):
        beta1, beta2, decay = f(betas[0]), f(betas[1]), f(weight_decay)
        if not adam_w_mode:
            g = g + decay * p
        m = run.slots["exp_avg"] = run.slots["exp_avg"] * beta1 + (f(1) - beta1 if grad_averaging else f(1)) * g
        v = run.slots["exp_avg_sq"] = run.slots["exp_avg_sq"] * beta2 + (f(1) - beta2) * g * g
        if bias_correction:
            m, v = m / f(1 - float(beta1) ** run.t), v / f(1 - float(beta2) ** run.t)
        update = m / (np.sqrt(v) + f(eps))
        if adam_w_mode:
            update = update + decay * p
        if use_nvlamb or decay != 0:
            pnorm, unorm = np.sqrt((p * p).sum()), np.sqrt((update * update).sum())
            if pnorm != 0 and unorm != 0:
                lr = lr * (pnorm / unorm)
        return p - lr * update

    return lr, ("exp_avg", "exp_avg_sq"), step


def FusedNovoGrad(params, lr=1e-3, bias_correction=True, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, reg_inside_moment=False,
                  grad_averaging=True, init_zero=False):  # fmt: skip
    norm = None  # apex' exp_avg_sq: what it is the root of is in the file

    def step(run, f, lr, p, g):
        nonlocal norm
        beta1, beta2, decay = f(betas[0]), f(betas[1]), f(weight_decay)
        beta3, squares = f(1) - beta1 if grad_averaging else f(1), (g * g).sum()
        if norm is None:
            norm = f(0) if init_zero else np.sqrt(squares)
        norm = np.sqrt(beta2 * norm * norm + (f(1) - beta2) * squares)
        run.slots["exp_avg_sq"] = np.array([norm], dtype=np.float64) ** 2
        bias1, bias2 = (f(1 - float(beta1) ** run.t), f(np.sqrt(1 - float(beta2) ** run.t))) if bias_correction else (f(1), f(1))
        denominator = norm / bias2 + f(eps)
        if reg_inside_moment:
            g = g / denominator + decay * p
        m = run.slots["exp_avg"] = beta1 * run.slots["exp_avg"] + beta3 * g
        return p - lr * (m / bias1 if reg_inside_moment else m / bias1 / denominator + decay * p)

    return lr, ("exp_avg",), step


class SGD:
    """Torch's, for LARC."""

    def __init__(self, params, lr, momentum=0.0, weight_decay=0.0):
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay


def LARC(optimizer, trust_coefficient=0.02, clip=True, eps=1e-8):
    def step(run, f, lr, p, g):
        decay, pnorm, gnorm = f(optimizer.weight_decay), np.sqrt((p * p).sum()), np.sqrt((g * g).sum())
        if pnorm != 0 and gnorm != 0:
            scale = f(trust_coefficient) * pnorm / (gnorm + pnorm * decay + f(eps))
            if clip:
                scale = min(scale / lr, f(1))
            g = (g + decay * p) * scale
        buf = run.slots["momentum_buffer"]
        buf = run.slots["momentum_buffer"] = f(optimizer.momentum) * buf + g
        return p + -lr * buf

    return optimizer.lr, ("momentum_buffer",), step


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
NORMS = {"elements": ORDINARY}
LAMB = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.01} | NORMS
LARC_SGD = {"lr": 0.1, "momentum": 0.9, "trust_coefficient": 0.02, "eps": 1e-8, "clip": True} | NORMS
NOVOGRAD = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8} | NORMS

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
    ("FusedLAMB(params, max_grad_norm=np.inf)", "lamb", LAMB),
    ("FusedLAMB(params, weight_decay=0.0, use_nvlamb=True, max_grad_norm=np.inf)", "lamb", LAMB | {"weight_decay": 0.0, "nvlamb": True}),
    ("FusedLAMB(params, eps=0.1, adam_w_mode=False, max_grad_norm=np.inf)", "lamb", LAMB | {"eps": 0.1, "l2": True}),
    ("FusedLAMB(params, grad_averaging=False, max_grad_norm=np.inf)", "lamb", LAMB | {"grad_sum": True}),
    ("FusedNovoGrad(params)", "novograd", NOVOGRAD),
    ("FusedNovoGrad(params, weight_decay=0.01)", "novograd", NOVOGRAD | {"weight_decay": 0.01}),
    ("FusedNovoGrad(params, weight_decay=0.01, reg_inside_moment=True)", "novograd",
        NOVOGRAD | {"weight_decay": 0.01, "reg_inside_moment": True}),
    ("FusedNovoGrad(params, grad_averaging=False, init_zero=True)", "novograd", NOVOGRAD | {"grad_sum": True, "init_zero": True}),
    ("LARC(SGD(params, lr=0.1, momentum=0.9))", "lars", LARC_SGD),
    ("LARC(SGD(params, lr=0.1, momentum=0.9, weight_decay=0.01), trust_coefficient=0.001, clip=False)", "lars",
        LARC_SGD | {"weight_decay": 0.01, "trust_coefficient": 0.001, "clip": False}),
]  # fmt: skip

OTHERS = [
    ("FusedSGD(params, lr=0.3, momentum=0.5, dampening=0.3, weight_decay=0.1, wd_after_momentum=True)", "sgd",
        {"lr": 0.3, "momentum": 0.5, "dampening": 0.3, "weight_decay": 0.1, "decoupled": True}),
    ("FusedAdam(params, lr=0.1, bias_correction=False, betas=(0.3, 0.8), eps=1e-3, weight_decay=0.1)", "adamw",
        {"lr": 0.1, "betas": (0.3, 0.8), "eps": 1e-3, "no_bias_correction": True, "weight_decay": 0.1}),
    ("FusedLAMB(params, lr=0.1, bias_correction=False, betas=(0.3, 0.8), eps=1e-3, weight_decay=0.1, max_grad_norm=np.inf)", "lamb",
        LAMB | {"lr": 0.1, "betas": (0.3, 0.8), "eps": 1e-3, "no_bias_correction": True, "weight_decay": 0.1}),
    ("FusedLAMB(params, weight_decay=0.0, max_grad_norm=np.inf)", "lamb", LAMB | {"weight_decay": 0.0}),
    ("FusedLAMB(params, lr=0.01, max_grad_norm=np.inf)", "lamb", LAMB | {"lr": 0.01, "elements": list(range(24))}),
    ("FusedNovoGrad(params, lr=0.1, bias_correction=False, betas=(0.3, 0.8), eps=1e-3, weight_decay=0.1)", "novograd",
        NOVOGRAD | {"lr": 0.1, "betas": (0.3, 0.8), "eps": 1e-3, "no_bias_correction": True, "weight_decay": 0.1}),
    ("LARC(SGD(params, lr=0.003, momentum=0.5, weight_decay=0.1))", "lars",
        LARC_SGD | {"lr": 0.003, "momentum": 0.5, "weight_decay": 0.1}),
]  # fmt: skip

if __name__ == "__main__":
    modes.write("modes_apex", LISTED, OTHERS, RULES, Apex)

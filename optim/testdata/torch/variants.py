"""Write variants.json: what variants of SGD and Adam compute, for the Go tests to compare with.

    venv/bin/pip install torch==2.15.0 numpy==2.4.6 optax==0.2.8 jax==0.10.2 adabelief-pytorch==0.2.1
    venv/bin/python variants.py

Frame and format are more.py's: RULES says the operations of each side, and a bound stands beside each result.
"""

import contextlib
import math

import golden  # first: it chooses torch's kernels

import adabelief_pytorch
import numpy as np
import torch

import more

VERSIONS = {"optax": more.OPTAX, "jax": more.JAX, "adabelief-pytorch": "0.2.1"}

# --- What both sides do ----------------------------------------------------------------------------------------------

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


def sgdw(k):
    wd, lr = k.h["weight_decay"], k.lr
    buf = k.keep("momentum_buffer", k.h["momentum"] * k.slot("momentum_buffer") + lr * k.g)
    ours = lambda p, buf: (1 - lr * wd) * p - buf
    k.param(k.a.differ(ours, lambda p, buf: p - buf - lr * wd * p, k.slot("param"), buf))


def signum(k):
    beta, m = k.h.get("beta"), k.g
    if beta is not None:
        m = k.keep("exp_avg", beta * k.slot("exp_avg") + (1 - beta) * m)
    wd, lr = k.h["weight_decay"], k.lr
    ours = lambda p, s: (1 - lr * wd) * p - lr * s
    k.param(k.a.differ(ours, lambda p, s: p - lr * (s + wd * p), k.slot("param"), m.sign()))


def bias(k, beta):
    """1 - beta^t. Torch and the authors take a power, within 2 units of 2^-53; XLA's is a product by squaring, within t - 1 of them,
    as ours is."""
    power = beta**k.t
    return k.a.unlike(1 - power, 2 * k.t * power / (1 - power) + 2)


def adam(k, p, m, v, theirs):
    """Adam's step, whose bias corrections are scalars here."""
    lr, eps, (beta1, beta2) = k.lr, k.h["eps"], k.h["betas"]
    ours = lambda p, m, v, bias1, bias2: p - lr / bias1 * (m / (v.sqrt() * (1 / bias2.sqrt()) + eps))
    k.param(k.a.differ(ours, theirs, p, m, v, bias(k, beta1), bias(k, beta2)))


def yogi(k):
    h, g, lr, (beta1, beta2) = k.h, k.g, k.lr, k.h["betas"]
    m = k.keep("exp_avg", beta1 * k.slot("exp_avg") + (1 - beta1) * g)
    v, squared = k.slot("exp_avg_sq"), g * g
    v = k.keep("exp_avg_sq", v - (1 - beta2) * (v - squared).sign(unsure=k.a.flushes) * squared)
    adam(k, k.slot("param"), m, v, lambda p, m, v, bias1, bias2: p - lr * (m / bias1 / ((v / bias2).sqrt() + h["eps"])))


def adabelief(k):
    h, g, lr, (beta1, beta2), p = k.h, more.gradient(k), k.lr, k.h["betas"], more.decayed(k)
    m = k.keep("exp_avg", beta1 * k.slot("exp_avg") + (1 - beta1) * g)
    residual = g - m
    v = k.keep("exp_avg_var", beta2 * k.slot("exp_avg_var") + (1 - beta2) * residual * residual + h["eps"])
    if h["amsgrad"]:
        v = k.put("max_exp_avg_var", k.slot("max_exp_avg_var").maximum(v))
    adam(k, p, m, v, lambda p, m, v, bias1, bias2: p - lr / bias1 * m / (v.sqrt() / bias2.sqrt() + h["eps"]))


def adan(k):
    h, g, lr, (beta1, beta2, beta3), t = k.h, k.g, k.lr, k.h["betas"], k.t
    diff = g + (k.slot("neg_pre_grad") if t > 1 else -g)
    ahead = g + beta2 * diff
    m = k.keep("exp_avg", beta1 * k.slot("exp_avg") + (1 - beta1) * g)
    d = k.keep("exp_avg_diff", beta2 * k.slot("exp_avg_diff") + (1 - beta2) * diff)
    v = k.keep("exp_avg_sq", beta3 * k.slot("exp_avg_sq") + (1 - beta3) * ahead * ahead)
    k.put("neg_pre_grad", -g)
    decay = 1 - lr * h["weight_decay"] if h["no_prox"] else 1
    divisor = 1 if h["no_prox"] else 1 + lr * h["weight_decay"]

    def ours(p, m, d, v, bias1, bias2, bias3):
        step = (lr / bias1 * m + lr * beta2 / bias2 * d) / (v.sqrt() * (1 / bias3.sqrt()) + h["eps"])
        return (decay * p - step) * (1 / divisor)

    def authors(p, m, d, v, bias1, bias2, bias3):
        denominator = v.sqrt() / bias3.sqrt() + h["eps"]
        return (decay * p - lr / bias1 * m / denominator - lr * beta2 / bias2 * d / denominator) / divisor

    k.param(k.a.differ(ours, authors, k.slot("param"), m, d, v, bias(k, beta1), bias(k, beta2), bias(k, beta3)))


def warmed(h, t):
    """AdEMAMix's alpha and beta3 in step t, by the paper, section 3, and whether beta3 is still rising."""
    alpha, (start, _, end), alpha_warmup, beta3_warmup = h["alpha"], h["betas"], h["alpha_warmup"], h["beta3_warmup"]
    if t < alpha_warmup:
        alpha *= t / alpha_warmup
    if t >= beta3_warmup:
        return alpha, end, False
    w, a, b = t / beta3_warmup, math.log(start), math.log(end)
    return alpha, min(math.exp(a * b / ((1 - w) * b + w * a)), end), True


def ademamix(k):
    h, g, lr, (beta1, beta2, _) = k.h, k.g, k.lr, k.h["betas"]
    alpha, beta3, rising = warmed(h, k.t)
    kept, taken = k.a.scalar(beta3), k.a.scalar(1 - beta3)
    if rising:  # by Pow and by exp, of exponents that are at most 20 units of 2^-53 apart
        units = POW + 2 - 20 * math.log(beta3)
        kept, taken = k.a.unlike(beta3, units), k.a.unlike(1 - beta3, units * beta3 / (1 - beta3) + 2)
    fast = k.keep("exp_avg_fast", beta1 * k.slot("exp_avg_fast") + (1 - beta1) * g)
    slow = k.keep("exp_avg_slow", kept * k.slot("exp_avg_slow") + taken * g)
    v = k.a.differ(lambda v, g: beta2 * v + (1 - beta2) * g * g, lambda v, g: (1 - beta2) * (g * g) + beta2 * v, k.slot("exp_avg_sq"), g)
    v, wd, eps = k.keep("exp_avg_sq", v), h["weight_decay"], h["eps"]

    def ours(p, fast, slow, v, bias1, bias2):
        return (1 - lr * wd) * p - (lr / bias1 * fast + lr * alpha * slow) / (v.sqrt() * (1 / bias2.sqrt()) + eps)

    def optaxs(p, fast, slow, v, bias1, bias2):
        return p - lr * ((fast / bias1 + alpha * slow) / ((v / bias2).sqrt() + eps) + wd * p)

    k.param(k.a.differ(ours, optaxs, k.slot("param"), fast, slow, v, bias(k, beta1), bias(k, beta2)))


RULES = {"asgd": asgd, "sgdw": sgdw, "signsgd": signum, "signum": signum, "yogi": yogi, "adabelief": adabelief, "adan": adan, "ademamix": ademamix}

# --- What is not torch's own -----------------------------------------------------------------------------------------


class Stated:
    """An algorithm as its paper, or its authors' code, states it: each operation is one of numpy, on arrays of the dtype."""

    def __init__(self, step, hyper, init, dtype):
        self.rule, self.hyper, self.dtype = step, hyper, np.dtype(dtype).type
        self.slots, self.t = {"param": np.array(init, dtype=dtype)}, 0

    def step(self, lr, grad):
        self.t += 1
        g = np.array(grad, dtype=self.dtype)
        self.rule(self, lr, -g if self.hyper["maximize"] else g)

    def state(self, name):
        return self.slots.get(name, np.zeros_like(self.slots["param"]))

    def values(self):
        return {name: x.astype(np.float64) for name, x in self.slots.items()}


def stated_sgdw(run, lr, g):
    """Loshchilov & Hutter 2019, algorithm 1, lines 8 and 9. Its alpha*eta is lr, its eta*lambda is lr*weight_decay."""
    f, h, p = run.dtype, run.hyper, run.slots["param"]
    buf = run.slots["momentum_buffer"] = f(h["momentum"]) * run.state("momentum_buffer") + f(lr) * g
    run.slots["param"] = p - buf - f(lr * h["weight_decay"]) * p


def stated_adan(run, lr, g):
    """The authors' adan.py at commit 2c65beaf, one tensor, without clipping: the same bits in all cases."""
    f, h, p, (beta1, beta2, beta3) = run.dtype, run.hyper, run.slots["param"], run.hyper["betas"]
    diff = g + (run.state("neg_pre_grad") if run.t > 1 else -g)
    m = run.slots["exp_avg"] = f(beta1) * run.state("exp_avg") + f(1 - beta1) * g
    d = run.slots["exp_avg_diff"] = f(beta2) * run.state("exp_avg_diff") + f(1 - beta2) * diff
    ahead = f(beta2) * diff + g
    v = run.slots["exp_avg_sq"] = f(beta3) * run.state("exp_avg_sq") + (f(1 - beta3) * ahead) * ahead
    denominator = np.sqrt(v) / f(math.sqrt(1 - beta3**run.t)) + f(h["eps"])
    if h["no_prox"]:
        p = p * f(1 - lr * h["weight_decay"])
    p = p + f(-lr / (1 - beta1**run.t)) * m / denominator
    p = p + f(-lr * beta2 / (1 - beta2**run.t)) * d / denominator
    if not h["no_prox"]:
        p = p / f(1 + lr * h["weight_decay"])
    run.slots["param"], run.slots["neg_pre_grad"] = p, -g


STATED = {"sgdw": stated_sgdw, "adan": stated_adan}


def authors_adabelief(params, foreach, maximize, decoupled_weight_decay, **hyper):
    """The authors' torch optimizer. It prints what it thinks of its options, and cannot maximize."""
    with contextlib.redirect_stdout(None):
        opt = adabelief_pytorch.AdaBelief(params, weight_decouple=decoupled_weight_decay, rectify=False, print_change_log=False, **hyper)

    def negate(*_):
        params[0].grad.neg_()

    if maximize:
        opt.register_step_pre_hook(negate)
    return opt


def optax_sign(optax, h, lr, t):
    average = [optax.ema(h["beta"], debias=False)] if "beta" in h else []
    return optax.chain(*average, optax.scale_by_sign(), optax.add_decayed_weights(h["weight_decay"]), optax.scale_by_learning_rate(lr))


def optax_yogi(optax, h, lr, t):
    scale = optax.scale_by_yogi(*h["betas"], eps=h["eps"], initial_accumulator_value=h["initial_accumulator_value"])
    return optax.chain(scale, optax.scale_by_learning_rate(lr))


def optax_ademamix(optax, h, lr, t):
    (b1, b2, _), (alpha, b3, _) = h["betas"], warmed(h, t)
    return optax.contrib.ademamix(lr, b1, b2, b3, alpha, h["eps"], weight_decay=h["weight_decay"])


OPTAX = {
    "signsgd": (optax_sign, {}),
    "signum": (optax_sign, {"exp_avg": "ema"}),
    "yogi": (optax_yogi, {"exp_avg": "mu", "exp_avg_sq": "nu"}),
    "ademamix": (optax_ademamix, {"exp_avg_fast": "m1", "exp_avg_slow": "m2", "exp_avg_sq": "nu"}),
}

# --- Cases -----------------------------------------------------------------------------------------------------------

DEFAULTS = {
    "asgd": {"lr": 1e-2, "lambd": 1e-4, "alpha": 0.75, "t0": 1e6, "weight_decay": 0.0, "maximize": False},
    "sgdw": {"lr": 1e-2, "momentum": 0.9, "weight_decay": 0.0, "maximize": False},
    "signsgd": {"lr": 1e-2, "weight_decay": 0.0, "maximize": False},
    "signum": {"lr": 1e-2, "beta": 0.9, "weight_decay": 0.0, "maximize": False},
    "yogi": {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-3, "initial_accumulator_value": 1e-6, "maximize": False},
    "adabelief": {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-16, "weight_decay": 0.0, "decoupled_weight_decay": True, "amsgrad": False, "maximize": False},
    "adan": {"lr": 1e-2, "betas": (0.98, 0.92, 0.99), "eps": 1e-8, "weight_decay": 0.0, "no_prox": False, "maximize": False},
    "ademamix": {"lr": 1e-2, "betas": (0.9, 0.999, 0.9999), "alpha": 2.0, "alpha_warmup": 0, "beta3_warmup": 0, "eps": 1e-8, "weight_decay": 0.0, "maximize": False},
}
CLASSES = {"asgd": torch.optim.ASGD, "adabelief": authors_adabelief}

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
    "sgdw": {
        "defaults": {"lr": 1e-3, "weight_decay": 1e-2},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "momentum 0": {"momentum": 0.0, "weight_decay": 0.1},
        "momentum 0.5": {"momentum": 0.5},
        "wd": {"lr": 0.3, "weight_decay": 0.5},
        "wd+maximize": {"weight_decay": 0.1, "maximize": True},
    },
    "signsgd": {
        "defaults": {"lr": 1e-4},
        "wd+maximize": {"weight_decay": 0.1, "maximize": True},
    },
    "signum": {
        "defaults": {"lr": 1e-4},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "beta 0": {"beta": 0.0},
        "beta 0.5 wd": {"beta": 0.5, "weight_decay": 0.1},
        "maximize": {"beta": 0.95, "maximize": True},
    },
    "yogi": {
        "defaults": {},
        "lr 0": {"lr": 0.0},
        "betas 0.3 0.8": {"lr": 0.1, "betas": (0.3, 0.8)},
        "betas 0 0.9": {"betas": (0.0, 0.9)},
        "betas 0.95 0": {"betas": (0.95, 0.0)},
        "initial 0": {"initial_accumulator_value": 0.0},
        "initial 0.5 eps 1e-8": {"initial_accumulator_value": 0.5, "eps": 1e-8},
        "maximize": {"maximize": True},
    },
    "adabelief": {
        "defaults": {"lr": 1e-3},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "betas 0.3 0.8": {"lr": 0.1, "betas": (0.3, 0.8)},
        "betas 0 0.9": {"betas": (0.0, 0.9), "eps": 1e-8},
        "wd": {"weight_decay": 0.1, "eps": 1e-8},
        "coupled wd": {"weight_decay": 0.1, "eps": 1e-2, "decoupled_weight_decay": False},
        "amsgrad": {"amsgrad": True},
        "amsgrad+wd+maximize": {"amsgrad": True, "weight_decay": 0.1, "maximize": True, "betas": (0.8, 0.9)},
        "coupled wd+amsgrad+maximize": {"weight_decay": 0.1, "eps": 1e-3, "decoupled_weight_decay": False, "amsgrad": True, "maximize": True},
    },
    "adan": {
        "defaults": {"lr": 1e-3},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "betas 0.3 0.5 0.8": {"lr": 0.1, "betas": (0.3, 0.5, 0.8)},
        "betas 0 0 0.9": {"betas": (0.0, 0.0, 0.9)},
        "eps 1e-3": {"eps": 1e-3, "betas": (0.9, 0.8, 0.999)},
        "wd": {"weight_decay": 0.5},
        "wd+maximize": {"lr": 0.1, "weight_decay": 0.1, "maximize": True},
        "wd+no_prox": {"lr": 0.1, "weight_decay": 0.1, "no_prox": True},
    },
    "ademamix": {
        "defaults": {"lr": 1e-3},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "betas 0 0.8 0.3": {"betas": (0.0, 0.8, 0.3)},
        "alpha 8 warm-up 10": {"alpha": 8.0, "alpha_warmup": 10},
        "warm-ups of 1000": {"alpha": 5.0, "alpha_warmup": 1000, "beta3_warmup": 1000},
        "beta3 warm-up 20": {"beta3_warmup": 20, "eps": 1e-3, "alpha": 5.0},
        "beta3 warm-up 25 from 0.2": {"beta3_warmup": 25, "betas": (0.2, 0.9, 0.99), "alpha": 5.0},
        "wd": {"weight_decay": 0.1, "eps": 1e-6},
        "wd+warm-ups+maximize": {"weight_decay": 0.5, "alpha_warmup": 7, "beta3_warmup": 9, "maximize": True},
    },
}


def library(name, hyper, init, dtype):
    if name in STATED:
        return Stated(STATED[name], hyper, init, dtype)
    if name in OPTAX:
        run = more.Optax(*OPTAX[name], hyper, init, dtype)
        run.flushes = name == "yogi"  # XLA sets what is subnormal to 0: here the cases show it
        return run
    return more.Torch(CLASSES[name], hyper, init, dtype)


def initial(name, hyper):
    """State that does not start at 0."""
    if name == "yogi":
        return dict.fromkeys(("exp_avg", "exp_avg_sq"), hyper["initial_accumulator_value"])
    return {}


if __name__ == "__main__":
    more.write("variants.json", CASES, DEFAULTS, RULES, library, initial, **VERSIONS)

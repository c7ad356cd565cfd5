"""Write variants.json: what variants of SGD and Adam compute, for the Go tests to compare with.

    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python variants.py

Frame and format are more.py's: RULES says the operations of each side, and a bound stands beside each result.
"""

import contextlib
import math

import golden  # first: it chooses torch's kernels

import torch

import more
from steps import bias

VERSIONS = {"optax": more.OPTAX, "jax": more.JAX, "adabelief-pytorch": "0.2.1"}

# --- What both sides do ----------------------------------------------------------------------------------------------

POW = 72  # how far rule.Pow may be from the true power, relative, in units of 2^-53; Python's errs by less than 2


def asgd(k):
    h, g, t = k.h, more.gradient(k), k.t
    if t == 1:
        eta, decay = k.a.scalar(k.lr), k.a.scalar(1 - h["lambd"] * k.lr)
    else:  # by the last step's learning rate
        lr, units = k.last_lr, POW + 2 + 2  # a division on each side
        eta = lr / (1 + h["lambd"] * lr * (t - 1)) ** h["alpha"]
        shrunk = h["lambd"] * eta
        decay = k.a.unlike(1 - shrunk, (units + 2) * shrunk / abs(1 - shrunk) + 2)
        eta = k.a.unlike(eta, units)
    p = decay * k.slot("param") - eta * g
    mu = 1 / max(1, t - 1 - h["t0"])
    k.put("ax", p if mu == 1 else k.slot("ax") + mu * (p - k.slot("ax")))
    k.param(p)


def signum(k):
    beta, m = k.h.get("beta"), k.g
    if beta is not None:
        m = k.keep("exp_avg", beta * k.slot("exp_avg") + (1 - beta) * m)
    wd, lr = k.h["weight_decay"], k.lr
    ours = lambda p, s: (1 - lr * wd) * p - lr * s
    k.param(k.a.differ(ours, lambda p, s: p - lr * (s + wd * p), k.slot("param"), m.sign()))


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


RULES = {"asgd": asgd, "signsgd": signum, "signum": signum, "yogi": yogi, "adabelief": adabelief, "ademamix": ademamix}

# --- What is not torch's own -----------------------------------------------------------------------------------------


def authors_adabelief(params, foreach, maximize, decoupled_weight_decay, **hyper):
    """The authors' torch optimizer. It prints what it thinks of its options, and cannot maximize."""
    import adabelief_pytorch  # which python/tests, whose bounds are from the rules here, has not

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
    "signsgd": {"lr": 1e-2, "weight_decay": 0.0, "maximize": False},
    "signum": {"lr": 1e-2, "beta": 0.9, "weight_decay": 0.0, "maximize": False},
    "yogi": {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-3, "initial_accumulator_value": 1e-6, "maximize": False},
    "adabelief": {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-16, "weight_decay": 0.0, "decoupled_weight_decay": True, "amsgrad": False, "maximize": False},
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

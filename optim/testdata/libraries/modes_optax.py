"""Write modes_optax.json: what optax' optimizers compute.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python modes_optax.py

Nothing is jitted: each operation runs, and is rounded, by itself. A root's reciprocal, which XLA estimates as the processor
does, is replaced by a root and a division, and a norm, whose order of additions the processor's vectors make, by one that numpy adds up, as are Prodigy's sums and Adafactor's means. Adafactor's powers are the double's, rounded, and the
decay of its averages is of the parameter's type, not of float32.
"""

import math
import sys
import types

import modes  # first: through it golden chooses torch's kernels

import jax
import numpy as np
import optax

import more
import variants

from difference import larger
from adafactor import least
from inputs import ORDINARY, STEPS
from modes import squares
from steps import WIDE, norm

jax.config.update("jax_enable_x64", True)
jax.lax.rsqrt = lambda x: 1 / jax.numpy.sqrt(x)


def vector_norm(x, ord=None, axis=None, keepdims=False):
    """Of one dimension. NovoGrad's first one is traced, as it stands in a condition."""
    root = lambda x: np.sqrt(np.asarray(x * x).sum(keepdims=keepdims))
    if isinstance(x, jax.core.Tracer):
        return jax.pure_callback(root, jax.ShapeDtypeStruct((1,) * keepdims, x.dtype), x)
    return jax.numpy.asarray(root(x), dtype=x.dtype)


jax.numpy.linalg.norm = vector_norm


def total(x):
    """Of one tensor."""
    return jax.numpy.asarray(np.array(x).sum(), dtype=x.dtype)


tree = types.SimpleNamespace(dtype=optax.tree.dtype, zeros_like=optax.tree.zeros_like, vdot=lambda x, y: total(x * y), sum=total)
sys.modules[optax.contrib.prodigy.__module__].optax = types.SimpleNamespace(tree=tree)



def mean(x, axis=None, keepdims=False):
    return jax.numpy.asarray(np.array(x).mean(axis, keepdims=keepdims), dtype=x.dtype)


def power(x, y, power=type(jax.numpy.zeros(1)).__pow__):
    if y == -0.5:
        return 1 / jax.numpy.sqrt(x)
    return power(x, y)


def decay_rate(i, exponent):
    return 1.0 - jax.numpy.asarray(float(i + 1) ** -exponent, dtype=Optax.dtype)


jax.numpy.mean = mean
type(jax.numpy.zeros(1)).__pow__ = power
factored = optax._src.factorized.scale_by_factored_rms
factored.__defaults__ = *factored.__defaults__[:-1], decay_rate

# --- What both sides do ---------------------------------------------------------------------------------------------


def last(k, ours, optaxs, *operands):
    """The parameter. Decoupled decay is a factor of it here; optax adds wd*p to the step before the learning rate multiplies it."""
    lr, wd = k.lr, k.h["weight_decay"]
    if wd:
        both = lambda p, *o: (1 - lr * wd) * p - ours(*o), lambda p, *o: p - lr * (optaxs(*o) + wd * p)
    else:
        both = lambda p, *o: p - ours(*o), lambda p, *o: p - lr * optaxs(*o)
    k.param(k.a.differ(*both, k.slot("param"), *operands))


def moments(k, g):
    """Adam's. Optax adds in the other order, which changes nothing."""
    beta1, beta2 = k.h["betas"]
    return k.keep("exp_avg", beta1 * k.slot("exp_avg") + (1 - beta1) * g), squares(k, "exp_avg_sq", g, beta2)


def sgd(k):
    h, g, mu = k.h, k.g, k.h["momentum"]
    if mu:
        buf = k.keep("momentum_buffer", mu * k.slot("momentum_buffer") + g)
        g = g + mu * buf if h["nesterov"] else buf
    k.param(k.slot("param") - k.lr * g)


def adam(k):
    h, lr, eps, root, (beta1, beta2) = k.h, k.lr, k.h["eps"], k.h["eps_root"], k.h["betas"]
    m, v = moments(k, k.g)
    bias1, bias2 = (k.number(1.0), k.number(1.0)) if h["no_bias_correction"] else (variants.bias(k, beta1), variants.bias(k, beta2))
    if h["amsgrad"]:
        v = k.a.differ(lambda v, b: v * (1 / b), lambda v, b: v / b, v, bias2)
        v = k.put("max_exp_avg_sq", k.slot("max_exp_avg_sq").maximum(v))
        ours = lambda m, v, bias1, bias2: lr / bias1 * (m / ((v + root).sqrt() + eps))
        optaxs = lambda m, v, bias1, bias2: m / bias1 / ((v + root).sqrt() + eps)
    else:
        ours = lambda m, v, bias1, bias2: lr / bias1 * (m / ((v + bias2 * root).sqrt() * (1 / bias2.sqrt()) + eps))
        optaxs = lambda m, v, bias1, bias2: m / bias1 / ((v / bias2 + root).sqrt() + eps)
    last(k, ours, optaxs, m, v, bias1, bias2)


def nadam(k):
    g, lr, eps, (beta1, beta2) = k.g, k.lr, k.h["eps"], k.h["betas"]
    m, v = moments(k, g)
    after = beta1 ** (k.t + 1)
    following = k.a.unlike(1 - after, 2 * (k.t + 1) * after / (1 - after) + 2)

    def ours(g, m, v, bias1, following, bias2):
        return (lr * (1 - beta1) / bias1 * g + lr * beta1 / following * m) / (v.sqrt() * (1 / bias2.sqrt()) + eps)

    def optaxs(g, m, v, bias1, following, bias2):
        return (beta1 * (m / following) + (1 - beta1) * (g / bias1)) / ((v / bias2).sqrt() + eps)

    last(k, ours, optaxs, g, m, v, variants.bias(k, beta1), following, variants.bias(k, beta2))


def radam(k):
    lr, eps, (beta1, beta2), t = k.lr, k.h["eps"], k.h["betas"], k.t
    m, v = moments(k, k.g)
    bias1, bias2 = variants.bias(k, beta1), variants.bias(k, beta2)
    length, error = more.average_length(beta2, t)
    if length <= 5:
        last(k, lambda m, b: lr / b * m, lambda m, b: m / b, m, bias1)
        return
    # In the length digits cancel: the rule takes optax' own, since all that is known of ours is how near it is.
    longest, power = 2 / (1 - beta2) - 1, beta2 ** jax.numpy.int32(t)
    length = longest - 2 * t * power / (1 - power)
    rect = jax.numpy.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    rect = k.a.unlike(np.longdouble(rect), more.rectification(beta2, float(length), error)[1])
    ours = lambda m, v, b1, b2, r: lr / b1 * b2.sqrt() * r * (m / (v.sqrt() + eps * b2.sqrt()))
    last(k, ours, lambda m, v, b1, b2, r: r * (m / b1) / ((v / b2).sqrt() + eps), m, v, bias1, bias2, rect)


def adamax(k):
    g, lr, (beta1, beta2) = k.g, k.lr, k.h["betas"]
    m = k.keep("exp_avg", beta1 * k.slot("exp_avg") + (1 - beta1) * g)
    u = k.keep("exp_inf", (beta2 * k.slot("exp_inf")).maximum(g.abs() + k.h["eps"]))
    last(k, lambda m, u, b: lr / b * m / u, lambda m, u, b: m / b / u, m, u, variants.bias(k, beta1))


def adagrad(k):
    lr, root = k.lr, k.h["eps_root"]
    total = k.keep("sum", k.slot("sum") + k.g * k.g)
    last(k, lambda s, g: lr * g / (s + root).sqrt(), lambda s, g: 1 / (s + root).sqrt() * g, total, k.g)


def adadelta(k):
    g, rho, eps, p = more.gradient(k), k.h["rho"], k.h["eps"], k.slot("param")
    v = squares(k, "square_avg", g, rho)
    delta = (k.slot("acc_delta") + eps).sqrt() / (v + eps).sqrt() * g
    squares(k, "acc_delta", delta, rho)
    k.param(p - k.lr * delta)


def rmsprop(k):
    h, g, lr, alpha, root, eps = k.h, k.g, k.lr, k.h["alpha"], k.h["eps_root"], k.h["eps"]
    v = squares(k, "square_avg", g, alpha)
    if h["centered"]:
        mean = k.keep("grad_avg", alpha * k.slot("grad_avg") + (1 - alpha) * g)
        v = v - mean * mean
    ours = lambda g, v: lr * g / ((v + root).sqrt() + eps)
    step = k.a.differ(ours, lambda g, v: lr * (1 / ((v + root).sqrt() + eps) * g), g, v)
    if h["momentum"]:
        step = k.keep("momentum_buffer", h["momentum"] * k.slot("momentum_buffer") + step)
    k.param(k.slot("param") - step)


def adabelief(k):
    h, g, lr, (beta1, beta2) = k.h, k.g, k.lr, k.h["betas"]
    m = k.keep("exp_avg", beta1 * k.slot("exp_avg") + (1 - beta1) * g)
    residual = g - m
    ours = lambda v, r: beta2 * v + (1 - beta2) * r * r + h["eps"]
    v = k.a.differ(ours, lambda v, r: (1 - beta2) * (r * r) + beta2 * v + h["eps"], k.slot("exp_avg_var"), residual)
    v = k.keep("exp_avg_var", v)
    optaxs = lambda p, m, v, bias1, bias2: p - lr * (m / bias1 / ((v / bias2).sqrt() + h["eps"]))
    variants.adam(k, k.slot("param"), m, v, optaxs)


def sign(k):
    beta, m = k.h["beta"], k.g
    if beta:
        m = k.keep("exp_avg", beta * k.slot("exp_avg") + (1 - beta) * m)
    k.param(k.slot("param") - k.lr * m.sign())


def lamb(k):
    lr, wd, eps, (beta1, beta2), p = k.lr, k.h["weight_decay"], k.h["eps"], k.h["betas"], k.slot("param")
    m, v = moments(k, k.g)

    def ours(p, m, v, bias1, bias2):
        u = 1 / bias1 * (m / (v.sqrt() * (1 / bias2.sqrt()) + eps)) + wd * p
        return p - lr * (norm(p, WIDE) / norm(u, WIDE)) * u

    def optaxs(p, m, v, bias1, bias2):
        u = m / bias1 / ((v / bias2).sqrt() + eps) + wd * p
        return p - lr * (u * (norm(p) / norm(u)))

    k.param(k.a.differ(ours, optaxs, p, m, v, variants.bias(k, beta1), variants.bias(k, beta2)))


def lars(k):
    h, lr, wd, eps, mu, trust, p = k.h, k.lr, k.h["weight_decay"], k.h["eps"], k.h["momentum"], k.h["trust_coefficient"], k.slot("param")

    def scaled(u):
        def gradient(p, g):
            g = g + wd * p
            return lr * (g * (trust * norm(p, u) / (norm(g, u) + eps)))

        return gradient

    g = k.a.differ(scaled(WIDE), scaled(None), p, k.g)
    buf = k.keep("momentum_buffer", mu * k.slot("momentum_buffer") + g)
    k.param(p - (g + mu * buf if h["nesterov"] else buf))


def novograd(k):
    g, lr, wd, eps, (beta1, beta2), p = k.g, k.lr, k.h["weight_decay"], k.h["eps"], k.h["betas"], k.slot("param")
    whole = 1 if k.t == 1 else 1 - beta2

    average = lambda u: lambda v, g: (0 if k.t == 1 else beta2) * v + whole * (norm(g, u) * norm(g, u))
    v = k.put("exp_avg_sq", k.a.differ(average(WIDE), average(None), k.slot("exp_avg_sq"), g))
    ours = lambda p, g, m, v: beta1 * m + (1 / (v.sqrt() + eps) * g + wd * p)
    optaxs = lambda p, g, m, v: beta1 * m + (g / (v.sqrt() + eps) + wd * p)
    m = k.keep("exp_avg", k.a.differ(ours, optaxs, p, g, k.slot("exp_avg"), v))
    k.param(p - lr * m)


def prodigy(k):
    h, a, p, p0, d, g, (beta1, beta2) = k.h, k.a, k.slot("param"), k.slot("p0"), k.slot("d"), k.g, k.h["betas"]
    beta3, wd, eps, d0 = math.sqrt(beta2), h["weight_decay"], h["eps"], h["d0"]
    if k.t == 1:
        d, p0 = k.number(float(np.dtype(a.dtype).type(d0))), p
    k.keep("p0", p0)
    rate = k.lr * variants.bias(k, beta2).sqrt() / variants.bias(k, beta1)
    ours = lambda d, rate: 1.0 * d * rate * (1.0 * d / d0)
    optaxs = lambda d, rate: 1.0 * d * rate
    m = k.keep("exp_avg", a.differ(lambda m, d, g: beta1 * m + (1 - beta1) * d * g, lambda m, d, g: beta1 * m + (1 - beta1) * (d * g), k.slot("exp_avg"), d, g))
    v = lambda v, d, g: beta2 * v + (1 - beta2) * d * d * g * g
    v = k.keep("exp_avg_sq", a.differ(v, lambda v, d, g: beta2 * v + (1 - beta2) * (d * g) * (d * g), k.slot("exp_avg_sq"), d, g))
    s = lambda s, d, rate, g: beta3 * s + ours(d, rate) * g
    s = k.keep("s", a.differ(s, lambda s, d, rate, g: beta3 * s + optaxs(d, rate) * (d * g) / d0, k.slot("s"), d, rate, g))
    dot = a.differ(lambda g, p0, p: (g * (p0 - p)).total(WIDE), lambda g, p0, p: (g * (p0 - p)).total(), g, p0, p)
    total = a.differ(lambda s: s.abs().total(WIDE), lambda s: s.abs().total(), s)
    numerator = lambda n, d, rate, dot: beta3 * n + d / d0 * (d * rate) * dot
    numerator = k.put("d_numerator", a.differ(numerator, numerator, k.slot("d_numerator"), d, rate, dot))
    hat = lambda n, total: h["d_coef"] * n / total
    now = k.put("d", larger(d, a.differ(hat, hat, numerator, total)))
    ours = lambda p, d, rate, m, v, now: p * (1 - wd * (1.0 * d * rate)) - 1.0 * d * rate * (m / (v.sqrt() + 1.0 * now * eps))
    optaxs = lambda p, d, rate, m, v, now: p + (-wd * (d * rate) * p - d * rate * m / (v.sqrt() + now * eps))
    k.param(a.differ(ours, optaxs, p, d, rate, m, v, now))


def adafactor(k):
    f, h, shape = np.dtype(k.a.dtype).type, k.h, k.g.x.shape
    rest = f(1) - f(float(k.t) ** h["beta2_decay"])

    def step(h, u, p, rate):
        u = u / least(modes.rms(u) / h["d"], 1) * rate
        return u if h["no_scale_parameter"] else u * least(modes.rms(p), h["eps"][1])

    across = len(shape) > 1 and shape[-2] > shape[-1]
    line = lambda row, col, mean: (row, col / mean) if across else (row / mean, col)
    inverse = lambda x: 1 / x.sqrt()

    def update(g, *v):
        if len(v) == 1:
            return g * inverse(v[0])
        row, col = line(*v)
        return g * inverse(col) * inverse(row) if across else g * inverse(row) * inverse(col)

    modes.adafactor(k, f(1) - rest, rest, f(k.lr), update, step, last=lambda p, u, decay: p - (u + decay * p), across=across)


RULES = {
    "lamb": lamb, "lars": lars, "novograd": novograd,
    "sgd": sgd, "adam": adam, "adamw": adam, "nadam": nadam, "radam": radam, "adamax": adamax, "adagrad": adagrad, "adadelta": adadelta,
    "rmsprop": rmsprop, "lion": more.lion, "yogi": variants.yogi, "adabelief": adabelief, "signsgd": sign,
    "signum": sign, "ademamix": variants.ademamix, "prodigy": prodigy, "adafactor": adafactor,
}  # fmt: skip

# --- Cases ----------------------------------------------------------------------------------------------------------

ADAM = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8}
W = {"weight_decay": 0.0001}
NADAM = ADAM | {"momentum_decay": 1e6}
AMSGRAD = ADAM | {"amsgrad": True, "corrected_max": True}
RADAM = ADAM | {"corrected_eps": True}
ADAGRAD = {"lr": 0.001, "initial_accumulator": 0.1, "eps_root": 1e-7}
ADADELTA = {"lr": 1.0, "rho": 0.9, "eps": 1e-6}
RMSPROP = {"lr": 0.001, "alpha": 0.9, "eps_root": 1e-8}
LION = {"lr": 0.001, "betas": (0.9, 0.99)}
NORMS = {"elements": ORDINARY}
LAMB = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-6, "nvlamb": True} | NORMS
LARS = {"lr": 0.1, "momentum": 0.9, "trust_coefficient": 0.001, "lr_in_momentum": True, "sum_norm": True} | NORMS
NOVOGRAD = {"lr": 0.001, "betas": (0.9, 0.25), "eps": 1e-6, "reg_inside_moment": True, "grad_sum": True, "no_bias_correction": True} | NORMS

PRODIGY = {"lr": 1.0, "betas": (0.9, 0.999), "eps": 1e-8, "d0": 0.01, "d_coef": 1.0, "use_bias_correction": True, "decouple": True} | NORMS
ADAFACTOR = {"lr": 0.01, "beta2_decay": -0.8, "eps": (0.0, 1e-3), "d": 1.0, "eps_square": 1e-30, "no_relative_step": True, "shape": (4, 5)} | NORMS
# In optax the learning rate does not multiply the decay: of a learning rate that stays as it is they are one.
ADAFACTOR_DECAY = ADAFACTOR | {"weight_decay": 0.01, "lr_factor": [1.0] * STEPS}

LISTED = [
    ("sgd(0.1)", "sgd", {"lr": 0.1}),
    ("sgd(0.1, momentum=0.9)", "sgd", {"lr": 0.1, "momentum": 0.9}),
    ("sgd(0.1, momentum=0.9, nesterov=True)", "sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("adam(0.001)", "adam", ADAM),
    ("adam(0.001, eps_root=1e-6)", "adam", ADAM | {"eps_root": 1e-6}),
    ("adamw(0.001)", "adamw", ADAM | W),
    ("nadam(0.001)", "nadam", NADAM),
    ("nadamw(0.001)", "nadam", NADAM | W | {"decoupled": True}),
    ("amsgrad(0.001)", "adam", AMSGRAD),
    ("amsgrad(0.001, bias_correction_mu=False, bias_correction_nu=False)", "adam",
        ADAM | {"amsgrad": True, "no_bias_correction": True}),
    ("radam(0.001)", "radam", RADAM),
    ("adamax(0.001)", "adamax", ADAM),
    ("adamaxw(0.001)", "adamax", ADAM | W | {"decoupled": True}),
    ("adagrad(0.001)", "adagrad", ADAGRAD),
    ("adadelta(1.0)", "adadelta", ADADELTA),
    ("adadelta(1.0, weight_decay=0.1)", "adadelta", ADADELTA | {"weight_decay": 0.1}),
    ("rmsprop(0.001)", "rmsprop", RMSPROP),
    ("rmsprop(0.001, momentum=0.9)", "rmsprop", RMSPROP | {"momentum": 0.9, "lr_in_momentum": True}),
    ("rmsprop(0.001, centered=True)", "rmsprop", RMSPROP | {"centered": True}),
    ("rmsprop(0.001, eps_in_sqrt=False)", "rmsprop", {"lr": 0.001, "alpha": 0.9, "eps": 1e-8}),
    ("rmsprop(0.001, initial_scale=1.0)", "rmsprop", RMSPROP | {"initial_scale": 1.0}),
    ("lion(0.001)", "lion", LION | {"weight_decay": 0.001}),
    ("yogi(0.01)", "yogi", {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-3, "initial_accumulator": 1e-6}),
    ("adabelief(0.001)", "adabelief", {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-16}),
    ("sign_sgd(0.001)", "signsgd", {"lr": 0.001}),
    ("signum(0.001)", "signum", {"lr": 0.001, "beta": 0.9}),
    ("contrib.ademamix(0.001)", "ademamix", {"lr": 0.001, "betas": (0.9, 0.999, 0.9999), "alpha": 5.0, "eps": 1e-8}),
    ("lamb(0.001)", "lamb", LAMB),
    ("lamb(0.001, weight_decay=0.01)", "lamb", LAMB | {"weight_decay": 0.01}),
    ("lars(0.1)", "lars", LARS),
    ("lars(0.1, weight_decay=0.0001, nesterov=True)", "lars", LARS | {"weight_decay": 0.0001, "nesterov": True}),
    ("novograd(0.001)", "novograd", NOVOGRAD),
    ("novograd(0.001, weight_decay=0.001)", "novograd", NOVOGRAD | {"weight_decay": 0.001}),
    ("adafactor(0.01, min_dim_size_to_factor=4)", "adafactor", ADAFACTOR),
    ("adafactor(0.01)", "adafactor", ADAFACTOR | {"shape": (20,)}),
    ("adafactor(0.01, min_dim_size_to_factor=4, momentum=0.9, dtype_momentum=None)", "adafactor", ADAFACTOR | {"beta1": 0.9}),
    ("adafactor(0.01, min_dim_size_to_factor=4, multiply_by_parameter_scale=False)", "adafactor", ADAFACTOR | {"no_scale_parameter": True}),
    ("adafactor(0.01, min_dim_size_to_factor=4, clipping_threshold=None)", "adafactor", ADAFACTOR | {"d": 1e30}),
    ("adafactor(0.01, min_dim_size_to_factor=4, weight_decay_rate=0.0001)", "adafactor", ADAFACTOR_DECAY),
    ("contrib.prodigy(1.0, estim_lr0=0.01)", "prodigy", PRODIGY),
    ("contrib.prodigy(1.0, estim_lr0=0.01, estim_lr_coef=2.0, weight_decay=0.1)", "prodigy", PRODIGY | {"d_coef": 2.0, "weight_decay": 0.1}),
]  # fmt: skip

OTHERS = [
    ("adafactor(1.0, min_dim_size_to_factor=2, decay_rate=0.5, eps=1e-3)", "adafactor",
        ADAFACTOR | {"lr": 1.0, "beta2_decay": -0.5, "eps_square": 1e-3, "shape": (5, 4)}),
    ("adafactor(0.1, min_dim_size_to_factor=2, clipping_threshold=2.0, momentum=0.5, dtype_momentum=None, multiply_by_parameter_scale=False)",
        "adafactor", ADAFACTOR | {"lr": 0.1, "d": 2.0, "beta1": 0.5, "no_scale_parameter": True, "shape": (2, 2, 5)}),
    ("adafactor(0.01, min_dim_size_to_factor=2, decay_rate=1.5, momentum=0.9, dtype_momentum=None, weight_decay_rate=0.0001)", "adafactor",
        ADAFACTOR_DECAY | {"beta2_decay": -1.5, "beta1": 0.9, "shape": (2, 1, 5, 2)}),
    ("adafactor(0.1, factored=False)", "adafactor", ADAFACTOR | {"lr": 0.1, "shape": (20,)}),
    ("adamw(0.1, 0.3, 0.8, 1e-3, eps_root=0.01, weight_decay=0.1)", "adamw",
        {"lr": 0.1, "betas": (0.3, 0.8), "eps": 1e-3, "eps_root": 0.01, "weight_decay": 0.1}),
    ("amsgrad(0.1, 0.0, 0.9, eps_root=1e-3)", "adam",
        {"lr": 0.1, "betas": (0.0, 0.9), "eps": 1e-8, "eps_root": 1e-3, "amsgrad": True, "corrected_max": True}),
    ("nadamw(0.1, 0.3, 0.8, 1e-3, weight_decay=0.1)", "nadam",
        {"lr": 0.1, "betas": (0.3, 0.8), "eps": 1e-3, "momentum_decay": 1e6, "weight_decay": 0.1, "decoupled": True}),
    ("radam(0.1, 0.3, 0.8, 1e-3)", "radam", {"lr": 0.1, "betas": (0.3, 0.8), "eps": 1e-3, "corrected_eps": True}),
    ("rmsprop(0.1, 0.5, 1e-3, initial_scale=0.5, eps_in_sqrt=False, centered=True, momentum=0.5)", "rmsprop",
        {"lr": 0.1, "alpha": 0.5, "eps": 1e-3, "initial_scale": 0.5, "centered": True, "momentum": 0.5, "lr_in_momentum": True}),
    ("lamb(0.1, 0.3, 0.8, 1e-3, weight_decay=0.1)", "lamb", LAMB | {"lr": 0.1, "betas": (0.3, 0.8), "eps": 1e-3, "weight_decay": 0.1}),
    ("lamb(0.01, weight_decay=0.01)", "lamb", LAMB | {"lr": 0.01, "weight_decay": 0.01, "elements": list(range(24))}),
    ("lars(0.3, momentum=0.5, weight_decay=0.1, trust_coefficient=0.1, eps=1.0)", "lars",
        LARS | {"lr": 0.3, "momentum": 0.5, "weight_decay": 0.1, "trust_coefficient": 0.1, "eps": 1.0}),
    ("novograd(0.1, 0.3, 0.8, 1e-3, weight_decay=0.1)", "novograd", NOVOGRAD | {"lr": 0.1, "betas": (0.3, 0.8), "eps": 1e-3, "weight_decay": 0.1}),
]  # fmt: skip

# The names of what optax keeps, by those of the optimizers' state, and its sign there.
SLOTS = {
    "sgd": {"momentum_buffer": ("trace", 1)},
    "adam": {"exp_avg": ("mu", 1), "exp_avg_sq": ("nu", 1), "max_exp_avg_sq": ("nu_max", 1)},
    "adamax": {"exp_avg": ("mu", 1), "exp_inf": ("nu", 1)},
    "adagrad": {"sum": ("sum_of_squares", 1)},
    "adadelta": {"square_avg": ("e_g", 1), "acc_delta": ("e_x", 1)},
    "rmsprop": {"square_avg": ("nu", 1), "grad_avg": ("mu", 1), "momentum_buffer": ("trace", -1)},
    "lion": {"exp_avg": ("mu", 1)},
    "adabelief": {"exp_avg": ("mu", 1), "exp_avg_var": ("nu", 1)},
    "signum": {"exp_avg": ("ema", 1)},
    "lars": {"momentum_buffer": ("trace", -1)},
    "ademamix": {"exp_avg_fast": ("m1", 1), "exp_avg_slow": ("m2", 1), "exp_avg_sq": ("nu", 1)},
}
SLOTS["prodigy"] = {
    "exp_avg": ("exp_avg", 1), "exp_avg_sq": ("exp_avg_sq", 1), "s": ("grad_sum", 1), "p0": ("params0", 1), "d": ("estim_lr", 1),
    "d_numerator": ("numerator_weighted", 1),
}  # fmt: skip
SLOTS["adafactor"] = {"exp_avg": ("ema", 1), "variance": ("v", 1), "row_var": ("v_row", 1), "col_var": ("v_col", 1)}
SLOTS |= {"signsgd": {}} | dict.fromkeys(("adamw", "nadam", "radam", "yogi", "lamb", "novograd"), SLOTS["adam"])


class Optax:
    flushes = True  # XLA sets what is subnormal to 0

    def __init__(self, name, call, hyper, init, dtype):
        self.call, self.hyper, self.slots = call, hyper, SLOTS[name]
        Optax.dtype = dtype
        self.value = jax.numpy.asarray(init, dtype=dtype)
        self.state = self.optimizer(hyper["lr"]).init(self.value)

    def optimizer(self, lr):
        """The call's, whose first argument is the learning rate, with another one."""

        def function(make):
            def called(first, *args, **options):
                if first != self.hyper["lr"]:
                    raise ValueError(f"{self.call}: the learning rate is {first}")
                return make(lr, *args, **options)

            return called

        name, _, arguments = self.call.partition("(")
        make = optax
        for part in name.split("."):
            make = getattr(make, part)
        return eval("make(" + arguments, {"make": function(make)})

    def step(self, lr, grad):
        g = jax.numpy.asarray(grad, dtype=self.value.dtype)
        updates, self.state = self.optimizer(lr).update(g, self.state, self.value)
        self.value = optax.apply_updates(self.value, updates)

    def values(self):
        out = {"param": np.array(self.value, dtype=np.float64)}
        for name, (field, sign) in self.slots.items():
            for state in self.state if type(self.state) is tuple else (self.state,):
                if hasattr(state, field):
                    out[name] = sign * np.atleast_1d(np.array(getattr(state, field), dtype=np.float64)) + 0.0
        if "variance" in out:  # of which either it or the others are there
            lines = out.pop("row_var"), out.pop("col_var")
            if out["variance"].shape != out["param"].shape or out["param"].shape == (1,):
                del out["variance"]
                rows, columns = lines if self.value.shape[-2] <= self.value.shape[-1] else lines[::-1]
                out["row_var"], out["col_var"] = rows[..., None], columns[..., None, :]
        return out


if __name__ == "__main__":
    modes.write("modes_optax", LISTED, OTHERS, RULES, Optax, optax=more.OPTAX, jax=more.JAX)

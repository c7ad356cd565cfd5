"""Write sixteen.json: steps of PyTorch on bfloat16 and float16, for the Go tests to compare with.

    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python sixteen.py

Torch's fused CPU kernels widen what they read to float32, calculate, and round what they store once, as fusestep does; so do some of
its other steps where types are mixed (MIXED). A number here is the bits in memory. Every step starts from torch's bits of the step
before, so differences do not accumulate: README.md, "sixteen.json", derives which numbers may differ.
"""

import golden  # first: it chooses torch's kernels

import contextlib
import sys

import more
import numpy as np
import torch

from difference import Number, OneSide
from inputs import LR_FACTOR, Random, encode

STEPS = 20
SIXTEEN = {"bfloat16": torch.bfloat16, "float16": torch.float16}
TYPES = SIXTEEN | {"float32": torch.float32}

CLASSES = golden.CLASSES | {"adagrad": torch.optim.Adagrad}
DEFAULTS = golden.DEFAULTS | {
    "adagrad": {"lr": 0.1, "lr_decay": 0.0, "weight_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10, "maximize": False},
}

CASES = {
    "sgd": {
        "wd+maximize": {"weight_decay": 0.1, "maximize": True},
        "momentum+wd": {"momentum": 0.9, "weight_decay": 0.01},
        "momentum+dampening": {"momentum": 0.8, "dampening": 0.3},
        "nesterov+maximize": {"momentum": 0.95, "nesterov": True, "maximize": True},
    },
    "adam": {
        "defaults": {"lr": 1e-3},
        "betas 0.3 0.95": {"betas": (0.3, 0.95)},
        "wd": {"weight_decay": 0.1, "betas": (0.0, 0.99), "eps": 1e-3},
        "amsgrad+maximize+wd": {"amsgrad": True, "maximize": True, "weight_decay": 0.01, "betas": (0.8, 0.95)},
    },
    "adamw": {
        "defaults": {"lr": 1e-3},
        "lr 0.25 wd 0.5": {"lr": 0.25, "weight_decay": 0.5, "betas": (0.6, 0.9)},
        "language model": {"lr": 3e-4, "betas": (0.9, 0.95), "eps": 1e-6, "weight_decay": 0.1},
        "amsgrad+maximize": {"amsgrad": True, "maximize": True, "weight_decay": 0.1, "betas": (0.95, 0.98), "eps": 1e-5},
    },
    "adagrad": {
        "lr_decay+wd": {"lr_decay": 0.1, "weight_decay": 0.1},
        "accumulator+maximize": {"initial_accumulator_value": 0.1, "eps": 1e-3, "maximize": True},
    },
}  # fmt: skip

# A gradient of another type than the parameter's: not with fused=True; and without it only where torch rounds once.
MIXED = {"sgd": {"plain": {}, "wd": {"weight_decay": 0.1}}, "adagrad": {"defaults": {}, "wd": {"weight_decay": 0.1}}}


def cases():
    """Every case as (name, algorithm, hyperparameters, type of parameter and state, type of gradient)."""
    for algorithm, table in CASES.items():
        for name, options in table.items():
            for dtype in SIXTEEN:
                yield f"{algorithm}/{name}", algorithm, DEFAULTS[algorithm] | options, dtype, dtype
    for algorithm, table in MIXED.items():
        for name, options in table.items():
            for dtype in SIXTEEN:
                yield f"{algorithm}/{name}", algorithm, DEFAULTS[algorithm] | options, "float32", dtype
                if algorithm == "sgd":
                    yield f"{algorithm}/{name}", algorithm, DEFAULTS[algorithm] | options, dtype, "float32"


def elements(rng):
    """The 24 elements, (initial value, its gradients), all within float16's range."""
    normal, uniform, sign, steps = rng.normal, rng.uniform, rng.sign, range(STEPS)
    for scale in (1e-3, 1e-2, 0.1, 1.0, 1.0, 10.0, 100.0, 1e3):
        yield normal(), [scale * normal() for _ in steps]
    for scale in (1e-3, 1e-2, 0.1, 1.0):
        yield scale * normal(), [normal() for _ in steps]
    yield 100.0 * normal(), [normal() for _ in steps]
    # Subnormal in float16, and whose squares are 0 there; near its largest.
    yield normal(), [1e-6 * (1.0 + uniform()) for _ in steps]
    yield 1e-6, [1e-3 * normal() for _ in steps]
    yield normal(), [sign() * 2e4 * (1.0 + uniform()) for _ in steps]
    yield 6e4, [-2e4 * (1.0 + uniform()) for _ in steps]
    # Zeros.
    yield normal(), [0.0 for _ in steps]
    yield 0.0, [0.0 for _ in steps]
    yield 0.0, [normal() for _ in steps]
    yield normal(), [0.0 if t < 12 else normal() for t in steps]
    yield normal(), [normal() if t % 3 == 1 else 0.0 for t in steps]
    # The sign, and the magnitude, changes at every step.
    yield normal(), [(0.5 if t % 2 else -0.5) for t in steps]
    yield normal(), [sign() * (1e-3, 1e-1, 1.0, 1e1, 1e3)[rng.bits() % 5] * (1.0 + uniform()) for t in steps]


def inputs():
    init, grads = zip(*elements(Random(16)))
    return torch.tensor(init, dtype=torch.float64), torch.tensor(grads, dtype=torch.float64).T.contiguous()


# --- Bits -----------------------------------------------------------------------------------------------------------

# Digits, the power of 2 that is the least number, and the largest number.
EXTENT = {"bfloat16": (8, -133, (2 - 2.0**-7) * 2.0**127), "float16": (11, -24, 65504.0), "float32": (24, -149, (2 - 2.0**-23) * 2.0**127)}


def bits(x):
    """A tensor's elements as they are in memory."""
    x = x.detach()
    return x.view(torch.uint32).numpy() if x.dtype == torch.float32 else x.view(torch.uint16).numpy()


def rounded(x, dtype):
    """Numbers rounded once to the nearest of the type, ties to even, as float64, which holds them all. A NaN stays one."""
    digits, least, largest = EXTENT[dtype]
    x = np.asarray(x, dtype=np.longdouble)
    exponent = np.where(np.isfinite(x) & (x != 0), np.frexp(x)[1], 0)
    unit = np.ldexp(np.longdouble(1), np.maximum(exponent - digits, least))
    near = np.rint(x / unit) * unit
    return np.where(np.abs(near) > largest, np.copysign(np.inf, x), near).astype(np.float64)


# --- What torch does: each operation in numpy's float32, rounded once ------------------------------------------------


f = np.float32


def torchs_gradient(h, g, p, decoupled=False):
    g = -g if h["maximize"] else g
    return g + p * f(h["weight_decay"]) if h["weight_decay"] != 0 and not decoupled else g


def torchs_sgd(h, t, lr, g, s):
    g, p = torchs_gradient(h, g, s["param"]), s["param"]
    out = {}
    if h["momentum"] != 0:
        out["momentum_buffer"] = g if t == 1 else s["momentum_buffer"] * f(h["momentum"]) + g * f(1 - h["dampening"])
        g = g + out["momentum_buffer"] * f(h["momentum"]) if h["nesterov"] else out["momentum_buffer"]
    return out | {"param": p - g * f(lr)}


def torchs_adam(h, t, lr, g, s, decoupled=False):
    g, p = torchs_gradient(h, g, s["param"], decoupled), s["param"]
    beta1, beta2 = h["betas"]
    if decoupled and h["weight_decay"] != 0:
        p = p * f(1 - lr * h["weight_decay"])
    m, w = s["exp_avg"], f(1 - beta1)
    m = m + w * (g - m) if w < 0.5 else g - (g - m) * (f(1) - w)
    v = s["exp_avg_sq"] * f(beta2) + (f(1 - beta2) * g) * g
    out = {"exp_avg": m, "exp_avg_sq": v}
    if h["amsgrad"]:
        v = out["max_exp_avg_sq"] = np.maximum(s["max_exp_avg_sq"], v)
    d = np.sqrt(v) / f((1 - beta2**t) ** 0.5) + f(h["eps"])
    return out | {"param": p - f(lr / (1 - beta1**t)) * m / d}


def torchs_adagrad(h, t, lr, g, s):
    g = torchs_gradient(h, g, s["param"])
    total = s["sum"] + g * g
    step = lr / (1 + (t - 1) * h["lr_decay"])
    return {"sum": total, "param": s["param"] - f(step) * g / (np.sqrt(total) + f(h["eps"]))}


TORCHS = {
    "sgd": torchs_sgd,
    "adam": torchs_adam,
    "adamw": lambda *step: torchs_adam(*step, decoupled=True),
    "adagrad": torchs_adagrad,
}

# --- What fusestep does, where that is not the same: the exact result, and how far its roundings in float32 reach ----


def our_adam(h, t, lr, g, s, decoupled=False):
    beta1, beta2 = h["betas"]
    a, p = g.a, s["param"]
    # A scalar with 1 - β^t in it: ours is a running product, of t + 1 roundings to 2^-53.
    power = lambda x, beta: Number(a, x, (a.u + (t + 3) * beta**t / (1 - beta**t) * 2.0**-53 + 2.0**-51) * x)
    g = -g if h["maximize"] else g
    if h["weight_decay"] != 0:
        if decoupled:
            p = (1 - lr * h["weight_decay"]) * p
        else:
            g = g + h["weight_decay"] * p
    m = beta1 * s["exp_avg"] + (1 - beta1) * g
    v = beta2 * s["exp_avg_sq"] + ((1 - beta2) * g) * g
    if h["amsgrad"]:
        v = s["max_exp_avg_sq"].maximum(v)
    d = v.sqrt() * power(1 / (1 - beta2**t) ** 0.5, beta2) + h["eps"]
    return {"exp_avg": m, "param": p - power(lr / (1 - beta1**t), beta1) * (m / d)}


OURS = {"adam": our_adam, "adamw": lambda *step: our_adam(*step, decoupled=True)}


# --- A case ---------------------------------------------------------------------------------------------------------


def case(name, algorithm, hyper, dtype, grad_dtype):
    init, grads = inputs()
    param = torch.nn.Parameter(init.to(TYPES[dtype]))
    param.grad_dtype = None  # may be any
    fused = dtype == grad_dtype
    opt = CLASSES[algorithm]([param], foreach=False, fused=fused, **hyper)

    def slots():
        state = opt.state.get(param, {})
        return {"param": param.detach().clone()} | {slot: x.clone() for slot, x in state.items() if slot != "step" and x is not None}

    held, either, before = {}, [], slots()
    for t, grad in enumerate(grads, start=1):
        lr = hyper["lr"] * LR_FACTOR[t - 1]
        opt.param_groups[0]["lr"] = lr
        param.grad = grad.to(TYPES[grad_dtype])
        with contextlib.nullcontext() if fused else golden.CorrectSquareRoot():
            opt.step()
        after = slots()
        for slot, x in after.items():
            start = before.setdefault(slot, torch.zeros_like(x))
            held.setdefault(slot, [bits(start).tolist()]).append(bits(x).tolist())
        with np.errstate(all="ignore"):
            g, old = param.grad.float().numpy(), {slot: x.float().numpy() for slot, x in before.items()}
            new = {slot: x.double().numpy() for slot, x in after.items()}
            where = f"{name}, {dtype}, gradient {grad_dtype}, step {t}"
            check(where, dtype, new, TORCHS[algorithm](hyper, t, lr, g, old))
            if algorithm in OURS:
                a = OneSide("float32")
                ours = OURS[algorithm](hyper, t, lr, Number(a, g), {slot: Number(a, x) for slot, x in old.items()})
                either += [{"step": t} | e for e in undecided(where, dtype, new, ours)]
        before = after
    out = {"name": name, "algorithm": algorithm, "dtype": dtype, "grad_dtype": grad_dtype, "hyper": hyper}
    return out | {"held": held, "either": either}


def check(where, dtype, torchs, stated):
    """Torch does what is stated above: not a bit differs."""
    for slot, x in stated.items():
        if x.dtype != np.float32 or not np.array_equal(rounded(x, dtype), torchs[slot], equal_nan=True):
            raise ValueError(f"{where}: {slot} is {torchs[slot]}, as stated {x}")


def undecided(where, dtype, torchs, ours):
    """The elements that roundings of float32 may bring to another number than torch's, and the bits that are right for them."""
    for slot, x in ours.items():
        if ((x.x != 0) & (np.abs(x.x) - x.e < x.a.tiny)).any():
            raise ValueError(f"{where}: {slot} may be subnormal in float32: choose other inputs")
        low, high = rounded(x.x - x.e, dtype), rounded(x.x + x.e, dtype)
        known = np.isfinite(x.x) & np.isfinite(x.e)  # what is infinite or NaN is so for both
        for i in np.flatnonzero(known & ((low != torchs[slot]) | (high != torchs[slot]))):
            right = bits(torch.tensor([low[i], high[i]], dtype=torch.float64).to(TYPES[dtype])).tolist()
            if abs(right[0] - right[1]) > 1:
                raise ValueError(f"{where}: {slot}[{i}] may be one of many numbers: choose other inputs")
            yield {"slot": slot, "element": int(i), "bits": right}


def main():
    more.check("sixteen.py", {})
    _, grads = inputs()
    made = [case(*c) for c in cases()]
    text = {"steps": STEPS, "lr_factor": LR_FACTOR[:STEPS], "grads": {name: [bits(g.to(t)).tolist() for g in grads] for name, t in TYPES.items()}}
    (golden.HERE / "sixteen.json").write_text(encode(golden.header() | text | {"cases": made}) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()

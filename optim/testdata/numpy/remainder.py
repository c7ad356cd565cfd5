"""Write remainder.json: Adam and AdamW on float32 weights that are held as bfloat16 and a 16-bit remainder, as Transformer Engine has
them: AdamFunctorMasterParamRemainder in transformer_engine/common/multi_tensor/adam.cu, at commit c250752a.

It runs on NVIDIA's GPUs alone, and was not run. Each operation is rounded here; its compiler may join a product and the addition that
follows. README.md, "remainder.json", says what the file holds.
"""

import pathlib
import sys

import numpy as np

import difference
import inputs
import steps

STEPS = 20
f = np.float32

# --- A weight in two arrays -------------------------------------------------------------------------------------------


def join(param, remainder):
    """The master of two int16. A remainder below 0 says that the upper half was rounded up."""
    high = np.where(remainder < 0, param - np.int16(1), param)
    return (high.view(np.uint16).astype(np.uint32) << 16 | remainder.view(np.uint16)).view(f)


def split(master):
    """Its lower half is the remainder; its upper half, one more where the remainder is below 0, is the nearest bfloat16: ties go away
    from 0."""
    word = master.view(np.uint32)
    remainder = word.astype(np.uint16).view(np.int16)
    high = (word >> 16).astype(np.uint16).view(np.int16)
    return np.where(remainder < 0, high + np.int16(1), high), remainder


def bfloat16(x):
    """The nearest bfloat16, ties to even, as bits. X is finite."""
    word = np.asarray(x, dtype=f).view(np.uint32)
    return ((word + 0x7FFF + (word >> 16 & 1)) >> 16).astype(np.uint16)


def widened(bits):
    return (bits.astype(np.uint32) << 16).view(f)


# --- A step -----------------------------------------------------------------------------------------------------------


def bias(beta, t):
    """1 - beta^t: in double, of a float beta, and rounded."""
    return f(1 - float(f(beta)) ** t)


def engine(h, t, lr, g, s):
    p, decay = s["param"], f(h["weight_decay"])
    beta1, beta2 = (f(b) for b in h["betas"])
    if not h["decoupled"]:
        g = g + decay * p
    m = beta1 * s["exp_avg"] + (f(1) - beta1) * g
    v = beta2 * s["exp_avg_sq"] + (f(1) - beta2) * g * g
    update = m / bias(beta1, t) / (np.sqrt(v / bias(beta2, t)) + f(h["eps"]))
    if h["decoupled"]:
        update = update + decay * p
    return {"param": p - f(lr) * update, "exp_avg": m, "exp_avg_sq": v}


def both(k):
    """What both sides do."""
    lr, wd, (beta1, beta2) = k.lr, k.h["weight_decay"], k.h["betas"]
    g = steps.gradient(k)

    def complement(beta):
        """1 - beta, which ours computes in double and rounds once."""
        return k.number(f(1) - f(beta), abs(np.longdouble(f(1) - f(beta)) - f(1 - beta)))

    def correction(beta):
        """1 - beta^t. Ours is made in double, of a running product."""
        theirs, ours, power = np.longdouble(bias(beta, k.t)), np.longdouble(1 - beta**k.t), beta**k.t
        return k.number(theirs, abs(theirs - ours) + 2.0**-53 * (2 * abs(ours) + (k.t + 2) * power))

    average = [lambda m, g, w: beta1 * m + w * g] * 2
    m = k.keep("exp_avg", k.a.differ(*average, k.slot("exp_avg"), g, complement(beta1)))
    square = [lambda v, g, w: beta2 * v + w * g * g] * 2
    v = k.keep("exp_avg_sq", k.a.differ(*square, k.slot("exp_avg_sq"), g, complement(beta2)))
    if not k.decoupled:
        wd = 0

    def ours(p, m, v, bias1, bias2):
        return (1 - lr * wd) * p - lr / bias1 * (m / (v.sqrt() * (1 / bias2.sqrt()) + k.h["eps"]))

    def engines(p, m, v, bias1, bias2):
        return p - lr * (m / bias1 / ((v / bias2).sqrt() + k.h["eps"]) + wd * p)

    k.param(k.a.differ(ours, engines, k.slot("param"), m, v, correction(beta1), correction(beta2)))


# --- Cases ------------------------------------------------------------------------------------------------------------

DEFAULTS = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}

CASES = {
    "adamw": {
        "defaults": {"weight_decay": 0.01},
        "language model": {"lr": 3e-4, "betas": (0.9, 0.95), "eps": 1e-6, "weight_decay": 0.1},
        "lr 0.5 wd 0.5": {"lr": 0.5, "betas": (0.6, 0.9), "weight_decay": 0.5},
    },
    "adam": {"wd": {"eps": 1e-3, "weight_decay": 0.1}},
}


def elements(rng):
    """The 16 elements, (initial value, its gradients)."""
    normal, sign, all = rng.normal, rng.sign, range(STEPS)
    for scale in (1e-3, 0.1, 1.0, 10.0, 1e3):
        yield normal(), [scale * normal() for _ in all]
    for p in (100.0 * normal(), 1e-3 * normal(), 1e-30, 1e10):
        yield p, [normal() for _ in all]
    # From a power of 2 down and up, so that what is added to the upper half changes the exponent; across 0.
    yield 1.0, [1.0 + rng.uniform() for _ in all]
    yield -1.0, [-1.0 - rng.uniform() for _ in all]
    yield 0.99609375, [-1.0 - rng.uniform() for _ in all]
    yield 2e-3, [1.0 + rng.uniform() for _ in all]
    # Without a gradient; the sign, and the magnitude, changes at every step.
    yield normal(), [0.0 for _ in all]
    yield 0.0, [0.0 for _ in all]
    yield normal(), [sign() * (1e-3, 1e-1, 1.0, 1e1, 1e3)[rng.bits() % 5] * (1.0 + rng.uniform()) for _ in all]


def case(name, algorithm, options):
    init, grads = zip(*elements(inputs.Random(2016)))
    h = DEFAULTS | options
    of = h | {"decoupled": algorithm == "adamw", "maximize": False}
    param, remainder = bfloat16(init).view(np.int16), np.zeros(len(init), dtype=np.int16)
    moments = {slot: np.zeros(len(init), dtype=f) for slot in ("exp_avg", "exp_avg_sq")}
    held = {"param": [], "remainder": []} | {slot: [] for slot in moments}
    bounds = {slot: [] for slot in ("param", *moments)}

    def hold():
        for slot, x in {"param": param.view(np.uint16), "remainder": remainder, **{slot: x.view(np.uint32) for slot, x in moments.items()}}.items():
            held[slot].append(x.tolist())

    hold()
    arithmetic = difference.Arithmetic("float32")
    for t, grad in enumerate(bfloat16(np.transpose(grads)), start=1):
        lr, g = h["lr"] * inputs.LR_FACTOR[t - 1], widened(grad)
        before = moments | {"param": join(param, remainder)}
        after = engine(of, t, lr, g, before)
        numbers = {slot: difference.Number(arithmetic, x) for slot, x in before.items()}
        k = steps.Step(t, of, lr, g.astype(np.float64), {slot: x.astype(np.float64) for slot, x in after.items()}, numbers, arithmetic)
        both(k)
        for slot, x in k.next.items():
            path = np.abs(after[slot]) + np.abs(before[slot])
            if not (np.abs(x.computed - after[slot]) <= 100 * arithmetic.u * path + arithmetic.tiny).all():
                raise ValueError(f"{name}: {slot} after step {t} is {after[slot]}, by its rule {x.computed}")
            bounds[slot].append(inputs.round_up(x.e))
        param, remainder = split(after["param"])
        moments = {slot: after[slot] for slot in moments}
        if not np.array_equal(join(param, remainder).view(np.uint32), after["param"].view(np.uint32)):
            raise ValueError(f"{name}: a bit of the master is lost")
        hold()
    return {"name": name, "algorithm": algorithm, "hyper": h, "held": held, "bound": bounds}


def main():
    if np.__version__ != inputs.NUMPY:
        sys.exit(f"remainder.py: numpy is {np.__version__}, want {inputs.NUMPY}")
    _, grads = zip(*elements(inputs.Random(2016)))
    out = {
        "numpy": inputs.NUMPY,
        "steps": STEPS,
        "lr_factor": inputs.LR_FACTOR[:STEPS],
        "grads": bfloat16(np.transpose(grads)).tolist(),
        "cases": [case(f"{algorithm}/{name}", algorithm, options) for algorithm, table in CASES.items() for name, options in table.items()],
    }
    (pathlib.Path(__file__).resolve().parent / "remainder.json").write_text(inputs.encode(out) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()

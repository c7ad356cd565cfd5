"""Write optimizers.json and clip.json: what PyTorch computes, for the Go tests to compare with.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python golden.py

The files are written beside this script. Every run writes the same bytes:

  - inputs come from a generator defined here, not from a library's;
  - ATen is told to use its baseline kernels. They evaluate each operation as it is written and round it; the AVX2 and
    AVX-512 kernels fuse some multiplications with additions, and which elements they reach depends on the CPU;
  - square roots are rounded correctly, as IEEE 754 asks; x86 builds of torch take them from MKL, whose float32 roots
    err by up to 0.75 units in the last place and which chooses its code by the CPU;
  - the script refuses to run with other versions of torch and numpy.

The optimizers run with foreach=False and fused=False, the path that defines their meaning. Beside each result stands
a bound: how far a correct implementation may be from it (bound.py; README.md derives it).
"""

import json
import os
import pathlib
import sys

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # read once, when torch first selects a kernel

import numpy as np
import torch

import bound

TORCH, NUMPY = "2.15.0", "2.4.6"

DTYPES = {"float32": torch.float32, "float64": torch.float64}
HERE = pathlib.Path(__file__).resolve().parent


# --- Inputs ---------------------------------------------------------------------------------------------------------


class Random:
    """SplitMix64 (Steele, Lea and Flood 2014). Uses nothing that differs between machines or library versions."""

    def __init__(self, seed):
        self.state = seed

    def bits(self):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    def uniform(self):
        """A multiple of 2^-53 in [0, 1)."""
        return (self.bits() >> 11) * 2.0**-53

    def normal(self):
        """Nearly a standard normal: the sum of twelve uniforms, centred. Within (-6, 6); needs no logarithm."""
        return sum(self.uniform() for _ in range(12)) - 6.0

    def sign(self):
        return 1.0 if self.bits() >> 63 else -1.0


STEPS = 25
RECORDED = (1, 2, 3, 9, 25)  # steps after which the parameter is recorded
RECORDED_STATE = (1, 25)  # steps after which the optimizer's state is recorded

# Multiplied onto a case's learning rate, step by step: it falls at steps 8 and 17, rises at step 9.
LR_FACTOR = [1.0] * 7 + [0.1] + [2.0] * 8 + [0.25] * 9


def elements(rng):
    """The 24 elements of the parameter, each with a story: (initial value, its gradients in all steps)."""
    normal, uniform, sign, steps = rng.normal, rng.uniform, rng.sign, range(STEPS)

    def huge():  # squares stay finite in float32
        return sign() * 1e15 * (1.0 + 999.0 * uniform())

    # Ordinary weights and gradients, the gradients of seven magnitudes.
    for scale in (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3):
        yield normal(), [scale * normal() for _ in steps]
    yield 100.0 * normal(), [normal() for _ in steps]

    # The gradient is always zero: of a weight (an embedding row never looked up), of a zero, of both signs.
    yield normal(), [0.0 for _ in steps]
    yield 0.0, [0.0 for _ in steps]
    yield normal(), [-0.0 if t % 2 else 0.0 for t in steps]
    # Zero for a long while, then not; sometimes not; once not.
    yield normal(), [0.0 if t < 17 else normal() for t in steps]
    yield normal(), [normal() if t % 3 == 1 else -0.0 for t in steps]
    yield normal(), [1e4 if t == 4 else 0.0 for t in steps]

    # Huge and tiny gradients. The weighted squares of 1e-18 are subnormal in float32 though their sum over the steps
    # may be normal, those of 1e-19 are subnormal, the squares of 1e-22 are subnormal and vanish when weighted, those
    # of 1e-30 vanish. The initial zeros let the tiny updates show.
    yield normal(), [huge() for _ in steps]
    yield 0.0, [1e-18 * (1.0 + uniform()) for _ in steps]
    yield 0.0, [1e-19 * normal() for _ in steps]
    yield -0.0, [1e-22 * normal() for _ in steps]
    yield normal(), [1e-30 * normal() for _ in steps]

    # The sign changes at every step; the magnitude changes at every step.
    yield normal(), [(0.5 if t % 2 else -0.5) for t in steps]
    yield normal(), [sign() * (1e-6, 1e-3, 1.0, 1e3, 1e6)[rng.bits() % 5] * (1.0 + uniform()) for _ in steps]

    # Huge and tiny weights.
    yield 1.5e16, [normal() for _ in steps]
    yield -7e15, [huge() for _ in steps]
    yield 1e-30, [1e-3 * normal() for _ in steps]


def inputs():
    """Initial values and gradients in double precision, (24,) and (STEPS, 24)."""
    init, grads = zip(*elements(Random(20250)))
    return np.array(init), np.array(grads).T.copy()


# --- Optimizers -----------------------------------------------------------------------------------------------------

ADAM = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False}
DEFAULTS = {
    "sgd": {"lr": 0.1, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0, "maximize": False},
    "adam": ADAM,
    "adamw": ADAM | {"weight_decay": 0.01},
}
CLASSES = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}

# eps = 0 is missing: elements whose gradient is always zero would divide zero by zero.
CASES = {
    "sgd": {
        "plain": {},
        "lr 0": {"lr": 0.0, "momentum": 0.9, "weight_decay": 0.1},
        "wd": {"weight_decay": 0.1},
        "maximize": {"maximize": True},
        "maximize+wd": {"maximize": True, "weight_decay": 0.1},
        "momentum": {"momentum": 0.9},
        "momentum+wd": {"momentum": 0.9, "weight_decay": 0.01},
        "momentum+maximize": {"momentum": 0.9, "maximize": True},
        "momentum+dampening": {"momentum": 0.9, "dampening": 0.3},
        "momentum+dampening 1": {"momentum": 0.5, "dampening": 1.0},
        "momentum+dampening+wd": {"momentum": 0.9, "dampening": 0.9, "weight_decay": 0.1},
        "momentum+dampening+wd+maximize": {
            "momentum": 0.8, "dampening": 0.5, "weight_decay": 0.05, "maximize": True},
        "nesterov": {"momentum": 0.9, "nesterov": True},
        "nesterov+wd": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        "nesterov+wd+maximize": {"momentum": 0.95, "nesterov": True, "weight_decay": 0.01, "maximize": True},
        "l1": {"l1": 0.01},
        "l1+maximize": {"l1": 0.01, "maximize": True},
        "l1+momentum": {"momentum": 0.9, "l1": 0.1},
        "l1+nesterov+maximize": {"momentum": 0.9, "nesterov": True, "maximize": True, "l1": 0.01},
        "l1+wd": {"weight_decay": 0.1, "l1": 0.05},
        "l1+momentum+dampening+wd+maximize": {
            "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01, "maximize": True, "l1": 0.01},
    },
    "adam": {
        "defaults": {"lr": 1e-3},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "lr 0.5": {"lr": 0.5},
        "betas 0.8 0.9": {"betas": (0.8, 0.9)},
        "betas 0.3 0.95": {"betas": (0.3, 0.95)},
        "betas 0 0.99": {"betas": (0.0, 0.99)},
        "betas 0.95 0": {"betas": (0.95, 0.0)},
        "eps 1e-3": {"eps": 1e-3},
        "eps 1e-12": {"eps": 1e-12},
        "wd": {"weight_decay": 0.1},
        "amsgrad": {"amsgrad": True},
        "amsgrad+betas+eps": {"amsgrad": True, "betas": (0.5, 0.9), "eps": 1e-6},
        "amsgrad+wd": {"amsgrad": True, "weight_decay": 0.01},
        "maximize": {"maximize": True},
        "maximize+wd": {"maximize": True, "weight_decay": 0.01},
        "amsgrad+maximize": {"amsgrad": True, "maximize": True},
        "amsgrad+maximize+wd+betas": {
            "amsgrad": True, "maximize": True, "weight_decay": 0.1, "betas": (0.8, 0.95)},
        "l1": {"l1": 0.01},
        "l1+maximize": {"maximize": True, "l1": 0.1},
        "l1+amsgrad": {"amsgrad": True, "l1": 0.01},
        "l1+wd": {"weight_decay": 0.1, "l1": 0.01},
        "l1+wd+amsgrad+maximize": {"weight_decay": 0.01, "amsgrad": True, "maximize": True, "l1": 0.01},
    },
    "adamw": {
        "defaults": {"lr": 1e-3},
        "lr 0": {"lr": 0.0},
        "lr 0.5 wd 0.5": {"lr": 0.5, "weight_decay": 0.5},
        "wd 0": {"weight_decay": 0.0},
        "wd 0.1": {"weight_decay": 0.1},
        "language model": {"lr": 3e-4, "betas": (0.9, 0.95), "eps": 1e-6, "weight_decay": 0.1},
        "amsgrad": {"amsgrad": True},
        "maximize": {"maximize": True},
        "amsgrad+maximize": {"amsgrad": True, "maximize": True, "weight_decay": 0.1},
        "amsgrad+betas+eps": {"amsgrad": True, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1},
        "l1": {"l1": 0.01, "weight_decay": 0.0},
        "l1+wd": {"l1": 0.01, "weight_decay": 0.1},
        "l1+maximize": {"l1": 0.01, "maximize": True},
        "l1+wd+amsgrad+maximize": {"l1": 0.1, "weight_decay": 0.1, "amsgrad": True, "maximize": True},
    },
}  # fmt: skip


def cases():
    """Every case as (name, optimizer, hyperparameters, dtype); the hyperparameters are complete."""
    for optimizer, table in CASES.items():
        for name, options in table.items():
            for dtype in DTYPES:
                yield f"{optimizer}/{name}", optimizer, DEFAULTS[optimizer] | {"l1": 0.0} | options, dtype


def add_l1(param, hyper):
    """Adds l1·sign(p) to the gradient, which torch's optimizers do not offer; sign(±0) = 0.

    Fusestep's order is: negate the gradient to maximize, add weight_decay·p, add l1·sign(p). Torch does the first two
    inside step(), so here the sign of the term is turned beforehand when maximizing (exact), and the term is added
    before weight_decay·p instead of after it (the last bit may differ; the bound knows).
    """
    if hyper["l1"] != 0:
        param.grad.add_(torch.sign(param.detach()) * (-hyper["l1"] if hyper["maximize"] else hyper["l1"]))


class CorrectSquareRoot(torch.overrides.TorchFunctionMode):
    """Within this context torch's square root is the correctly rounded one."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.sqrt:
            return torch.from_numpy(np.sqrt(args[0].detach().numpy()))
        return func(*args, **(kwargs or {}))


def trajectory(optimizer, hyper, dtype, context=CorrectSquareRoot):
    """Runs one case. Yields after each step: learning rate, gradient, and param and state before and after, all as
    float64 arrays (which hold float32 values exactly)."""
    init, grads = inputs()
    param = torch.nn.Parameter(torch.tensor(init, dtype=DTYPES[dtype]))
    options = {name: value for name, value in hyper.items() if name != "l1"}
    opt = CLASSES[optimizer]([param], foreach=False, fused=False, **options)

    def values():
        tensors = {"param": param, **opt.state.get(param, {})}
        return {
            name: tensor.detach().double().numpy().copy()
            for name, tensor in tensors.items()
            if name != "step" and tensor is not None
        }

    before = values()
    for factor, grad in zip(LR_FACTOR, grads):
        lr = hyper["lr"] * factor
        opt.param_groups[0]["lr"] = lr
        param.grad = torch.tensor(grad, dtype=DTYPES[dtype])
        raw = param.grad.double().numpy().copy()
        add_l1(param, hyper)
        with context():
            opt.step()
        after = values()
        for name, value in after.items():
            if not np.isfinite(value).all():
                raise ValueError(f"{name} is not finite: {value}")
        yield lr, raw, before, after
        before = after


def optimizer_case(name, optimizer, hyper, dtype):
    param, param_bound, state, state_bound = {}, {}, {}, {}
    error = bound.Bound(optimizer, hyper, dtype)
    for t, (lr, grad, before, after) in enumerate(trajectory(optimizer, hyper, dtype), start=1):
        error.step(lr, grad, before, after)
        if t in RECORDED:
            param[t] = after["param"].tolist()
            param_bound[t] = round_up(error["param"])
        if t in RECORDED_STATE:
            state[t] = {slot: value.tolist() for slot, value in after.items() if slot != "param"}
            state_bound[t] = {slot: round_up(error[slot]) for slot in state[t]}
    if not any(state.values()):  # SGD without momentum
        state, state_bound = {}, {}
    return {
        "name": name,
        "optimizer": optimizer,
        "dtype": dtype,
        "hyper": hyper,
        "param": param,
        "param_bound": param_bound,
        "state": state,
        "state_bound": state_bound,
    }


def round_up(bounds):
    """The bounds as decimal numbers of three digits, none below its original."""
    return [float(f"{b * 1.01:.2e}") for b in bounds.tolist()]


def optimizers():
    init, grads = inputs()
    return header() | {
        "steps": STEPS,
        "init": {dtype: init.astype(dtype).tolist() for dtype in DTYPES},
        "grads": {dtype: grads.astype(dtype).tolist() for dtype in DTYPES},
        "lr_factor": LR_FACTOR,
        "cases": [optimizer_case(*case) for case in cases()],
    }


# --- Gradient clipping ----------------------------------------------------------------------------------------------

CLIP_LENGTHS = (1, 7, 0, 64, 150)
CLIP_STEPS = 3
CLIP_LR = 0.5


def clip_inputs():
    """Initial tensors, and gradients whose norms are near 90, 15 and 220 in steps 1, 2 and 3."""
    rng = Random(333)
    init = [[rng.normal() for _ in range(n)] for n in CLIP_LENGTHS]
    grads = [
        [[scale * rng.normal() for _ in range(n)] for n in CLIP_LENGTHS] for scale in (6.0, 1.0, 15.0)
    ]
    return init, grads


def clip_case(name, max_norm, grad_scale, dtype):
    """Three steps of plain SGD; before each, the gradients (times grad_scale, a power of two or 0) are clipped."""
    init, grads = clip_inputs()
    params = [torch.nn.Parameter(torch.tensor(p, dtype=DTYPES[dtype])) for p in init]
    opt = torch.optim.SGD(params, lr=CLIP_LR, foreach=False, fused=False)
    norms, clipped = [], None
    for step in grads:
        for param, grad in zip(params, step):
            param.grad = torch.tensor(grad, dtype=DTYPES[dtype]) * grad_scale
        norms.append(torch.nn.utils.clip_grad_norm_(params, max_norm, foreach=False).item())
        clipped = clipped or [param.grad.double().tolist() for param in params]
        opt.step()
    return {
        "name": name,
        "dtype": dtype,
        "max_norm": max_norm,
        "grad_scale": grad_scale,
        "total_norm": norms,
        "clipped": clipped,  # of the first step
        "param": [param.detach().double().tolist() for param in params],  # after the last
    }


def clip():
    init, grads = clip_inputs()

    def rounded(tensors, dtype):
        return [np.array(values).astype(dtype).tolist() for values in tensors]

    table = [
        ("all steps clipped", 1.0, 1.0),
        ("some steps clipped", 50.0, 1.0),
        ("never clipped", 1e4, 1.0),
        ("norm 0", 1.0, 0.0),
        ("norm 0, max_norm 0", 0.0, 0.0),
        ("max_norm 0", 0.0, 1.0),
        ("tiny norm", 1e-7, 2.0**-30),  # where the 1e-6 that torch adds to the norm matters
    ]
    return header() | {
        "lr": CLIP_LR,
        "init": {dtype: rounded(init, dtype) for dtype in DTYPES},
        "grads": {dtype: [rounded(step, dtype) for step in grads] for dtype in DTYPES},
        "cases": [clip_case(*row, dtype) for row in table for dtype in DTYPES],
    }


# --- Output ---------------------------------------------------------------------------------------------------------


def header():
    return {"torch": TORCH, "numpy": NUMPY}


def encode(value, indent=""):
    """JSON with one array of numbers, or one flat object, per line. A float is written as the shortest decimal that
    reads back as the same double."""
    inner = indent + " "
    if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()):
        lines = [f"{inner}{json.dumps(str(k))}: {encode(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value):
        return "[\n" + ",\n".join(inner + encode(v, inner) for v in value) + f"\n{indent}]"
    separators = (", ", ": ") if isinstance(value, dict) else (",", ":")
    return json.dumps(value, allow_nan=False, separators=separators)


def main():
    for module, want in ((torch, TORCH), (np, NUMPY)):
        have = module.__version__.split("+")[0]  # 2.15.0+cpu and 2.15.0+cu132 compute the same here
        if have != want:
            sys.exit(f"golden.py: {module.__name__} is {have}, want {want}: see ../requirements.txt")
    if torch.backends.cpu.get_cpu_capability() != "DEFAULT":
        sys.exit("golden.py: ATen does not use its baseline kernels, so the results would depend on the CPU")
    torch.set_num_threads(1)
    for make in (optimizers, clip):
        (HERE / f"{make.__name__}.json").write_text(encode(make()) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()

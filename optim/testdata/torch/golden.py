"""Write optimizers.json and clip.json: what PyTorch computes, for the Go tests to compare with.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python golden.py

The files are written beside this script. Every run writes the same bytes:

  - inputs come from a generator of our own (../numpy/inputs.py), not from a library's;
  - ATen is told to use its baseline kernels. They evaluate each operation as it is written and round it; the AVX2 and
    AVX-512 kernels fuse some multiplications with additions, and which elements they reach depends on the CPU;
  - square roots are rounded correctly, as IEEE 754 asks; x86 builds of torch take them from MKL, whose float32 roots
    err by up to 0.75 units in the last place and which chooses its code by the CPU;
  - the script refuses to run with other versions of torch and numpy.

The optimizers run with foreach=False and fused=False, the path that defines their meaning. Beside each result stands
a bound: how far a correct implementation may be from it (bound.py; README.md derives it).
"""

import os
import pathlib
import sys

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # read once, when torch first selects a kernel

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "numpy"))

import bound
from inputs import LR_FACTOR, NUMPY, RECORDED, RECORDED_STATE, STEPS, Random, encode, inputs, round_up

TORCH = "2.15.0"

DTYPES = {"float32": torch.float32, "float64": torch.float64}

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


def clip_case(name, max_norm, grad_scale, tensor_norm, dtype):
    """Three steps of plain SGD; before each, the gradients (times grad_scale, a power of two or 0) are clipped, and then each alone."""
    init, grads = clip_inputs()
    params = [torch.nn.Parameter(torch.tensor(p, dtype=DTYPES[dtype])) for p in init]
    opt = torch.optim.SGD(params, lr=CLIP_LR, foreach=False, fused=False)
    norms, clipped = [], None
    for step in grads:
        for param, grad in zip(params, step):
            param.grad = torch.tensor(grad, dtype=DTYPES[dtype]) * grad_scale
        norms.append(torch.nn.utils.clip_grad_norm_(params, max_norm, foreach=False).item())
        for param in params if tensor_norm else ():
            torch.nn.utils.clip_grad_norm_([param], tensor_norm, foreach=False)
        clipped = clipped or [param.grad.double().tolist() for param in params]
        opt.step()
    return {
        "name": name,
        "dtype": dtype,
        "max_norm": max_norm,
        "grad_scale": grad_scale,
        "tensor_norm": tensor_norm,  # 0: tensors are not clipped alone
        "total_norm": norms,
        "clipped": clipped,  # of the first step
        "param": [param.detach().double().tolist() for param in params],  # after the last
    }


def clip():
    init, grads = clip_inputs()

    def rounded(tensors, dtype):
        return [np.array(values).astype(dtype).tolist() for values in tensors]

    table = [
        ("all steps clipped", 1.0, 1.0, 0),
        ("some steps clipped", 50.0, 1.0, 0),
        ("never clipped", 1e4, 1.0, 0),
        ("norm 0", 1.0, 0.0, 0),
        ("norm 0, max_norm 0", 0.0, 0.0, 0),
        ("max_norm 0", 0.0, 1.0, 0),
        ("tiny norm", 1e-7, 2.0**-30, 0),  # where the 1e-6 that torch adds to the norm matters
        ("all tensors clipped", 1e4, 1.0, 0.01),
        ("some tensors clipped", 1e4, 1.0, 30.0),
        ("all steps clipped, then some tensors", 1.0, 1.0, 0.6),
        ("some steps clipped, then some tensors", 50.0, 1.0, 20.0),
        ("tensors' norms 0", 1e4, 0.0, 1.0),
        ("tensors' tiny norms", 1e4, 2.0**-30, 3e-9),
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


def check():
    """Stop where the numbers would be others."""
    for module, want in ((torch, TORCH), (np, NUMPY)):
        have = module.__version__.split("+")[0]  # 2.15.0+cpu and 2.15.0+cu132 compute the same here
        if have != want:
            sys.exit(f"golden.py: {module.__name__} is {have}, want {want}: see ../requirements.txt")
    if torch.backends.cpu.get_cpu_capability() != "DEFAULT":
        sys.exit("golden.py: ATen does not use its baseline kernels, so the results would depend on the CPU")
    torch.set_num_threads(1)


def main():
    check()
    for make in (optimizers, clip):
        (HERE / f"{make.__name__}.json").write_text(encode(make()) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()

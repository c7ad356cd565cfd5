"""Write modes_transformers.json: what transformers' Adafactor computes.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python modes_transformers.py

Roots' reciprocals are rounded as IEEE 754 asks of roots and quotients, and sums are numpy's, as torch's order of additions depends on the processor.
"""

import modes  # first: through it golden chooses torch's kernels

import numpy as np
import torch
import transformers.optimization

import golden

from adafactor import least
from inputs import ORDINARY, STEPS
from steps import norm

TRANSFORMERS = "5.23.0"


class Exact(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        x, kwargs = args[0].detach().numpy() if isinstance(args[0], torch.Tensor) else None, kwargs or {}
        if func is torch.Tensor.rsqrt:
            return torch.from_numpy(np.asarray(1 / np.sqrt(x)))
        if func is torch.Tensor.rsqrt_:
            return args[0].copy_(torch.from_numpy(np.asarray(1 / np.sqrt(x))))
        if func is torch.Tensor.norm:
            return torch.from_numpy(np.asarray(np.sqrt((x * x).sum())))
        if func is torch.Tensor.mean:
            return torch.from_numpy(x.mean(kwargs["dim"], keepdims=kwargs.get("keepdim", False)))
        return func(*args, **kwargs)


# --- What both sides do ---------------------------------------------------------------------------------------------


def adafactor(k):
    w = float(k.t) ** k.h["beta2_decay"]
    rest = 1 - w
    f = np.dtype(k.a.dtype).type

    def step(h, u, p, rate):
        root = u.x.size**0.5
        if not h["no_scale_parameter"]:
            rate = least(norm(p) / root, h["eps"][1]) * rate
        return u / least(norm(u) / root / h["d"], 1) * rate

    def update(g, *v):
        return 1 / (v[0] / v[2]).sqrt() * (1 / v[1].sqrt()) * g if len(v) > 1 else 1 / v[0].sqrt() * g

    rate = k.lr if k.h["no_relative_step"] else min(k.lr, 1 / k.t**0.5)
    modes.adafactor(k, f(1 - rest), f(rest), f(rate), update, step, last=lambda p, u, decay: p + -decay * p - u)


# --- Cases ----------------------------------------------------------------------------------------------------------

ADAFACTOR = {
    "lr": 0.01, "beta2_decay": -0.8, "eps": (0.0, 1e-3), "d": 1.0, "eps_square": 1e-30, "elements": ORDINARY, "shape": (4, 5), "lr_factor": [1.0] * STEPS
}  # fmt: skip
FIXED = {**ADAFACTOR, "lr": 0.001, "no_relative_step": True}
del FIXED["lr_factor"]
ABSOLUTE = FIXED | {"no_scale_parameter": True}
WARMUP = [1e-6 * t / 0.01 for t in range(1, STEPS + 1)]

LISTED = [
    ("Adafactor(params)", "adafactor", ADAFACTOR),
    ("Adafactor(params, beta1=0.9)", "adafactor", ADAFACTOR | {"beta1": 0.9}),
    ("Adafactor(params, lr=0.001, relative_step=False)", "adafactor", FIXED),
    ("Adafactor(params, lr=0.001, relative_step=False, scale_parameter=False)", "adafactor", ABSOLUTE),
    ("Adafactor(params, lr=0.001, relative_step=False, scale_parameter=False, beta1=0.9, weight_decay=0.01)", "adafactor",
        ABSOLUTE | {"beta1": 0.9, "weight_decay": 0.01}),
]  # fmt: skip

OTHERS = [
    ("Adafactor(params)", "adafactor", ADAFACTOR | {"shape": (20,)}),
    ("Adafactor(params, warmup_init=True)", "adafactor", ADAFACTOR | {"shape": (5, 4), "lr_factor": WARMUP}),
    ("Adafactor(params, lr=3.0, relative_step=False, scale_parameter=False)", "adafactor", ABSOLUTE | {"lr": 3.0, "shape": (20,)}),
    ("Adafactor(params, lr=0.1, relative_step=False, eps=(1e-3, 0.5), clip_threshold=2.0, decay_rate=-1.5)", "adafactor",
        FIXED | {"lr": 0.1, "eps_square": 1e-3, "eps": (0.0, 0.5), "d": 2.0, "beta2_decay": -1.5, "shape": (2, 2, 5)}),
    ("Adafactor(params, lr=0.1, relative_step=False, scale_parameter=False, beta1=0.5, weight_decay=0.1)", "adafactor",
        ABSOLUTE | {"lr": 0.1, "beta1": 0.5, "weight_decay": 0.1, "shape": (2, 1, 5, 2)}),
]  # fmt: skip

SLOTS = {"exp_avg": "exp_avg", "variance": "exp_avg_sq", "row_var": "exp_avg_sq_row", "col_var": "exp_avg_sq_col"}


class Transformers:
    def __init__(self, name, call, hyper, init, dtype):
        self.dtype = golden.DTYPES[dtype]
        params = self.params = [torch.nn.Parameter(torch.tensor(init, dtype=self.dtype))]
        self.opt = eval("transformers.optimization." + call, {"transformers": transformers, "params": params})
        (self.group,) = self.opt.param_groups
        if self.group["lr"] not in (None, hyper["lr"]):
            raise ValueError(f"{call}: the learning rate is {self.group['lr']}")

    def step(self, lr, grad):
        if self.group["lr"] is not None:
            self.group["lr"] = lr
        self.params[0].grad = torch.tensor(grad, dtype=self.dtype)
        with Exact():
            self.opt.step()

    def values(self):
        state = self.opt.state.get(self.params[0], {})
        out = {"param": self.params[0]} | {name: state[key] for name, key in SLOTS.items() if key in state}
        for name, axis in (("row_var", -1), ("col_var", -2)):
            if name in out:
                out[name] = out[name].unsqueeze(axis)
        return {name: x.detach().double().numpy().copy() for name, x in out.items()}


if __name__ == "__main__":
    modes.write("modes_transformers", LISTED, OTHERS, {"adafactor": adafactor}, Transformers, transformers=TRANSFORMERS)

"""Write factored.json: what torch.optim.Adafactor computes of vectors, of matrices and of several, for the Go tests to compare with.

    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python factored.py

Frame and format are more.py's. What both sides do is ../numpy/adafactor.py's. Roots' reciprocals are rounded as IEEE 754 asks of roots and
quotients, for the reason that roots are in golden.py. Torch has no momentum.
"""

import golden  # first: it chooses torch's kernels

import numpy as np
import torch

import more
from adafactor import ORDINARY, both

DEFAULTS = {
    "adafactor": {
        "lr": 1e-2, "beta2_decay": -0.8, "eps": (2.0**-23, 1e-3), "d": 1.0, "weight_decay": 0.0, "maximize": False, "elements": ORDINARY, "shape": (4, 5)
    }
}  # fmt: skip

CASES = {
    "adafactor": {
        "matrix": {},
        "matrix, lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "matrix, lr 1": {"lr": 1.0, "shape": (5, 4)},
        "matrix, beta2_decay -0.3 eps 1e-15 1": {"beta2_decay": -0.3, "eps": (1e-15, 1.0)},
        "matrix, beta2_decay -1.5": {"beta2_decay": -1.5, "shape": (2, 10)},
        "matrix, d 2": {"d": 2.0},
        "matrix, wd+maximize": {"weight_decay": 0.1, "maximize": True},
        "matrices": {"shape": (2, 2, 5)},
        "matrices, lr 1": {"lr": 1.0, "shape": (4, 5, 1)},
        "matrices of 4 axes": {"shape": (2, 1, 5, 2)},
        "matrices of 4 axes, beta2_decay -1.5 wd+maximize": {"beta2_decay": -1.5, "weight_decay": 0.1, "maximize": True, "shape": (1, 2, 2, 5)},
        "a row": {"shape": (1, 20)},
        "a column": {"shape": (20, 1)},
        "vector": {"shape": (20,)},
        "vector, lr 1": {"lr": 1.0, "shape": (20,)},
        "vector, d 2 eps 0.1 0": {"d": 2.0, "eps": (0.1, 0.0), "shape": (20,)},
        "vector, wd+maximize": {"weight_decay": 0.1, "maximize": True, "shape": (20,)},
    }
}


class Torch(more.Torch):
    def step(self, lr, grad):
        with CorrectReciprocal():
            super().step(lr, grad)


class CorrectReciprocal(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.rsqrt_:
            x = args[0].detach().numpy()
            return args[0].copy_(torch.from_numpy(np.asarray(1 / np.sqrt(x))))
        return func(*args, **(kwargs or {}))


if __name__ == "__main__":
    start = lambda name, hyper, init, dtype: Torch(torch.optim.Adafactor, hyper, init, dtype)
    more.write("factored.json", CASES, DEFAULTS, {"adafactor": both}, start, lambda name, hyper: {})

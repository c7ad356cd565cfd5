"""Write stochastic.json: AdamW on bfloat16 weights that are rounded stochastically, as torchao 0.18.0 has it.

    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python stochastic.py

Each element is trained many times, with the same gradients and other noise; the file has the mean and the central moments of where the
copies are. Torchao would hold the moments as bfloat16, rounded to nearest, which biases every copy alike; here they are float32. Its step is
not compiled.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "torch"))

import golden  # first: it chooses torch's kernels

import more
import torch

from inputs import Random, encode

TORCHAO = "0.18.0"
STEPS, RECORDED, COPIES = 30, (1, 2, 10, 30), 4096
HYPER = {"lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}


def elements(rng):
    """Initial values, and gradients: of one sign, so that a weight goes somewhere, and of both."""
    for p in (1.0, -0.37, 100.0, 0.02, 3e-3, 0.0):
        yield p, [1.0 + rng.uniform() for _ in range(STEPS)]
    for p in (-1.7, 0.05):
        yield p, [rng.normal() for _ in range(STEPS)]


def moments(x):
    """For each element mean, variance, and fourth central moment, over the copies."""
    x = x.double()
    mean = x.mean(1)
    away = x - mean[:, None]
    return {"mean": mean.tolist(), "variance": (away**2).mean(1).tolist(), "fourth": (away**4).mean(1).tolist()}


def main():
    more.check("stochastic.py", {"torchao": TORCHAO})
    torch.set_default_dtype(torch.float32)
    torch.compile = lambda step, **options: step
    from torchao.optim import _AdamW

    class AdamW(_AdamW):
        def _new_buffer(self, p, signed):
            return torch.zeros_like(p, dtype=torch.float32)

    init, grads = zip(*elements(Random(41)))
    init, grads = torch.tensor(init).bfloat16(), torch.tensor(grads).T.bfloat16()
    torch.manual_seed(1)
    param = torch.nn.Parameter(init[:, None].repeat(1, COPIES))
    opt = AdamW([param], bf16_stochastic_round=True, **HYPER)
    after = {}
    for t, grad in enumerate(grads, start=1):
        param.grad = grad[:, None].repeat(1, COPIES)
        opt.step()
        if t in RECORDED:
            after[t] = moments(param.detach())
    out = {"torchao": TORCHAO, "copies": COPIES, "hyper": HYPER, "init": init.tolist(), "grads": grads.tolist(), "after": after}
    (HERE / "stochastic.json").write_text(encode(golden.header() | out) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()

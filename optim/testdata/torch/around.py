"""Write around.json: what PyTorch does around an optimizer's step.

    venv/bin/python around.py

Gradients of two micro-batches are added up in param.grad, clip_grad_value_ clips the sum, SGD takes a step, and AveragedModel keeps a
moving average, once with get_ema_avg_fn and once with get_ema_multi_avg_fn. How the file comes to be the same everywhere: golden.py.
"""

import golden  # first: it chooses ATen's kernels
import numpy as np
import torch
from golden import DTYPES, HERE
from inputs import Random, encode
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

ELEMENTS, STEPS, MICRO, LR, CLIP = 24, 8, 2, 0.125, 0.75


def inputs():
    rng = Random(444)
    init = [rng.normal() for _ in range(ELEMENTS)]
    grads = [[[10.0 ** (i % 5 - 3) * rng.normal() for i in range(ELEMENTS)] for _ in range(MICRO)] for _ in range(STEPS)]
    for step in grads:
        step[0][0], step[1][0] = CLIP, 0.0  # what is at the limit, and zeros of both signs
        step[0][1], step[1][1] = -CLIP, -0.0
        step[0][2], step[1][2] = -0.0, -0.0
    return init, grads


def case(decay, weight_decay, dtype):
    init, grads = inputs()

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.p = torch.nn.Parameter(torch.tensor(init, dtype=DTYPES[dtype]))

    model = Model()
    averages = {
        "ema": AveragedModel(model, avg_fn=get_ema_avg_fn(decay)),
        "ema_lerp": AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay)),
    }
    opt = torch.optim.SGD(model.parameters(), lr=LR, weight_decay=weight_decay, foreach=False, fused=False)
    out = {"dtype": dtype, "decay": decay, "weight_decay": weight_decay, "param": [], "ema": [], "ema_lerp": []}
    for step in grads:
        model.p.grad = None
        for grad in step:
            g = torch.tensor(grad, dtype=DTYPES[dtype])
            model.p.grad = g if model.p.grad is None else model.p.grad.add_(g)
        torch.nn.utils.clip_grad_value_(model.parameters(), CLIP, foreach=False)
        opt.step()
        out["param"].append(model.p.detach().double().tolist())
        for name, average in averages.items():
            average.update_parameters(model)
            out[name].append(average.module.p.detach().double().tolist())
    return out


def around():
    init, grads = inputs()
    rounded = {dtype: (np.array(init).astype(dtype).tolist(), np.array(grads).astype(dtype).tolist()) for dtype in DTYPES}
    return golden.header() | {
        "lr": LR,
        "clip_value": CLIP,
        "init": {dtype: rounded[dtype][0] for dtype in DTYPES},
        "grads": {dtype: rounded[dtype][1] for dtype in DTYPES},
        "cases": [case(decay, wd, dtype) for decay, wd in ((0.9, 0.1), (0.999, 0.0), (0.25, 0.0), (1.0, 0.0)) for dtype in DTYPES],
    }


if __name__ == "__main__":
    golden.check()
    (HERE / "around.json").write_text(encode(around()) + "\n", encoding="ascii")

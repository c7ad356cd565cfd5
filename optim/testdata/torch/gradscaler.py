"""Writes gradscaler.json: trajectories of torch.amp.GradScaler with SGD.

    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python gradscaler.py

Each step gives the parameter a gradient, which is the case's, multiplied by the scale in float32, or NaN or an infinity; then it calls
GradScaler.step and update. The learning rate is a power of two, so that SGD rounds once and every number must be reproduced to the bit.
"""

import json
import math
import pathlib

import golden  # first: it chooses torch's kernels

import torch

N, INF, NAN = None, math.inf, math.nan  # N: the case's gradient
CASES = [
    ("defaults", {}, [N, INF, N, N, NAN, INF, -INF, N]),
    ("growth", dict(init_scale=8.0, growth_interval=3), [N] * 10),
    ("overflow between growth", dict(init_scale=8.0, growth_interval=2), [N, INF, N, N, N, INF, N, N]),
    ("factors that are no powers of two", dict(init_scale=3.0, growth_factor=1.7, backoff_factor=0.3, growth_interval=2),
     [N, N, N, INF, N, N, N, N, INF, INF, N, N, N] * 4),
    ("growth to infinity", dict(init_scale=2.0**124, growth_interval=1), [N] * 8),
    ("growth to infinity by 1.5", dict(init_scale=2.0**126, growth_factor=1.5, growth_interval=1), [N] * 8),
    ("backoff into subnormal numbers", dict(init_scale=3.0 * 2.0**-120, backoff_factor=0.37), [INF] * 25),
    ("the first steps", dict(init_scale=2.0**20, growth_interval=2), [INF, INF, INF, N, N, N, N]),
    ("in the last step before growth", dict(init_scale=4.0, growth_interval=3), [N, N, INF, N, N, N, INF, N]),
]
LR, START, GRAD = 0.5, [1.0, -2.0, 0.3], [1e-3, -0.7, 3e-5]


def run(name, options, steps):
    scaler = torch.amp.GradScaler("cpu", **options)
    p = torch.tensor(START, requires_grad=True)
    o = torch.optim.SGD([p], lr=LR, foreach=False)
    scaler.scale(torch.zeros(1))  # makes the scale
    rows = []
    for g in steps:
        grad = torch.tensor(GRAD) * scaler._scale
        if g is not None:
            grad[1] = g
        p.grad = grad.clone()
        scaler.step(o)
        scaler.update()
        rows.append({"grad": [repr(x) for x in grad.tolist()], "param": p.tolist(), "scale": scaler.state_dict()["scale"],
            "_growth_tracker": scaler.state_dict()["_growth_tracker"]})
    options = dict(init_scale=65536.0, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000) | options
    return {"name": name, **options, "steps": rows}


if __name__ == "__main__":
    assert torch.__version__.split("+")[0] == golden.TORCH
    head = json.dumps({"torch": golden.TORCH, "lr": LR, "start": torch.tensor(START).tolist()})[:-1]
    cases = []
    for c in CASES:
        c = run(*c)
        steps = ",\n".join(json.dumps(s) for s in c.pop("steps"))
        cases.append(json.dumps(c)[:-1] + ', "steps": [\n' + steps + "\n]}")
    pathlib.Path(__file__).with_name("gradscaler.json").write_text(head + ', "cases": [\n' + ",\n".join(cases) + "\n]}\n")

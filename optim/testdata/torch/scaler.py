"""Write scaler.json: training loops of SGD under torch.amp.GradScaler, for the Go tests to compare with.

    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python scaler.py

Gradients are given as the backward pass would leave them: multiplied by the scale, which overflows by itself where the scale has grown too
large, and with an infinity or a NaN put in at some steps. README.md, "scaler.json", says what the file holds.
"""

import golden  # first: it chooses torch's kernels

import more
import numpy as np
import torch

from inputs import Random, encode

ELEMENTS = 6
SCALER = {"init_scale": 2.0**16, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 3}
SGD = {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}

# The scaler's options, the optimizer's, what multiplies a gradient, and the steps that find an infinity or a NaN whatever the scale:
# 1 is found, and 0 is not, unless the gradient overflows.
CASES = {
    "defaults": ({"growth_interval": 2000}, SGD, 1.0, "01001110"),
    "growth": ({}, SGD, 1.0, "0" * 12),
    "backoff": ({}, SGD, 1.0, "000010001000000"),
    "several in a row": ({}, SGD, 1.0, "00111101100000"),
    "the first steps": ({}, SGD, 1.0, "1110000000"),
    "one before growth": ({"growth_interval": 4}, SGD, 1.0, "0001000100000001"),
    "interval 1": ({"growth_interval": 1}, SGD, 1.0, "0100110000"),
    "other factors": ({"init_scale": 1000.0, "growth_factor": 1.7, "backoff_factor": 0.3}, SGD, 1.0, "00010000000110000000"),
    "growth by other factors": ({"init_scale": 3.0, "growth_factor": 1.7, "backoff_factor": 0.3, "growth_interval": 2}, SGD, 1.0,
                                   "0001000011000" * 4),
    "overflows": ({"init_scale": 2.0**120, "growth_interval": 2}, SGD, 16.0, "0" * 20),
    "scale at its largest": ({"init_scale": 2.0**126, "growth_interval": 2}, SGD, 1e-3, "0" * 10),
    "growth to infinity by 1.5": ({"init_scale": 2.0**126, "growth_factor": 1.5, "growth_interval": 1}, SGD, 1e-3, "0" * 8),
    "backoff into subnormal numbers": ({"init_scale": 3.0 * 2.0**-120, "backoff_factor": 0.37}, SGD, 1.0, "1" * 25),
    "without momentum": ({}, {"lr": 0.1}, 1.0, "1010010000"),
}


def bits(x):
    return x.detach().view(torch.uint32).tolist()


def case(name, options, sgd, size, found):
    options = SCALER | options
    rng = Random(13)
    param = torch.nn.Parameter(torch.tensor([rng.normal() for _ in range(ELEMENTS)], dtype=torch.float32))
    opt = torch.optim.SGD([param], foreach=False, fused=False, **sgd)
    scaler = torch.amp.GradScaler("cpu", **options)
    out = {"name": name, "scaler": options, "sgd": sgd, "grads": [], "found_inf": []}
    held = {"scale": [], "growth_tracker": [], "param": [], "momentum_buffer": []}

    def hold():
        state = scaler.state_dict()
        buffer = opt.state.get(param, {}).get("momentum_buffer")  # None before the first step that is taken
        now = {"scale": state["scale"], "growth_tracker": state["_growth_tracker"], "param": bits(param)}
        for slot, x in (now | {"momentum_buffer": bits(torch.zeros_like(param) if buffer is None else buffer)}).items():
            held[slot].append(x)

    hold()
    for t, bad in enumerate(found):
        scale = scaler.scale(torch.ones((), dtype=torch.float32)).detach()  # what multiplies the loss; it makes the scaler's tensors
        grad = torch.tensor([size * rng.normal() for _ in range(ELEMENTS)], dtype=torch.float32) * scale
        if bad == "1":
            grad[t % ELEMENTS] = (torch.inf, -torch.inf, torch.nan)[t % 3]
        out["grads"].append(bits(grad))
        param.grad = grad.clone()
        scaler.step(opt)
        found_inf = scaler._found_inf_per_device(opt)
        out["found_inf"].append(int(sum(x.item() for x in found_inf.values())))
        scaler.update()
        hold()
    return out | held


def main():
    more.check("scaler.py", {})
    made = [case(name, *c) for name, c in CASES.items()]
    (golden.HERE / "scaler.json").write_text(encode(golden.header() | {"cases": made}) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()

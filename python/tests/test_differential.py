"""Random trainings, each with torch's optimizer and with ours."""

import random

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import fusestep.torch
from conftest import BOTH

STEPS = 200


def choices(r):
    """An optimizer's name and arguments."""
    name = r.choice(BOTH)
    some = {
        "SGD": {"momentum": r.choice([0, 0.9]), "weight_decay": r.choice([0, 0.01])},
        "Adam": {"amsgrad": r.random() < 0.5, "weight_decay": r.choice([0, 0.01])},
        "AdamW": {"amsgrad": r.random() < 0.5, "betas": (0.8, 0.95)},
        "RMSprop": {"centered": r.random() < 0.5, "momentum": r.choice([0, 0.5])},
        "NAdam": {"decoupled_weight_decay": r.random() < 0.5, "weight_decay": 0.01},
        "RAdam": {"weight_decay": r.choice([0, 0.01])},
        "Adafactor": {"beta2_decay": r.choice([-0.8, -0.5]), "weight_decay": r.choice([0, 0.01]), "d": r.choice([1.0, 2.0])},
        "Adagrad": {"lr_decay": 0.01, "initial_accumulator_value": 0.1},
    }
    kwargs = some.get(name, {})
    if name == "SGD" and kwargs["momentum"]:
        kwargs["nesterov"] = r.random() < 0.5
    return name, {**kwargs, "lr": {"Adadelta": 1.0, "Rprop": 1e-4}.get(name, 1e-3)}


def model_of(r, name, dtype):
    layers = [nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 16, 8), nn.Tanh(), nn.Linear(8, 3)]
    if name == "Adafactor":  # which takes a matrix as it lies in memory
        return nn.Sequential(nn.Flatten(), nn.Linear(72, 64), *layers[1:]).to(dtype)
    model = nn.Sequential(*layers).to(dtype)
    if r.random() < 0.5:
        model = model.to(memory_format=torch.channels_last)
    if r.random() < 0.5:
        model[3].weight.data = model[3].weight.data.t().contiguous().t()
    return model


SCHEDULES = [
    lambda o: lr_scheduler.StepLR(o, 20),
    lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
    lambda o: lr_scheduler.ExponentialLR(o, 0.99),
    lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=50),
    lambda o: None,
]


@pytest.mark.parametrize("seed", range(24))
def test_training(seed):
    r = random.Random(seed)
    dtype = r.choice([torch.float32, torch.float64, torch.float64])
    name, kwargs = choices(r)
    torch.manual_seed(seed)
    model = model_of(random.Random(seed + 1000), name, dtype)
    twin = model_of(random.Random(seed + 1000), name, dtype)
    twin.load_state_dict(model.state_dict())
    split, late, frozen = r.randrange(1, 6), r.randrange(60), r.randrange(6)
    accumulate, amp, scheduler = r.choice([1, 1, 3]), r.random() < 0.3, r.choice(SCHEDULES)
    sides = []
    for m, make, extra in ((model, getattr(torch.optim, name), {"foreach": False}), (twin, getattr(fusestep.torch, name), {})):
        params = list(m.parameters())
        optimizer = make([{"params": params[:split]}, {"params": params[split:], "lr": 3e-4}], **kwargs, **extra)
        sides.append((m, params, optimizer, scheduler(optimizer), torch.amp.GradScaler("cpu", init_scale=256.0, enabled=amp, growth_interval=50)))
    data = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        batches = [torch.randn(4, 2, 6, 6, generator=data, dtype=dtype) for _ in range(accumulate)]
        for m, params, optimizer, schedule, scaler in sides:
            optimizer.zero_grad(set_to_none=step % 7 != 0)
            for x in batches:
                loss = (m(x) - x.mean((1, 2, 3)).unsqueeze(1)).square().mean()
                scaler.scale(loss / accumulate).backward()
            if step % 5 < 2 and step > late:
                params[frozen].grad = None
            if amp and step in (30, 31):
                params[0].grad.flatten()[0] = float("nan")
            scaler.step(optimizer)
            scaler.update()
            if schedule is not None:
                schedule.step()
    tolerance = 2e-4 if dtype == torch.float32 else 1e-9
    for p, q in zip(sides[0][1], sides[1][1]):
        assert not q.isnan().any()
        torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance, msg=lambda m: f"{name} {kwargs}, {dtype}: {m}")

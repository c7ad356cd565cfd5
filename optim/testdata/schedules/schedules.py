"""Write schedules.json and plateau.json: learning rates that PyTorch, transformers and optax compute, for the Go tests.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python schedules.py

The files are written beside this script. With every rate of a schedule stands the exact one: the schedule's formula in 50
digits, of the doubles that the library was given. The script fails where the two are further apart than the library's
roundings explain (README.md), so a formula that is not the library's is noticed here.
"""

import json
import os
import pathlib
import sys

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import mpmath
import numpy
import optax
import torch
import transformers
from mpmath import mpf

PINS = {torch: "2.15.0", transformers: "5.23.0", optax: "0.2.8", jax: "0.10.2", numpy: "2.4.6", mpmath: "1.3.0"}
HERE = pathlib.Path(__file__).resolve().parent
U = 2.0**-53
STEPS = 60  # of a schedule, unless it says otherwise

mpmath.mp.dps = 50


# --- The exact factors, as functions of the step ---------------------------------------------------------------------


def constant(k):
    return mpf(1)


def step(every, gamma):
    return lambda k: mpf(gamma) ** (k // every)


def multi_step(milestones, gamma):
    return lambda k: mpf(gamma) ** sum(m <= k for m in milestones)


def warm_up(steps, start=0.0):
    """From start to 1; beyond its steps it is not asked."""
    return lambda k: start + (1 - mpf(start)) * k / steps


def decay(steps, least, shape):
    """From 1 to least, as shape falls from 1 to 0 in the share of the steps that has passed."""
    return lambda k: least + (1 - mpf(least)) * shape(mpf(min(k, steps)) / steps)


def linear(x):
    return 1 - x


def cosine(x):
    return (1 + mpmath.cos(mpmath.pi * x)) / 2


def one_minus_sqrt(x):
    return 1 - mpmath.sqrt(x)


def polynomial(power):
    return lambda x: (1 - x) ** mpf(power)


def inverse_sqrt(timescale):
    return lambda k: 1 / mpmath.sqrt(1 + mpf(k) / timescale)


def restarts(t_0, t_mult, least):
    def factor(k):
        t = t_0
        while k >= t:
            k, t = k - t, t * t_mult
        return decay(t, least, cosine)(k)

    return factor


def one_cycle(steps, shape, pct_start=0.3, div_factor=25.0, final_div_factor=1e4, three_phase=False):
    """The phases end on steps that torch computes in doubles, which are whole numbers only by chance."""
    first, peak = 1 / mpf(div_factor), pct_start * steps - 1
    end = first / final_div_factor
    points = [(0, first), (peak, 1)] + three_phase * [(2 * peak, first)] + [(steps - 1, end)]

    def factor(k):
        for (x0, y0), (x1, y1) in zip(points, points[1:]):
            if k <= x1:
                return y1 + (y0 - y1) * shape((k - mpf(x0)) / (mpf(x1) - x0))

    return factor


def sequence(*stages):
    """Stages are (steps, factor); the last goes on."""

    def factor(k):
        for steps, f in stages[:-1]:
            if k < steps:
                return f(k)
            k -= steps
        return stages[-1][1](k)

    return factor


# --- Schedules -------------------------------------------------------------------------------------------------------


def ratio(x, lr):
    """A rate as a factor."""
    return mpf(x) / mpf(lr)


# name, learning rate, what makes the schedule (of an optimizer named opt), the exact factor, steps
CASES = [
    # torch
    ("constant", 0.1, "ConstantLR(opt, factor=1.0, total_iters=5)", constant),
    ("step/7 0.5", 0.1, "StepLR(opt, step_size=7, gamma=0.5)", step(7, 0.5)),
    ("step/1 0.97", 1e-3, "StepLR(opt, step_size=1, gamma=0.97)", step(1, 0.97)),
    ("step/30 0.1", 0.1, "StepLR(opt, step_size=30, gamma=0.1)", step(30, 0.1)),
    ("multi-step", 0.1, "MultiStepLR(opt, milestones=[5, 20, 21, 50], gamma=0.3)", multi_step([5, 20, 21, 50], 0.3)),
    ("multi-step/twice", 0.1, "MultiStepLR(opt, milestones=[30, 10, 30], gamma=0.1)", multi_step([10, 30, 30], 0.1)),
    ("exponential/0.9", 0.1, "ExponentialLR(opt, gamma=0.9)", step(1, 0.9)),
    ("exponential/0.999", 1e-3, "ExponentialLR(opt, gamma=0.999)", step(1, 0.999)),
    ("exponential/1.1", 1e-3, "ExponentialLR(opt, gamma=1.1)", step(1, 1.1)),
    ("warm-up/5", 0.1, "LinearLR(opt, start_factor=1/3, end_factor=1.0, total_iters=5)",
     sequence((5, warm_up(5, 1 / 3)), (0, constant))),
    ("warm-up/20", 3e-4, "LinearLR(opt, start_factor=1e-3, end_factor=1.0, total_iters=20)",
     sequence((20, warm_up(20, 1e-3)), (0, constant))),
    ("linear/50", 0.1, "LinearLR(opt, start_factor=1.0, end_factor=0.0, total_iters=50)", decay(50, 0, linear)),
    ("linear/40 end", 0.1, "LinearLR(opt, start_factor=1.0, end_factor=0.1, total_iters=40)", decay(40, 0.1, linear)),
    ("polynomial/1", 0.1, "PolynomialLR(opt, total_iters=50, power=1.0)", decay(50, 0, polynomial(1))),
    ("polynomial/2", 0.1, "PolynomialLR(opt, total_iters=40, power=2.0)", decay(40, 0, polynomial(2))),
    ("polynomial/0.9", 0.1, "PolynomialLR(opt, total_iters=50, power=0.9)", decay(50, 0, polynomial(0.9))),
    ("polynomial/0.5", 0.1, "PolynomialLR(opt, total_iters=60, power=0.5)", decay(60, 0, polynomial(0.5))),
    ("cosine/60", 0.1, "CosineAnnealingLR(opt, T_max=60)", decay(60, 0, cosine)),
    ("cosine/40 eta_min", 0.1, "CosineAnnealingLR(opt, T_max=40, eta_min=1e-3)",
     decay(40, ratio(1e-3, 0.1), cosine), 41),  # past T_max it rises
    ("restarts/15", 0.1, "CosineAnnealingWarmRestarts(opt, T_0=15)", restarts(15, 1, 0)),
    ("restarts/5 2 eta_min", 0.05, "CosineAnnealingWarmRestarts(opt, T_0=5, T_mult=2, eta_min=1e-3)",
     restarts(5, 2, ratio(1e-3, 0.05))),
    ("restarts/1 3", 0.05, "CosineAnnealingWarmRestarts(opt, T_0=1, T_mult=3)", restarts(1, 3, 0)),
    ("one-cycle", 0.1, "OneCycleLR(opt, max_lr=0.1, total_steps=60, cycle_momentum=False)", one_cycle(60, cosine)),
    ("one-cycle/linear", 3e-3, "OneCycleLR(opt, max_lr=3e-3, total_steps=60, pct_start=0.25, anneal_strategy='linear',"
     " div_factor=10.0, final_div_factor=100.0, cycle_momentum=False)", one_cycle(60, linear, 0.25, 10.0, 100.0)),
    ("one-cycle/three phases", 0.1, "OneCycleLR(opt, max_lr=0.1, total_steps=60, pct_start=0.4, three_phase=True,"
     " cycle_momentum=False)", one_cycle(60, cosine, 0.4, three_phase=True)),
    ("one-cycle/three phases linear", 0.1, "OneCycleLR(opt, max_lr=0.1, total_steps=50, pct_start=0.33,"
     " anneal_strategy='linear', three_phase=True, cycle_momentum=False)",
     one_cycle(50, linear, 0.33, three_phase=True), 50),
    ("one-cycle/peak between steps", 0.1, "OneCycleLR(opt, max_lr=0.1, total_steps=23, pct_start=0.21,"
     " cycle_momentum=False)", one_cycle(23, cosine, 0.21), 23),
    ("one-cycle/no rise", 0.1, "OneCycleLR(opt, max_lr=0.1, total_steps=30, pct_start=0.0, cycle_momentum=False)",
     one_cycle(30, cosine, 0.0), 30),
    ("warm-up+cosine", 1e-3, "SequentialLR(opt, [LinearLR(opt, start_factor=0.01, total_iters=10),"
     " CosineAnnealingLR(opt, T_max=50, eta_min=1e-5)], [10])",
     sequence((10, warm_up(10, 0.01)), (0, decay(50, ratio(1e-5, 1e-3), cosine)))),
    ("sequence", 0.1, "SequentialLR(opt, [ExponentialLR(opt, gamma=0.8), StepLR(opt, step_size=4, gamma=0.5),"
     " ConstantLR(opt, factor=1.0)], [12, 40])", sequence((12, step(1, 0.8)), (28, step(4, 0.5)), (0, constant))),
    # transformers
    ("transformers/constant", 1e-3, "get_constant_schedule_with_warmup(opt, 10)",
     sequence((10, warm_up(10)), (0, constant))),
    ("transformers/linear", 5e-5, "get_linear_schedule_with_warmup(opt, 10, 55)",
     sequence((10, warm_up(10)), (0, decay(45, 0, linear)))),
    ("transformers/cosine", 1e-3, "get_cosine_schedule_with_warmup(opt, 7, 60)",
     sequence((7, warm_up(7)), (0, decay(53, 0, cosine)))),
    ("transformers/cosine min_lr", 1e-3, "get_cosine_with_min_lr_schedule_with_warmup(opt, 7, 60, min_lr=1e-4)",
     sequence((7, warm_up(7)), (0, decay(53, ratio(1e-4, 1e-3), cosine)))),
    ("transformers/restarts", 1e-3, "get_cosine_with_hard_restarts_schedule_with_warmup(opt, 8, 56, num_cycles=3)",
     sequence((8, warm_up(8)), (0, restarts(16, 1, 0))), 56),
    ("transformers/polynomial", 1e-3, "get_polynomial_decay_schedule_with_warmup(opt, 5, 50)",
     sequence((5, warm_up(5)), (0, decay(45, ratio(1e-7, 1e-3), polynomial(1))))),
    ("transformers/polynomial 3", 1e-3,
     "get_polynomial_decay_schedule_with_warmup(opt, 0, 50, lr_end=1e-4, power=3.0)",
     decay(50, ratio(1e-4, 1e-3), polynomial(3))),
    ("transformers/polynomial 1.5", 1e-3,
     "get_polynomial_decay_schedule_with_warmup(opt, 10, 50, lr_end=1e-5, power=1.5)",
     sequence((10, warm_up(10)), (0, decay(40, ratio(1e-5, 1e-3), polynomial(1.5))))),
    ("transformers/inverse sqrt", 1e-3, "get_inverse_sqrt_schedule(opt, 10)",
     sequence((10, warm_up(10)), (0, inverse_sqrt(10)))),
    ("transformers/inverse sqrt 100", 1e-3, "get_inverse_sqrt_schedule(opt, 5, timescale=100)",
     sequence((5, warm_up(5)), (0, inverse_sqrt(100)))),
    ("transformers/wsd linear", 1e-3,
     "get_wsd_schedule(opt, 10, 20, num_stable_steps=25, decay_type='linear', min_lr_ratio=0.1)",
     sequence((10, warm_up(10, 0.1)), (25, constant), (0, decay(20, 0.1, linear)))),
    ("transformers/wsd cosine", 1e-3, "get_wsd_schedule(opt, 5, 15, num_training_steps=55)",
     sequence((5, warm_up(5)), (35, constant), (0, decay(15, 0, cosine)))),
    ("transformers/wsd 1-sqrt", 1e-3,
     "get_wsd_schedule(opt, 10, 20, num_training_steps=50, decay_type='1-sqrt', min_lr_ratio=0.01)",
     sequence((10, warm_up(10, 0.01)), (20, constant), (0, decay(20, 0.01, one_minus_sqrt)))),
    # optax
    ("optax/polynomial", 0.1, "optax.polynomial_schedule(0.1, 0.01, power=2, transition_steps=45)",
     decay(45, ratio(0.01, 0.1), polynomial(2))),
    ("optax/cosine", 0.1, "optax.cosine_decay_schedule(0.1, 50, alpha=0.05)", decay(50, 0.05, cosine)),
    ("optax/exponential", 0.1, "optax.exponential_decay(0.1, 10, 0.7, staircase=True)", step(10, 0.7)),
    ("optax/multi-step", 0.1, "optax.piecewise_constant_schedule(0.1, {10: 0.5, 45: 0.5})", multi_step([10, 45], 0.5)),
    ("optax/warm-up+cosine", 1e-3, "optax.warmup_cosine_decay_schedule(1e-4, 1e-3, 10, 50, end_value=1e-5)",
     sequence((10, warm_up(10, ratio(1e-4, 1e-3))), (0, decay(40, ratio(1e-5, 1e-3), cosine)))),
    ("optax/join", 1e-3, "optax.join_schedules([optax.linear_schedule(0.0, 1e-3, 10), optax.constant_schedule(1e-3),"
     " optax.cosine_decay_schedule(1e-3, 20)], [10, 30])",
     sequence((10, warm_up(10)), (20, constant), (0, decay(20, 0, cosine)))),
]  # fmt: skip


def optimizer(lr):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, foreach=False, fused=False)


def rates(call, lr, steps):
    opt = optimizer(lr)
    scheduler = eval(call, vars(torch.optim.lr_scheduler) | vars(transformers.optimization) | {"optax": optax, "opt": opt})
    if callable(scheduler):
        return [float(scheduler(k)) for k in range(steps)]
    out = []
    for k in range(steps):
        out.append(opt.param_groups[0]["lr"])
        opt.step()
        if k < steps - 1:
            scheduler.step()
    return out


def schedule(name, lr, call, factor, steps=STEPS):
    got = rates(call, lr, steps)
    exact = [mpf(lr) * factor(k) for k in range(steps)]
    for k, (x, y) in enumerate(zip(got, exact)):
        if not abs(x - y) <= (16 + 8 * k) * U * max(exact):
            sys.exit(f"{name}: step {k}: the library has {x}, the formula {float(y)}")
    with mpmath.workprec(53):
        return {"name": name, "call": call, "base_lr": lr, "lr": got, "exact": [float(+y) for y in exact]}


# --- Reduce on plateau -----------------------------------------------------------------------------------------------

NAN = float("nan")
LOSS = [round(0.3 + 2 ** (-k / 6) + 0.03 * (7 * k % 5), 4) for k in range(60)]  # falls, then goes up and down
ACCURACY = [round(1 - x / 2, 4) for x in LOSS]
FLAT = [1.0] * 60

PLATEAUS = [
    ("defaults", 0.1, {}, FLAT),
    ("patience 0", 1e-3, {"patience": 0, "factor": 0.5}, LOSS),
    ("patience 2", 1e-3, {"patience": 2, "factor": 0.5}, LOSS),
    ("threshold", 0.1, {"patience": 2, "factor": 0.3, "threshold": 0.2}, LOSS),
    ("abs", 0.1, {"patience": 2, "factor": 0.7, "threshold": 0.05, "threshold_mode": "abs"}, LOSS),
    ("max", 0.1, {"mode": "max", "patience": 2, "factor": 0.7, "threshold": 0.05}, ACCURACY),
    ("max abs", 0.1, {"mode": "max", "patience": 3, "factor": 0.7, "threshold": 0.01, "threshold_mode": "abs"}, ACCURACY),
    ("cooldown", 0.1, {"patience": 1, "factor": 0.5, "cooldown": 4}, LOSS),
    ("min_lr", 0.1, {"patience": 1, "factor": 0.4, "min_lr": 3e-3}, FLAT),
    ("eps", 0.1, {"patience": 1, "factor": 0.5, "eps": 1e-3}, FLAT),
    ("factor 0", 0.1, {"patience": 4, "factor": 0.0, "min_lr": 0.02}, FLAT),
    ("NaN first", 0.1, {"patience": 1, "factor": 0.5}, [NAN, NAN] + LOSS[:20]),
    ("NaN later", 0.1, {"patience": 3, "factor": 0.5}, LOSS[:10] + [NAN] * 10 + LOSS[10:30]),
    ("below 0", 0.1, {"patience": 2, "factor": 0.5}, [-x for x in ACCURACY]),
    ("below 0, worse by less than the threshold", 0.1, {"patience": 2, "factor": 0.5, "threshold": 0.01},
     [-1 + 0.005 * k for k in range(20)]),
]  # fmt: skip
DEFAULTS = {"mode": "min", "factor": 0.1, "patience": 10, "threshold": 1e-4, "threshold_mode": "rel", "cooldown": 0,
            "min_lr": 0.0, "eps": 1e-8}  # fmt: skip


def plateau(name, lr, options, metrics):
    opt = optimizer(lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, **options)
    got = [lr]
    for metric in metrics:
        scheduler.step(metric)
        got.append(opt.param_groups[0]["lr"])
    shown = [None if x != x else x for x in metrics]
    return {"name": name, "options": DEFAULTS | options, "base_lr": lr, "metrics": shown, "lr": got}


# --- Output ----------------------------------------------------------------------------------------------------------


def write(name, cases):
    """One case a line, its lists on lines of their own. A float is the shortest decimal that reads back as the same double."""

    def encode(case):
        fields = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in case.items()]
        return "  {" + ",\n   ".join(fields) + "}"

    pins = ", ".join(f'"{module.__name__}": "{version}"' for module, version in PINS.items())
    text = "{\n " + pins + ',\n "cases": [\n' + ",\n".join(map(encode, cases)) + "\n ]\n}\n"
    (HERE / name).write_text(text, encoding="ascii")


def main():
    for module, want in PINS.items():
        have = module.__version__.split("+")[0]
        if have != want:
            sys.exit(f"schedules.py: {module.__name__} is {have}, want {want}")
    write("schedules.json", [schedule(*row) for row in CASES])
    write("plateau.json", [plateau(*row) for row in PLATEAUS])


if __name__ == "__main__":
    main()

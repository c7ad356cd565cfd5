"""Measures steps against torch's: python -m fusestep.bench.

All optimizers of a row step the same parameters, with the same gradients, which are at other places
at each step. Their steps take turns, and each has the number of threads with which it is fastest.
What is printed are medians.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

import fusestep.torch
from fusestep import _library

Shapes = Sequence[Sequence[int]]


def resnet50() -> Shapes:
    """The shapes of ResNet-50's 161 parameters."""
    shapes: list[list[int]] = [[64, 3, 7, 7], [64], [64]]
    width = 64
    for inner, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += [[inner, width, 1, 1], [inner], [inner], [inner, inner, 3, 3], [inner], [inner]]
            shapes += [[4 * inner, inner, 1, 1], [4 * inner], [4 * inner]]
            if block == 0:
                shapes += [[4 * inner, width, 1, 1], [4 * inner], [4 * inner]]
            width = 4 * inner
    return [*shapes, [1000, 2048], [1000]]


def gpt2() -> Shapes:
    """The shapes of GPT-2's 148 parameters."""
    n = 768
    block = [[n], [n], [n, 3 * n], [3 * n], [n, n], [n], [n], [n], [n, 4 * n], [4 * n], [4 * n, n], [n]]
    return [[50257, n], [1024, n], *block * 12, [n], [n]]


class Row:
    """Some parameters, and optimizers of them."""

    def __init__(self, shapes: Shapes, makes: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]]) -> None:
        self.params = [torch.randn(*s).mul_(0.02).requires_grad_() for s in shapes]
        self.grads = [[torch.randn_like(p).mul_(1e-3) for p in self.params] for _ in range(2)]
        self.steps = {name: make(self.params).step for name, make in makes.items()}
        self.turn = 0

    def time(self, name: str) -> float:
        """The seconds of a step, whose gradients are not where the last step's were."""
        self.turn ^= 1
        for p, g in zip(self.params, self.grads[self.turn]):
            p.grad = g
        step = self.steps[name]
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    def measure(self, rounds: int, threads: Sequence[int]) -> dict[str, tuple[float, int]]:
        """The median and the number of threads, of each optimizer."""
        best: dict[str, tuple[float, int]] = {}
        for n in threads:
            torch.set_num_threads(n)
            for name in self.steps:
                self.time(name)  # allocates, compiles
                took = statistics.median(self.time(name) for _ in range(max(3, rounds // 4)))
                best[name] = min(best.get(name, (float("inf"), n)), (took, n))
        took_by: dict[str, list[float]] = {name: [] for name in self.steps}
        for _ in range(rounds):
            for name, (_, n) in best.items():
                if torch.get_num_threads() != n:
                    torch.set_num_threads(n)
                    for _ in range(3):
                        self.time(name)
                took_by[name].append(self.time(name))
        return {name: (statistics.median(times), best[name][1]) for name, times in took_by.items()}


def adamw() -> dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]]:
    return {
        "fusestep": lambda ps: fusestep.torch.AdamW(ps),
        "fused": lambda ps: torch.optim.AdamW(ps, fused=True),
        "foreach": lambda ps: torch.optim.AdamW(ps, foreach=True),
    }


def unfused(name: str, **kwargs: Any) -> dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]]:
    return {
        "fusestep": lambda ps: getattr(fusestep.torch, name)(ps, **kwargs),
        "foreach": lambda ps: getattr(torch.optim, name)(ps, foreach=True, **kwargs),
    }


def seconds(x: float) -> str:
    return f"{x * 1e6:,.0f} µs" if x < 0.001 else f"{x * 1e3:,.1f} ms"


def print_row(what: str, found: dict[str, tuple[float, int]], goals: dict[str, float]) -> None:
    """A line for each of torch's forms that has a goal."""
    ours, n = found["fusestep"]
    for form, goal in goals.items():
        theirs, m = found[form]
        ratio = theirs / ours
        missed = ", **missed**" if ratio < goal else ""
        print(f"| {what} | {seconds(ours)}, {n} | torch {form} | {seconds(theirs)}, {m} | {ratio:.2f} | {goal:g}{missed} |", flush=True)


def beside(shapes: Shapes, rounds: int) -> tuple[float, float]:
    """The seconds of an AdamW step whose gradients are elsewhere, and of its kernel alone: the library's call once more, with the same addresses."""
    row = Row(shapes, {"fusestep": adamw()["fusestep"]})
    optimizer = cast(fusestep.torch.AdamW, row.steps["fusestep"].__self__)  # type: ignore[attr-defined]
    whole, kernel = [], []
    for i in range(rounds + 3):
        took = row.time("fusestep")
        engine = optimizer._engine
        assert engine is not None
        start = time.perf_counter()
        engine._call(engine.handle, engine._at, engine._error, _library.ERROR_LENGTH)
        if i >= 3:
            whole.append(took)
            kernel.append(time.perf_counter() - start)
    return statistics.median(whole), statistics.median(kernel)


class Transformer(nn.Module):
    """A small one, of characters."""

    def __init__(self, width: int = 128, layers: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 256)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.layers(self.embedding(x))))


def share(make: Callable[[list[Tensor]], torch.optim.Optimizer], rounds: int) -> tuple[float, float]:
    """The seconds of an iteration of a training, and of the optimizer's step in it."""
    torch.manual_seed(0)
    model = Transformer()
    optimizer = make(list(model.parameters()))
    x = torch.randint(0, 256, (4, 32))
    whole, part = [], []
    for i in range(rounds + 3):
        start = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x).flatten(0, 1), x.flatten()).backward()  # type: ignore[no-untyped-call]
        before = time.perf_counter()
        optimizer.step()
        after = time.perf_counter()
        if i >= 3:
            whole.append(after - start)
            part.append(after - before)
    return statistics.median(whole), statistics.median(part)


def processor() -> str:
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


SHAPES: dict[str, Shapes] = {
    "1 × 1,024": [[1024]],
    "148 × 1,024": [[1024]] * 148,
    "10,000 × 1,024": [[1024]] * 10000,
    "ResNet-50": resnet50(),
    "GPT-2": gpt2(),
}

# How many times as long torch is to take, and how many seconds a step may cost beside its kernel.
GOALS = {
    "148 × 1,024": {"fused": 4.0},
    "10,000 × 1,024": {"fused": 6.0, "foreach": 20.0},
    "ResNet-50": {"fused": 1.0},
    "GPT-2": {"fused": 1.0},
}
UNFUSED = ("RMSprop", "NAdam", "RAdam", "Adadelta", "Adamax")
BESIDE = {"1 × 1,024": 15e-6, "10,000 × 1,024": 1e-3}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fusestep.bench", description="Measures steps against torch's.")
    parser.add_argument("--rounds", type=int, default=40, help="steps of each optimizer of the smallest row, 40 if not given")
    parser.add_argument("--short", action="store_true", help="leaves out the large rows")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    threads = sorted({1, max(1, cores // 2), cores})
    print(f"torch {torch.__version__}, {processor()}, {cores} processors; medians, and each at its best number of threads, behind the time\n")
    print("| step | fusestep | other | other's time | times as long | goal |\n|---|---|---|---|---|---|")
    for what, goals in GOALS.items():
        if what == "148 × 1,024" or not arguments.short:
            rounds = arguments.rounds if what == "148 × 1,024" else max(1, arguments.rounds // 4)
            makes = {name: make for name, make in adamw().items() if name == "fusestep" or name in goals}
            print_row(f"AdamW, {what}", Row(SHAPES[what], makes).measure(rounds, threads), goals)
    for name in UNFUSED[:1] if arguments.short else UNFUSED:
        print_row(f"{name}, ResNet-50", Row(resnet50(), unfused(name)).measure(max(1, arguments.rounds // 4), threads), {"foreach": 3.0})
    torch.set_num_threads(cores)
    print("\n| AdamW, beside its kernel | step | kernel | beside it | goal |\n|---|---|---|---|---|")
    for what, goal in BESIDE.items():
        if what == "1 × 1,024" or not arguments.short:
            whole, kernel = beside(SHAPES[what], arguments.rounds * (20 if what == "1 × 1,024" else 1))
            missed = ", **missed**" if whole - kernel > goal else ""
            print(f"| {what} | {seconds(whole)} | {seconds(kernel)} | {seconds(whole - kernel)} | {seconds(goal)}{missed} |", flush=True)
    print("\n| A small transformer | an iteration | its step | share |\n|---|---|---|---|")
    for name, make in reversed(adamw().items()):
        whole, part = share(make, arguments.rounds)
        print(f"| {name} | {seconds(whole)} | {seconds(part)} | {part / whole:.1%} |", flush=True)


if __name__ == "__main__":
    main()

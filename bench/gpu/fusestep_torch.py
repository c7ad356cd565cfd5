"""The Python package on a GPU: the bits of the CPU, and then how long steps take beside torch's.

    FUSESTEP_LIBRARY=LIBRARY python3 fusestep_torch.py DEVICE [OUT.json]      DEVICE is cuda, cuda:N, or cpu, which tries this script itself

Each optimizer steps the same tensors on the CPU and on the device, on torch's default stream and on another one, with gradients that are elsewhere
at each step, tensors without a gradient, hyperparameters that change, clipping, and torch's own GradScaler, which finds an infinity once. Values and
state must have the same bits. Replays of steps that torch captures must have the bits of steps. Times are medians of a step's, by CUDA's events.
"""

import contextlib
import json
import os
import pathlib
import statistics
import sys
import time
import warnings

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent / "python"))  # the bundle's

import fusestep.torch  # noqa: E402

SHAPES = [(1,), (700,), (33, 5), (100_000,), ()]
CASES = [
    ("AdamW", torch.float32, {"weight_decay": 0.1}),
    ("AdamW", torch.bfloat16, {"master": torch.float32, "ema_decay": 0.9}),
    ("SGD", torch.float32, {"momentum": 0.9, "nesterov": True}),
    ("SGD", torch.bfloat16, {"momentum": 0.9, "stochastic_rounding": True}),
    ("Lion", torch.float64, {}),
    ("LAMB", torch.float32, {}),
    ("LAMB", torch.bfloat16, {"master": torch.int16}),
    ("ScheduleFreeAdamW", torch.float32, {}),
]


def plain(optimizer, gradients, step):
    """A step whose learning rate and clipping change."""
    for group in optimizer.param_groups:
        group["lr"] = 1e-3 * (1 + step % 3)
    optimizer.max_norm, optimizer.max_tensor_norm = [None, 5.0][step % 2], [None, None, 2.0][step % 3]
    feed(optimizer, gradients)
    optimizer.step()


def feed(optimizer, gradients, scale=1.0):
    for p, g in zip(optimizer.param_groups[0]["params"], gradients):
        p.grad = None if g is None else (g * scale).to(p.device)


def train(name, dtype, kwargs, device, stream, scaled):
    """Values, state and what is evaluated after some steps."""
    generator = torch.Generator().manual_seed(1)

    def normal():
        return [torch.randn(s, generator=generator).to(dtype) for s in SHAPES]

    params = [x.to(device).requires_grad_() for x in normal()]
    optimizer = getattr(fusestep.torch, name)(params, **kwargs)
    scaler = torch.amp.GradScaler(device.type, init_scale=1024.0) if scaled else None
    norms = []
    with stream:
        for step in range(8):
            gradients = normal()
            if step in (2, 3):
                gradients[1] = None
            if scaler is None:
                plain(optimizer, gradients, step)
                norms.append(optimizer.grad_norm)
                continue
            if step == 4:
                gradients[3][77] = float("inf")
            scaler.scale(torch.zeros(1, device=device))
            feed(optimizer, gradients, scaler.get_scale())
            scaler.step(optimizer)
            scaler.update()
        out = [*params, *optimizer.eval_params()]
        for state in optimizer.state_dict()["state"].values():
            out += [state[k] for k in sorted(state)]
        return [x.detach().cpu() for x in out], norms


def same(a, b):
    """Whether tensors have the same bits."""
    return all(
        x.dtype == y.dtype and torch.equal(x.reshape(-1).view(torch.uint8), y.reshape(-1).view(torch.uint8)) for x, y in zip(a[0], b[0], strict=True)
    ) and a[1] == b[1]


def capture(step):
    """Torch's graph of a step, as what replays it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def graphed(name, dtype, kwargs, device, stream, how, replays):
    """As train, with a warm-up on a stream, gradients that stay where they are, and steps that are replays of two graphs, or are all taken."""
    generator = torch.Generator().manual_seed(2)

    def normal():
        return [torch.randn(s, generator=generator).to(dtype) for s in SHAPES]

    params = [x.to(device).requires_grad_() for x in normal()]
    lr = torch.tensor(1e-3, dtype=torch.float64).to(device) if how == "lr on the GPU" else 1e-3
    optimizer = getattr(fusestep.torch, name)(params, lr=lr, capturable=True, max_norm=5.0 if how == "max_norm" else None, **kwargs)
    scaler = torch.amp.GradScaler(device.type, init_scale=1024.0) if how == "GradScaler" else None

    def step():
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()

    def give(at):
        scale = 1.0
        if scaler is not None:
            scaler.scale(torch.zeros(1, device=device))
            scale = scaler.get_scale()
        gradients = normal()
        if at == 5 and scaler is not None:
            gradients[3][7] = float("inf")
        for p, g in zip(params, gradients):
            g = (g * scale).to(device)
            p.grad = g if p.grad is None else p.grad.zero_().add_(g)
        if how == "lr on the GPU":
            lr.fill_(1e-3 * (1 + at % 3))

    norms, graphs = [], []
    with stream:
        for at in range(3):
            give(at)
            step()
    wait(device)
    for at in range(3, 12):
        give(at)
        if at in (3, 8):
            for p in params:  # a graph's own gradients
                p.grad = p.grad.clone()
            graphs.append(([p.grad for p in params], capture(step) if replays else step))
        gradients, run = graphs[at % len(graphs)]
        for p, g in zip(params, gradients):
            if p.grad is not g:
                p.grad = g.zero_().add_(p.grad)
        step() if at == 6 else run()
        norms.append(optimizer.grad_norm)
    out = [*params, *optimizer.eval_params()]
    for state in optimizer.state_dict()["state"].values():
        out += [state[k] for k in sorted(state)]
    return [x.detach().cpu() for x in out], norms


def wait(device):
    torch.cuda.synchronize(device)


def captured(device):
    """Replays of a step that torch captures have the bits of steps."""
    p = torch.ones(10, device=device, requires_grad=True)
    p.grad = torch.ones_like(p)
    for capturable, text in ((False, "capturable is False"), (True, "take one like it before the capture")):
        optimizer = fusestep.torch.AdamW([p], capturable=capturable)
        if not capturable:
            optimizer.step()
        wait(device)
        try:
            capture(optimizer.step)
        except RuntimeError as e:
            if text not in str(e):
                raise
        else:
            raise SystemExit(f"a step within a capture was not refused: {text}")
    wait(device)
    for name, dtype, kwargs in CASES:
        if name.startswith("ScheduleFree"):
            continue
        for how in ("", "max_norm", "GradScaler", "lr on the GPU"):
            taken, replayed = (graphed(name, dtype, kwargs, device, list(streams(device).values())[-1](), how, replays) for replays in (False, True))
            what = f"{name} {str(dtype).removeprefix('torch.')} {kwargs} in torch's graphs{how and ', '}{how}"
            if not same(taken, replayed):
                raise SystemExit(f"{what}: OTHER BITS than steps")
            print(f"{what}: the bits of steps", flush=True)


def streams(device):
    """Torch's default stream, and another one."""
    if device.type == "cpu":
        return {"": contextlib.nullcontext}
    other = torch.cuda.Stream()
    return {", torch's default stream": lambda: torch.cuda.stream(torch.cuda.default_stream()), ", a stream": lambda: torch.cuda.stream(other)}


def equality(device):
    for name, dtype, kwargs in CASES:
        for scaled in (False, True):
            want = train(name, dtype, kwargs, torch.device("cpu"), contextlib.nullcontext(), scaled)
            for what, stream in streams(device).items():
                what = f"{name} {str(dtype).removeprefix('torch.')} {kwargs}{' with GradScaler' if scaled else ''} on {device}{what}"
                if not same(want, train(name, dtype, kwargs, device, stream(), scaled)):
                    raise SystemExit(f"{what}: OTHER BITS than on the CPU")
                print(f"{what}: the bits of the CPU", flush=True)


def gpt2(rehearses):
    n = 8 if rehearses else 768
    block = [[n], [n], [n, 3 * n], [3 * n], [n, n], [n], [n], [n], [n, 4 * n], [4 * n], [4 * n, n], [n]]
    return [[65 * n, n], [n, n], *block * 12, [n], [n]]


def throughput(device, out):
    """Steps of each, in turns, on the same tensors."""
    rehearses = device.type == "cpu"
    rows = {"gpt2": gpt2(rehearses), "148 of 1,024": [[1024]] * 148, "10,000 of 1,024": [[1024]] * (10 if rehearses else 10_000)}
    results = []
    for what, shapes in rows.items():
        params = [torch.randn(s, device=device).requires_grad_() for s in shapes]
        for p in params:
            p.grad = torch.randn_like(p)
        for name, kwargs in (("AdamW", {}), ("SGD", {"momentum": 0.9})):
            steps = {
                "fusestep": getattr(fusestep.torch, name)(params, **kwargs).step,
                "fused": getattr(torch.optim, name)(params, fused=True, **kwargs).step,
                "foreach": getattr(torch.optim, name)(params, foreach=True, **kwargs).step,
            }
            times = {k: [] for k in steps}
            hosts = {k: [] for k in steps}
            for i in range(3 if rehearses else 23):
                for k, step in steps.items():
                    took, host = measure(step, rehearses)
                    if i >= 3 or rehearses:
                        times[k].append(took)
                        hosts[k].append(host)
            row = {"optimizer": name, "tensors": what, "device": str(device)}
            row |= {f"{k}_us": statistics.median(x) for k, x in times.items()} | {f"{k}_host_us": statistics.median(x) for k, x in hosts.items()}
            results.append(row)
            cells = [f"{k} {row[k + '_us']:,.0f} µs (host {row[k + '_host_us']:,.0f})" for k in steps]
            print(f"{name} {what}: {', '.join(cells)}", flush=True)
    if out:
        pathlib.Path(out).write_text(json.dumps({"torch": torch.__version__, "rows": results}, indent=1))


def measure(step, rehearses):
    """Microseconds of a step on the device, and of its call."""
    if rehearses:
        begin = time.perf_counter()
        step()
        took = 1e6 * (time.perf_counter() - begin)
        return took, took
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    start = time.perf_counter()
    step()
    host = 1e6 * (time.perf_counter() - start)
    end.record()
    end.synchronize()
    return 1e3 * begin.elapsed_time(end), host


def main():
    device = torch.device(sys.argv[1])
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    warnings.filterwarnings("error", message=".*fusestep.*")
    print(f"torch {torch.__version__}, library {os.environ.get('FUSESTEP_LIBRARY')}")
    equality(device)
    if device.type == "cuda":
        captured(device)
    throughput(device, sys.argv[2] if len(sys.argv) > 2 else None)


if __name__ == "__main__":
    main()

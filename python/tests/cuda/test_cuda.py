"""Optimizers of parameters on a GPU have the bits of those on the CPU."""

import os
import re
import subprocess
import sys
import textwrap

import emulated
import pytest
import torch
from emulated import put
from taken import take
from torch.utils._pytree import tree_map

import fusestep.torch
from fusestep.torch import _collect, _cuda

SHAPES = [(7,), (33, 5), (), (3000,), (0,)]


class Side:
    """An optimizer of copies of some parameters, on a device."""

    def __init__(self, name, params, device, **kwargs):
        self.device = device
        self.params = [self.at(p).requires_grad_() for p in params]
        groups = [{"params": self.params[:2], "weight_decay": 0.1}, {"params": self.params[2:]}] if kwargs.pop("groups", True) else self.params
        self.optimizer = getattr(fusestep.torch, name)(groups, **kwargs)

    def at(self, x):
        return x.detach().clone(memory_format=torch.preserve_format) if self.device == "cpu" else put(x, self.device)

    def feed(self, gradients):
        for p, g in zip(self.params, gradients):
            p.grad = None if g is None else self.at(g)


def here(x):
    return emulated.get(x) if isinstance(x, torch.Tensor) and x.device.type == "cuda" else x


def bits(x):
    """A tensor's type, shape and bytes."""
    x = here(x.detach()).contiguous().reshape(-1)
    return x.dtype, x.view(torch.uint8).tolist() if x.numel() else []


def same(a, b):
    for p, q in zip(a.params, b.params):
        assert bits(p) == bits(q)
    s, t = a.optimizer.state_dict()["state"], b.optimizer.state_dict()["state"]
    assert s.keys() == t.keys()
    for k in s:
        assert s[k].keys() == t[k].keys()
        for name in s[k]:
            assert bits(s[k][name]) == bits(t[k][name]), (k, name)


def pair(name, dtype=torch.float32, shapes=SHAPES, device="cuda:0", **kwargs):
    params = [torch.randn(s, dtype=dtype) for s in shapes]
    return Side(name, params, "cpu", **kwargs), Side(name, params, device, **kwargs)


def gradients(side, step=0):
    out = [torch.randn(p.shape, dtype=p.dtype) for p in side.params]
    if step in (2, 3):
        out[1] = None
    return out


CASES = [
    ("AdamW", {}),
    ("AdamW", {"dtype": torch.complex64}),
    ("Adam", {"amsgrad": True, "dtype": torch.float64}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "groups": False, "lr": 0.1}),
    ("SGD", {"dtype": torch.bfloat16, "momentum": 0.9, "stochastic_rounding": True}),
    ("Lion", {"dtype": torch.bfloat16, "master": torch.float32, "ema_decay": 0.9}),
    ("LAMB", {"dtype": torch.float16}),
    ("NAdam", {}),
    ("NovoGrad", {"dtype": torch.bfloat16, "master": torch.int16}),
    ("ScheduleFreeAdamW", {}),
    ("Prodigy", {"d0": 1e-3, "groups": False, "master": torch.float32, "dtype": torch.bfloat16}),
]


@pytest.mark.parametrize("name,kwargs", CASES, ids=lambda x: x if isinstance(x, str) else " ".join(map(str, x.values())))
def test_bits(name, kwargs):
    """Gradients come and go and are elsewhere each time, the learning rate and what is clipped change, and so does torch's stream."""
    cpu, gpu = pair(name, **kwargs)
    streams = [0, emulated.make_stream(0)]
    for step in range(6):
        now = gradients(cpu, step)
        for side in (cpu, gpu):
            side.feed(now)
            for group in side.optimizer.param_groups:
                group["lr"] *= 1 + step / 8
            side.optimizer.max_norm = [None, 3.0][step % 2]
            side.optimizer.max_tensor_norm = [None, None, 2.0][step % 3] if name != "Prodigy" else None  # which refuses it
        emulated.synchronize(0, emulated.current[0])
        emulated.current[0] = streams[step // 2 % 2]
        for side in (cpu, gpu):
            side.optimizer.step()
        norm = gpu.optimizer.grad_norm
        assert norm == cpu.optimizer.grad_norm
        assert (norm is None) == (gpu.optimizer.max_norm is None and gpu.optimizer.max_tensor_norm is None)
    same(cpu, gpu)
    for x, y in zip(cpu.optimizer.eval_params(), gpu.optimizer.eval_params()):
        assert bits(x) == bits(y)
    assert all(x.device.type == "cuda" for s in gpu.optimizer.state.values() for k, x in s.items() if k in ("exp_avg", "momentum_buffer"))


@pytest.mark.parametrize("max_norm", [None, 3.0])
@pytest.mark.parametrize("name", ["AdamW", "ScheduleFreeSGD"])
def test_grad_scaler(name, max_norm, monkeypatch, alone):
    """GradScaler's scale and what it has found stay on the GPU, and so does what the step makes of them."""
    count, busy = _cuda.OnGPU.count, []

    def counting(*arguments):
        busy.append(emulated.busy())
        count(*arguments)

    monkeypatch.setattr(_cuda.OnGPU, "count", counting)
    cpu, gpu = pair(name, max_norm=max_norm)
    for step, (scale, found) in enumerate([(None, None), (8.0, 0.0), (8.0, 1.0), (3.0, 0.0), (None, 2.0), (None, 0.0), (16.0, 0.0), (None, None)]):
        now = gradients(cpu, step)
        for side in (cpu, gpu):
            side.feed(now)
            for x, what in ((scale, "grad_scale"), (found, "found_inf")):
                if x is None:
                    side.optimizer.__dict__.pop(what, None)
                else:
                    setattr(side.optimizer, what, side.at(torch.tensor(x)))
            emulated.synchronize(0, 0)
            side.optimizer.step()
    assert all(busy[::2])  # of each step the first group, as counting on the emulated GPU waits
    same(cpu, gpu)


@pytest.mark.parametrize("name,kwargs", [("AdamW", {}), ("LAMB", {}), ("SGD", {"dtype": torch.bfloat16, "momentum": 0.9})], ids=lambda x: str(x))
def test_nothing_waits(name, kwargs, alone):
    """A step enqueues its work, and waits neither for it nor for the steps before, also where gradients are elsewhere.

    What earlier tests have left, Go's collector gives back when it runs, and that waits. So two steps of six may have waited.
    """
    cpu, gpu = pair(name, **kwargs)
    every = [gradients(cpu) for _ in range(8)]
    there = [[gpu.at(g) for g in of] for of in every]
    marks, waited = [], 0
    for i, (here, of) in enumerate(zip(every, there)):
        cpu.feed(here)
        for p, g in zip(gpu.params, of):
            p.grad = g
        for side in (cpu, gpu):
            side.optimizer.max_norm, side.optimizer.max_tensor_norm = 1.0 + i, 2.0
            for group in side.optimizer.param_groups:
                group["lr"] *= 0.5
            side.optimizer.step()
        waited += i >= 2 and emulated.passed(marks[-1])  # which lets the GPU do one thing of many
        marks.append(emulated.mark(0))
    assert waited <= 2
    same(cpu, gpu)


def test_from_the_cpu_and_back():
    """State goes on where parameters are."""
    cpu, gpu = pair("AdamW")
    for step in range(4):
        now = gradients(cpu, step)
        for side in (cpu, gpu):
            side.feed(now)
            side.optimizer.step()
        if step == 1:
            a, b = (tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, side.optimizer.state_dict()) for side in (cpu, gpu))
            cpu.optimizer.load_state_dict(b)
            gpu.optimizer.load_state_dict(a)
    same(cpu, gpu)


@pytest.mark.parametrize("reading", ["internals", "DLPack", "one by one"])
def test_reading(reading, monkeypatch):
    """Tensors are read in three ways. Each lets gradients go, tells autograd of the parameters alone, and sees what is elsewhere."""
    if reading != "internals":
        monkeypatch.setattr(_collect, "internals", lambda: None)
    if reading == "one by one":
        monkeypatch.setattr(_collect, "_library", lambda: None)
    cpu, gpu = pair("SGD", groups=False, lr=0.5)
    for step in range(4):
        now = gradients(cpu, step)
        for side in (cpu, gpu):
            side.feed(now)
        there = [p.grad for p in gpu.params]
        before = [(p._version, None if g is None else (g._version, g._use_count())) for p, g in zip(gpu.params, there)]
        for side in (cpu, gpu):
            side.optimizer.step()
        for p, g, (version, of_gradient) in zip(gpu.params, there, before):
            assert p._version == version + (g is not None)
            assert g is None or (g._version, g._use_count()) == of_gradient
    same(cpu, gpu)
    collect = gpu.optimizer._engine.collect
    assert collect.reading == reading
    p = gpu.params[1]
    for new in (put(torch.ones(5, 33).t(), "cuda:0"), put(torch.ones(33, 5), "cuda:1"), put(torch.ones(33, 5, dtype=torch.float64), "cuda:0")):
        old = p.data
        p.grad = None
        p.data = new
        assert collect() == -1
        collect.let_go()
        p.data = old
        p.grad = put(torch.ones(33, 5), "cuda:0")
        assert collect() == 0
        collect.let_go()


def test_second_gpu():
    cpu, gpu = pair("AdamW", device="cuda:1", max_norm=1.0)
    emulated.current[1] = emulated.make_stream(1)
    for _ in range(2):
        now = gradients(cpu)
        for side in (cpu, gpu):
            side.feed(now)
            side.optimizer.step()
    same(cpu, gpu)


def test_two_devices():
    for devices in (["cuda:0", "cpu"], ["cpu", "cuda:1"], ["cuda:0", "cuda:1"]):
        params = [torch.zeros(3) if d == "cpu" else put(torch.zeros(3), d) for d in devices]
        for p in params:
            p.requires_grad_().grad = torch.ones(3) if p.device.type == "cpu" else put(torch.ones(3), p.device)
        optimizer = fusestep.torch.SGD(params)
        with pytest.raises(TypeError, match=f"parameter 0.1 is on {devices[1]}, and parameter 0.0 on {devices[0]}: .* Make one for each"):
            optimizer.step()
        assert not any(here(p.detach()).any() for p in params)


def test_no_such_gpu():
    p = put(torch.zeros(3), "cuda:0")
    far = take(p.data_ptr(), torch.zeros(3), 5).requires_grad_()
    far.grad = take(p.data_ptr(), torch.zeros(3), 5)
    with pytest.raises(TypeError, match=r"parameter 0.0 is torch.float32 of shape \(3,\) and strides \(1,\) on cuda:5, .* the machine has 2 CUDA devices"):
        fusestep.torch.SGD([far]).step()


def test_no_driver(tmp_path):
    """The library starts without a driver, and says which parameter needs one."""
    (tmp_path / "libcuda.so.1").write_bytes(b"")
    script = """
        import torch
        torch.cuda._lazy_init = lambda: None
        import fusestep.torch
        from taken import take
        p = take(1 << 40, torch.zeros(3), 0).requires_grad_()
        p.grad = take(1 << 41, torch.zeros(3), 0)
        q = torch.ones(3, requires_grad=True)
        q.grad = torch.ones(3)
        fusestep.torch.SGD([q], lr=1.0).step()
        assert not q.any()
        try:
            fusestep.torch.SGD([("weight", p)]).step()
        except TypeError as e:
            print(e)
    """
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=environment, capture_output=True, text=True, check=True).stdout
    assert re.match(r"parameter weight is torch.float32 of shape \(3,\) .* on cuda:0, which fusestep.torch cannot step: cuda:0: .*libcuda.so.1: file too short", out), out


def test_hyperparameter_on_the_gpu():
    p = put(torch.zeros(3), "cuda:0").requires_grad_()
    with pytest.raises(ValueError, match="lr is a tensor on cuda:0, for which each step would have to wait"):
        fusestep.torch.SGD([p], lr=put(torch.tensor(0.1), "cuda:0"))

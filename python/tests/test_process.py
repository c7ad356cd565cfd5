"""The library within Python's process: memory, threads, forks, signals."""

import concurrent.futures
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest
import torch

import fusestep.torch
from fusestep.torch import _collect


PATIENCE = 600  # seconds for what ends: whoever else has the processors, torch's import alone may take a minute


def elsewhere(f):
    """What a function returns in a process of its own, which has imported the package and used nothing of it."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
        return pool.submit(f).result(PATIENCE)


MEMORY = """
import gc, resource, torch, fusestep.torch
from fusestep import _library

torch.set_num_threads(1)
params = [torch.randn(1000).requires_grad_() for _ in range(50)]

def step(optimizer=None):  # with gradients that are new, and an optimizer that is made, stepped and dropped
    for p in params: p.grad = torch.ones(1000)
    (optimizer or fusestep.torch.AdamW(params)).step()

def anonymous():
    with open("/proc/self/statm") as f: resident, shared = map(int, f.read().split()[1:3])
    return (resident - shared) * resource.getpagesize()

def grown(n, work):  # by n times work, sixteen times: from the least that the first four of them left to the least that the last four did
    rounds = []
    for _ in range(16):
        for _ in range(n): work()
        gc.collect()
        rounds.append(anonymous())
    return min(rounds[-4:]) - min(rounds[:4])

optimizer, call = fusestep.torch.AdamW(params), _library.call
print(grown(200, lambda: step(optimizer)), grown(20, step))
_library.call = lambda name, *arguments: name == "fs_free" or call(name, *arguments)  # the library keeps what is dropped
print(grown(20, step))
"""
LEAK = 10 << 20  # a step that lost five kilobytes, or an optimizer that lost fifty, would be more. Allocators keep three megabytes, at any time


def test_memory_is_constant(monkeypatch):
    """Of steps and of optimizers, in a process that does nothing else. The measure notices memory that is lost."""
    monkeypatch.setenv("GOGC", "10")  # Go's collector leaves 0.1 MB behind and not as much as is in use, which changes
    out, err = script(MEMORY).communicate(timeout=PATIENCE)
    assert len(out.split()) == 3, err
    steps, optimizers, lost = map(int, out.split())
    assert steps < LEAK and optimizers < LEAK and lost > LEAK, out


def test_dropped_without_the_collector():
    import weakref

    gc.disable()
    try:
        p = torch.ones(3).requires_grad_()
        p.grad = torch.ones(3)
        optimizer = fusestep.torch.AdamW([p])
        optimizer.step()
        engine = weakref.ref(optimizer._engine)
        del optimizer
        assert engine() is None
    finally:
        gc.enable()


def test_gradients_are_let_go():
    import weakref

    ps = [torch.ones(3).requires_grad_() for _ in range(40)]
    optimizer = fusestep.torch.AdamW(ps)
    for refused in (False, True):
        for p in ps:
            p.grad = torch.ones(3)
        gradients = [weakref.ref(p.grad) for p in ps]
        if refused:
            ps[20].grad = torch.ones(3).to_sparse()
            with pytest.raises(TypeError, match="0.20"):
                optimizer.step()
        else:
            optimizer.step()
        optimizer.zero_grad()
        assert [g for g in gradients if g() is not None] == []


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, i):
        return torch.full((4,), float(i))


@pytest.mark.parametrize("context,workers", [("fork", 2), ("spawn", 1)])  # torch is imported by each that is spawned
def test_data_loader(context, workers):
    """Workers that do not step are not disturbed by the parent's library."""
    model = torch.nn.Linear(4, 1)
    optimizer = fusestep.torch.AdamW(model.parameters())
    loader = torch.utils.data.DataLoader(Numbers(), 8, num_workers=workers, multiprocessing_context=context, persistent_workers=True)
    for _ in range(2):
        for x in loader:
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
    assert optimizer.state[model.weight]["step"] == 16


def test_fork():
    """A child of fork that steps gets an error, and ends; so does one whose parent's optimizer it drops."""
    p = torch.ones(3).requires_grad_()
    p.grad = torch.ones(3)
    optimizer = fusestep.torch.SGD([p])
    optimizer.step()

    def child(queue, holder):
        try:
            holder[0].step()
            queue.put("stepped")
        except RuntimeError as e:
            queue.put(str(e))
        holder.clear()
        gc.collect()

    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        process = context.Process(target=child, args=(queue, [optimizer]))
        process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
    assert "forked" in queue.get()
    optimizer.step()


def test_threads():
    """Optimizers in threads of their own."""
    errors = []

    def train(seed):
        try:
            params = [torch.full((500,), float(seed)).requires_grad_() for _ in range(4)]
            optimizer = fusestep.torch.SGD(params, lr=1.0)
            for _ in range(50):
                for p in params:
                    p.grad = torch.ones(500)
                optimizer.step()
            assert all((p == seed - 50).all() for p in params)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=train, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


def script(text, *arguments):
    return subprocess.Popen([sys.executable, *arguments, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


STEPS = """
import torch, fusestep.torch
p = torch.ones(100000).requires_grad_()
p.grad = torch.ones(100000)
optimizer = fusestep.torch.AdamW([p])
optimizer.step()
"""


def test_signals():
    """After a step a child is waited for, Ctrl-C raises KeyboardInterrupt, and a fault of Python's is faulthandler's, all as before it."""
    process = script(
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # which a shell's job in the background ignores
        + STEPS
        + """
import ctypes, subprocess
print(subprocess.run(["echo", "there"], capture_output=True, text=True).stdout, flush=True, end="")
try:
    print("ready", flush=True)
    while True: optimizer.step()
except KeyboardInterrupt:
    print("stopped", flush=True)
optimizer.step()
ctypes.string_at(0)
""",
        "-X",
        "faulthandler",
    )
    assert process.stdout.readline() == "there\n"
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert out == "stopped\n", err
    assert process.returncode in (-signal.SIGSEGV, 2)
    assert "Segmentation fault" in err or "SIGSEGV" in err


def test_interrupted_step_is_counted(monkeypatch):
    """Python raises KeyboardInterrupt when the library's call returns: what that has stepped is counted in the state, which may be saved then."""

    def trained():
        p = torch.ones(3).requires_grad_()
        p.grad = torch.ones(3)
        optimizer = fusestep.torch.NAdam([p])
        for _ in range(2):
            optimizer.step()
        return p, optimizer

    (p, optimizer), (q, other) = trained(), trained()
    engine, call, version = optimizer._engine, optimizer._engine._call, p._version

    def interrupted(*arguments):
        assert call(*arguments) == 0
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "_call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    monkeypatch.undo()
    assert p._version > version
    for _ in range(2):
        other.step()
        assert torch.equal(p, q)
        assert all(torch.equal(x, other.state[q][name]) for name, x in optimizer.state[p].items())
        optimizer.step()
    assert optimizer._engine is engine


def parent():
    torch.set_num_threads(2)
    torch.ones(1000000).mul_(2)  # its threads stay behind
    params = [torch.ones(1000).requires_grad_() for _ in range(300)]

    def child():
        for p in params:
            p.grad = torch.ones(1000)
        fusestep.torch.AdamW(params).step()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(PATIENCE / 2)
    process.kill()
    return process.exitcode


def test_child_has_threads_of_its_own():
    """In a child of fork torch's threads are not there any more, and who would call them waits for ever."""
    assert elsewhere(parent) == 0


DEFAULT_DEVICE = ("AdamW", "NAdam", "Adagrad", "NovoGrad", "ScheduleFreeAdamW")


def default_device():
    torch.set_default_device("meta")
    out = []
    for name in DEFAULT_DEVICE:
        p = torch.ones(3, device="cpu").requires_grad_()
        p.grad = torch.ones(3, device="cpu")
        optimizer = getattr(fusestep.torch, name)([p])
        for _ in range(2):
            optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step()
        out.append((name, {x.device.type for x in optimizer.state[p].values()}, optimizer.state[p]["step"].item()))
    return out


def test_default_device():
    """State is where its parameter is, also where torch's default is another device."""
    assert elsewhere(default_device) == [(name, {"cpu"}, 3.0) for name in DEFAULT_DEVICE]


def maps():
    with open("/proc/self/maps") as f:
        return f.read()


def test_import_does_not_load():
    """Who imports and constructs nothing has no runtime of Go."""
    text = elsewhere(maps)
    assert "libtorch" in text and "libfusestep" not in text


def test_number_of_threads():
    """It follows torch's, with the same bits."""
    assert _collect.lent() is not None, "torch's own"
    before = torch.get_num_threads()
    try:
        values = []
        for n in (1, 2):
            torch.set_num_threads(n)
            p = torch.linspace(0, 1, 300000).requires_grad_()
            optimizer = fusestep.torch.AdamW([p], max_norm=1.0)
            for i in range(4):
                if i == 2:
                    torch.set_num_threads(3 - n)
                p.grad = p.detach() * i
                optimizer.step()
            values.append(p.detach().clone())
        assert torch.equal(*values)
    finally:
        torch.set_num_threads(before)

"""The library within Python's process: memory, threads, forks, signals."""

import gc
import multiprocessing
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest
import torch

import fusestep.torch
from fusestep import _library


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


LEAK = 2 << 20  # a step that lost a kilobyte, or an optimizer that lost ten, would be more


def growth(steps, optimizers):
    """How much memory these take for good: steps with gradients that are new, and optimizers that are made, stepped and dropped."""
    params = [torch.randn(1000).requires_grad_() for _ in range(50)]

    def step(optimizer):
        for p in params:
            p.grad = torch.ones(1000)
        optimizer.step()

    optimizer = fusestep.torch.AdamW(params)
    took = []
    for of_steps, of_optimizers in ((200, 50), (steps, optimizers)):  # at first to warm up
        before = resident()
        for _ in range(of_steps):
            step(optimizer)
        for _ in range(of_optimizers):
            step(fusestep.torch.AdamW(params))
        gc.collect()
        took.append(resident() - before)
    return took[1]


def test_memory_is_constant():
    assert growth(2000, 0) < LEAK
    assert growth(0, 200) < LEAK


def test_memory_that_is_lost_is_seen(monkeypatch):
    """The test above fails where the library keeps what is dropped."""
    call = _library.call
    monkeypatch.setattr(_library, "call", lambda name, *arguments: name == "fs_free" or call(name, *arguments))
    assert growth(0, 100) > LEAK


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
    process.join(30)
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
        STEPS
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
    out, err = process.communicate(timeout=60)
    assert out == "stopped\n", err
    assert process.returncode in (-signal.SIGSEGV, 2)
    assert "Segmentation fault" in err or "SIGSEGV" in err


def test_import_does_not_load():
    """Who imports and constructs nothing has no runtime of Go."""
    process = script("import fusestep.torch, threading, os; print(len(os.listdir('/proc/self/task')) if 'libfusestep' not in open('/proc/self/maps').read() else 'loaded')")
    out, err = process.communicate(timeout=60)
    assert out.strip().isdigit(), err


def test_number_of_threads():
    """It follows torch's, with the same bits."""
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

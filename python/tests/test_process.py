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


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def test_memory_is_constant():
    """A thousand steps with gradients that are new, and optimizers that are made and dropped."""
    params = [torch.randn(1000).requires_grad_() for _ in range(50)]

    def steps(optimizer, n):
        for _ in range(n):
            for p in params:
                p.grad = torch.randn(1000)
            optimizer.step()

    def optimizers(n):
        for _ in range(n):
            steps(fusestep.torch.AdamW(params), 2)

    optimizer = fusestep.torch.AdamW(params)
    steps(optimizer, 200)
    optimizers(50)
    gc.collect()
    before = resident()
    steps(optimizer, 1000)
    optimizers(200)
    gc.collect()
    assert resident() - before < 8 << 20  # 200 optimizers' state would be 80 MB


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


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_data_loader(context):
    """Workers that do not step are not disturbed by the parent's library."""
    model = torch.nn.Linear(4, 1)
    optimizer = fusestep.torch.AdamW(model.parameters())
    loader = torch.utils.data.DataLoader(Numbers(), 8, num_workers=2, multiprocessing_context=context)
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
import faulthandler, signal, sys, torch, fusestep.torch
p = torch.ones(100000).requires_grad_()
p.grad = torch.ones(100000)
optimizer = fusestep.torch.AdamW([p])
optimizer.step()
"""


def test_interrupt():
    """Ctrl-C raises KeyboardInterrupt."""
    process = script(STEPS + "print('ready', flush=True)\ntry:\n    while True: optimizer.step()\nexcept KeyboardInterrupt:\n    print('stopped')")
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "stopped\n"
    assert process.returncode == 0


def test_faulthandler():
    """A fault of Python's is faulthandler's, after a step as before."""
    process = script(STEPS + "import ctypes\nctypes.string_at(0)", "-X", "faulthandler")
    _, err = process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGSEGV, 2)
    assert "Segmentation fault" in err or "SIGSEGV" in err


def test_subprocess_after_a_step():
    process = script(STEPS + "import subprocess\nprint(subprocess.run(['echo', 'there'], capture_output=True, text=True).stdout)")
    assert process.communicate(timeout=30)[0] == "there\n\n"


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

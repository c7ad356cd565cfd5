"""Steps of many tensors, which several threads find."""

import array
import ctypes
import os
import time
import weakref

import pytest
import torch

import fusestep.torch
from fusestep.torch import _collect

N, LENGTH = 600, 200  # of more elements than the library steps on the caller's thread alone


@pytest.fixture(params=[1, 2, 4])
def threads(request, monkeypatch):
    """So many find tensors and let gradients go, where there is more than one, whatever the library finds faster."""
    taken, nothing = _collect.Collector.taken, ctypes.cast(ctypes.CDLL(None).abs, ctypes.c_void_p)
    run = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(_collect.lent())

    def ran(self, some):
        if request.param > 1:
            run(request.param, nothing, None)
        taken(self, some)

    monkeypatch.setattr(_collect.Collector, "taken", ran)
    monkeypatch.setattr(_collect, "MANY", 100)
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(1)


def gradients():
    return torch.randn(N, LENGTH).mul_(0.1).clone().unbind()


def given(params, grads, none=()):
    for i, (p, g) in enumerate(zip(params, grads)):
        p.grad = None if i in none else g.clone()


def trained(steps):
    """Parameters and their optimizer, after steps of which some leave parameters out."""
    params = [p.clone().requires_grad_() for p in torch.ones(N, LENGTH).unbind()]
    optimizer = fusestep.torch.AdamW(params)
    for step in range(steps):
        torch.manual_seed(step)
        given(params, gradients(), range(step % 2, N, 7) if step > 1 else ())
        optimizer.step()
    return params, optimizer


def together(optimizer):
    return bool(optimizer._engine.collect._of.together)


def test_bits_and_counts(threads):
    params, optimizer = trained(5)
    assert together(optimizer) == (threads > 1)
    assert [p._version for p in params] == [sum(step < 2 or i % 7 != step % 2 for step in range(5)) for i in range(N)]
    assert [int(optimizer.state[p]["step"]) for p in params] == [p._version for p in params]
    assert {p.grad._use_count() for p in params if p.grad is not None} == {2}  # the parameter's, and Python's
    torch.set_num_threads(1)
    alone, _ = trained(5)
    assert all(torch.equal(p, q) for p, q in zip(params, alone))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the library has one thread")
def test_they_are_those_of_the_library(monkeypatch):
    monkeypatch.setattr(_collect, "MANY", 100)
    torch.set_num_threads(2)
    try:
        assert together(trained(1)[1])  # it begins with all
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("whose", ["a Python object's", "nobody's", "a buffer's"])
def test_gradients_that_are_given_up_while_a_step_runs(whose, threads):
    """What ends with the last reference, which the step has, may need the GIL: the thread that has it lets go."""
    params, optimizer = trained(2)
    ends = []
    for p in params:
        if whose == "a buffer's":
            buffer = array.array("f", [0.5] * LENGTH)
            p.grad = torch.frombuffer(buffer, dtype=torch.float32)
            ends.append(weakref.ref(buffer))
            del buffer
        else:
            p.grad = torch.full((LENGTH,), 0.5)
            if whose == "a Python object's":
                ends.append(weakref.ref(p.grad))
    engine, call = optimizer._engine, optimizer._engine._call

    def give_up(*arguments):
        for p in params:
            p.grad = None
        return call(*arguments)

    engine._call = give_up
    assert together(optimizer) == (threads > 1)
    optimizer.step()
    assert [int(optimizer.state[p]["step"]) for p in params] == [3] * N
    assert [end for end in ends if end() is not None] == []
    assert set(engine.collect._held) == {_collect.internals().torch.undefined}


@pytest.mark.parametrize("kind", ["skipped", "refused", "sparse"])
def test_a_step_that_is_not_taken(kind, threads):
    params, optimizer = trained(2)
    given(params, gradients())
    before, versions = [p.clone() for p in params], [p._version for p in params]
    if kind == "skipped":
        optimizer.found_inf = torch.ones(())
        optimizer.step()
        del optimizer.found_inf
    elif kind == "refused":
        optimizer.param_groups[0]["betas"] = (1.5, 0.9)
        with pytest.raises(ValueError):
            optimizer.step()
    else:
        params[500].grad = params[500].grad.to_sparse()
        with pytest.raises(TypeError, match="0.500"):
            optimizer.step()
    assert [p._version for p in params] == versions
    assert all(torch.equal(p, q) for p, q in zip(params, before))
    assert {int(optimizer.state[p]["step"]) for p in params} == {2}
    assert all(p.grad._use_count() == 2 for p in params)


def test_memory_that_is_shared_until_it_is_written(threads):
    """Copies that torch makes when somebody writes are made by one thread: the parameters of such a storage share it afterwards."""
    torch.manual_seed(0)
    flat = torch.ones(N * LENGTH)
    params = [p.requires_grad_() for p in flat.view(N, LENGTH).unbind()]
    optimizer = fusestep.torch.SGD(params, lr=1.0)
    for _ in range(2):
        given(params, gradients())
        optimizer.step()
    lazy = torch._lazy_clone(flat)
    for p, q in zip(params, lazy.view(N, LENGTH).unbind()):
        p.data = q
    before = flat.clone()
    given(params, gradients())
    want = torch.stack([p.detach() - p.grad for p in params])
    optimizer.step()
    assert torch.equal(flat, before)
    assert torch.equal(torch.stack([p.detach() for p in params]), want)
    assert len({p.untyped_storage()._cdata for p in params}) == 1


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_a_child_has_none_of_them(threads):
    """OpenMP would wait for them for ever in a child of fork, which is told that it cannot step."""
    params, optimizer = trained(2)
    given(params, gradients())
    assert together(optimizer)
    child = os.fork()
    if child == 0:
        try:
            optimizer.step()
        except RuntimeError as error:
            os._exit(0 if "forked" in str(error) else 1)
        os._exit(2)
    for _ in range(600):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert ended and os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_counts_that_are_not_known(threads, monkeypatch):
    """Where a torch's counts of references are other than known, one thread does all, by torch's functions."""
    with monkeypatch.context() as m:
        m.setattr(_collect.internals().torch, "bits", 0)
        params, optimizer = trained(5)
        assert optimizer._engine.collect.reading == "internals"
    known, _ = trained(5)
    assert all(torch.equal(p, q) for p, q in zip(params, known))

"""Torch's own cases, torch.testing._internal.common_optimizers, on torch's optimizers and ours.

Left out, each with its reason:
- Adafactor, LBFGS, Muon, SparseAdam: fusestep has no such algorithm.
- capturable: torch has it for accelerators; ours refuses it (test_refusals).
- differentiable: a step outside of autograd; ours refuses it (test_refusals).
- sparse gradients: ours refuses them (test_layouts).
"""

import inspect
import re
import warnings

import pytest
import torch
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

import fusestep.torch
from conftest import BOTH, Path, bound, pair, units

INFO = {info.optim_cls.__name__: info for info in optim_db}
LEFT_OUT = {"Adafactor", "LBFGS", "Muon", "SparseAdam"}
DTYPES = [torch.float32, torch.float64, torch.complex64]


def test_all_of_torchs():
    assert set(INFO) - LEFT_OUT == set(BOTH)


def inputs(name, dtype=torch.float32):
    return INFO[name].optim_inputs_func(device="cpu", dtype=dtype)


@pytest.fixture
def default(dtype):
    """Torch's NAdam and ASGD have counters of the default type, in which float64 would be lost."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if dtype == torch.float64 else torch.float32)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", BOTH)
def test_inputs(name, dtype, default):
    assert len(inputs(name, dtype)) >= 5
    for case in inputs(name, dtype):
        shapes = [(), (1,), (7,), (4, 5), (33,), (0,), (2, 3, 5)]
        torchs, ours, theirs, mine = pair(name, [torch.randn(s, dtype=dtype) for s in shapes], case.kwargs)
        paths = [Path(p) for p in theirs]
        states = {}
        for step in range(20):
            for p, q in zip(theirs, mine):
                p.grad = torch.randn_like(p) * 10.0 ** (step % 5 - 2)
                q.grad = p.grad.clone()
            torchs.step()
            ours.step()
            for p, q, path in zip(theirs, mine, paths):
                path.step()
                assert units(p, q, path.moved) < bound(name, dtype), f"{case.desc}: step {step}"
                assert torchs.state[p].keys() == ours.state[q].keys() if p in torchs.state else q not in ours.state
                for key, x in torchs.state.get(p, {}).items():
                    y = ours.state[q][key]
                    assert (x.dtype, x.shape, x.stride()) == (y.dtype, y.shape, y.stride()), key
                    if x.shape == p.shape and key != "step":
                        moved = states.setdefault((p, key), Path(x))
                        moved.step()
                        assert units(x, y, moved.moved) < bound(name, dtype), f"{case.desc}: {key}, step {step}"
                    else:
                        torch.testing.assert_close(x, y, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", BOTH)
def test_errors(name):
    checked = 0
    for error in INFO[name].optim_error_inputs_func(device="cpu", dtype=torch.float32):
        assert error.error_on == OptimizerErrorEnum.CONSTRUCTION_ERROR
        case = error.optimizer_error_input
        params = case.params if case.params is not None else [torch.nn.Parameter(torch.randn(2, 3))]
        make = getattr(fusestep.torch, name)
        if issubclass(error.error_type, Warning):
            with pytest.warns(error.error_type, match=error.error_regex):
                make(params, **case.kwargs)
        else:
            with pytest.raises(error.error_type, match=error.error_regex):
                make(params, **case.kwargs)
        checked += 1
    assert checked >= 8


@pytest.mark.parametrize("name", BOTH)
def test_signature(name):
    """Torch's arguments come first, in its order, with its defaults."""
    theirs = inspect.signature(getattr(torch.optim, name).__init__).parameters
    ours = inspect.signature(getattr(fusestep.torch, name).__init__).parameters
    for kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
        of_torch = [p.name for p in theirs.values() if p.kind == kind]
        of_ours = [p.name for p in ours.values() if p.kind == kind]
        assert of_ours[: len(of_torch)] == of_torch
        if kind == inspect.Parameter.POSITIONAL_OR_KEYWORD:
            assert of_ours == of_torch
    for p in theirs.values():
        assert ours[p.name].default == p.default, p.name
    assert set(getattr(torch.optim, name)([torch.zeros(1)]).defaults) <= set(getattr(fusestep.torch, name)([torch.zeros(1)]).defaults)


@pytest.mark.parametrize("name", BOTH)
def test_schedulers(name):
    """Torch's schedulers of the case, as torch's tests make them."""
    for constructors in INFO[name].scheduler_inputs:
        torchs, ours, theirs, mine = pair(name, [torch.randn(5)], {})
        schedulers = [[c(optimizer) for c in constructors] for optimizer in (torchs, ours)]
        path = Path(theirs[0])
        for step in range(30):
            theirs[0].grad = torch.randn(5)
            mine[0].grad = theirs[0].grad.clone()
            for optimizer, of in zip((torchs, ours), schedulers):
                optimizer.step()
                for s in of:
                    s.step(1.0) if isinstance(s, torch.optim.lr_scheduler.ReduceLROnPlateau) else s.step()
            path.step()
            assert torchs.param_groups[0]["lr"] == ours.param_groups[0]["lr"]
            assert units(theirs[0], mine[0], path.moved) < bound(name, torch.float32)


def test_refusals():
    for kwargs in ({"capturable": True}, {"differentiable": True}):
        with pytest.raises(ValueError, match="must be False"):
            fusestep.torch.AdamW([torch.zeros(1)], **kwargs)
    with pytest.raises(RuntimeError, match="cannot be `True` together"):
        fusestep.torch.AdamW([torch.zeros(1)], fused=True, foreach=True)


def test_words():
    """What the library refuses has torch's words, and says what is right."""
    with pytest.raises(ValueError, match=re.escape("Invalid learning rate: -1 (")) as error:
        fusestep.torch.SGD([torch.zeros(1)], lr=-1)
    assert "must be at least 0" in str(error.value)
    with pytest.raises(ValueError, match="Nesterov momentum requires a momentum and zero dampening"):
        fusestep.torch.SGD([torch.zeros(1)], nesterov=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fusestep.torch.SGD([torch.zeros(1)])

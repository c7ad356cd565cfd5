"""Torch's own cases, torch.testing._internal.common_optimizers, on torch's optimizers and ours.

Left out, each with its reason:
- LBFGS, Muon, SparseAdam: fusestep has no such algorithm.
- complex parameters, of Adafactor, which refuses them as torch's does (test_errors).
- capturable: torch has it for accelerators (test_refusals, cuda/test_capture.py).
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
from bounds import COUNTERS, Held
from conftest import BOTH, Path, bound, pair, units

INFO = {info.optim_cls.__name__: info for info in optim_db}
LEFT_OUT = {"LBFGS", "Muon", "SparseAdam"}
DTYPES = [torch.float32, torch.float64, torch.complex64]


def test_all_of_torchs():
    assert set(INFO) - LEFT_OUT == set(BOTH)


def inputs(name, dtype=torch.float32):
    return INFO[name].optim_inputs_func(device="cpu", dtype=dtype)


@pytest.fixture
def default():
    """Torch's NAdam and ASGD have counters of the default type. The bounds are from those of float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


SHAPES = [(1,), (), (7,), (4, 5), (33,), (0,), (2, 3, 5)]
OF_MATRICES = [(), (7,), (4, 5), (9, 1), (1, 3, 5), (2, 3, 5), (2, 3, 3, 3)]  # of Adafactor: torch's fails of tensors without numbers


def held(name, dtype, kwargs, zeros=False, **ours):
    """Both optimizers, on parameters of all shapes. Those of 7 numbers may be zeros, where the smallest steps are seen."""
    params = [torch.randn(s, dtype=dtype) * (not zeros or s != (7,)) for s in (OF_MATRICES if name == "Adafactor" else SHAPES)]
    return Held(name, *pair(name, params, kwargs, **ours))


def feed(h, step, small):
    """Gives both the same gradients. Where small is not 0 those of 7 numbers are about as small as it."""
    for p, q in zip(h.theirs, h.mine):
        p.grad = torch.randn_like(p) * (small if small and p.shape == (7,) else 10.0 ** (step % 5 - 2))
        q.grad = p.grad.clone()


@pytest.mark.parametrize("name,dtype", [(name, dtype) for name in BOTH for dtype in DTYPES if name != "Adafactor" or not dtype.is_complex], ids=str)
def test_inputs(name, dtype, default):
    assert len(inputs(name, dtype)) >= 5
    for case in inputs(name, dtype):
        h = held(name, dtype, case.kwargs)
        decays = case.kwargs.get("weight_decay", 0) != 0  # beside which small gradients are nothing but roundings, and bounds are wide
        for step in range(20):
            feed(h, step, 0 if decays else 1e-8)
            wrong = h.step()
            assert not wrong, f"{case.desc}: step {step}: {wrong}"
            for p, q in zip(h.theirs, h.mine):
                assert h.torchs.state[p].keys() == h.ours.state[q].keys() if p in h.torchs.state else q not in h.ours.state
                for key, x in h.torchs.state.get(p, {}).items():
                    y = h.ours.state[q][key]
                    assert (x.dtype, x.shape, x.stride()) == (y.dtype, y.shape, y.stride()), key
                    if key in COUNTERS:
                        torch.testing.assert_close(x, y, rtol=1e-6, atol=0)


# One constant of ours is wrong, by a thousandth where float32 can show that, or a term is another.
WRONG = {
    "SGD": [{"lr": 1.001e-3}, {"weight_decay": 1e-3}],
    "Adam": [{"eps": 1.001e-8}, {"betas": (0.9, 0.999001)}, {"betas": (0.9001, 0.999)}, {"no_bias_correction": True}],
    "AdamW": [{"eps": 1.001e-8}, {"weight_decay": 0.011}, {"no_bias_correction": True}],
    "RMSprop": [{"eps": 1.001e-8}, {"alpha": 0.99001}],
    "Adagrad": [{"eps": 1.001e-10}, {"initial_accumulator_value": 1e-21}],
    "Adadelta": [{"eps": 1.001e-6}, {"rho": 0.9001}],
    "Adamax": [{"eps": 1.001e-8}, {"eps_outside": True}],
    "NAdam": [{"eps": 1.001e-8}, {"momentum_decay": 5e-3}],
    "RAdam": [{"eps": 1.001e-8}, {"corrected_eps": True}],
    "ASGD": [{"lr": 1.001e-2}, {"lambd": 1e-3}],
    "Rprop": [{"lr": 1.001e-2}, {"etas": (0.5, 1.2012)}],
    "Adafactor": [{"lr": 1.001e-2}, {"beta2_decay": -0.801}, {"eps": (1e-5, 1e-3)}, {"eps": (None, 1.001e-3)}, {"d": 1.001}],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name,wrong", [(name, wrong) for name in WRONG for wrong in WRONG[name]], ids=str)
def test_what_is_wrong_is_seen(name, wrong, dtype, default):
    h = held(name, dtype, {}, zeros=True, **wrong)
    for step in range(20):
        eps = h.torchs.param_groups[0].get("eps", 1.0)
        feed(h, step, eps if isinstance(eps, float) else 1e-6)
        if h.step():
            return
    pytest.fail("within the bounds")


@pytest.mark.parametrize("name", BOTH)
def test_errors(name):
    checked = 0
    for error in INFO[name].optim_error_inputs_func(device="cpu", dtype=torch.float32):
        case = error.optimizer_error_input
        params = case.params if case.params is not None else [torch.nn.Parameter(torch.randn(2, 3))]
        make = getattr(fusestep.torch, name)
        if issubclass(error.error_type, Warning):
            with pytest.warns(error.error_type, match=error.error_regex):
                make(params, **case.kwargs)
        else:
            with pytest.raises(error.error_type, match=error.error_regex):
                optimizer = make(params, **case.kwargs)
                assert error.error_on == OptimizerErrorEnum.STEP_ERROR
                optimizer.step()
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
    with pytest.raises(ValueError, match="must be False"):
        fusestep.torch.AdamW([torch.zeros(1)], differentiable=True)
    p = torch.zeros(1, requires_grad=True)
    p.grad = torch.ones(1)
    for module, error in ((torch.optim, AssertionError), (fusestep.torch, TypeError)):
        with pytest.raises(error, match="capturable"):
            module.AdamW([p], capturable=True, foreach=False).step()
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

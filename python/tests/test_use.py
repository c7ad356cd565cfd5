"""What users of torch.optim do."""

import copy
import ctypes
import io
import pickle

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook

import fusestep.torch
from fusestep.torch import _collect, _internals
from conftest import BOTH, OURS, Path, bound, pair, units


def feed(theirs, mine, present=lambda i, step: True, step=0):
    for i, (p, q) in enumerate(zip(theirs, mine)):
        p.grad = torch.randn_like(p) if present(i, step) else None
        q.grad = None if p.grad is None else p.grad.clone(memory_format=torch.preserve_format)


def train(torchs, ours, theirs, mine, steps, name, change=lambda optimizer, step: None, present=lambda i, step: True):
    """Steps both with the same gradients, and holds ours to torch's."""
    paths = [Path(p) for p in theirs]
    for step in range(steps):
        feed(theirs, mine, present, step)
        for optimizer in (torchs, ours):
            change(optimizer, step)
            optimizer.step()
        for p, q, path in zip(theirs, mine, paths):
            path.step()
            assert units(p, q, path.moved) < bound(name, p.dtype), f"step {step}"


def same_state(theirs, mine):
    """Whether two dicts have the same names, types and shapes, and nearly the same numbers."""
    assert theirs["state"].keys() == mine["state"].keys()
    for k in theirs["state"]:
        a, b = theirs["state"][k], mine["state"][k]
        assert a.keys() == b.keys()
        for name in a:
            assert (a[name].dtype, a[name].shape, a[name].device) == (b[name].dtype, b[name].shape, b[name].device), name
            torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)
    for g, h in zip(theirs["param_groups"], mine["param_groups"]):
        assert g.keys() <= h.keys()
        assert g["params"] == h["params"]


KINDS = [(name, kwargs) for name in BOTH for kwargs in [{}]] + [
    ("SGD", {"momentum": 0.9}),
    ("Adam", {"amsgrad": True}),
    ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "momentum": 0.9}),
    ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
]


@pytest.mark.parametrize("name,kwargs", KINDS, ids=str)
def test_state_dict_both_ways(name, kwargs):
    torchs, ours, theirs, mine = pair(name, [torch.randn(3, 4), torch.randn(5)], kwargs)
    same_state(torchs.state_dict(), ours.state_dict())
    train(torchs, ours, theirs, mine, 5, name, present=lambda i, step: i == 0 or step != 2)
    same_state(torchs.state_dict(), ours.state_dict())
    dicts = []
    for optimizer in (torchs, ours):
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        dicts.append(torch.load(file, weights_only=True))
    # Each goes on from the other's.
    torchs2, ours2, theirs2, mine2 = pair(name, theirs, kwargs)
    torchs2.load_state_dict(dicts[1])
    ours2.load_state_dict(dicts[0])
    same_state(torchs2.state_dict(), ours2.state_dict())
    train(torchs2, ours2, theirs2, mine2, 5, name, present=lambda i, step: i == 0 or step != 2)


@pytest.mark.parametrize("name", BOTH + OURS)
def test_goes_on_with_the_same_bits(name):
    """An optimizer that was saved, copied or pickled in the middle of training goes on as if nothing had happened."""
    make = getattr(fusestep.torch, name)
    kwargs = {"momentum": 0.9} if name == "SGD" else {}

    def optimizer(values):
        params = [v.detach().clone().requires_grad_() for v in values]
        return make(params, **kwargs), params

    start = [torch.randn(5), torch.randn(3, 3)]
    whole, params = optimizer(start)
    ways = [optimizer(start) for _ in range(4)]
    generator = torch.Generator().manual_seed(1)
    for step in range(12):
        if step == 6:
            for i, (old, values) in enumerate(ways):
                if i == 0:
                    ways[i] = optimizer(values)
                    ways[i][0].load_state_dict(copy.deepcopy(old.state_dict()))
                elif i == 1:
                    new = copy.deepcopy(old)
                    ways[i] = new, new.param_groups[0]["params"]
                elif i == 2:
                    new = pickle.loads(pickle.dumps(old))
                    ways[i] = new, new.param_groups[0]["params"]
                else:
                    file = io.BytesIO()
                    torch.save(old.state_dict(), file)
                    file.seek(0)
                    ways[i] = optimizer(values)
                    ways[i][0].load_state_dict(torch.load(file))
        grads = [torch.randn(v.shape, generator=generator) for v in start]
        for o, ps in [(whole, params), *ways]:
            for i, (p, g) in enumerate(zip(ps, grads)):
                p.grad = None if i == 1 and step in (1, 7) else g.clone()
            o.step()
        for o, ps in ways:
            for p, q in zip(params, ps):
                torch.testing.assert_close(p, q, rtol=0, atol=0)


@pytest.mark.parametrize("name", BOTH + OURS)
def test_trains(name):
    """Every optimizer makes a loss smaller."""
    x, y = torch.randn(64, 8), torch.randn(64, 1)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    lr = {"Adadelta": 1.0, "ProximalSGD": 0.05, "FTRL": 0.1, "ScheduleFreeSGD": 0.1}.get(name, 0.01)
    optimizer = getattr(fusestep.torch, name)(model.parameters(), lr=lr)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_groups_change_in_place():
    def change(optimizer, step):
        for i, group in enumerate(optimizer.param_groups):
            group["lr"] = torch.tensor(0.01 / (step + 1), dtype=torch.float64) if step % 3 == 1 else 0.02 / (step + 1 + i)
            group["betas"] = (0.9 - 0.01 * step, 0.99)
            group["weight_decay"] = [0.0, 0.1][step // 5 % 2]
            group["amsgrad"] = step >= 8
            group["maximize"] = step == 12
            group["eps"] = 1e-8 * (step + 1)

    torchs, ours, theirs, mine = pair("AdamW", [torch.randn(4), torch.randn(3), torch.randn(2, 2)], {})
    for optimizer, params in ((torchs, theirs), (ours, mine)):
        optimizer.param_groups[0]["params"] = params[:1]
        optimizer.add_param_group({"params": params[1:], "lr": 0.1})
    train(torchs, ours, theirs, mine, 8, "AdamW", change)
    # Torch's needs max_exp_avg_sq where amsgrad is turned on late.
    for p in theirs:
        torchs.state[p]["max_exp_avg_sq"] = torch.zeros_like(p)
    train(torchs, ours, theirs, mine, 16, "AdamW", lambda optimizer, step: change(optimizer, step + 8))


def test_momentum_turned_on():
    def change(optimizer, step):
        optimizer.param_groups[0]["momentum"] = 0.9 if step >= 3 else 0
        optimizer.param_groups[0]["dampening"] = 0.5

    torchs, ours, theirs, mine = pair("SGD", [torch.randn(4), torch.randn(3)], {})
    train(torchs, ours, theirs, mine, 8, "SGD", change, present=lambda i, step: i == 0 or step not in (0, 5))


def test_tensor_lr_in_place():
    lr = torch.tensor(0.1, dtype=torch.float64)
    torchs, ours, theirs, mine = pair("SGD", [torch.randn(4)], {"lr": lr})
    assert ours.param_groups[0]["lr"] is lr

    def change(optimizer, step):
        lr.fill_(0.1 / (step + 1))

    train(torchs, ours, theirs, mine, 8, "SGD", change)


SCHEDULERS = {
    "step": lambda o: lr_scheduler.StepLR(o, 3),
    "multi-step": lambda o: lr_scheduler.MultiStepLR(o, [3, 7]),
    "constant": lambda o: lr_scheduler.ConstantLR(o, 0.5, 3),
    "linear": lambda o: lr_scheduler.LinearLR(o),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, 10, 2.0),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.95),
    "one-cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 4, cycle_momentum=True),
    "sequential": lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)], [5]),
    "chained": lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)]),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
}


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_every_scheduler(kind, name):
    torchs, ours, theirs, mine = pair(name, [torch.randn(6)], {"momentum": 0.9} if name == "SGD" else {})
    schedulers = {torchs: SCHEDULERS[kind](torchs), ours: SCHEDULERS[kind](ours)}

    def change(optimizer, step):
        if step > 0:
            schedulers[optimizer].step(*([1.0] if kind == "plateau" else []))

    train(torchs, ours, theirs, mine, 15, name, change)
    assert torchs.param_groups[0]["lr"] == ours.param_groups[0]["lr"]


def test_gradients_that_are_none():
    """Torch counts the steps of each parameter."""
    torchs, ours, theirs, mine = pair("Adam", [torch.randn(3) for _ in range(5)], {"lr": 0.1})
    train(torchs, ours, theirs, mine, 12, "Adam", present=lambda i, step: step % (i + 1) == 0 and i != 4)
    assert [torchs.state[p]["step"].item() for p in theirs[:4]] == [ours.state[p]["step"].item() for p in mine[:4]] == [12, 6, 4, 3]
    assert mine[4] not in ours.state


def test_no_gradient_at_all():
    p = nn.Parameter(torch.ones(2))
    optimizer = fusestep.torch.AdamW([p])
    assert optimizer.step() is None
    assert optimizer.step(lambda: 3.0) == 3.0
    assert p.tolist() == [1, 1] and not optimizer.state


def test_add_param_group_and_replaced_parameters():
    torchs, ours, theirs, mine = pair("Adam", [torch.randn(3)], {})
    train(torchs, ours, theirs, mine, 3, "Adam")
    more = [torch.randn(4), torch.randn(2)]
    for optimizer, params in ((torchs, theirs), (ours, mine)):
        params += [p.clone().requires_grad_() for p in more]
        optimizer.add_param_group({"params": params[1:], "lr": 0.1})
    train(torchs, ours, theirs, mine, 3, "Adam")
    for optimizer, params in ((torchs, theirs), (ours, mine)):  # as those do who grow or prune a parameter
        new = torch.cat([params[0].detach(), torch.ones(2)]).requires_grad_()
        state = optimizer.state.pop(params[0])
        state["exp_avg"] = torch.cat([state["exp_avg"], torch.zeros(2)])
        state["exp_avg_sq"] = torch.cat([state["exp_avg_sq"], torch.zeros(2)])
        optimizer.state[new] = state
        optimizer.param_groups[0]["params"][0] = params[0] = new
    train(torchs, ours, theirs, mine, 3, "Adam")
    with pytest.raises(ValueError, match="Invalid learning rate"):
        ours.add_param_group({"params": [torch.zeros(1)], "lr": -1.0})
    assert len(ours.param_groups) == 2


@pytest.fixture(params=["internals", "DLPack", "one by one"])
def reading(request, monkeypatch):
    """The three ways in which tensors are read: as torch has them, by DLPack's C exchange API, and one by one."""
    assert _collect._library() is not None and _collect.internals() is not None and _collect._exchange() is not None
    if request.param != "internals":
        monkeypatch.setattr(_collect, "internals", lambda: None)
    if request.param == "one by one":
        monkeypatch.setattr(_collect, "_library", lambda: None)
    return request.param


def test_another_parameter_in_its_place(reading):
    """A group's list is changed in place, and then given another list."""
    theirs = [torch.randn(3, 2).requires_grad_() for _ in range(3)]
    mine = [p.detach().clone().requires_grad_() for p in theirs]
    torchs, ours = torch.optim.AdamW(theirs[:2], foreach=False), fusestep.torch.AdamW(mine[:2])
    train(torchs, ours, theirs[:2], mine[:2], 2, "AdamW")
    assert ours._engine.collect.reading == reading
    for optimizer, params in ((torchs, theirs), (ours, mine)):
        optimizer.param_groups[0]["params"][1] = params[2]
    train(torchs, ours, theirs, mine, 2, "AdamW", present=lambda i, step: (i + step) % 3 > 0)
    for optimizer, params in ((torchs, theirs), (ours, mine)):
        optimizer.param_groups[0]["params"] = params[1:]
    train(torchs, ours, theirs, mine, 2, "AdamW")


class Doubled(torch.Tensor):
    """A parameter whose gradient is twice what autograd says."""

    grad = property(lambda self: None if (g := torch.Tensor.grad.__get__(self)) is None else 2 * g, torch.Tensor.grad.__set__)


NUMBERS = torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]])
GRADIENTS = {
    "plain": lambda: NUMBERS.clone(),
    "autograd's": None,
    "of inference mode": lambda: torch.inference_mode()(lambda: NUMBERS + 0)(),
    "negated": lambda: torch._neg_view(-NUMBERS),
    "with a graph": lambda: NUMBERS.clone().requires_grad_() * 1,
    "a subclass": lambda: NUMBERS.clone().as_subclass(Doubled),
    "copied on write": lambda: torch._lazy_clone(NUMBERS),
    "offset": lambda: torch.cat([torch.zeros(5), NUMBERS.flatten()])[5:].view(2, 3),
}


@pytest.mark.parametrize("kind", GRADIENTS)
def test_gradients_of_every_kind(kind, reading):
    """A step takes the numbers that a gradient stands for, lets it go, and tells autograd of the parameter's."""
    p, before = nn.Parameter(torch.ones(2, 3)), NUMBERS.clone()
    optimizer = fusestep.torch.SGD([p], lr=1.0)
    for step in range(1, 4):
        p.grad = None
        if GRADIENTS[kind] is None:
            (p * NUMBERS).sum().backward()
        else:
            p.grad = GRADIENTS[kind]()
        address, version, references = p.data_ptr(), p._version, p.grad._use_count()
        optimizer.step()
        assert torch.equal(p, 1 - step * NUMBERS) and p.data_ptr() == address
        assert p._version == version + 1 and p.grad._use_count() == references
        assert torch.equal(NUMBERS, before)
    assert optimizer._engine.collect.reading == reading


@pytest.mark.parametrize("kind", GRADIENTS)
def test_gradients_that_become_others(kind, reading):
    """What was found of a plain gradient is not taken for found of another one in its place."""
    params = [nn.Parameter(torch.zeros(2, 3)) for _ in range(3)]
    optimizer = fusestep.torch.SGD(params, lr=1.0)
    for _ in range(3):
        for make in (GRADIENTS["plain"], GRADIENTS[kind] or GRADIENTS["plain"], GRADIENTS["of inference mode"]):
            for p, other in zip(params, (GRADIENTS["plain"], make, GRADIENTS["plain"])):
                p.grad = other()
            optimizer.step()
    engine = optimizer._engine
    assert all(torch.equal(p, -9 * NUMBERS) for p in params)
    assert engine.collect.reading == reading


def swap(p, new):
    p.grad = None
    torch.utils.swap_tensors(p, nn.Parameter(new))


def let_go(t):
    t.untyped_storage().resize_(0)


PLACES = {
    "data": lambda p: setattr(p, "data", torch.zeros(2, 3)),
    "set_": torch.no_grad()(lambda p: p.set_(torch.zeros(2, 3))),
    "swapped": lambda p: swap(p, torch.zeros(2, 3)),
    "offset": lambda p: setattr(p, "data", torch.zeros(8)[2:].view(2, 3)),
    "copied on write": lambda p: setattr(p, "data", torch._lazy_clone(torch.zeros(2, 3))),
    "transposed": lambda p: setattr(p, "data", torch.zeros(3, 2).t()),
    "double": lambda p: setattr(p, "data", torch.zeros(2, 3, dtype=torch.float64)),
    "six dimensions": lambda p: setattr(p, "data", torch.zeros(2, 1, 1, 3, 1, 1)),
    "negated": lambda p: setattr(p, "data", torch._neg_view(torch.zeros(2, 3))),
    "not dense": lambda p: setattr(p, "data", torch.zeros(2, 6)[:, ::2]),
    "no memory": let_go,
}


@pytest.mark.parametrize("kind", PLACES)
def test_parameters_elsewhere(kind, reading):
    """A step finds what has become of a parameter's memory, and does not write to where that was."""
    params = [nn.Parameter(torch.zeros(2, 3)) for _ in range(20)]
    optimizer = fusestep.torch.SGD(params, lr=1.0)

    def feed():
        for p in params:
            p.grad = None
            p.grad = torch.empty_like(p, requires_grad=False).copy_(NUMBERS.view(p.shape))

    feed()
    optimizer.step()
    p = params[11]
    before = p.detach()
    PLACES[kind](p)
    feed()
    if kind in ("negated", "not dense", "no memory"):
        versions = [q._version for q in params]
        for _ in range(2):
            with pytest.raises(TypeError, match=r"parameter 0\.11 "):
                optimizer.step()
        assert [q._version for q in params] == versions and torch.equal(params[0], -NUMBERS)
        return
    for _ in range(2):
        optimizer.step()
    assert torch.equal(p, -2 * NUMBERS.to(p.dtype).view(p.shape)) and torch.equal(before, -NUMBERS)
    assert all(torch.equal(q, -3 * NUMBERS) for q in params if q is not p)
    assert optimizer._engine.collect.reading == reading


def test_gradient_without_memory(reading):
    p = nn.Parameter(torch.zeros(2, 3))
    optimizer = fusestep.torch.SGD([p], lr=1.0)
    for _ in range(2):
        p.grad = NUMBERS.clone()
        optimizer.step()
    let_go(p.grad)
    with pytest.raises(TypeError, match=r"the gradient of parameter 0\.0 has no memory"):
        optimizer.step()
    assert torch.equal(p, -2 * NUMBERS)


def test_what_is_seen_is_not_asked(monkeypatch):
    """Of tensors whose words are known torch is asked for the address alone, also where gradients are new ones."""
    params = [nn.Parameter(torch.zeros(2, 3)) for _ in range(20)]
    optimizer = fusestep.torch.SGD(params, lr=1.0)

    def step():
        for p in params:
            p.grad = NUMBERS.clone()
        optimizer.step()

    step()
    collect = optimizer._engine.collect
    asked = []
    name = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    dtype = name(collect._torch.dtype)
    spy = name(lambda *x: asked.append(x) or dtype(*x))
    known = collect._torch.dtype
    collect._torch.dtype = ctypes.cast(spy, ctypes.c_void_p).value
    try:
        for _ in range(3):
            step()
        assert len(asked) <= 2  # a flag that nobody uses may be set
        params[3].grad = torch.inference_mode()(lambda: NUMBERS + 0)()
        asked.clear()
        optimizer.step()
        assert asked
    finally:
        collect._torch.dtype = known
    assert torch.equal(params[3], -5 * NUMBERS)


@pytest.mark.parametrize("kind", ["a gradient", "a hyperparameter", "a closure", "skipped"])
def test_no_step_changes_no_version(kind, reading):
    """Autograd may go on with what it saved before a step that was not taken."""
    params = [nn.Parameter(torch.ones(3)) for _ in range(40)]
    optimizer = fusestep.torch.AdamW(params)
    for p in params:
        p.grad = torch.ones(3)
    optimizer.step()
    loss = sum((p * p).sum() for p in params)
    versions = [p._version for p in params]
    if kind == "skipped":
        optimizer.found_inf = torch.ones(())
        optimizer.step()
        del optimizer.found_inf
    elif kind == "a closure":
        with pytest.raises(ZeroDivisionError):
            optimizer.step(lambda: 1 / 0)
    else:
        if kind == "a gradient":
            params[20].grad = torch.ones(3).to_sparse()
        else:
            optimizer.param_groups[0]["betas"] = (1.5, 0.9)
        with pytest.raises(TypeError if kind == "a gradient" else ValueError):
            optimizer.step()
        optimizer.param_groups[0]["betas"] = (0.9, 0.999)
        params[20].grad = torch.ones(3)
    assert [p._version for p in params] == versions
    loss.backward()
    optimizer.step()
    assert [p._version for p in params] == [v + 1 for v in versions]


def test_parameters_of_every_kind(reading):
    """Where a parameter is no plain tensor, its gradient is what its class says, and others may come into its place."""
    whole = torch.ones(8)
    params = [torch.ones(3).as_subclass(Doubled), whole[2:], nn.Parameter(torch.ones(()))]
    optimizer = fusestep.torch.SGD(params, lr=1.0)
    for p in params:
        p.grad = torch.ones_like(p, requires_grad=False)
    versions = [p._version for p in params]
    optimizer.step()
    assert optimizer._engine.collect.reading == ("DLPack" if reading == "internals" else reading)
    assert [p.flatten()[0].item() for p in params] == [-1, 0, 0] and whole.tolist() == [1, 1] + 6 * [0]
    assert [p._version - v for p, v in zip(params, versions)] == [1, 1, 1]
    q = nn.Parameter(torch.ones(4))
    optimizer = fusestep.torch.SGD([q, params[2]], lr=1.0)
    for new in (torch.ones(4), torch.ones(2, 2), torch.ones(4, dtype=torch.float64), torch.ones(8)[4:]):
        q.data, q.grad = new, None
        q.grad = torch.ones_like(q)
        optimizer.step()
        assert new.eq(0).all()
    q.data = torch._neg_view(torch.ones(4))
    with pytest.raises(TypeError, match="0.0 is a view that negates"):
        optimizer.step()
    q.data = new
    q.__class__ = type("Renamed", (nn.Parameter,), {})  # as lazy parameters become what they are
    optimizer.step()
    assert new.eq(-1).all()


@pytest.mark.parametrize("missing", ["a symbol", "an offset", "another answer"])
def test_a_torch_that_is_not_known(missing, monkeypatch):
    """What is other than expected is found before it is used."""
    if missing == "a symbol":
        monkeypatch.setitem(_internals._FUNCTIONS, "data", "no_such_function")
    elif missing == "an offset":
        monkeypatch.setattr(_internals, "_keys", lambda t: 12345)
    else:
        monkeypatch.setitem(_internals._FUNCTIONS, "sizes", "aoti_torch_get_strides")
    assert _internals.internals.__wrapped__() is None


def test_state_written_by_others():
    torchs, ours, theirs, mine = pair("Adam", [torch.randn(3), torch.randn(4)], {})
    train(torchs, ours, theirs, mine, 3, "Adam")
    for optimizer, params in ((torchs, theirs), (ours, mine)):
        optimizer.state[params[0]]["exp_avg"].zero_()
        optimizer.state[params[0]]["step"].fill_(1)
        optimizer.state[params[1]]["exp_avg"] = torch.ones(4)
    train(torchs, ours, theirs, mine, 3, "Adam")
    for optimizer in (torchs, ours):
        optimizer.state.clear()
    train(torchs, ours, theirs, mine, 3, "Adam")
    for p, q in zip(theirs, mine):
        p.data, q.data = p.data.double(), q.data.double()
    for optimizer in (torchs, ours):
        optimizer.state = type(torchs.state)(dict)
    train(torchs, ours, theirs, mine, 3, "Adam")


def test_hooks_closure_zero_grad():
    model = nn.Linear(3, 1)
    optimizer = fusestep.torch.SGD(model.parameters(), lr=0.1)
    calls = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("before"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append("after"))
    every = register_optimizer_step_post_hook(lambda o, args, kwargs: calls.append("every"))

    def closure():
        calls.append("closure")
        optimizer.zero_grad()
        loss = model(torch.ones(2, 3)).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).requires_grad
    every.remove()
    assert calls == ["before", "closure", "after", "every"]
    optimizer.zero_grad(set_to_none=False)
    assert model.weight.grad.eq(0).all()
    optimizer.zero_grad()
    assert model.weight.grad is None
    with torch.profiler.profile() as profile:
        optimizer.step()
    assert any(e.key == "Optimizer.step#SGD.step" for e in profile.key_averages())


def test_autograd_sees_steps():
    """A step between a forward and its backward pass is an error, as with torch's."""
    p = nn.Parameter(torch.ones(3))
    optimizer = fusestep.torch.SGD([p], lr=0.1)
    loss = (p * p).sum()
    p.grad = torch.ones(3)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
@pytest.mark.parametrize("unscale", [False, True])
def test_grad_scaler(name, unscale):
    torchs, ours, theirs, mine = pair(name, [torch.randn(5), torch.randn(3)], {})
    scalers = {o: torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3) for o in (torchs, ours)}
    paths = [Path(p) for p in theirs]
    for step in range(12):
        for (optimizer, scaler), params in zip(scalers.items(), (theirs, mine)):
            optimizer.zero_grad()
            loss = sum((p * p * (step + 1)).sum() for p in params)
            scaler.scale(loss).backward()
            if step in (4, 9):
                params[0].grad[0] = float("inf")
            if unscale:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        assert scalers[torchs].get_scale() == scalers[ours].get_scale()
        for p, q, path in zip(theirs, mine, paths):
            path.step()
            assert units(p, q, path.moved) < 1000
    if name == "AdamW":
        assert ours.state[mine[0]]["step"] == torchs.state[theirs[0]]["step"] == 10
    assert "found_inf" not in ours.__dict__


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping(max_norm):
    torchs, ours, theirs, mine = pair("AdamW", [torch.randn(5), torch.randn(3, 7)], {})
    ours.max_norm = max_norm
    paths = [Path(p) for p in theirs]
    for step in range(10):
        feed(theirs, mine, lambda i, step: i == 0 or step % 3 != 1, step)
        norm = nn.utils.clip_grad_norm_(theirs, max_norm)
        torchs.step()
        ours.step()
        assert ours.grad_norm == pytest.approx(norm.item(), rel=1e-6)
        for p, q, path in zip(theirs, mine, paths):
            path.step()
            assert units(p, q, path.moved) < 200
    with pytest.raises(ValueError, match="Invalid max_norm value"):
        fusestep.torch.SGD([torch.zeros(1)], max_norm=0)


@pytest.mark.parametrize("name,kwargs", [("SGD", {"momentum": 0.9, "weight_decay": 0.1}), ("AdamW", {}), ("RMSprop", {})])
def test_clipping_each_tensor(name, kwargs):
    """As clip_grad_norm_ of each gradient, after that of all where there is max_norm, too."""
    start = [torch.randn(5), torch.randn(3, 7), torch.randn(1), torch.randn(4, dtype=torch.complex64)]
    torchs, ours, theirs, mine = pair(name, start, kwargs)
    paths = [Path(p) for p in theirs]
    for step in range(12):
        ours.max_tensor_norm, ours.max_norm = [0.5, 2.0, None][step % 3], [None, 1.5][step // 3 % 2]
        feed(theirs, mine, lambda i, step: i == 0 or step % 3 != 1, step)
        norm = torch.nn.utils.get_total_norm([p.grad for p in theirs if p.grad is not None])
        if ours.max_norm:
            nn.utils.clip_grad_norm_(theirs, ours.max_norm)
        for p in theirs:
            if ours.max_tensor_norm:
                nn.utils.clip_grad_norm_(p, ours.max_tensor_norm)
        torchs.step()
        ours.step()
        if ours.max_tensor_norm or ours.max_norm:
            assert ours.grad_norm == pytest.approx(norm.item(), rel=1e-6)
        for p, q, path in zip(theirs, mine, paths):
            path.step()
            assert units(p, q, path.moved) < 300
    with pytest.raises(ValueError, match="Invalid max_tensor_norm value"):
        fusestep.torch.SGD([torch.zeros(1)], max_tensor_norm=-1)
    assert copy.deepcopy(ours).max_tensor_norm is None
    ours.max_tensor_norm = 3.0
    assert pickle.loads(pickle.dumps(ours)).max_tensor_norm == 3.0


@pytest.mark.parametrize("name,kwargs", [("SGD", {"momentum": 0.9, "weight_decay": 0.1}), ("AdamW", {}), ("LAMB", {})])
def test_adaptive_clip(name, kwargs):
    """As what timm's adaptive_clip_grad makes of gradients before the step."""
    start = [torch.randn(*shape, dtype=torch.float64) for shape in ((5,), (3, 7), (4, 2, 3, 3), (1,), (1, 6), (0, 3))]

    def unit_norm(x):
        return x.norm() if x.ndim < 2 else x.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))

    clipped, ours = ([nn.Parameter(x.clone()) for x in start] for _ in range(2))
    of = getattr(fusestep.torch, name)
    by_hand, optimizer = of(clipped, **kwargs), of(ours, adaptive_clip=0.5, **kwargs)
    for step in range(9):
        optimizer.adaptive_clip, optimizer.adaptive_eps = [0.5, 0.03, None][step % 3], [1e-3, 1.5][step // 3 % 2]
        for p, q in zip(clipped, ours):
            q.grad = torch.randn_like(q) * 10.0 ** (step % 3 - 1)
            p.grad = q.grad.clone()
            if optimizer.adaptive_clip and p.numel():
                limit = unit_norm(p.detach()).clamp(min=optimizer.adaptive_eps) * optimizer.adaptive_clip
                norm = unit_norm(p.grad)
                p.grad = torch.where(norm > limit, p.grad * (limit / norm), p.grad)
        by_hand.step()
        optimizer.step()
        for p, q in zip(clipped, ours):
            torch.testing.assert_close(q, p, rtol=1e-12, atol=1e-12)  # norms of up to 72 numbers, in 9 steps
    with pytest.raises(ValueError, match="Invalid adaptive_clip value: -1"):
        of([torch.zeros(1)], adaptive_clip=-1)
    optimizer.adaptive_clip = 0.25
    assert pickle.loads(pickle.dumps(optimizer)).adaptive_clip == copy.deepcopy(optimizer).adaptive_clip == 0.25
    images = nn.Parameter(torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last))
    images.grad = torch.randn_like(images)
    before = images.detach().clone()
    with pytest.raises(TypeError, match="parameter 0.0 is .*adaptive_clip"):
        of([images], adaptive_clip=0.5, **kwargs).step()
    assert torch.equal(images, before)


def test_ema():
    model = nn.Linear(4, 2)
    optimizer = fusestep.torch.SGD(model.parameters(), lr=0.1, ema_decay=0.9)
    average = torch.optim.swa_utils.AveragedModel(model, avg_fn=torch.optim.swa_utils.get_ema_avg_fn(0.9))
    for _ in range(5):
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
        average.update_parameters(model)
    for p, q in zip(average.parameters(), optimizer.eval_params()):
        torch.testing.assert_close(p.detach(), q)
    assert "ema" in optimizer.state[model.weight]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bits_as_torchs_fused(dtype):
    """State is of the parameter's type, and a step rounds once: torch with fused=True. A moment may be beside a tie."""
    theirs, mine = ([torch.randn(500, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()] for _ in range(2))
    torchs = torch.optim.AdamW(theirs, fused=True, eps=1e-3)
    ours = fusestep.torch.AdamW(mine, fused=True, eps=1e-3)
    for _ in range(10):
        feed(theirs, mine)
        torchs.step()
        ours.step()
    same = (theirs[0] == mine[0]).float().mean()
    assert same > 0.98
    torch.testing.assert_close(theirs[0], mine[0], rtol=2 * torch.finfo(dtype).eps, atol=1e-3)
    assert ours.state[mine[0]]["exp_avg"].dtype == dtype


@pytest.mark.parametrize("master,slot", [(torch.float32, "master"), (torch.int16, "remainder"), (torch.int8, "remainder")], ids=str)
def test_masters(master, slot):
    """Parameters of 16 bits with masters train as those of 32 bits do, and go on from a dict with the same bits."""
    start = torch.randn(200).bfloat16()
    p, q = start.clone().requires_grad_(), start.float().requires_grad_()
    ours = fusestep.torch.AdamW([p], lr=1e-4, master=master)
    wide = fusestep.torch.AdamW([q], lr=1e-4)
    for step in range(20):
        if step == 10:
            ours2 = fusestep.torch.AdamW([p], lr=1e-4, master=master)
            ours2.load_state_dict(copy.deepcopy(ours.state_dict()))
            ours = ours2
        p.grad = torch.randn(200).bfloat16()
        q.grad = p.grad.float()
        ours.step()
        wide.step()
    state = ours.state[p]
    assert state[slot].dtype == master and state["exp_avg"].dtype == torch.float32
    if master == torch.float32:
        assert torch.equal(state[slot], q.detach())
    assert torch.equal(p.detach(), q.detach().bfloat16()) if master == torch.float32 else (p.float() - q).abs().max() < 0.02


def test_one_number_of_a_parameter():
    """State that NovoGrad has once for a parameter is one number: AdamW's, of the same name, is refused by the parameter's name."""
    p = torch.randn(3, 2).requires_grad_()
    p.grad = torch.randn(3, 2)
    adamw, novograd = fusestep.torch.AdamW([p]), fusestep.torch.NovoGrad([p])
    adamw.step()
    novograd.load_state_dict(adamw.state_dict())
    with pytest.raises(ValueError, match=r"state exp_avg_sq of parameter 0\.0 has shape \(3, 2\), must be one number"):
        novograd.step()


LACKING = [(name, {}) for name in BOTH + OURS if name not in ("SGD", "SignSGD", "ProximalSGD")] + [
    ("SGDW", {}),
    ("Adam", {"amsgrad": True}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
]
LATE = {"max_exp_avg_sq", "max_exp_avg_var", "grad_avg"}


@pytest.mark.parametrize("name,kwargs", LACKING, ids=str)
def test_state_that_is_missing(name, kwargs):
    """A parameter that has taken steps needs all that they have made, but for what an option asks for, and says by its name what there is not."""
    values = [torch.ones(3), torch.ones(2)]

    def optimizer():
        params = [nn.Parameter(v.clone()) for v in values]
        for p in params:
            p.grad = torch.ones_like(p)
        return getattr(fusestep.torch, name)([("w", params[0]), ("b", params[1])], **kwargs), params

    whole, _ = optimizer()
    whole.step()
    names = set(whole.state_dict()["state"][1]) - {"step"}
    assert names
    for lacking in names:
        saved = copy.deepcopy(whole.state_dict())
        del saved["state"][1][lacking]
        again, (w, b) = optimizer()
        again.load_state_dict(saved)
        if lacking in LATE or name == "RMSprop" and lacking == "momentum_buffer":
            again.step()
            assert again.state[b][lacking].shape == b.shape
            continue
        for _ in range(2):  # it stays an error
            with pytest.raises(ValueError, match=f"state {lacking} of parameter b is missing, which has taken 1 steps"):
                again.step()
        assert torch.equal(w, values[0]) and lacking not in again.state[b]
        again.load_state_dict(copy.deepcopy(whole.state_dict()))
        again.step()


@pytest.mark.parametrize("name", [name for name in BOTH + OURS if name not in ("SignSGD", "ProximalSGD")])
def test_step_that_is_missing(name):
    """State without the number of steps is refused as it is loaded, but where torch's has none, or where it is what the caller has written."""
    values = [torch.ones(3), torch.ones(2)]

    def optimizer():
        params = [nn.Parameter(v.clone()) for v in values]
        for p in params:
            p.grad = torch.ones_like(p)
        kwargs = {"momentum": 0.9} if name in ("SGD", "SGDW") else {}
        return getattr(fusestep.torch, name)([("w", params[0]), ("b", params[1])], **kwargs), params

    whole, _ = optimizer()
    whole.step()
    saved = whole.state_dict()
    saved["state"][1].pop("step", None)
    again, (_, b) = optimizer()
    before = set(again.state)  # torch's Adagrad has some
    if name == "SGD":
        again.load_state_dict(saved)
        again.step()
        assert torch.equal(again.state[b]["momentum_buffer"], torch.full((2,), 1.9))
        return
    with pytest.raises(ValueError, match=r"state step of parameter b is missing, which has \w"):
        again.load_state_dict(saved)
    assert set(again.state) == before and all(state["step"] == 0 for state in again.state.values())
    if name == "Sophia":
        saved["state"][1] = {"hessian": torch.full((2,), 3.0)}
        again.load_state_dict(saved)
        again.step()
        assert again.state[b]["step"] == 1 and torch.equal(again.state[b]["hessian"], torch.full((2,), 3.0))


def test_average_that_is_turned_on_late():
    """It begins with the value that there is."""
    p = torch.zeros(3).requires_grad_()
    optimizer = fusestep.torch.SGDW([p], lr=1.0, momentum=0.5, weight_decay=0.0)
    values = []
    for step in range(4):
        if step == 2:
            optimizer.param_groups[0]["ema_decay"] = 0.75
        p.grad = torch.ones(3)
        optimizer.step()
        values.append(p.detach().clone())
    average = 0.75 * (0.75 * values[1] + 0.25 * values[2]) + 0.25 * values[3]
    assert torch.equal(optimizer.eval_params()[0], average)


@pytest.mark.parametrize("number", [-1.0, float("nan")])
def test_one_number_that_cannot_be(number):
    """A mean of squares is not below 0."""
    p = torch.ones(3).requires_grad_()
    p.grad = torch.ones(3)
    optimizer = fusestep.torch.NovoGrad([("weight", p)])
    optimizer.step()
    saved = optimizer.state_dict()
    saved["state"][0]["exp_avg_sq"] = torch.tensor(number, dtype=torch.float64)
    optimizer.load_state_dict(saved)
    with pytest.raises(ValueError, match=f"state exp_avg_sq of parameter weight is {number}, must be 0 or more"):
        optimizer.step()


def test_formats():
    p = torch.randn(100).requires_grad_()
    optimizer = fusestep.torch.AdamW([p], state_dtype={"exp_avg": torch.bfloat16})
    p.grad = torch.randn(100)
    optimizer.step()
    assert optimizer.state[p]["exp_avg"].dtype == torch.bfloat16
    assert optimizer.state[p]["exp_avg_sq"].dtype == torch.float32
    again = fusestep.torch.AdamW([p], state_dtype={"exp_avg": torch.bfloat16})
    again.load_state_dict(optimizer.state_dict())
    again.step()
    assert again.state[p]["exp_avg"].dtype == torch.bfloat16
    for refused, names in (({"momentum": torch.bfloat16}, "momentum"), (torch.int8, "i8"), ({"exp_avg": torch.float64}, "f64")):
        with pytest.raises(ValueError, match=names):
            fusestep.torch.AdamW([p], state_dtype=refused)
    with pytest.raises(ValueError, match='slot "exp_avg_sq", which is none of "exp_avg"'):
        fusestep.torch.NovoGrad([p], state_dtype={"exp_avg_sq": torch.bfloat16})
    with pytest.raises(ValueError, match='master is "f64"'):
        fusestep.torch.AdamW([p], master=torch.float64)


def test_stochastic_rounding():
    p = torch.ones(20000, dtype=torch.bfloat16, requires_grad=True)
    optimizer = fusestep.torch.SGD([p], lr=1e-4, stochastic_rounding=True, seed=3)
    for _ in range(10):
        p.grad = torch.ones_like(p)
        optimizer.step()
    assert 0.9985 < p.float().mean() < 0.9995  # to nearest nothing would move


LAYOUTS = {
    "transposed": lambda: torch.randn(4, 6).t(),
    "channels last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "offset": lambda: torch.randn(20)[3:],
    "length 1": lambda: torch.randn(3, 1, 2).transpose(0, 1),
    "scalar": lambda: torch.randn(()),
    "empty": lambda: torch.randn(0, 3),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_layouts(kind):
    values = LAYOUTS[kind]()
    theirs, mine = (torch.empty_like(values).copy_(values).requires_grad_() for _ in range(2))
    if kind == "offset":
        mine = torch.cat([torch.zeros(3), values])[3:].requires_grad_()
    other = torch.randn(3)
    both = [[theirs, other.clone().requires_grad_()], [mine, other.clone().requires_grad_()]]
    torchs, ours = torch.optim.Adam(both[0], foreach=False), fusestep.torch.Adam(both[1])
    train(torchs, ours, *both, 5, "Adam")
    assert ours.state[mine]["exp_avg"].stride() == torchs.state[theirs]["exp_avg"].stride()
    assert ours.state[mine]["step"] == 5


def test_layouts_that_are_refused():
    cases = {
        "expanded": torch.randn(3, 1).expand(3, 4),
        "strided": torch.randn(8)[::2],
        "integer": torch.arange(4),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.empty(3, device="meta"),
    }
    for kind, t in cases.items():
        good, p = torch.ones(2), t.detach()
        optimizer = fusestep.torch.SGD([("good", good), (kind, p)])
        good.grad = torch.ones(2)
        p.grad = torch.zeros_like(p)
        with pytest.raises(TypeError, match=kind):
            optimizer.step()
        assert good.tolist() == [1, 1]
    grads = {
        "shape": lambda: torch.ones(12).view(3, 4).t().contiguous().t(),
        "sparse": lambda: torch.ones(3, 4).to_sparse(),
    }
    for make in grads.values():
        p = torch.ones(3, 4)
        optimizer = fusestep.torch.SGD([("weight", p)])
        p.grad = torch.ones(3, 4)
        optimizer.step()
        p.grad = make()
        with pytest.raises(TypeError, match="weight"):
            optimizer.step()
        p.grad = torch.ones(3, 4)
        optimizer.step()


def test_shared_memory_is_refused():
    whole = torch.ones(6)
    p, q = whole[:4], whole[2:]
    optimizer = fusestep.torch.SGD([("p", p), ("q", q)])
    p.grad, q.grad = torch.ones(4), torch.ones(4)
    with pytest.raises(TypeError, match="p"):
        optimizer.step()
    assert whole.eq(1).all()


def test_hyperparameters_out_of_range_change_nothing():
    p = torch.ones(2)
    optimizer = fusestep.torch.Adam([p], lr=0.1)
    p.grad = torch.ones(2)
    optimizer.step()
    before, state = p.clone(), copy.deepcopy(optimizer.state_dict())
    optimizer.param_groups[0]["betas"] = (1.5, 0.9)
    with pytest.raises(ValueError, match="Invalid beta parameter at index 0: 1.5"):
        optimizer.step()
    assert torch.equal(p, before)
    assert torch.equal(state["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    optimizer.param_groups[0]["betas"] = (0.9, 0.9)
    optimizer.step()
    assert optimizer.state[p]["step"] == 2


def test_schedule_free_evaluates_its_average():
    p = torch.ones(3).requires_grad_()
    optimizer = fusestep.torch.ScheduleFreeSGD([p], lr=0.1)
    for _ in range(5):
        p.grad = torch.ones(3)
        optimizer.step()
    (average,) = optimizer.eval_params()
    assert (average != p).all() and (average < 1).all()


def test_names():
    """Pairs of names and tensors, as model.named_parameters() gives them."""
    model = nn.Linear(2, 2)
    optimizer = fusestep.torch.AdamW(model.named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    model.weight.grad = torch.ones(2, 2).double().float()
    optimizer.step()
    assert repr(optimizer).startswith("AdamW (")
    assert isinstance(optimizer, torch.optim.Optimizer)

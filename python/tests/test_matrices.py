"""Optimizers with numbers of rows and columns: what of a parameter is a matrix."""

import copy
import pathlib

import pytest
import torch
from torch import nn

import fusestep.torch
from conftest import Path, pair, units

RULES = pathlib.Path(__file__).parents[2] / "kernels/rules"
STATE = {
    "Adafactor": ({"row_var": (4, 1), "col_var": (1, 6)}, {"variance"}),
    "CAME": (
        {"exp_avg": (4, 6), "exp_avg_sq_row": (4, 1), "exp_avg_sq_col": (1, 6), "exp_avg_res_row": (4, 1), "exp_avg_res_col": (1, 6)},
        {"exp_avg", "exp_avg_sq"},
    ),
    "AdamMini": ({"exp_avg": (4, 6), "vmean": (4, 1)}, {"exp_avg", "exp_avg_sq"}),
}


def stepped(make, params, steps=3, **kwargs):
    """The parameters after some steps, and the optimizer. Gradients depend on a parameter's number of elements alone."""
    params = [p.detach().clone().requires_grad_() for p in params]
    optimizer = make(params, **kwargs)
    generator = torch.Generator().manual_seed(3)
    for _ in range(steps):
        for p in params:
            p.grad = torch.randn(p.numel(), generator=generator, dtype=torch.float64).to(p.dtype).view(p.shape)
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize("name", STATE)
def test_rows(name):
    """A group's rows say which matrix a parameter is, or that it is none, and all of that have the bits of a parameter of such a shape."""
    make = getattr(fusestep.torch, name)
    matrix, vector = STATE[name]
    of = torch.randn(4, 6)
    (plain,), optimizer = stepped(make, [of])
    assert {k: tuple(x.shape) for k, x in optimizer.state[plain].items() if x.ndim} == matrix
    for p in (of.flatten(), of.view(4, 2, 3), of.view(2, 2, 6)):
        (q,), other = stepped(make, [p], rows=4)
        assert torch.equal(q.flatten(), plain.flatten())
        for k, x in optimizer.state[plain].items():
            assert torch.equal(other.state[q][k].flatten(), x.flatten()), k
    (flat,), _ = stepped(make, [of.flatten()])
    (q,), other = stepped(make, [of], rows=0)
    assert torch.equal(q.flatten(), flat) and not torch.equal(flat, plain.flatten())
    assert set(other.state[q]) == vector | {"step"}
    optimizer.param_groups[0]["rows"] = 8
    with pytest.raises(ValueError, match=r"of parameter 0\.0 has shape \(4, 1\), must have \(8, 1\)"):
        optimizer.step()


SHAPES = [(3, 4, 5), (2, 3, 4, 5), (5, 2, 3, 3), (2, 1, 1), (1, 2, 7), (2, 130, 9), (3, 64, 1), (9, 7)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_many_axes(shape):
    """The last two axes are a matrix, for each place on the others: torch's state, in its shapes, and its steps."""
    torchs, ours, (theirs,), (mine,) = pair("Adafactor", [torch.randn(shape)], {"weight_decay": 0.1})
    path = Path(theirs)
    for step in range(8):
        theirs.grad = torch.randn(shape)
        mine.grad = theirs.grad.clone()
        torchs.step()
        ours.step()
        path.step()
        assert units(theirs, mine, path.moved) < 300
        for k, x in torchs.state[theirs].items():
            assert ours.state[mine][k].shape == x.shape
            torch.testing.assert_close(ours.state[mine][k], x, rtol=1e-5, atol=0)
        if step == 3:
            dicts = copy.deepcopy(torchs.state_dict()), copy.deepcopy(ours.state_dict())
            ours.load_state_dict(dicts[0])
            torchs.load_state_dict(dicts[1])


def test_came_of_many_axes():
    """CAME's update of each place on the first axes is that of a matrix by itself, where nothing is clipped, which is of the whole tensor."""
    p = torch.randn(3, 2, 6, 5)
    all, one = stepped(fusestep.torch.CAME, [p], clip_threshold=1e9)
    each, optimizer = stepped_each(p)
    assert torch.equal(all[0].flatten(0, 1), torch.stack(each))
    for k, x in one.state[all[0]].items():
        if x.ndim:
            assert torch.equal(x.flatten(0, 1), torch.stack([optimizer.state[q][k] for q in each])), k


def stepped_each(p, steps=3):
    """The matrices of a parameter of four axes as parameters of CAME, by the gradients of stepped."""
    params = [q.clone().requires_grad_() for q in p.flatten(0, 1)]
    optimizer = fusestep.torch.CAME(params, clip_threshold=1e9)
    generator = torch.Generator().manual_seed(3)
    for _ in range(steps):
        grad = torch.randn(p.numel(), generator=generator, dtype=torch.float64).to(p.dtype).view(p.shape).flatten(0, 1)
        for q, g in zip(params, grad):
            q.grad = g.clone()
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize("name", STATE)
def test_what_is_no_matrix(name):
    make = getattr(fusestep.torch, name)
    for p, error, match in (
        (torch.randn(4, 6).t(), TypeError, r"parameter w is .*strides \(1, 6\).*contiguous"),
        (torch.randn(3, dtype=torch.complex64), RuntimeError, f"{name} does not support complex parameters, as w is"),
        (torch.randn(4, 6), TypeError, 'tensor "w": 5 rows do not divide 24 elements'),
    ):
        good, bad = torch.ones(2), p.detach()
        optimizer = make([{"params": [("good", good)]}, {"params": [("w", bad)], "rows": 5 if "5 rows" in match else None}])
        good.grad, bad.grad = torch.ones(2), torch.ones_like(bad)
        with pytest.raises(error, match=match):
            optimizer.step()
        assert good.tolist() == [1, 1]
    for rows in (-1, 2.0, True, "2"):
        with pytest.raises(ValueError, match="Invalid rows value"):
            make([torch.zeros(2)], rows=rows)
    empty, optimizer = stepped(make, [torch.zeros(0, 3), torch.zeros(3, 0), torch.zeros(2, 0, 3), torch.zeros(0, 2, 3)])
    assert all(optimizer.state[p]["step"] == 3 for p in empty)


def test_rule():
    """A file of a rule with rows has the bits of the built-in one."""
    functions = ["AdafactorSquares", "AdafactorRows", "AdafactorColumns", "AdafactorNorm", "AdafactorRate", "Adafactor"]
    own = {"beta2_decay": -0.8, "eps1": 2.0**-23, "eps2": 1e-3, "d": 1.0, "beta1": 0.0, "lr": 1e-2}
    own |= {"eps_square": 0.0, "no_relative_step": 0.0, "no_scale_parameter": 0.0}
    params = [torch.randn(3, 4), torch.randn(5), torch.randn(2, 3, 4)]

    def rule(params, **kwargs):
        return fusestep.torch.Rule(params, RULES / "adafactor.go", functions=functions, prologue="AdafactorPrologue", **own, **kwargs)

    got, optimizer = stepped(rule, params)
    assert optimizer.state[got[2]]["row_var"].shape == (2, 3, 1) and optimizer.state[got[2]]["col_var"].shape == (2, 1, 4)
    for rows in (None, 0):
        for p, q in zip(stepped(rule, params, rows=rows)[0], stepped(fusestep.torch.Adafactor, params, rows=rows)[0]):
            assert torch.equal(p, q)
    with pytest.raises(TypeError, match="got rows, and .*lion.go has no numbers of rows"):
        fusestep.torch.Rule([torch.zeros(1)], RULES / "lion.go", functions="Lion", prologue="LionPrologue", rows=2, lr=1, beta1=0, beta2=0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'matrix'"):
        rule(params, matrix=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_around(dtype):
    """Clipping, a GradScaler that skips, gradients that are None, a learning rate and decay that change: torch's own, each by its own means."""
    torchs, ours, theirs, mine = pair("Adafactor", [torch.randn(9, 7).to(dtype), torch.randn(5).to(dtype)], {"weight_decay": 0.1})
    ours.max_norm = 0.5
    scalers = [torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3) for _ in range(2)]
    paths = [Path(p) for p in theirs]
    for step in range(12):
        scales = [scaler.scale(torch.ones(())) for scaler in scalers]
        for i, (p, q) in enumerate(zip(theirs, mine)):
            p.grad = torch.randn_like(p) * scales[0] if i == 0 or step % 3 else None
            q.grad = None if p.grad is None else p.grad.clone()
        if step == 4:
            theirs[0].grad[0, 0] = mine[0].grad[0, 0] = float("inf")
        scalers[0].unscale_(torchs)
        nn.utils.clip_grad_norm_(theirs, 0.5)
        for o, scaler in zip((torchs, ours), scalers):
            o.param_groups[0].update(lr=0.1 / (step + 1), weight_decay=[0.1, 0.0][step // 4 % 2], maximize=step == 7)
            scaler.step(o)
            scaler.update()
        for p, q, path in zip(theirs, mine, paths):
            path.step()
            if dtype == torch.float32:
                assert units(p, q, path.moved) < 300
            else:  # torch rounds after each operation
                torch.testing.assert_close(p, q, rtol=0.1, atol=0.1)
        assert [torchs.state[p]["step"] for p in theirs if p in torchs.state] == [ours.state[q]["step"] for q in mine if q in ours.state]


def test_momentum_turned_on():
    """Adafactor's momentum begins where beta1 is first not 0. State of rows that has gone is missing."""
    p = torch.randn(4, 6).requires_grad_()
    optimizer = fusestep.torch.Adafactor([p])
    for step in range(4):
        optimizer.param_groups[0]["beta1"] = 0.9 if step >= 2 else 0.0
        p.grad = torch.randn(4, 6)
        optimizer.step()
        assert ("exp_avg" in optimizer.state[p]) == (step >= 2)
    del optimizer.state[p]["row_var"]
    with pytest.raises(ValueError, match=r"state row_var of parameter 0\.0 is missing"):
        optimizer.step()


def test_state_of_sixteen_bits():
    """Torch's state of bfloat16 goes on here in float32, and ours there in bfloat16."""
    torchs, ours, theirs, mine = pair("Adafactor", [torch.randn(9, 7).bfloat16()], {})
    theirs[0].grad = mine[0].grad = torch.randn(9, 7).bfloat16()
    torchs.step()
    ours.step()
    dicts = copy.deepcopy(torchs.state_dict()), copy.deepcopy(ours.state_dict())
    ours.load_state_dict(dicts[0])
    torchs.load_state_dict(dicts[1])
    torchs.step()
    ours.step()
    assert torchs.state[theirs[0]]["row_var"].dtype == torch.bfloat16 and ours.state[mine[0]]["row_var"].dtype == torch.float32
    torch.testing.assert_close(torchs.state[theirs[0]]["row_var"], ours.state[mine[0]]["row_var"].bfloat16(), rtol=0.02, atol=0)
    master = fusestep.torch.Adafactor([mine[0].detach()], master=torch.float32)
    wide = fusestep.torch.Adafactor([mine[0].detach().float()])
    for o in (master, wide):
        (p,) = o.param_groups[0]["params"]
        for _ in range(3):
            p.grad = mine[0].grad.to(p.dtype)
            o.step()
    assert torch.equal(master.state[master.param_groups[0]["params"][0]]["master"], wide.param_groups[0]["params"][0])

"""Rules of one's own, from Go files: those of the built-in optimizers are such files, and have their bits."""

import copy
import io
import pathlib
import pickle
import re

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import fusestep.torch

ROOT = pathlib.Path(__file__).parents[2]
ADAM = {"eps": 1e-8, "eps_root": 0, "post_decay": 0, "eps_hat": 0, "corrected_max": 0, "no_bias_correction": 0}

NOVOGRAD = {"eps": 1e-8, "weight_decay": 0, "inside": 0, "grad_sum": 0, "no_bias_correction": 0, "init_zero": 0}

# By a name: the built-in optimizer's arguments, the file, and the rule's own.
KINDS = {
    "SGD": ({"momentum": 0.9}, "sgd", {"momentum": 0.9, "dampening": 0.0, "lr_in_momentum": 0.0}),
    "nesterov": ({"momentum": 0.8, "nesterov": True}, "sgd", {"momentum": 0.8, "dampening": 0, "lr_in_momentum": 0, "nesterov": True}),
    "plain": ({}, "sgd", {"momentum": 0.0, "dampening": 0.0, "lr_in_momentum": 0.0}),
    "uphill": ({"maximize": True}, "lion", {"beta1": 0.9, "beta2": 0.99, "maximize": True}),
    "Lion": ({}, "lion", {"beta1": 0.9, "beta2": 0.99}),
    "Adam": ({"amsgrad": True}, "adam", {**ADAM, "beta1": 0.9, "beta2": 0.999, "amsgrad": True}),
    "NovoGrad": ({}, "novograd", {**NOVOGRAD, "beta1": 0.9, "beta2": 0.999}),
}
NAMES = {"sgd": "SGD", "lion": "Lion", "adam": "Adam", "novograd": "NovoGrad"}
FUNCTIONS = {"novograd": ["NovoGradNorm", "NovoGradSquares", "NovoGrad"]}  # of a rule with stages


def rule(params, file, **kwargs):
    functions = FUNCTIONS.get(file, NAMES[file])
    return fusestep.torch.Rule(params, ROOT / f"kernels/rules/{file}.go", functions=functions, prologue=f"{NAMES[file]}Prologue", **kwargs)


def both(kind, values, lr=0.1, **kwargs):
    """The built-in optimizer and the rule, each on its own copies."""
    ours, file, own = KINDS[kind]
    theirs, mine = ([v.detach().clone().requires_grad_() for v in values] for _ in range(2))
    return getattr(fusestep.torch, NAMES[file])(theirs, lr=lr, **ours, **kwargs), rule(mine, file, lr=lr, **own, **kwargs), theirs, mine


def same(a, b):
    for p, q in zip(a.param_groups[0]["params"], b.param_groups[0]["params"], strict=True):
        assert torch.equal(p, q)
        for name, x in a.state[p].items():
            assert torch.equal(x, b.state[q][name]), name


def feed(*sides, absent=()):
    for i, params in enumerate(zip(*sides)):
        grad = None if i in absent else torch.randn(params[0].shape, dtype=torch.float64)
        for p in params:
            p.grad = None if grad is None else grad.to(p.dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "dtype,around",
    [
        (torch.float32, {}),
        (torch.float64, {}),
        (torch.bfloat16, {"master": torch.float32}),
        (torch.float16, {"stochastic_rounding": True, "seed": 3}),
        (torch.float32, {"max_norm": 1.0, "ema_decay": 0.9, "state_dtype": torch.bfloat16}),
        (torch.float32, {"max_tensor_norm": 0.5}),
    ],
    ids=str,
)
def test_bits(kind, dtype, around):
    """A file of a built-in rule gives its bits, with schedules, and with gradients that are not there."""
    a, b, theirs, mine = both(kind, [torch.randn(300).to(dtype), torch.randn(7, 3).to(dtype)], **around)
    schedules = [lr_scheduler.ExponentialLR(o, 0.9) for o in (a, b)]
    for step in range(6):
        feed(theirs, mine, absent=(1,) if step == 2 else ())
        a.step()
        b.step()
        same(a, b)
        for s in schedules:
            s.step()
    assert a.grad_norm == b.grad_norm
    for x, y in zip(a.eval_params(), b.eval_params()):
        assert torch.equal(x, y)


@pytest.mark.parametrize("kind", KINDS)
def test_goes_on_with_the_same_bits(kind):
    """A rule's optimizer that is saved, copied or pickled goes on as if nothing had happened, though its learning rate has changed before."""
    values = [torch.randn(5), torch.randn(3, 3)]
    _, whole, _, params = both(kind, values)
    ways = [both(kind, values)[1] for _ in range(3)]
    for step in range(8):
        if step == 4:
            file = io.BytesIO()
            torch.save(ways[0].state_dict(), file)
            file.seek(0)
            again = both(kind, ways[0].param_groups[0]["params"])[1]
            again.load_state_dict(torch.load(file, weights_only=True))
            ways = [again, copy.deepcopy(ways[1]), pickle.loads(pickle.dumps(ways[2]))]
        feed(params, *(o.param_groups[0]["params"] for o in ways), absent=(1,) if step in (1, 5) else ())
        for o in (whole, *ways):
            o.param_groups[0]["lr"] = 0.1 / (step + 1)
            o.step()
        for o in ways:
            same(whole, o)


def test_groups_and_grad_scaler():
    a, b, theirs, mine = both("Lion", [torch.randn(4), torch.randn(3), torch.randn(2)])
    for o, params in ((a, theirs), (b, mine)):
        o.param_groups[0]["params"] = params[:2]
        o.add_param_group({"params": params[2:], "lr": 0.5})
    b.param_groups[1]["beta1"] = 0.5
    a.param_groups[1]["betas"] = (0.5, 0.99)
    scalers = [torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2) for _ in range(2)]
    for step in range(6):
        feed(theirs, mine)
        for o, scaler, params in ((a, scalers[0], theirs), (b, scalers[1], mine)):
            scaler.scale(torch.zeros(()))
            if step == 2:
                params[0].grad[0] = float("inf")
            scaler.step(o)
            scaler.update()
        same(a, b)
        assert torch.equal(theirs[2], mine[2])
    assert scalers[0].get_scale() == scalers[1].get_scale()


def test_option_turned_on():
    """An option is a keyword, and may change while training, as state that it needs then begins."""
    a, b, theirs, mine = both("SGD", [torch.randn(6)])
    for step in range(6):
        for o in (a, b):
            o.param_groups[0]["nesterov"] = step >= 3
        feed(theirs, mine)
        a.step()
        b.step()
        same(a, b)


def layer(params, lr=0.1, **kwargs):
    """The rule with stages that docs/custom-rules.md shows."""
    functions = ["LayerSums", "LayerRate", "LayerStep"]
    return fusestep.torch.Rule(params, ROOT / "examples/customrule/layer.go", functions=functions, prologue="LayerPrologue", lr=lr, **kwargs)


def test_stages():
    """A rule with a norm of each tensor, against the same in torch."""
    mine = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in [(300,), (7, 3), (5000,), (1,)]]
    theirs = [p.detach().clone() for p in mine]
    optimizer = layer(mine, max_tensor_norm=2.0)
    for step in range(5):
        feed(mine, absent=(1,) if step == 2 else ())
        for p, q in zip(theirs, mine):
            if q.grad is not None:
                g = q.grad * min(1.0, 2.0 / (q.grad.norm().item() + 1e-6))
                p -= 0.1 * p.norm() / g.norm() * g
        optimizer.step()
        for p, q in zip(theirs, mine):
            torch.testing.assert_close(p, q.detach(), rtol=1e-12, atol=1e-14)
    assert set(optimizer.state[mine[0]]) == {"step"}


MOMENTUM = re.search(r"```go\n(.*?)```", (ROOT / "python/README.md").read_text(), re.S)[1]


def test_readme(tmp_path, monkeypatch):
    """The README's file is a rule, which its lines of Python train with."""
    text = (ROOT / "python/README.md").read_text()
    (tmp_path / "momentum.go").write_text(MOMENTUM)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"test_rule\.py runs this -->\n```python\n(.*?)```", text, re.S)
    model = nn.Linear(3, 1)
    names = {"model": model}
    exec(code, names)
    optimizer, x = names["optimizer"], torch.randn(32, 3)
    for _ in range(50):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3
    assert set(optimizer.state[model.weight]) == {"step", "momentum_buffer"}


ERRORS = [
    ("syntax", "func Step[", "func Step(", r"m\.go:\d+:\d+: "),
    ("operation", "F(s.Beta*e.M)", "s.Beta*e.M", r"m\.go:\d+:\d+: a product is added without a conversion around it"),
    ("slot", '`slot:"grad"`', '`slot:"gradient"`', r"m\.go:\d+:\d+: the element struct has no field with the tag `slot:\"grad\"`"),
    ("type", "LR, Beta float64", "LR, Beta float32", r"m\.go:\d+:\d+: "),
    ("taken", "Beta", "MaxNorm", r"m\.go: hyperparameter max_norm has the name of another argument"),
    ("twice", "LR, Beta float64", "LR, Beta, BETA float64", r"m\.go: .*two hyperparameters or options \"beta\""),
    ("loop", "e.P -=", "for {}\n\te.P -=", r"m\.go:\d+:2: "),
]


@pytest.mark.parametrize("name,old,new,want", ERRORS, ids=[e[0] for e in ERRORS])
def test_errors(tmp_path, name, old, new, want):
    """What is wrong in a file is a RuleError that says where."""
    assert old in MOMENTUM
    file = tmp_path / "m.go"
    file.write_text(MOMENTUM.replace(old, new))
    with pytest.raises(fusestep.torch.RuleError, match=want) as e:
        fusestep.torch.Rule([torch.zeros(1)], file, lr=0.1, beta=0.9)
    assert isinstance(e.value, ValueError)


def test_arguments(tmp_path):
    file = tmp_path / "m.go"
    file.write_text(MOMENTUM)
    p = torch.zeros(2, requires_grad=True)
    make = fusestep.torch.Rule
    with pytest.raises(TypeError, match="unexpected keyword argument 'betta'.* has lr, beta, nesterov, maximize"):
        make([p], file, lr=0.1, betta=0.9)
    with pytest.raises(TypeError, match="missing the keyword argument 'beta'"):
        make([p], file, lr=0.1)
    with pytest.raises(fusestep.torch.RuleError, match="there is no function Steps"):
        make([p], file, functions="Steps", lr=0.1, beta=0.9)
    with pytest.raises(TypeError, match="functions is 3, must be a name or a sequence of names"):
        make([p], file, functions=3, lr=0.1, beta=0.9)
    with pytest.raises(FileNotFoundError):
        make([p], tmp_path / "n.go", lr=0.1, beta=0.9)
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        make([p], file, lr=-1, beta=0.9)
    with pytest.raises(ValueError, match="Invalid beta value: nan"):
        make([p], file, lr=0.1, beta=float("nan"))
    with pytest.raises(ValueError, match="nesterov"):
        make([p], file, lr=0.1, beta=0.9, nesterov=2)
    file.write_bytes(MOMENTUM.encode() + b"\0")
    with pytest.raises(fusestep.torch.RuleError, match="no text"):
        make([p], file, lr=0.1, beta=0.9)

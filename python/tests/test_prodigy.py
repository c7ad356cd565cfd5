"""Prodigy beside a statement of its authors' code, prodigyopt 1.1.2, and state that goes from one to the other."""

import copy
import math

import pytest
import torch
from torch import nn

import fusestep.torch


class Stated:
    """The authors' step, without slices and shards."""

    def __init__(self, params, lr=1.0, betas=(0.9, 0.999), beta3=None, eps=1e-8, weight_decay=0.0, use_bias_correction=False, d0=1e-6, growth_rate=math.inf):
        self.params, self.d0, self.lr, self.betas, self.eps, self.growth = list(params), d0, lr, betas, eps, growth_rate
        self.beta3, self.decay, self.corrects = beta3 or math.sqrt(betas[1]), weight_decay, use_bias_correction
        self.d = self.d_max = d0
        self.k, self.numerator, self.state = 0, 0.0, {}

    @torch.no_grad()
    def step(self):
        (b1, b2), d, total, delta = self.betas, self.d, 0.0, 0.0
        correction = (1 - b2 ** (self.k + 1)) ** 0.5 / (1 - b1 ** (self.k + 1)) if self.corrects else 1
        dlr = d * self.lr * correction
        used = [p for p in self.params if p.grad is not None]
        for p in used:
            if p not in self.state:
                self.state[p] = [torch.zeros_like(p), torch.zeros_like(p), torch.zeros_like(p), p.clone()]
            m, v, s, p0 = self.state[p]
            delta += d / self.d0 * dlr * (p.grad * (p0 - p)).sum().item()
            m.mul_(b1).add_(p.grad, alpha=d * (1 - b1))
            v.mul_(b2).addcmul_(p.grad, p.grad, value=d * d * (1 - b2))
            s.mul_(self.beta3).add_(p.grad, alpha=d / self.d0 * dlr)
            total += s.abs().sum().item()
        self.numerator = self.numerator * self.beta3 + delta
        hat = self.numerator / total
        if d == self.d0:
            d = max(d, hat)
        self.d_max = max(self.d_max, hat)
        self.d = min(self.d_max, d * self.growth)
        for p in used:
            m, v, _, _ = self.state[p]
            p.sub_(p, alpha=self.decay * dlr).addcdiv_(m, v.sqrt() + self.d * self.eps, value=-dlr)
        self.k += 1


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 20), nn.Tanh(), nn.Linear(20, 3)).double()


def train(net, optimizer, steps, freeze=None):
    data = torch.Generator().manual_seed(5)
    for step in range(steps):
        x = torch.randn(16, 8, generator=data, dtype=torch.float64)
        net.zero_grad()
        (net(x) - x[:, :3]).square().mean().backward()
        if freeze is not None and step < freeze:
            net[0].bias.grad = None
        optimizer.step()


CASES = [{}, {"use_bias_correction": True, "weight_decay": 0.1}, {"growth_rate": 1.2, "d0": 1e-4}, {"beta3": 0.9, "betas": (0.8, 0.99), "lr": 0.5, "eps": 1e-6}]


@pytest.mark.parametrize("kwargs", CASES, ids=str)
def test_as_stated(kwargs):
    one, two = model(), model()
    stated, ours = Stated(one.parameters(), **kwargs), fusestep.torch.Prodigy(two.parameters(), **kwargs)
    freeze = None if kwargs.get("use_bias_correction") else 7
    train(one, stated, 60, freeze)
    train(two, ours, 60, freeze)
    assert stated.d > 10 * stated.d0
    for p, q in zip(one.parameters(), two.parameters()):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-9)
        assert ours.state[q]["d"].item() == pytest.approx(stated.d, rel=1e-9)
        torch.testing.assert_close(ours.state[q]["p0"], stated.state[p][3], rtol=0, atol=0)


def test_state_as_the_authors():
    net = model()
    ours = fusestep.torch.Prodigy([{"params": net[0].parameters()}, {"params": net[2].parameters(), "weight_decay": 0.1}])
    assert ours.state_dict()["param_groups"][1]["d"] == 1e-6
    train(net, ours, 20)
    saved = ours.state_dict()
    d = ours.state[net[0].weight]["d"].item()
    for group in saved["param_groups"]:
        assert (group["d"], group["k"], group["slice_p"], group["growth_rate"], group["beta3"]) == (d, 20, 1, math.inf, None)
        assert group["d_max"] >= d > 1e-6
    assert saved["state"][0]["s"].shape == (160,) and saved["state"][0].keys() == {"step", "s", "p0", "exp_avg", "exp_avg_sq"}
    twin = copy.deepcopy(net)
    other = fusestep.torch.Prodigy([{"params": twin[0].parameters()}, {"params": twin[2].parameters()}])
    other.load_state_dict(copy.deepcopy(saved))
    assert "d" not in other.param_groups[0] and other.param_groups[1]["weight_decay"] == 0.1
    train(net, ours, 20)
    train(twin, other, 20)
    for p, q in zip(net.parameters(), twin.parameters()):
        assert torch.equal(p, q)
        assert ours.state[p].keys() == other.state[q].keys()
        for name, x in ours.state[p].items():
            assert torch.equal(x, other.state[q][name]), name


def test_what_the_authors_leave_out():
    """A p0 of zeros is one number, and without momentum there is no exp_avg."""
    p = nn.Parameter(torch.zeros(2, 3))
    saved = {
        "state": {0: {"step": 4, "s": torch.arange(6.0), "p0": torch.tensor(0.0), "exp_avg_sq": torch.ones(2, 3)}},
        "param_groups": [{**fusestep.torch.Prodigy([p], betas=(0.0, 0.999)).state_dict()["param_groups"][0], "d": 0.5, "d_max": 0.75, "d_numerator": 2.0, "k": 4, "d_hat": 0.1}],
    }
    ours = fusestep.torch.Prodigy([p])
    ours.load_state_dict(saved)
    state = ours.state[p]
    assert [state[name].item() for name in ("d", "d_max", "d_numerator")] == [0.5, 0.75, 2.0]
    assert torch.equal(state["s"], torch.arange(6.0).reshape(2, 3)) and torch.equal(state["p0"], torch.zeros(2, 3))
    p.grad = torch.ones(2, 3)
    ours.step()
    assert ours.state[p]["step"].item() == 5 and ours.state[p]["d"].item() == 0.75
    saved["param_groups"][0]["slice_p"] = 11
    with pytest.raises(ValueError, match="slice_p is 11"):
        ours.load_state_dict(saved)


def test_refusals():
    p, q = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    p.grad, q.grad = torch.ones(3), torch.ones(3, dtype=torch.bfloat16)
    with pytest.raises(Exception, match="numbers together with tensor"):
        fusestep.torch.Prodigy([p, q]).step()
    other = nn.Parameter(torch.ones(3))
    other.grad = torch.ones(3)
    ours = fusestep.torch.Prodigy([{"params": [p]}, {"params": [other], "lr": 0.5}])
    with pytest.raises(Exception, match="group 0 gives Rate 1, and group 1 0.5"):
        ours.step()
    ours.param_groups[1]["lr"] = 1.0
    ours.step()
    assert not torch.equal(p.detach(), torch.ones(3))
    ours.max_tensor_norm = 1.0
    with pytest.raises(Exception, match="clipped by a norm of its tensor"):
        ours.step()
    ours.max_tensor_norm = None
    ours.step()
    ours.state[other]["d"] = torch.tensor(3.0)
    with pytest.raises(ValueError, match="all parameters have one d"):
        ours.step()

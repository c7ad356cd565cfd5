"""How far ours and torch's may be apart, number by number, as optim/testdata/torch/README.md derives it for the goldens.

The rules and their arithmetic are the goldens' own. A bound goes on from step to step beside torch's numbers, for any parameters, gradients
and learning rates. Where it is 0 the bits are equal.
"""

import pathlib
import sys

import numpy as np
import torch

TESTDATA = pathlib.Path(__file__).parents[2] / "optim" / "testdata"
sys.path[:0] = [str(TESTDATA / "torch"), str(TESTDATA / "numpy")]

import bound  # of optim/testdata, as the others are
import difference
import more
import steps
import variants

# Bounds are from a torch whose square roots are rounded correctly, which those of its x86 builds, MKL's, are not.
CorrectSquareRoot = more.CorrectSquareRoot
RULES = more.RULES | {"asgd": variants.asgd}
COUNTERS = {"step", "mu_product", "eta", "mu"}


def numbers(tensors):
    """All numbers of some tensors in a row. Complex ones are pairs."""
    reals = [torch.view_as_real(t) if t.is_complex() else t for t in tensors]
    return np.concatenate([t.detach().double().numpy().ravel() for t in reals])


def values(params, optimizer):
    """The numbers of parameters and of their state, by name."""
    out = {"param": numbers(params)}
    for key, x in optimizer.state.get(params[0], {}).items():
        if torch.is_tensor(x) and key not in COUNTERS:
            out[key] = numbers([optimizer.state[p][key] for p in params])
    return out


class ByHand:
    """bound.Bound's bounds, of SGD, Adam and AdamW, as steps.Bounds gives the others'."""

    def __init__(self, name, hyper, before, dtype):
        self.bound, self.before = bound.Bound(name, hyper | {"l1": 0.0}, dtype), before

    def step(self, lr, grad, after):
        self.bound.step(lr, grad, self.before, after)
        self.before = after

    def __getitem__(self, slot):
        return self.bound[slot]


class ByRule:
    def __init__(self, name, hyper, before, dtype):
        # A gradient and its decay may nearly cancel here, which leaves few digits of torch's.
        self.bounds = steps.Bounds(name, hyper, RULES[name], before, more.initial(name, hyper), difference.Arithmetic(dtype), units=10000)

    def step(self, lr, grad, after):
        self.bounds.step(lr, grad, after)

    def __getitem__(self, slot):
        return np.float64(self.bounds.slots[slot].e)


class Held:
    """Torch's optimizer and ours, and how far apart they may be. Each parameter has a gradient at each step."""

    def __init__(self, name, torchs, ours, theirs, mine):
        self.torchs, self.ours, self.theirs, self.mine = torchs, ours, theirs, mine
        (group,) = torchs.param_groups
        hyper = {key: float(x) if torch.is_tensor(x) else x for key, x in group.items() if key != "params"}
        kind = name.lower() if not hyper.get("decoupled_weight_decay") or name != "Adam" else "adamw"
        make = ByHand if kind in ("sgd", "adam", "adamw") else ByRule
        self.bounds = make(kind, hyper, values(theirs, torchs), "float64" if theirs[0].dtype in (torch.float64, torch.complex128) else "float32")

    def step(self):
        """Steps both, and returns the numbers that are too far apart, by the name of the state, with their bounds."""
        grad = numbers([p.grad for p in self.theirs])
        with CorrectSquareRoot():
            self.torchs.step()
        self.ours.step()
        after, got = values(self.theirs, self.torchs), values(self.mine, self.ours)
        assert after.keys() == got.keys()
        self.bounds.step(float(self.torchs.param_groups[0]["lr"]), grad, after)
        wrong = {}
        for slot, want in after.items():
            bad = ~(np.abs(got[slot] - want) <= self.bounds[slot])
            if bad.any():
                wrong[slot] = [f"[{i}] {got[slot][i]}, torch {want[i]}, bound {self.bounds[slot][i]:.3g}" for i in np.flatnonzero(bad)[:3]]
        return wrong

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

import adafactor  # of optim/testdata, as the others are
import bound
import difference
import factored
import more
import steps
import variants

# Bounds are from a torch whose square roots are rounded correctly, which those of its x86 builds, MKL's, are not.
CorrectSquareRoot, CorrectReciprocal = more.CorrectSquareRoot, factored.CorrectReciprocal
RULES = more.RULES | {"asgd": variants.asgd, "adafactor": adafactor.both}
COUNTERS = {"step", "mu_product", "eta", "mu"}


def numbers(tensors):
    """All numbers of some tensors in a row, and of one in its shape. Complex ones are pairs."""
    reals = [(torch.view_as_real(t) if t.is_complex() else t).detach().double().numpy() for t in tensors]
    return reals[0] if len(reals) == 1 else np.concatenate([x.ravel() for x in reals])


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
        whole = name == "Adafactor"  # a step is of a whole tensor, and bounds are of each by itself
        self.parts = [([p], [q]) for p, q in zip(theirs, mine)] if whole else [(theirs, mine)]
        hyper = {key: float(x) if torch.is_tensor(x) else x for key, x in group.items() if key != "params"}
        kind = name.lower() if not hyper.get("decoupled_weight_decay") or name != "Adam" else "adamw"
        if whole and hyper["eps"][0] is None:
            hyper["eps"] = (torch.finfo(theirs[0].dtype).eps, hyper["eps"][1])
        make = ByHand if kind in ("sgd", "adam", "adamw") else ByRule
        dtype = "float64" if theirs[0].dtype in (torch.float64, torch.complex128) else "float32"
        self.bounds = [make(kind, hyper, values(params, torchs), dtype) for params, _ in self.parts]

    def step(self):
        """Steps both, and returns the numbers that are too far apart, by the name of the state, with their bounds."""
        with CorrectReciprocal(), CorrectSquareRoot():
            self.torchs.step()
        self.ours.step()
        wrong = {}
        for (theirs, mine), bounds in zip(self.parts, self.bounds):
            after, got = values(theirs, self.torchs), values(mine, self.ours)
            assert after.keys() == got.keys()
            bounds.step(float(self.torchs.param_groups[0]["lr"]), numbers([p.grad for p in theirs]), after)
            for slot, want in after.items():
                bad = ~(np.abs(got[slot] - want) <= bounds[slot])
                if bad.any():
                    x, y, e = (np.broadcast_to(n, bad.shape)[bad] for n in (got[slot], want, bounds[slot]))
                    wrong[slot] = [f"{x[i]}, torch {y[i]}, bound {e[i]:.3g}" for i in range(min(3, len(x)))]
        return wrong

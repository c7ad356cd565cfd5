"""What the tests share."""

import multiprocessing
import os

# Torch's baseline kernels round each operation once: those of AVX2 fuse some, depending on an element's place.
os.environ["ATEN_CPU_CAPABILITY"] = "default"

import pytest
import torch

import fusestep.torch
from fusestep.torch._classes import __all__ as CLASSES

torch.set_num_threads(1)  # the steps are small, and whoever else has the processors would be waited for

# Processes are forked from one that has imported these, which takes seconds, and has used nothing of them.
multiprocessing.set_forkserver_preload(
    ["pytest", "torch", "torch._dynamo", "torch.distributed.checkpoint.state_dict", "torch.distributed.fsdp", "torch.distributed.optim", "fusestep.torch"]
)

UNIT = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}
BOTH = [name for name in CLASSES if hasattr(torch.optim, name)]
OURS = [name for name in CLASSES if name not in BOTH]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Path:
    """A tensor's value, and how far it has moved: what a difference is measured by."""

    def __init__(self, t):
        self.t, self.last, self.moved = t, t.detach().clone(), t.detach().abs()

    def step(self):
        self.moved = self.moved + (self.t.detach() - self.last).abs()
        self.last = self.t.detach().clone()


def units(a, b, moved):
    """The largest difference of two tensors, in units in the last place of what they have moved through."""
    if a.is_complex():
        return units(torch.view_as_real(a), torch.view_as_real(b), moved.unsqueeze(-1).expand(*moved.shape, 2))
    tiny = torch.finfo(a.dtype).tiny
    apart = (a.detach() - b.detach()).abs() / (UNIT[a.dtype] * moved + tiny)
    apart[a.detach().isnan() & b.detach().isnan()] = 0
    return apart.max().item() if apart.numel() else 0.0


def bound(name, dtype):
    """How many units ours and torch's may be apart: optim/testdata/torch/README.md derives it."""
    if dtype in (torch.float64, torch.complex128):
        return 1e6 if name == "RAdam" else 1210
    return 100


def pair(name, params, kwargs, **ours):
    """Torch's optimizer and ours of a name, each on its own copies of parameters."""
    theirs = [p.detach().clone().requires_grad_() for p in params]
    mine = [p.detach().clone().requires_grad_() for p in params]
    torchs = getattr(torch.optim, name)(theirs, **{**kwargs, "foreach": False})
    return torchs, getattr(fusestep.torch, name)(mine, **{**kwargs, **ours}), theirs, mine

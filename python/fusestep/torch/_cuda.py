"""Parameters on a GPU: its device of the library's, torch's current stream, and what of a step is on the GPU."""

from __future__ import annotations

import array
import ctypes
import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import _library
from . import _collect

if TYPE_CHECKING:
    from ._engine import Engine
    from ._optimizer import Optimizer

UNREADY = (
    "this step of fusestep.torch cannot be captured in a CUDA graph, and nothing was enqueued: take one like it before the capture, with the same parameters, "
    "options and kinds of gradients, as torch's warm-up does"
)
NOT_CAPTURABLE = "a step of fusestep.torch is being captured in a CUDA graph, and capturable is False"
APART = (
    "a step of this optimizer was captured in a CUDA graph, whose replays step all its parameters together. This one would leave some out: "
    "optimizer.load_state_dict(optimizer.state_dict()) lets it, after which the graph must not be replayed"
)
OVER = "steps of this optimizer were captured in CUDA graphs, whose replays go on with what was before {what} changed: capture again"


@functools.cache
def device(index: int) -> int:
    """A GPU's device of the library, in the primary context, which is torch's. It stays."""
    handle = ctypes.c_uint64()
    _library.call("fs_cuda", index, handle)
    return handle.value


def open_device(p: Tensor, name: str) -> None:
    """Raises the TypeError of a parameter whose GPU the library cannot use."""
    try:
        device(p.device.index)
    except RuntimeError as e:
        raise TypeError(f"parameter {name} is {_collect.place(p)}, which fusestep.torch cannot step: {e}") from None


def stream(index: int) -> int:
    """The CUstream that is torch's current one of a GPU."""
    return int(torch._C._cuda_getCurrentRawStream(index))


def capturing(index: int) -> bool:
    """Whether torch's current stream of a GPU is being captured."""
    with torch.cuda.device(index):
        return torch.cuda.is_current_stream_capturing()


def outside(index: int) -> None:
    """Raises the error of what cannot be done in a capture."""
    if capturing(index):
        raise _library.CapturingError(UNREADY)


def wait(index: int) -> None:
    """Waits for torch's current stream, as what comes next reads and writes memory in an order of its own."""
    outside(index)
    torch.cuda.current_stream(index).synchronize()


def on_gpu(x: Any) -> bool:
    """Whether a hyperparameter is on a GPU."""
    return isinstance(x, Tensor) and x.device.type == "cuda"


class OnGPU:
    """What an engine of a GPU has and does beside others."""

    def __init__(self, device: torch.device) -> None:
        assert device.index is not None
        self.device, self.index = device, device.index
        self._stream = 0  # that the library's optimizer has
        self._keep: tuple[Tensor | None, ...] = ()

    def use_stream(self, handle: int) -> None:
        """Lets an optimizer of the library enqueue on torch's current stream."""
        now = stream(self.index)
        if now != self._stream:
            _library.call("fs_stream", handle, now)
            self._stream = now

    def number(self, x: Tensor | None, dtype: torch.dtype = torch.float32) -> Tensor | None:
        """What GradScaler gives, or a learning rate: a number on this GPU."""
        if x is None:
            return None
        return x.detach().to(self.device, dtype, non_blocking=True)

    def rates(self, groups: Iterable[dict[str, Any]]) -> tuple[list[Tensor | None], array.array[int] | None]:
        """The groups' learning rates that are on the GPU, and their addresses; None where none is."""
        rates = [self.number(lr, torch.float64) if on_gpu(lr := group["lr"]) else None for group in groups]
        if all(x is None for x in rates):
            return rates, None
        return rates, array.array("Q", [0 if x is None else x.data_ptr() for x in rates])

    def count(self, flat: Tensor, mask: Tensor | None, found_inf: Tensor | None, captured: bool = False) -> None:
        """Adds 1 to steps, where mask says so and the step is not skipped."""
        if flat.device.type == "cpu":
            _collect.count(flat, mask)
            return
        more: Any = 1
        if found_inf is not None:
            more = (found_inf == 0).to(flat.dtype)
        if mask is None:
            flat.add_(more)
        elif not captured:
            flat.add_(mask.to(self.device, flat.dtype) * more)
        else:  # in which nothing may come from the CPU
            for i, is_in in enumerate(mask.tolist()):
                if is_in:
                    flat[i : i + 1].add_(more)


def grad_norm(engine: Engine) -> float:
    """The norm of the last step's gradients, for which this waits."""
    norm = ctypes.c_double()
    assert engine.gpu is not None
    engine.gpu.use_stream(engine.handle)
    _library.call("fs_outcome", engine.handle, norm, None)
    return norm.value


def scales(optimizer: Optimizer) -> bool:
    """Whether GradScaler's numbers come with the step, which so may be skipped."""
    return optimizer.__dict__.get("grad_scale") is not None or optimizer.__dict__.get("found_inf") is not None

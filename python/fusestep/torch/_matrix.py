"""Parameters as matrices, for algorithms with numbers of rows and columns."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from . import _collect

def check_rows(rows: Any) -> None:
    """Raises the ValueError of a group's rows that can be no number of rows."""
    if rows is not None and (not isinstance(rows, int) or isinstance(rows, bool) or rows < 0):
        raise ValueError(f"Invalid rows value: {rows}")


def rows_of(p: Tensor, rows: int | None, name: str, of: str) -> tuple[int, int]:
    """How many rows of a parameter are here, 0 of one that is no matrix, where its group says rows, and of how many matrices: without rows one for each
    place on the axes before the last two, as torch's Adafactor has it. Of is the optimizer's name."""
    check_rows(rows)
    if p.is_complex():
        raise RuntimeError(f"{of} does not support complex parameters, as {name} is, {_collect.place(p)}")
    if rows == 0 or rows is None and p.ndim < 2:
        return 0, 1
    local = _collect.plain(p)
    if not local.is_contiguous():
        raise TypeError(f"parameter {name} is {_collect.place(p)}: {of} takes rows as they lie in memory, which must be contiguous")
    if local is not p and (rows is not None or any(getattr(placement, "dim", 0) != 0 for placement in getattr(p, "placements", ()))):
        raise ValueError(f"parameter {name} is distributed, and a process may not have whole rows of it: {of} needs shards of the first axis, and no rows")
    if rows is not None:
        return rows, 1
    if local.numel() == 0:
        return max(math.prod(local.shape[:-1]), 1), 1
    return math.prod(local.shape[:-1]), math.prod(local.shape[:-2])


def units_of(p: Tensor, name: str) -> int:
    """How many units adaptive clipping sees in a parameter: one for each place on the first of several axes, and 0, which is the whole, of others."""
    local = _collect.plain(p)
    if local.ndim < 2 or local.numel() == 0:
        return 0
    if not local.is_contiguous():
        raise TypeError(
            f"parameter {name} is {_collect.place(p)}: adaptive_clip takes units of the first axis as they lie in memory, which must be contiguous"
        )
    return local.shape[0]


def line(p: Tensor, domain: str, rows: int | None) -> Tensor:
    """A tensor of the shape that state of a parameter's rows or columns has, as torch's, where its group says rows. It broadcasts with a matrix."""
    if _collect.plain(p) is not p:
        return p.detach()[..., :1]  # of rows: shards of columns are refused
    if rows is not None:
        shape = (rows, 1) if domain == "rows" else (1, p.numel() // rows)
    else:
        shape = (*p.shape[:-1], 1) if domain == "rows" else (*p.shape[:-2], 1, p.shape[-1])
    return torch.empty(shape, device=p.device)

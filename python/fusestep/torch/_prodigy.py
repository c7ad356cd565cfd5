"""Prodigy's state as its authors' package prodigyopt has it: what all parameters have together stands in the groups."""

from __future__ import annotations

from typing import Any

import torch

from ._engine import KEPT

_TOGETHER = KEPT["Prodigy"]
_OF_GROUPS = (*_TOGETHER, "k", "d_hat", "d_denom", "fsdp_in_use", "slice_p")


def to_authors(d: dict[str, Any]) -> dict[str, Any]:
    """A state_dict, as prodigyopt loads it."""
    groups, states, first = [], {}, next((s for s in d["state"].values() if "d" in s), None)
    for k, state in d["state"].items():
        states[k] = {name: x.flatten() if name in ("s", "p0") else x for name, x in state.items() if name not in _TOGETHER}
    for group in d["param_groups"]:
        numbers = {name: float(first[name]) for name in _TOGETHER} if first else {"d": group["d0"], "d_max": group["d0"], "d_numerator": 0.0}
        if not numbers["d"]:  # no step has been taken
            numbers["d"] = numbers["d_max"] = float(group["d0"])
        groups.append({**group, **numbers, "k": int(first["step"]) if first else 0, "fsdp_in_use": False, "slice_p": 1})
    return {**d, "state": states, "param_groups": groups}


def from_authors(d: dict[str, Any]) -> dict[str, Any]:
    """A state_dict of prodigyopt's, or of to_authors, with the numbers in each parameter's state."""
    groups, states = [], dict(d["state"])
    for group in d["param_groups"]:
        if group.get("slice_p", 1) != 1:
            raise ValueError(f"slice_p is {group['slice_p']}: state of a part of the elements cannot be loaded")
        numbers = {name: torch.tensor(float(group[name]), dtype=torch.float64, device="cpu") for name in _TOGETHER if name in group}
        for k in group["params"]:
            state = states.get(k)
            if not state:
                continue
            states[k] = state = {**state, **numbers}
            like = state.get("exp_avg_sq")
            if like is None:
                continue
            if not group["betas"][0]:
                state.setdefault("exp_avg", torch.zeros_like(like))
            for name in ("s", "p0"):
                if (x := state.get(name)) is not None:
                    state[name] = x.expand(like.shape).clone() if x.dim() == 0 else x.reshape(like.shape)  # a p0 of zeros is one number
        groups.append({name: x for name, x in group.items() if name not in _OF_GROUPS})
    return {**d, "state": states, "param_groups": groups}

"""What an optimizer keeps of each parameter, in dicts that say when somebody else has changed them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch


class Note:
    """Whether tables have to be made again."""

    stale = True


def _noting(base: type, name: str) -> Any:
    method = getattr(base, name)

    def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.note.stale = True
        return method(self, *args, **kwargs)

    return noting


_CHANGES = ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update")


class NotedDict(dict):  # type: ignore[type-arg]
    """A parameter's state. It is written out as a dict."""

    __slots__ = ("note",)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class NotedStates(defaultdict):  # type: ignore[type-arg]
    """The state of all parameters. It is written out as a defaultdict of dicts."""

    note: Note

    def __reduce__(self) -> Any:
        return defaultdict, (dict, {k: plain(v) for k, v in self.items()})


for _base in (NotedDict, NotedStates):
    for _name in _CHANGES:
        setattr(_base, _name, _noting(_base.__mro__[1], _name))


def plain(state: Any) -> Any:
    """A parameter's state as torch has it."""
    return dict(state) if isinstance(state, NotedDict) else state


def noted(states: Any, note: Note) -> NotedStates:
    """The states as dicts that say when they change."""
    if not isinstance(states, NotedStates) or states.note is not note:
        out = NotedStates(dict)
        out.note = note
        for k, v in states.items():
            defaultdict.__setitem__(out, k, v)
        states = out
    for p, state in states.items():
        if isinstance(p, torch.Tensor) and not (isinstance(state, NotedDict) and state.note is note):
            _put(states, p, state)
    return states


def state_of(states: NotedStates, p: torch.Tensor) -> NotedDict:
    """A parameter's state, which begins empty."""
    return states[p] if p in states else _put(states, p, {})


def _put(states: NotedStates, p: torch.Tensor, state: dict[str, Any]) -> NotedDict:
    d = NotedDict(state)
    d.note = states.note
    defaultdict.__setitem__(states, p, d)
    return d

"""The optimizer of a rule of one's own."""

from __future__ import annotations

import inspect
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from .. import _library
from ._optimizer import Optimizer


class Rule(Optimizer):
    """An optimizer whose rule is a Go file of one's own: no compiler is needed. docs/custom-rules.md
    says what is in the file.

    Hyperparameters are keyword arguments: the fields of the file's struct in lower case with
    underscores, LR as lr and WeightDecay as weight_decay. All must be given. Options are too, and
    are False by default; one with a hyperparameter's name is on where that is not 0. Beside them
    every rule has maximize. State has the names of the slots, and beside it are the counters.

    A RuleError, a ValueError, has the place of what is wrong in the file: file:line:column.

    Args:
        params: tensors, dicts that are parameter groups, or pairs of a name and a tensor
        file: the Go file's path. It is read once
        functions: the element function's name. Of a rule with stages the names of all functions, in
            the order in which they run
        prologue: the prologue's name
        rows: as of Adafactor, of a rule with numbers of rows or columns
        capturable: as of all other classes; a rule with counters beside step has them on the CPU,
            and it must be False
        max_norm, max_tensor_norm, adaptive_clip, adaptive_eps, ema_decay, state_dtype, master,
            stochastic_rounding, seed: as of all other classes
        hyperparameters: those of the rule, and its options
    """

    def __init__(
        self,
        params: ParamsT,
        file: str | os.PathLike[str],
        *,
        functions: str | Sequence[str] = "Step",
        prologue: str = "Prologue",
        rows: int | None = None,
        capturable: bool = False,
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
        ema_decay: float | None = None,
        state_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        master: torch.dtype | None = None,
        stochastic_rounding: bool = False,
        seed: int = 0,
        **hyperparameters: float | bool | Tensor,
    ) -> None:
        if not isinstance(functions, (str, Sequence)) or not all(isinstance(name, str) for name in functions):
            raise TypeError(f"functions is {functions!r}, must be a name or a sequence of names")
        names = functions if isinstance(functions, str) else " ".join(functions)
        self._source = (os.fspath(file), pathlib.Path(file).read_bytes(), prologue, names)
        rule = self._read()
        defaults = self._complete(rule, hyperparameters)
        if rule["matrix"]:
            defaults["rows"] = rows
        elif rows is not None:
            raise TypeError(f"Rule() got rows, and {self._source[0]} has no numbers of rows or columns")
        around = {
            "capturable": capturable,
            "ema_decay": ema_decay,
            "state_dtype": state_dtype,
            "master": master,
            "stochastic_rounding": stochastic_rounding,
            "seed": seed,
        }
        super().__init__(params, {**defaults, **around}, max_norm, max_tensor_norm, adaptive_clip, adaptive_eps)

    def _read(self) -> dict[str, Any]:
        """Reads the rule. It is an algorithm of this process then."""
        rule = _library.rule(*self._source)
        rule["kept"] = [name for name in rule["counters"] if name != "step"]
        self._algorithm = rule["name"]
        return rule

    def _complete(self, rule: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """The hyperparameters, of those that are given."""
        file = self._source[0]
        taken = {*inspect.signature(Rule.__init__).parameters, "betas", "param_names"}
        for name in rule["hyper"]:
            if name in taken:
                raise _library.RuleError(f"{file}: hyperparameter {name} has the name of another argument")
        for name in rule["slots"]:
            if name in rule["counters"]:
                raise _library.RuleError(f"{file}: slot {name} has the name of a counter, and both are state")
        for name in given:
            if name not in rule["hyper"]:
                raise TypeError(f"Rule() got an unexpected keyword argument '{name}': {file} has {', '.join(rule['hyper'])}")
        for a in rule["arguments"]:
            if a["default"] is None and a["name"] not in given:
                raise TypeError(f"Rule() is missing the keyword argument '{a['name']}': {file} has {', '.join(rule['hyper'])}")
        return {a["name"]: given.get(a["name"], a["default"]) for a in rule["arguments"]}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_source": self._source}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_source" in state:  # load_state_dict has none
            self._source = state["_source"]
            self._read()
        super().__setstate__(state)

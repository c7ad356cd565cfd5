"""The base of all optimizers: torch.optim.Optimizer, whose step is the library's."""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import optimizer as _torch
from torch.optim.optimizer import ParamsT

from . import _cuda, _prodigy
from ._engine import CLIPS, Engine, Hyperparameters, begin, check, check_capturable, slots
from ._matrix import check_rows
from ._state import Note, noted, plain, state_of


class Optimizer(torch.optim.Optimizer):
    """A torch.optim.Optimizer. State is torch's own tensors, under torch's names.

    What it needs of the parameters' memory is checked before a step writes anything: a TypeError
    names the parameter. Hyperparameters are read from the groups in each step, and checked: a
    ValueError has torch's words.
    """

    _algorithm: str
    _step_supports_amp_scaling = True

    max_norm: float | None
    """The norm to which a step clips all gradients together; None clips nothing. It may be changed at any time."""

    max_tensor_norm: float | None
    """The norm to which a step clips each gradient by itself, after max_norm; None clips nothing. It may be changed at any time."""

    adaptive_clip: float | None
    """How much of a unit's norm its gradient's may be, after the other two; None clips nothing. It may be changed at any time."""

    adaptive_eps: float
    """The least norm that a unit counts with. It may be changed at any time."""

    def __init__(
        self,
        params: ParamsT,
        defaults: dict[str, Any],
        max_norm: float | None = None,
        max_tensor_norm: float | None = None,
        adaptive_clip: float | None = None,
        adaptive_eps: float = 1e-3,
    ) -> None:
        self._engine: Engine | None = None
        self._captured: list[Engine] = []
        clips = {"max_norm": max_norm, "max_tensor_norm": max_tensor_norm, "adaptive_clip": adaptive_clip, "adaptive_eps": adaptive_eps}
        for name, x in clips.items():
            if x is None and name == "adaptive_eps" or x is not None and not x > 0:
                raise ValueError(f"Invalid {name} value: {x}")
        self.__dict__.update(clips)
        self._check(defaults)
        super().__init__(params, defaults)
        if self._algorithm == "Adagrad":  # torch's begins its state here, too
            self._begin()

    def _check(self, group: dict[str, Any]) -> None:
        """Raises what torch raises of a group that makes no sense."""
        lr, betas = group["lr"], group.get("betas", ())
        one_tensor = [isinstance(b, Tensor) for b in betas]
        if self._algorithm in ("Adam", "AdamW") and group["foreach"] and not group["capturable"]:
            for name, is_tensor in (("lr", isinstance(lr, Tensor)), *((f"betas[{i}]", t) for i, t in enumerate(one_tensor))):
                if is_tensor:
                    raise ValueError(f"{name} as a Tensor is not supported for capturable=False and foreach=True")
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if len(set(one_tensor)) > 1:
            raise ValueError("betas must be either both floats or both Tensors")
        for i, b in enumerate(betas):
            if isinstance(b, Tensor) and b.numel() != 1:
                raise ValueError(f"Tensor betas[{i}] must be 1-element")
        if group.get("foreach") and group.get("fused"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        if group.get("differentiable"):
            raise ValueError("differentiable must be False: fusestep.torch steps outside of autograd")
        check_capturable(self._algorithm, group)
        check_rows(group.get("rows"))
        dtype = torch.float32 if group.get("master") is None else torch.bfloat16
        slots(self._algorithm, group, self._hyper().numbers(group, dtype), dtype, [])

    def _hyper(self) -> Hyperparameters:
        return Hyperparameters(self._algorithm)

    def _algorithm_of_groups(self) -> str:
        """The library's algorithm: with decoupled_weight_decay Adam is AdamW."""
        if self._algorithm not in ("Adam", "AdamW"):
            return self._algorithm
        decoupled = {bool(group["decoupled_weight_decay"]) for group in self.param_groups}
        if len(decoupled) != 1:
            raise ValueError("decoupled_weight_decay must be the same in all groups")
        return "AdamW" if decoupled.pop() else "Adam"

    def _name(self, group: int, index: int) -> str:
        names = self.param_groups[group].get("param_names")
        return names[index] if names else f"{group}.{index}"

    def _begin(self) -> None:
        states = self.state = noted(self.state, Note())
        for i, group in enumerate(self.param_groups):
            for j, p in enumerate(group["params"]):
                if states.get(p) or not isinstance(p, Tensor):
                    continue
                name = self._name(i, j)
                check(p, name)
                state = state_of(states, p)
                dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
                state["step"] = torch.tensor(0.0, dtype=dtype, device="cpu")
                for slot in slots(self._algorithm, group, self._hyper().numbers(group, p.dtype), p.dtype, [name]):
                    if slot["used"]:
                        begin(state, p, slot, name)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group, whose hyperparameters are checked first."""
        if isinstance(param_group, dict) and len(param_group) > 1:
            self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @torch.no_grad()
    def _made(self) -> Engine:
        """The engine, made again."""
        old = self._engine
        if old is not None:
            old.note.stale = True
            if old.gpu is not None:
                _cuda.outside(old.gpu.index)
        self._drop()
        self._engine = Engine(self, old)
        return self._engine

    def _drop(self) -> None:
        """Goes on without the engine."""
        old, self._engine = self._engine, None
        if old is not None and old.captured:  # replays need what it has
            self._captured.append(old)
            warnings.warn(_cuda.OVER.format(what=f"{type(self).__name__}'s parameters, options or state"), stacklevel=2)

    def _step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        engine = self._engine
        if engine is None or not engine.stands(self):
            engine = self._made()
        if not engine.step(self) and not self._made().step(self):
            raise RuntimeError("parameters or gradients changed within a step")
        return loss

    _profiled_step = torch.optim.Optimizer.profile_hook_step(_step)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Takes a step.

        Parameters whose grad is None keep their values and state, and do not count the step. A
        TypeError names a parameter or a gradient whose type, device or layout a step cannot work
        with, a ValueError a hyperparameter out of its range; then nothing has changed.

        Args:
            closure: called first, with gradients enabled; what it returns is returned.
        """
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _torch._global_optimizer_pre_hooks
            or _torch._global_optimizer_post_hooks
            or torch._C._autograd._profiler_enabled()
        ):
            return self._profiled_step(closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # it calls the hooks itself: torch need not wrap it
    step._torchdynamo_disable = True  # type: ignore[attr-defined]

    @property
    def grad_norm(self) -> float | None:
        """The norm of all gradients before the last step clipped them; None where max_norm and max_tensor_norm are None.

        On a GPU it waits for that step.
        """
        engine = self._engine
        if engine is None or self.max_norm is None and self.max_tensor_norm is None:
            return None
        return engine.norm.value if engine.gpu is None else _cuda.grad_norm(engine)

    @torch.no_grad()
    def eval_params(self) -> list[Tensor]:
        """What is to be evaluated, a new tensor for each parameter, in the order of the groups.

        With ema_decay it is the average of the values, of schedule-free algorithms the average of
        where they were; of all others, and of parameters without a step, it is the value.
        """
        engine = self._engine
        if engine is None or not engine.stands(self):
            engine = self._made()
        found = dict(engine.evaluated())
        params = itertools.chain.from_iterable(group["params"] for group in self.param_groups)
        return [found[p] if p in found else p.detach().clone() for p in params]

    def state_dict(self) -> dict[str, Any]:
        """The state as a dict, as torch.optim has it: torch's optimizer of the name loads it, and prodigyopt's Prodigy."""
        out = super().state_dict()
        out["state"] = {k: plain(v) for k, v in out["state"].items()}
        return _prodigy.to_authors(out) if self._algorithm == "Prodigy" else out

    def _check_steps(self, d: dict[str, Any]) -> None:
        """Raises the ValueError of a parameter whose saved state has what steps have made, and not how many. Torch's SGD counts none."""
        if self._algorithm == "SGD":
            return
        for i, (saved, group) in enumerate(zip(d["param_groups"], self.param_groups)):
            for j, (k, p) in enumerate(zip(saved["params"], group["params"])):
                state = d["state"].get(k) or {}
                if "step" in state:
                    continue
                name = self._name(i, j)
                listed = slots(self._algorithm, group, self._hyper().numbers(group, p.dtype), p.dtype, [name]) if state else ()
                made = [slot["name"] for slot in listed if slot["name"] in state and not slot.get("given")]
                if made:
                    raise ValueError(f"state step of parameter {name} is missing, which has {', '.join(made)}")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a dict of state_dict's, or of torch's optimizer of the name.

        State stays in the types that it has there, where they are the group's: torch casts all
        state to its parameter's.
        """
        given: dict[str, Any] = {}

        def before(_: Any, d: dict[str, Any]) -> dict[str, Any]:
            if self._algorithm == "Prodigy":
                d = _prodigy.from_authors(d)
            self._check_steps(d)
            given.update(d)
            return d

        def after(_: Any) -> None:
            saved = itertools.chain.from_iterable(group["params"] for group in given["param_groups"])
            here = itertools.chain.from_iterable(group["params"] for group in self.param_groups)
            for k, p in zip(saved, here):
                for name, x in (given["state"].get(k) or {}).items():
                    if isinstance(x, Tensor) and x.dtype != self.state[p][name].dtype:
                        self.state[p][name] = x.to(p.device)

        hooks = [self.register_load_state_dict_pre_hook(before), self.register_load_state_dict_post_hook(after, prepend=True)]
        try:
            super().load_state_dict(state_dict)
        finally:
            for hook in hooks:
                hook.remove()

    def __getstate__(self) -> dict[str, Any]:
        state = defaultdict(dict, {k: plain(v) for k, v in self.state.items()})
        return {**super().__getstate__(), "state": state, **{name: getattr(self, name) for name in CLIPS}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("_engine", None)
        self.__dict__.setdefault("_captured", [])
        self._drop()  # it is also load_state_dict's
        for group in self.param_groups:
            for name, x in self.defaults.items():
                group.setdefault(name, x)

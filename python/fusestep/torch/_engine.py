"""The library's optimizer behind a torch.optim.Optimizer: its groups, tables of addresses and counters, as long as nothing changes."""

from __future__ import annotations

import array
import ctypes
import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from .. import _library
from . import _collect
from ._state import Note, NotedDict, noted, state_of

if TYPE_CHECKING:
    from ._optimizer import Optimizer

NAMES = {
    torch.float32: "f32",
    torch.float64: "f64",
    torch.bfloat16: "bf16",
    torch.float16: "f16",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.complex64: "f32",
    torch.complex128: "f64",
}
TYPES = {name: dtype for dtype, name in NAMES.items() if not dtype.is_complex}

# Counters that are state of their own: torch's, of the type of step, and those that do not follow from step, in float64. A number that a tensor has
# once is one.
KEPT = {
    "NAdam": ("mu_product",),
    "ASGD": ("eta", "mu"),
    "NovoGrad": ("exp_avg_sq",),
    "ScheduleFreeSGD": ("lr_max", "weight_sum"),
    "ScheduleFreeAdamW": ("lr_max", "weight_sum"),
}
_OF_TORCH = ("NAdam", "ASGD")

# Counters that are powers of betas.
POWERS = ("beta1_power", "beta2_power", "beta3_power")


OPTIONS = ("state_dtype", "master", "stochastic_rounding", "seed", "ema_decay")


def number(x: Any) -> float:
    """A hyperparameter as a number."""
    return float(x)


class Hyperparameters:
    """How a group's values become the library's numbers."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.places: list[tuple[str, int | None]] = []
        for name in _library.algorithms()[algorithm]["hyper"]:
            key, _, index = name.partition("[")
            self.places.append((key, int(index[:-1]) if index else None))
        self.keys = list(dict.fromkeys(key for key, _ in self.places))

    def numbers(self, group: dict[str, Any]) -> array.array[float]:
        """The numbers of a group."""
        return array.array("d", [number(group[key] if i is None else group[key][i]) for key, i in self.places])


def _address(a: array.array[Any]) -> int:
    return a.buffer_info()[0]


def describe(group: dict[str, Any], names: Sequence[str], dtype: torch.dtype) -> dict[str, Any]:
    """A group's options, for the library."""
    options: dict[str, Any] = {"names": list(names)}
    master, state = group.get("master"), group.get("state_dtype")
    sixteen = dtype in (torch.bfloat16, torch.float16)
    if master is not None and sixteen:
        options["master"] = _name(master, "master")
    if isinstance(state, dict):
        options["state"] = {name: _name(t, f"state_dtype of {name}") for name, t in state.items()}
        state = None
    if state is None and sixteen and master is None:
        state = dtype
    if state is not None and (sixteen or dtype is torch.float32):
        options["all"] = _name(state, "state_dtype")
    if group.get("stochastic_rounding"):
        options["stochastic"], options["seed"] = True, group.get("seed", 0)
    if group.get("ema_decay") is not None:
        options["ema_decay"] = number(group["ema_decay"])
    return options


def _name(dtype: Any, what: str) -> str:
    if dtype not in NAMES:
        raise ValueError(f"Invalid {what} value: {dtype}")
    return NAMES[dtype]


def slots(
    algorithm: str, group: dict[str, Any], numbers: array.array[float], dtype: torch.dtype, names: Sequence[str]
) -> list[dict[str, Any]]:
    """The state that a group's tensors of a type have."""
    g = _library.Group(hyper=_address(numbers), options=json.dumps(describe(group, names, dtype)).encode())
    g.value_type = _library.TYPES[NAMES[dtype]]
    with refusals(group):
        return _library.slots(algorithm, g)


class refusals:
    """Says what the library refuses of a group as torch does."""

    def __init__(self, group: dict[str, Any]) -> None:
        self.group = group

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, _library.HyperparameterError):
            refuse(self.group, str(error))


_REFUSAL = re.compile(r"(\w+)(?:\[(\d)\])? is (?:on, which needs|\S+, must be) (.*)$")


def refuse(group: dict[str, Any], text: str) -> NoReturn:
    """Raises the ValueError of a hyperparameter that is out of range, in torch's words before the library's."""
    found = _REFUSAL.search(text)
    if not found or found[1] not in group:
        raise _library.HyperparameterError(text)
    name, index, value = found[1], found[2], group[found[1]]
    if found[3].endswith("with nesterov"):
        words = "Nesterov momentum requires a momentum and zero dampening"
    elif name == "lr":
        words = f"Invalid learning rate: {value}"
    elif name == "eps":
        words = f"Invalid epsilon value: {value}"
    elif name == "etas":
        words = f"Invalid eta values: {value[0]}, {value[1]}"
    elif name == "betas" and index:
        words = f"Invalid beta parameter at index {index}: {value[int(index)]}"
    else:
        words = f"Invalid {name} value: {value}"
    raise _library.HyperparameterError(f"{words} ({text})") from None


class _Part:
    """A group of the library: the parameters of a group of torch's that have one type."""

    def __init__(self, group: dict[str, Any], dtype: torch.dtype, gradient: torch.dtype) -> None:
        self.group, self.dtype, self.gradient = group, dtype, gradient
        self.params: list[Tensor] = []
        self.names: list[str] = []
        self.states: list[list[Tensor | None]] = []  # by row, then by parameter
        self.counts: dict[str, Tensor] = {}  # flat, by counter: state is their elements
        self.first = 0  # of its parameters within all

    def mask(self, of: Tensor) -> Tensor:
        """Its part of what is there of all parameters."""
        return of[self.first : self.first + len(self.params)]


class Engine:
    """Steps the parameters of an optimizer that have state. It holds good until its note is stale, or stands returns False."""

    def __init__(self, optimizer: Optimizer, old: Engine | None) -> None:
        self.handle = 0
        self.note = Note()
        self.algorithm = optimizer._algorithm_of_groups()
        self.hyper = Hyperparameters(self.algorithm)
        self.threads = torch.get_num_threads()
        self.counters: list[str] = _library.algorithms()[self.algorithm]["counters"]
        self.kept = KEPT.get(self.algorithm) or tuple(_library.algorithms()[self.algorithm].get("kept", ()))
        states = optimizer.state = noted(optimizer.state, self.note)
        self.states = states
        self.held = [(group, _collect.Same(group["params"])) for group in optimizer.param_groups]
        self.idle: list[Tensor] = []
        self.fresh: set[Tensor] = set()  # their momentum begins
        self.parts: list[_Part] = []
        self._divide(optimizer)
        rows = old.rows() if old is not None else {}
        self.params = [p for part in self.parts for p in part.params]
        self.distributed = any(_collect.plain(p) is not p for p in self.params)
        self.collect = _collect.Collector(self.params, [part.gradient for part in self.parts for _ in part.params])
        for part in self.parts:
            self._begin(part)
        handle = ctypes.c_uint64()
        _library.call("fs_new", _library.device(self.threads), self.algorithm.encode(), handle)
        self.handle = handle.value
        self.numbers = array.array("d")
        self._seen: list[Any] = []
        for part in self.parts:
            self._add(part)
        for i, part in enumerate(self.parts):
            self._count(i, part, rows)
        self._tables()
        self._counted = self._betas  # counters are powers of these
        if old is not None and old._counted != self._betas:
            self._recount()
        self.note.stale = False

    def _divide(self, optimizer: Optimizer) -> None:
        by: dict[tuple[int, torch.dtype, torch.dtype], _Part] = {}
        for i, group in enumerate(optimizer.param_groups):
            for j, p in enumerate(group["params"]):
                if p.grad is None and not self.states.get(p):
                    self.idle.append(p)
                    continue
                name = optimizer._name(i, j)
                check(p, name)
                gradient = p.dtype if p.grad is None else p.grad.dtype
                if p.grad is not None:
                    check_gradient(p, name)
                key = (i, p.dtype, gradient)
                if key not in by:
                    by[key] = _Part(group, p.dtype, gradient)
                by[key].params.append(p)
                by[key].names.append(name)
        self.parts = list(by.values())
        first = 0
        for part in self.parts:
            part.first = first
            first += len(part.params)

    def _begin(self, part: _Part) -> None:
        """Gives its parameters the state that they lack."""
        numbers = self.hyper.numbers(part.group)
        for slot in slots(self.algorithm, part.group, numbers, part.dtype, part.names):
            row: list[Tensor | None] = [None] * len(part.params)
            if slot["used"]:
                for i, p in enumerate(part.params):
                    state = state_of(self.states, p)
                    if slot["name"] == "momentum_buffer" and state.get(slot["name"]) is None:
                        self.fresh.add(p)
                    row[i] = begin(state, p, slot, part.names[i])
            part.states.append(row)

    def _add(self, part: _Part) -> None:
        n = len(part.params)
        numbers = self.hyper.numbers(part.group)
        self.numbers += numbers
        lengths = array.array("Q", [_collect.size(p) for p in part.params])
        values = array.array("Q", [_collect.plain(p).data_ptr() for p in part.params])
        rows = [array.array("Q", [0 if t is None else _collect.plain(t).data_ptr() for t in row]) for row in part.states]
        table = array.array("Q", [0 if all(t is None for t in row) else _address(a) for a, row in zip(rows, part.states)])
        group = _library.Group(
            n=n,
            lengths=_address(lengths),
            values=_address(values),
            hyper=_address(numbers),
            options=json.dumps(describe(part.group, part.names, part.dtype)).encode(),
            value_type=_library.TYPES[NAMES[part.dtype]],
            gradient_type=_library.TYPES[NAMES[part.gradient]],
            state=_address(table) if table else None,
        )
        with refusals(part.group):
            _library.call("fs_add_group", self.handle, group)

    def _count(self, i: int, part: _Part, rows: dict[Tensor, dict[str, float]]) -> None:
        """Lets a part's parameters go on from the steps that their state says."""
        nan = float("nan")
        keeps = keeps_step(self.algorithm, part.group)
        states = [state_of(self.states, p) if keeps else self.states.get(p, {}) for p in part.params]
        steps = [self._step_of(p, s, rows.get(p)) for s, p in zip(states, part.params)]
        table = []
        for p, s, step, name in zip(part.params, states, steps, part.names):
            row = rows.get(p)
            if row is None or row["step"] != step or any(not _same(s.get(k), row[k]) for k in self.kept):
                row = dict.fromkeys(self.counters, nan)
                if self.algorithm not in _OF_TORCH:
                    row.update((k, _once(s, k, name)) for k in self.kept if k in s)
            row["step"] = step
            if step == 0:
                row = dict.fromkeys(self.counters, nan)
            table.append(row)
        self._set(i, table)
        if self.algorithm in _OF_TORCH:  # torch rounds them: what rounds to its number is ours
            now = self._get(i, len(part.params))
            odd = [any(k in s and not _same(s[k], row[k]) for k in self.kept) for s, row in zip(states, now)]
            for s, row, is_odd in zip(states, now, odd):
                row.update((k, number(s[k]) if is_odd else nan) for k in self.kept if k in s)
            if any(odd):
                self._set(i, [row if is_odd else dict.fromkeys(self.counters, nan) for row, is_odd in zip(now, odd)])
        if keeps:
            dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
            part.counts["step"] = torch.tensor(steps, dtype=dtype)
            for k in self.kept:
                part.counts[k] = torch.zeros(len(steps), dtype=dtype if self.algorithm in _OF_TORCH else torch.float64)
            self._keep(i, part)
            for k, flat in part.counts.items():
                for s, element in zip(states, flat.unbind()):
                    s[k] = element

    def _step_of(self, p: Tensor, state: dict[str, Any], row: dict[str, float] | None) -> float:
        """How many steps a parameter has taken. State of torch's SGD has none: there is a momentum already, or it begins."""
        if "step" in state:
            return number(state["step"])
        if self.algorithm != "SGD" or p in self.fresh:
            return 0.0
        return max(row["step"] if row else 0.0, 1.0 if state.get("momentum_buffer") is not None else 0.0)

    def _refuse(self) -> None:
        """Raises the error of a group whose hyperparameters are out of range. It is looked for again in the next step."""
        stale, self.note.stale = self.note.stale, True
        for part in self.parts:
            slots(self.algorithm, part.group, self.hyper.numbers(part.group), part.dtype, part.names)
        self.note.stale = stale

    def _recount(self) -> None:
        """Makes the powers of betas those of the betas as they are now, as torch's are."""
        self._refuse()
        for i, part in enumerate(self.parts):
            table = self._get(i, len(part.params))
            powers = [(name, b) for b, name in enumerate(POWERS) if name in self.counters]
            betas = [number(b) for b in part.group.get("betas", ())]
            for row in table:
                row.update((name, betas[b] ** row["step"]) for name, b in powers if b < len(betas))
            self._set(i, table)
        self._counted = self._betas

    def _keep(self, i: int, part: _Part) -> None:
        """Brings what is kept of the counters to the state."""
        if self.kept:
            numbers = torch.tensor([[row[k] for k in self.kept] for row in self._get(i, len(part.params))], dtype=torch.float64)
            for j, k in enumerate(self.kept):
                part.counts[k].copy_(numbers[:, j])

    def _get(self, i: int, n: int) -> list[dict[str, float]]:
        out = array.array("d", bytes(8 * n * len(self.counters)))
        _library.call("fs_counters", self.handle, i, _address(out))
        width = len(self.counters)
        return [dict(zip(self.counters, out[j * width : (j + 1) * width])) for j in range(n)]

    def _set(self, i: int, table: list[dict[str, float]]) -> None:
        numbers = array.array("d", [row[k] for row in table for k in self.counters])
        with refusals(self.parts[i].group):
            _library.call("fs_set_counters", self.handle, i, _address(numbers))

    def rows(self) -> dict[Tensor, dict[str, float]]:
        """What all parameters have counted."""
        if not self.handle:
            return {}
        return {p: row for i, part in enumerate(self.parts) for p, row in zip(part.params, self._get(i, len(part.params)))}

    def _tables(self) -> None:
        values, gradients, table = self.collect.values.data_ptr(), self.collect.gradients.data_ptr(), []
        for part in self.parts:
            table += [values + 8 * part.first, gradients + 8 * part.first] + [0] * len(part.states)
        self._rows = array.array("Q", table)
        self._skipped = ctypes.c_int()
        self.norm = ctypes.c_double()
        self._err = ctypes.create_string_buffer(_library.ERROR_LENGTH)
        self._args = _library.Args(
            rows=_address(self._rows), skipped=ctypes.addressof(self._skipped), grad_norm=ctypes.addressof(self.norm)
        )
        self._call = _library.library().fs_step
        self._at = ctypes.addressof(self._args)
        self._error = ctypes.addressof(self._err)
        self._flats = [(part, part.counts["step"]) for part in self.parts if "step" in part.counts]
        self._versions = sum(flat._version for _, flat in self._flats)
        self._see()

    def _see(self) -> None:
        """Remembers the hyperparameters as they are."""
        self._seen = [[group[key] for key in self.hyper.keys] for group, _ in self.held]
        self._mutable = any(
            isinstance(x, (Tensor, list)) or isinstance(x, tuple) and any(isinstance(y, Tensor) for y in x)
            for values in self._seen
            for x in values
        )
        self._options = self._structure()
        self._betas = [[number(b) for b in group.get("betas", ())] for group, _ in self.held]

    def _structure(self) -> list[Any]:
        """What compiled steps and state depend on, beside what is on or off."""
        return [[group.get(k) for k in OPTIONS] for group, _ in self.held]

    def stands(self, optimizer: Optimizer) -> bool:
        """Whether the optimizer's groups, state and parameters are those that the engine was made for."""
        if (
            self.note.stale
            or optimizer.state is not self.states
            or len(optimizer.param_groups) != len(self.held)
            or torch.get_num_threads() != self.threads
            or sum(flat._version for _, flat in self._flats) != self._versions
        ):
            return False
        if any(group is not held or not same(group["params"]) for group, (held, same) in zip(optimizer.param_groups, self.held)):
            return False
        if any(p.grad is not None for p in self.idle):
            return False
        return self._current(optimizer)

    def _current(self, optimizer: Optimizer) -> bool:
        """Takes over hyperparameters that have changed, and says whether the engine can go on with them."""
        now = [[group[key] for key in self.hyper.keys] for group, _ in self.held]
        self._args.hyper = None
        if not self._mutable and all(a is b or a == b for x, y in zip(now, self._seen) for a, b in zip(x, y)):
            return self._structure() == self._options
        numbers = array.array("d")
        for part in self.parts:
            numbers += self.hyper.numbers(part.group)
        on = [x != 0 for x in numbers] == [x != 0 for x in self.numbers]
        self.numbers = numbers
        options = self._options
        self._see()
        if not on or options != self._options or self.algorithm != optimizer._algorithm_of_groups():
            return False
        if self._counted != self._betas:
            self._recount()
        self._args.hyper = _address(numbers)
        return True

    def step(self, optimizer: Optimizer) -> bool:
        """Takes a step. It returns False, and has done nothing, where parameters or gradients are other than the engine was made for."""
        with self.collect as collect:
            try:
                none = collect()
            except (RuntimeError, BufferError):  # DLPack has no words for a tensor
                return False
            return none >= 0 and self._step(optimizer, none)

    def _step(self, optimizer: Optimizer, none: int) -> bool:
        """Takes the step of what was collected, of which so many gradients are None."""
        if none == len(self.params):
            return True
        args = self._args
        args.mask = self.collect.mask.data_ptr() if none or self.collect.empty else None
        args.max_norm, args.max_tensor_norm = optimizer.max_norm or 0.0, optimizer.max_tensor_norm or 0.0
        if self.distributed:
            self._whole(optimizer)
        scale, found_inf = optimizer.__dict__.get("grad_scale"), optimizer.__dict__.get("found_inf")
        if scale is not None:
            scale = scale.to("cpu", torch.float32)
        if found_inf is not None:
            found_inf = found_inf.to("cpu", torch.float32)
        args.grad_scale = None if scale is None else scale.data_ptr()
        args.found_inf = None if found_inf is None else found_inf.data_ptr()
        code = self._call(self.handle, self._at, self._error, _library.ERROR_LENGTH)
        if code:
            error = _library.failure(code, self._err.value.decode(errors="replace"))
            if isinstance(error, _library.HyperparameterError):
                self._refuse()
            raise error
        if self._skipped.value:
            return True
        moved = [p for p in self.params if p.grad is not None] if none else self.params
        torch._C._increment_version(moved)
        if self.distributed:
            torch._C._increment_version([_collect.plain(p) for p in moved])
        for part, flat in self._flats:
            _collect.count(flat, part.mask(self.collect.mask) if none else None)
        for i, part in enumerate(self.parts):
            if self.kept:
                self._keep(i, part)
        self._versions = sum(flat._version for _, flat in self._flats)
        return True

    def _whole(self, optimizer: Optimizer) -> None:
        """Raises the error of what needs whole tensors, where a process has its own shards alone."""
        for name in ("max_norm", "max_tensor_norm"):
            if getattr(optimizer, name):
                raise ValueError(
                    f"{name} of distributed tensors: a process has its own shards alone, whose norm is not that of gradients. "
                    "Use torch.nn.utils.clip_grad_norm_"
                )
        if _library.algorithms()[self.algorithm]["tensors"]:
            raise ValueError(
                f"{type(optimizer).__name__} steps by sums over whole tensors, and of distributed tensors a process has its own shards alone"
            )

    def evaluated(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The parameters, and what is to be evaluated for them."""
        for i, part in enumerate(self.parts):
            out = [torch.empty_like(p, memory_format=torch.preserve_format) for p in part.params]
            to = array.array("Q", [_collect.plain(t).data_ptr() for t in out])
            _library.call("fs_eval", self.handle, i, _address(to))
            yield from zip(part.params, out)

    def __del__(self) -> None:
        if getattr(self, "handle", 0):
            handle, self.handle = self.handle, 0
            try:
                _library.call("fs_free", handle)
            except (TypeError, AttributeError):  # Python is about to end
                pass


def keeps_step(algorithm: str, group: dict[str, Any]) -> bool:
    """Whether state has a step: torch's SGD has none. The noise is one of the step, too."""
    return algorithm != "SGD" or bool(group.get("stochastic_rounding")) or group.get("ema_decay") is not None


def _once(state: dict[str, Any], name: str, of: str) -> float:
    """State that a parameter has once, as a number."""
    x = state[name]
    if isinstance(x, Tensor) and x.numel() != 1:
        raise ValueError(f"state {name} of parameter {of} has shape {tuple(x.shape)}, must be one number")
    return number(x)


def _same(kept: Any, counted: float) -> bool:
    """Whether a counter, rounded as the state's, is it."""
    return isinstance(kept, Tensor) and bool(kept == torch.tensor(counted, dtype=torch.float64).to(kept.dtype))


def check(p: Tensor, name: str) -> None:
    """Raises the TypeError of a parameter that a step cannot work with."""
    if not _collect.supported(p):
        raise TypeError(
            f"parameter {name} is {_collect.place(p)}: fusestep.torch steps dense tensors of float32, float64, bfloat16, "
            "float16, complex64 and complex128 on the CPU"
        )


def check_gradient(p: Tensor, name: str) -> None:
    """Raises the TypeError of a gradient that does not fit its parameter."""
    g = p.grad
    assert g is not None
    fits = g.layout is torch.strided and _collect.supported(g) and _collect.alike(_collect.plain(g), _collect.plain(p))
    if not fits or g.dtype.is_complex != p.dtype.is_complex or getattr(g, "placements", 0) != getattr(p, "placements", 0):
        raise TypeError(f"the gradient of parameter {name} is {_collect.place(g)}, must have the layout of the parameter, {_collect.place(p)}")


def begin(state: NotedDict, p: Tensor, slot: dict[str, Any], name: str) -> Tensor:
    """A parameter's state of a name, of the slot's type and the parameter's layout. What is not there yet starts."""
    dtype = TYPES[slot["type"]]
    if p.is_complex():
        dtype = p.dtype
    t = state.get(slot["name"])
    if t is None:
        t = state[slot["name"]] = torch.full_like(
            p, slot["start"] or 0, dtype=dtype, memory_format=torch.preserve_format, requires_grad=False
        )
        if p.is_complex() and slot["start"]:
            torch.view_as_real(t).fill_(slot["start"])
        return t
    if not isinstance(t, Tensor) or t.shape != p.shape:
        raise ValueError(f"state {slot['name']} of parameter {name} has shape {tuple(getattr(t, 'shape', ()))}, must have {tuple(p.shape)}")
    local = _collect.plain(t)
    if t.dtype != dtype or local.device.type != "cpu" or not _collect.alike(local, _collect.plain(p)):
        new = torch.empty_like(p, dtype=dtype, memory_format=torch.preserve_format, requires_grad=False)
        new.copy_(t)
        t = state[slot["name"]] = new
    return t

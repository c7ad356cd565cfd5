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
from . import _collect, _cuda
from ._matrix import line, rows_of, units_of
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
    "Prodigy": ("d", "d_max", "d_numerator"),
    "ScheduleFreeSGD": ("lr_max", "weight_sum"),
    "ScheduleFreeAdamW": ("lr_max", "weight_sum"),
}
_OF_TORCH = ("NAdam", "ASGD")

# A mean of squares, where it is one of them.
MEAN_OF_SQUARES = "exp_avg_sq"

# State of what is done around a rule, which may be turned on late.
AROUND = ("ema", "master", "remainder")

# Counters that are powers of betas.
POWERS = ("beta1_power", "beta2_power", "beta3_power")


CLIPS = ("max_norm", "max_tensor_norm", "adaptive_clip", "adaptive_eps")
OPTIONS = ("state_dtype", "master", "stochastic_rounding", "seed", "ema_decay", "rows", "capturable")


def number(x: Any) -> float:
    """A hyperparameter as a number, for which this waits where it is on a GPU."""
    return float(x.detach().cpu() if _cuda.on_gpu(x) else x)


class Hyperparameters:
    """How a group's values become the library's numbers."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.places: list[tuple[str, int | None]] = []
        for name in _library.algorithms()[algorithm]["hyper"]:
            key, _, index = name.partition("[")
            self.places.append((key, int(index[:-1]) if index else None))
        self.keys = list(dict.fromkeys(key for key, _ in self.places))
        self.rate = self.places.index(("lr", None)) if ("lr", None) in self.places else -1  # which turns nothing on or off
        self._rates: dict[int, float] = {}  # by group: a learning rate that is on a GPU, as it was when something last waited for it

    def numbers(self, group: dict[str, Any], dtype: torch.dtype) -> array.array[float]:
        """The numbers of a group, for parameters of a type. For a learning rate on a GPU it waits, but in a capture, which reads it there."""
        for key in self.keys:
            for x in group[key] if isinstance(group[key], (tuple, list)) else (group[key],):
                if isinstance(x, Tensor) and x.device.type != "cpu" and not (key == "lr" and group.get("capturable") and _cuda.on_gpu(x)):
                    but = ", or capturable True" if key == "lr" and not group.get("capturable") else ""
                    raise ValueError(f"{key} is a tensor on {x.device}, for which each step would have to wait: it must be a number or on the CPU{but}")
        values = [group[key] if i is None else group[key][i] for key, i in self.places]
        if self.algorithm == "Adafactor" and group["eps"][0] is None:  # torch's epsilon of the type
            least = torch.finfo(torch.float32 if group.get("master") is not None else dtype).eps
            values[self.places.index(("eps", 0))] = 0.0 if number(group["eps_square"]) else least
        if self.algorithm == "Prodigy":
            beta3, growth = self.places.index(("beta3", None)), self.places.index(("growth_rate", None))
            values[beta3] = 0.0 if values[beta3] is None else values[beta3]
            values[growth] = 0.0 if values[growth] == float("inf") else values[growth]
        return array.array("d", [self._rate(group, x) if _cuda.on_gpu(x) else number(x) for x in values])

    def _rate(self, group: dict[str, Any], lr: Tensor) -> float:
        """A learning rate that is on a GPU."""
        if not _cuda.capturing(lr.device.index or 0):
            self._rates[id(group)] = number(lr)
        return self._rates.get(id(group), 0.0)


def check_capturable(algorithm: str, group: dict[str, Any]) -> None:
    """Raises the ValueError of steps that cannot be captured."""
    kept = kept_counters(algorithm)
    if group.get("capturable") and kept:
        raise ValueError(
            f"capturable must be False: replays of a CUDA graph would not bring {', '.join(kept)} to {algorithm}'s state, which has that on the CPU"
        )


def kept_counters(algorithm: str) -> tuple[str, ...]:
    """Counters that are state of their own."""
    return KEPT.get(algorithm) or tuple(_library.algorithms()[algorithm].get("kept", ()))


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
    algorithm: str, group: dict[str, Any], numbers: array.array[float], dtype: torch.dtype, names: Sequence[str], matrix: bool = False
) -> list[dict[str, Any]]:
    """The state that a group's tensors of a type have, matrices or others."""
    rows = array.array("Q", [matrix])
    g = _library.Group(n=1, hyper=_address(numbers), options=json.dumps(describe(group, names, dtype)).encode(), matrix_rows=_address(rows))
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
    elif "adafactor: " in text and (of_torch := _adafactor(name, index, value)):
        words = of_torch
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


def _adafactor(name: str, index: str | None, value: Any) -> str:
    """Torch's words where its Adafactor refuses a value, too."""
    x = number(value[int(index)] if index else value)
    what, fits = {
        "lr": ("Learning rate should be >= 0", x >= 0),
        "beta2_decay": ("beta2_decay should be <= 0", x <= 0),
        "eps": (f"epsilon{int(index or 0) + 1} should be >= 0", x >= 0),
        "d": ("Clipping threshold d should be >= 1", x >= 1),
        "weight_decay": ("weight_decay should be >= 0", x >= 0),
    }.get(name, ("", True))
    return "" if fits else f"{what} but is: {x}"


class _Part:
    """A group of the library: the parameters of a group of torch's that have one type, and are matrices to the algorithm or are not."""

    def __init__(self, group: dict[str, Any], dtype: torch.dtype, gradient: torch.dtype) -> None:
        self.group, self.dtype, self.gradient = group, dtype, gradient
        self.params: list[Tensor] = []
        self.names: list[str] = []
        self.rows: list[int] = []  # of matrices, 0 of other parameters: all are one or the other
        self.matrices: list[int] = []  # that the rows are of
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
        self.kept = kept_counters(self.algorithm)
        self.captured = False  # a step was
        states = optimizer.state = noted(optimizer.state, self.note)
        self.states = states
        self.held = [(group, _collect.Same(group["params"])) for group in optimizer.param_groups]
        self.idle: list[Tensor] = []
        self.fresh: set[Tensor] = set()  # their momentum begins
        self.parts: list[_Part] = []
        self._divide(optimizer)
        scaled = self.gpu is not None and _cuda.scales(optimizer)
        self.capturable = all(group.get("capturable") for group in optimizer.param_groups)
        for group in optimizer.param_groups:
            check_capturable(self.algorithm, group)
        self.counts_on_gpu = scaled or self.capturable or old is not None and old.counts_on_gpu
        rows = old.rows() if old is not None else {}
        self.params = [p for part in self.parts for p in part.params]
        self.sharded = any(map(sharded, self.params))
        self.collect = _collect.Collector(self.params, [part.gradient for part in self.parts for _ in part.params])
        for part in self.parts:
            self._look(part, rows)
        self._look_together()
        for part in self.parts:
            self._begin(part)
        handle = ctypes.c_uint64()
        device = _library.device(self.threads, _collect.lent()) if self.gpu is None else _cuda.device(self.gpu.index)
        _library.call("fs_new", device, self.algorithm.encode(), handle)
        self.handle = handle.value
        if self.gpu is not None:
            self.gpu.use_stream(self.handle)
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
        by: dict[tuple[int, torch.dtype, torch.dtype, bool], _Part] = {}
        lines = _library.algorithms()[self.algorithm]["matrix"]
        self.adaptive = optimizer.adaptive_clip is not None
        self.gpu: _cuda.OnGPU | None = None
        first: tuple[Tensor, str] | None = None
        for i, group in enumerate(optimizer.param_groups):
            for j, p in enumerate(group["params"]):
                if p.grad is None and not self.states.get(p):
                    self.idle.append(p)
                    continue
                name = optimizer._name(i, j)
                check(p, name)
                if first is None:
                    first = p, name
                    if p.device.type != "cuda" and any(group.get("capturable") for group in optimizer.param_groups):
                        raise TypeError(f"parameter {name} is on {p.device}, and capturable is True: only steps on a GPU can be captured")
                    if p.device.type == "cuda":
                        _cuda.open_device(p, name)
                        _cuda.wait(p.device.index)
                        self.gpu = _cuda.OnGPU(p.device)
                elif p.device != first[0].device:
                    raise TypeError(
                        f"parameter {name} is on {p.device}, and parameter {first[1]} on {first[0].device}: an optimizer of fusestep.torch steps "
                        "the parameters of one device. Make one for each"
                    )
                gradient = p.dtype if p.grad is None else p.grad.dtype
                if p.grad is not None:
                    check_gradient(p, name)
                if lines:
                    rows, matrices = rows_of(p, group.get("rows"), name, type(optimizer).__name__)
                else:
                    rows, matrices = units_of(p, name) if self.adaptive else 0, 1
                key = (i, p.dtype, gradient, rows > 0)
                if key not in by:
                    by[key] = _Part(group, p.dtype, gradient)
                by[key].params.append(p)
                by[key].names.append(name)
                by[key].rows.append(rows)
                by[key].matrices.append(matrices)
        self.parts = list(by.values())
        at = 0
        for part in self.parts:
            part.first = at
            at += len(part.params)

    def _look(self, part: _Part, rows: dict[Tensor, dict[str, float]]) -> None:
        """Raises the ValueError of a parameter that has taken steps, and whose state lacks what they have made, or has a number that they cannot make."""
        needed = self._lasting(part)
        for p, name in zip(part.params, part.names):
            state = self.states.get(p, {})
            if not (number(state.get("step", 0)) > 0):
                continue
            counted = rows.get(p, {})
            lacks = [k for k in needed if state.get(k) is None] + [k for k in self.kept if k not in state and k not in counted]
            if lacks:
                raise ValueError(
                    f"state {', '.join(lacks)} of parameter {name} is missing, which has taken {number(state['step']):g} steps. "
                    "State of an option that is turned on late begins then, all other at step 0"
                )
            if MEAN_OF_SQUARES in self.kept and MEAN_OF_SQUARES in state and not (x := _once(state, MEAN_OF_SQUARES, name)) >= 0:
                raise ValueError(f"state {MEAN_OF_SQUARES} of parameter {name} is {x}, must be 0 or more")

    def _look_together(self) -> None:
        """Raises the ValueError of a parameter with another number than others of what all have together."""
        first: dict[str, tuple[float, str]] = {}
        for p, name in ((p, name) for part in self.parts for p, name in zip(part.params, part.names) if self.algorithm == "Prodigy"):
            for k in self.kept:
                if k in (state := self.states.get(p, {})):
                    x, other = first.setdefault(k, (_once(state, k, name), name))
                    if _once(state, k, name) != x:
                        raise ValueError(f"state {k} of parameter {name} is {_once(state, k, name)}, and of parameter {other} {x}: all parameters have one {k}")

    def _lasting(self, part: _Part) -> list[str]:
        """The state of elements that a group's parameters have whatever its options are. What an option asks for begins where that is turned on."""
        arguments = _library.algorithms()[self.algorithm]["arguments"]
        off: dict[str, Any] = {a["name"]: False for a in arguments if a["type"] == "bool"}
        if "momentum" in part.group:
            off["momentum"] = 0.0
        if self.algorithm == "Adafactor":
            off["beta1"] = 0.0
        group = {**part.group, **off}

        def used(group: dict[str, Any]) -> list[str]:
            numbers = self.hyper.numbers(group, part.dtype)
            here = slots(self.algorithm, group, numbers, part.dtype, part.names, part.rows[0] > 0)
            return [slot["name"] for slot in here if slot["used"] and slot["name"] not in AROUND]

        now = used(part.group)
        try:
            without = used(group)
        except _library.HyperparameterError:  # it does not do without momentum
            without = now
        return [name for name in now if name in without]

    def _begin(self, part: _Part) -> None:
        """Gives its parameters the state that they lack."""
        numbers = self.hyper.numbers(part.group, part.dtype)
        for slot in slots(self.algorithm, part.group, numbers, part.dtype, part.names, part.rows[0] > 0):
            row: list[Tensor | None] = [None] * len(part.params)
            if slot["used"]:
                for i, p in enumerate(part.params):
                    state = state_of(self.states, p)
                    if slot["name"] == "momentum_buffer" and state.get(slot["name"]) is None:
                        self.fresh.add(p)
                    row[i] = begin(state, p, slot, part.names[i], part.group.get("rows"))
            part.states.append(row)

    def _add(self, part: _Part) -> None:
        n = len(part.params)
        numbers = self.hyper.numbers(part.group, part.dtype)
        matrix_rows, matrices = array.array("Q", part.rows), array.array("Q", part.matrices)
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
            matrix_rows=_address(matrix_rows),
            matrices=_address(matrices),
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
            flat = torch.tensor(steps, dtype=dtype, device="cpu")
            part.counts["step"] = flat.to(self.gpu.device) if self.gpu is not None and self.counts_on_gpu else flat
            for k in self.kept:
                part.counts[k] = torch.zeros(len(steps), dtype=dtype if self.algorithm in _OF_TORCH else torch.float64, device="cpu")
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
            slots(self.algorithm, part.group, self.hyper.numbers(part.group, part.dtype), part.dtype, part.names)
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
            numbers = torch.tensor([[row[k] for k in self.kept] for row in self._get(i, len(part.params))], dtype=torch.float64, device="cpu")
            for j, k in enumerate(self.kept):
                part.counts[k].copy_(numbers[:, j])

    def _get(self, i: int, n: int) -> list[dict[str, float]]:
        out = array.array("d", bytes(8 * n * len(self.counters)))
        if self.gpu is not None:
            self.gpu.use_stream(self.handle)
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
        self._args = _library.Args(rows=_address(self._rows))
        self._clips: tuple[float | None, ...] = ()
        if self.gpu is None:  # a GPU is not waited for
            self._args.skipped, self._args.grad_norm = ctypes.addressof(self._skipped), ctypes.addressof(self.norm)
        self._call, self._capture = _library.library().fs_step, _library.library().fs_capture
        self._at = ctypes.addressof(self._args)
        self._error = ctypes.addressof(self._err)
        self._flats = [(part, part.counts["step"]) for part in self.parts if "step" in part.counts]
        self._writes = bool(self.kept) or self.gpu is not None or not self.collect.silent
        self._versions = self._written()
        if self.gpu is None:
            self.collect.counts([(flat, part.first) for part, flat in self._flats])
        self._see()

    def _see(self) -> None:
        """Remembers the hyperparameters as they are."""
        self._seen = self._values()
        self._mutable = any(
            isinstance(x, (Tensor, list)) or isinstance(x, tuple) and any(isinstance(y, Tensor) for y in x)
            for values in self._seen
            for x in values
        )
        self._options = self._structure()
        self._betas = [[number(b) for b in group.get("betas", ())] for group, _ in self.held]

    def _values(self) -> list[list[Any]]:
        """The hyperparameters of each group."""
        return [[*map(group.__getitem__, self.hyper.keys)] for group, _ in self.held]

    def _structure(self) -> list[list[Any]]:
        """What compiled steps and state depend on, beside what is on or off."""
        return [[*map(group.get, OPTIONS)] for group, _ in self.held]

    def stands(self, optimizer: Optimizer) -> bool:
        """Whether the optimizer's groups, state and parameters are those that the engine was made for."""
        if (
            self.note.stale
            or optimizer.state is not self.states
            or len(optimizer.param_groups) != len(self.held)
            or self.gpu is None and torch.get_num_threads() != self.threads
            or self._written() != self._versions
        ):
            return False
        for group, (held, same) in zip(optimizer.param_groups, self.held):
            if group is not held or not same(group["params"]):
                return False
        for p in self.idle:
            if p.grad is not None:
                return False
        return self._current(optimizer)

    def _written(self) -> int:
        """How many times counters of the state were written to."""
        times = 0
        for _, flat in self._flats:
            times += flat._version
        return times

    def _current(self, optimizer: Optimizer) -> bool:
        """Takes over hyperparameters that have changed, and says whether the engine can go on with them."""
        self._args.hyper = None
        if not self._mutable and self._values() == self._seen:
            return self._structure() == self._options
        numbers = array.array("d")
        for part in self.parts:
            numbers += self.hyper.numbers(part.group, part.dtype)
        width = len(self.hyper.places)
        on = all((x != 0) == (y != 0) for i, (x, y) in enumerate(zip(numbers, self.numbers)) if i % width != self.hyper.rate)
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
        try:
            none = self.collect()
            return none >= 0 and self._step(optimizer, none)
        finally:
            self.collect.let_go()

    def _step(self, optimizer: Optimizer, none: int) -> bool:
        """Takes the step of what was collected, of which so many gradients are None."""
        if none == len(self.params):
            return True
        args = self._args
        args.mask = self.collect.mask.data_ptr() if none or self.collect.empty else None
        if (optimizer.adaptive_clip is not None) != self.adaptive:
            return False
        clips = optimizer.max_norm, optimizer.max_tensor_norm, optimizer.adaptive_clip, optimizer.adaptive_eps
        if clips != self._clips:
            args.max_norm, args.max_tensor_norm, args.adaptive_clip, args.adaptive_eps = (x or 0.0 for x in clips)
            self._clips = clips
        if self.sharded:
            self._whole(optimizer)
        scale, found_inf = optimizer.__dict__.get("grad_scale"), optimizer.__dict__.get("found_inf")
        if self.gpu is not None:
            if not self.counts_on_gpu and _cuda.scales(optimizer):
                return False  # only the GPU will know which steps are skipped
            self.gpu.use_stream(self.handle)
            scale, found_inf = self.gpu.number(scale), self.gpu.number(found_inf)
        else:
            scale = scale if scale is None else scale.to("cpu", torch.float32)
            found_inf = found_inf if found_inf is None else found_inf.to("cpu", torch.float32)
        args.grad_scale = None if scale is None else scale.data_ptr()
        args.found_inf = None if found_inf is None else found_inf.data_ptr()
        if self.gpu is not None and self.capturable and _cuda.capturing(self.gpu.index):
            return self._record(none, found_inf)
        try:
            code = self._call(self.handle, self._at, self._error, _library.ERROR_LENGTH)
            if not code and not self._skipped.value:
                self._count_step(none, found_inf)
        except BaseException:  # a signal's, as KeyboardInterrupt, which Python raises when the call has returned: the step is taken
            self._recall()
            raise
        if code:
            self._fail(code, _cuda.APART if self.captured else _cuda.NOT_CAPTURABLE)
        return True

    def _recall(self) -> None:
        """Brings what the library has counted to the state, where a step was interrupted that may not have been counted there."""
        self.collect.changed(False)
        for i, part in enumerate(self.parts):
            if "step" in part.counts:
                steps = [row["step"] for row in self._get(i, len(part.params))]
                flat = part.counts["step"]
                flat.add_(torch.tensor(steps, dtype=flat.dtype, device="cpu").to(flat.device) - flat)
            self._keep(i, part)
        self._versions = self._written()

    def _fail(self, code: int, capturing: str) -> NoReturn:
        """Raises the error of a step, which a text explains where it is one of captures."""
        error = _library.failure(code, self._err.value.decode(errors="replace"))
        if isinstance(error, _library.CapturingError):
            raise _library.CapturingError(f"{capturing} ({error})")
        if isinstance(error, _library.HyperparameterError):
            self._refuse()
        raise error

    def _record(self, none: int, found_inf: Tensor | None) -> bool:
        """Lets the step be captured, with all else that torch captures now."""
        assert self.gpu is not None
        args = self._args
        rates, at = self.gpu.rates(part.group for part in self.parts)
        args.lr = None if at is None else _address(at)
        code = self._capture(self.handle, self._at, self._error, _library.ERROR_LENGTH)
        args.lr = None
        if code:
            self._fail(code, _cuda.UNREADY)
        self.captured = True
        self._count_step(none, found_inf, captured=True)
        return True

    def _count_step(self, none: int, found_inf: Tensor | None, captured: bool = False) -> None:
        """Counts a step that was taken, or lets it be captured that each replay counts one."""
        if self.gpu is None:
            self.collect.taken(bool(none))
        else:
            self.collect.changed(bool(none))
            for part, flat in self._flats:
                self.gpu.count(flat, part.mask(self.collect.mask) if none else None, found_inf, captured)
        if self.kept:
            for i, part in enumerate(self.parts):
                self._keep(i, part)
        if self._writes:
            self._versions = self._written()

    def _whole(self, optimizer: Optimizer) -> None:
        """Raises the error of what needs whole tensors, where a process has its own shards alone."""
        for name in ("max_norm", "max_tensor_norm"):
            if getattr(optimizer, name):
                raise ValueError(
                    f"{name} of sharded tensors: a process has its own shards alone, whose norm is not that of gradients. "
                    "Use torch.nn.utils.clip_grad_norm_"
                )
        if self.adaptive:
            raise ValueError(
                f"adaptive_clip of sharded tensors: of one, as parameter {self._first_sharded()}, a process has its own shards alone, "
                "whose norms are not those of the tensor's units"
            )
        if _library.algorithms()[self.algorithm]["tensors"]:
            raise ValueError(
                f"{type(optimizer).__name__} steps by sums over whole tensors, and of a sharded one, as parameter {self._first_sharded()}, "
                "a process has its own shards alone"
            )

    def _first_sharded(self) -> str:
        return next(name for part in self.parts for name, p in zip(part.names, part.params) if sharded(p))

    def evaluated(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The parameters, and what is to be evaluated for them."""
        if self.gpu is not None:
            self.gpu.use_stream(self.handle)
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
    return isinstance(kept, Tensor) and bool(kept == torch.tensor(counted, dtype=torch.float64, device="cpu").to(kept.dtype))


def sharded(p: Tensor) -> bool:
    """Whether a process has a part of a distributed tensor alone."""
    return any(not x.is_replicate() for x in getattr(p, "placements", ()))


def check(p: Tensor, name: str) -> None:
    """Raises the TypeError of a parameter that a step cannot work with."""
    if not _collect.supported(p):
        raise TypeError(
            f"parameter {name} is {_collect.place(p)}: fusestep.torch steps dense tensors of float32, float64, bfloat16, "
            "float16, complex64 and complex128 on the CPU or a GPU of CUDA"
        )
    if _collect.lazy(p):
        raise TypeError(f"parameter {name} is a view that negates or conjugates what is in memory, which a step cannot write")
    if _collect.gone(p):
        raise TypeError(f"parameter {name} has no memory: its storage was resized to 0 bytes")


def check_gradient(p: Tensor, name: str) -> None:
    """Raises the TypeError of a gradient that does not fit its parameter."""
    g = p.grad
    assert g is not None
    fits = g.layout is torch.strided and _collect.supported(g) and _collect.alike(_collect.plain(g), _collect.plain(p))
    if not fits or g.dtype.is_complex != p.dtype.is_complex or getattr(g, "placements", 0) != getattr(p, "placements", 0):
        raise TypeError(f"the gradient of parameter {name} is {_collect.place(g)}, must have the layout of the parameter, {_collect.place(p)}")
    if _collect.gone(g):
        raise TypeError(f"the gradient of parameter {name} has no memory: its storage was resized to 0 bytes")


def begin(state: NotedDict, p: Tensor, slot: dict[str, Any], name: str, rows: int | None = None) -> Tensor:
    """A parameter's state of a name, of the slot's type and the parameter's layout, or of a number for each of its rows or columns, where its group
    says rows. What is not there yet starts."""
    dtype = TYPES[slot["type"]]
    like = p if slot["of"] == "elements" else line(p, slot["of"], rows)
    if p.is_complex():
        dtype = p.dtype
    t = state.get(slot["name"])
    if t is None:
        t = state[slot["name"]] = torch.full_like(
            like, slot["start"] or 0, dtype=dtype, memory_format=torch.preserve_format, requires_grad=False
        )
        if slot["name"] == "ema" and number(state.get("step", 0)) > 0:  # what averages from the first step on begins with the value behind that
            t.copy_(p)
        if p.is_complex() and slot["start"]:
            torch.view_as_real(t).fill_(slot["start"])
        return t
    if not isinstance(t, Tensor) or t.shape != like.shape:
        raise ValueError(f"state {slot['name']} of parameter {name} has shape {tuple(getattr(t, 'shape', ()))}, must have {tuple(like.shape)}")
    local = _collect.plain(t)
    if t.dtype != dtype or local.device != _collect.plain(p).device or not _collect.alike(local, _collect.plain(like)):
        new = torch.empty_like(like, dtype=dtype, memory_format=torch.preserve_format, requires_grad=False)
        new.copy_(t)
        t = state[slot["name"]] = new
    return t

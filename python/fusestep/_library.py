"""The C library, by ctypes. capi/fusestep.h says what its functions do."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import pathlib
from ctypes import POINTER, c_char_p, c_double, c_int, c_size_t, c_uint8, c_uint64, c_void_p
from typing import Any

FS_OK, FS_ARGUMENT, FS_HYPERPARAMETER, FS_TENSOR, FS_HANDLE, FS_FORKED, FS_STATE, FS_INTERNAL, FS_RULE, FS_UNAVAILABLE, FS_CAPTURING = range(11)
TYPES = {"f32": 1, "f64": 2, "bf16": 3, "f16": 4, "i16": 5, "i8": 6}


class HyperparameterError(ValueError):
    """A hyperparameter out of its range."""


class RuleError(ValueError):
    """A file that is no rule. The text has file:line:column, or where there is no such place the file."""


class CapturingError(RuntimeError):
    """A call that a capture does not allow, or a step that cannot be captured, or none beside one that was."""


class TensorError(TypeError):
    """A tensor that a step cannot work with."""


class Group(ctypes.Structure):
    """fs_group."""

    _fields_ = [
        ("n", c_size_t),
        ("lengths", c_void_p),
        ("values", c_void_p),
        ("hyper", c_void_p),
        ("options", c_char_p),
        ("value_type", c_uint8),
        ("gradient_type", c_uint8),
        ("value_types", c_void_p),
        ("gradient_types", c_void_p),
        ("state", c_void_p),
        ("matrix_rows", c_void_p),
        ("matrices", c_void_p),
    ]


class Args(ctypes.Structure):
    """fs_args."""

    _fields_ = [
        ("hyper", c_void_p),
        ("rows", c_void_p),
        ("mask", c_void_p),
        ("grad_scale", c_void_p),
        ("found_inf", c_void_p),
        ("max_norm", c_double),
        ("max_tensor_norm", c_double),
        ("clip_value", c_double),
        ("adaptive_clip", c_double),
        ("adaptive_eps", c_double),
        ("grad_norm", c_void_p),
        ("skipped", c_void_p),
        ("lr", c_void_p),
    ]


_ERROR = (c_char_p, c_size_t)
_FUNCTIONS = {
    "fs_device": (c_int, POINTER(c_uint64), *_ERROR),
    "fs_device_on": (c_int, c_void_p, POINTER(c_uint64), *_ERROR),
    "fs_rule": (c_char_p, c_char_p, c_char_p, c_char_p, c_void_p, POINTER(c_size_t), *_ERROR),
    "fs_cuda": (c_int, POINTER(c_uint64), *_ERROR),
    "fs_stream": (c_uint64, c_void_p, *_ERROR),
    "fs_outcome": (c_uint64, POINTER(c_double), c_void_p, *_ERROR),
    "fs_new": (c_uint64, c_char_p, POINTER(c_uint64), *_ERROR),
    "fs_slots": (c_char_p, POINTER(Group), c_void_p, POINTER(c_size_t), *_ERROR),
    "fs_add_group": (c_uint64, POINTER(Group), *_ERROR),
    "fs_step": (c_uint64, c_void_p, c_void_p, c_size_t),
    "fs_capture": (c_uint64, c_void_p, c_void_p, c_size_t),
    "fs_counters": (c_uint64, c_size_t, c_void_p, *_ERROR),
    "fs_set_counters": (c_uint64, c_size_t, c_void_p, *_ERROR),
    "fs_eval": (c_uint64, c_size_t, c_void_p, *_ERROR),
    "fs_free": (c_uint64, *_ERROR),
}
_KINDS = {FS_ARGUMENT: ValueError, FS_HYPERPARAMETER: HyperparameterError, FS_TENSOR: TensorError, FS_RULE: RuleError, FS_CAPTURING: CapturingError}
ERROR_LENGTH = 4096


@functools.cache
def library() -> ctypes.CDLL:
    """The library, loaded with the first call."""
    path = os.environ.get("FUSESTEP_LIBRARY") or pathlib.Path(__file__).with_name("libfusestep.so")
    lib = ctypes.CDLL(str(path))
    for name, arguments in _FUNCTIONS.items():
        f = getattr(lib, name)
        f.argtypes, f.restype = arguments, c_int
    lib.fs_describe.restype = lib.fs_version.restype = c_char_p
    return lib


@functools.cache
def algorithms() -> dict[str, dict[str, Any]]:
    """What fs_describe says, by an algorithm's name."""
    text = library().fs_describe()
    if text is None:
        raise failure(FS_FORKED, "")
    return {a["name"]: a for a in json.loads(text)}


def failure(code: int, text: str) -> Exception:
    """The exception of a result that is not FS_OK."""
    if code == FS_FORKED:
        text = "fusestep was used before this process was forked, and cannot be used in it: start it by spawn or forkserver"
    return _KINDS.get(code, RuntimeError)(text)


def call(name: str, *arguments: Any) -> None:
    """Calls a function that may fail."""
    err = ctypes.create_string_buffer(ERROR_LENGTH)
    code = getattr(library(), name)(*arguments, err, ERROR_LENGTH)
    if code != FS_OK:
        raise failure(code, err.value.decode(errors="replace"))


def _told(name: str, *arguments: Any) -> Any:
    """The JSON that a function writes to room of the caller's."""
    size = c_size_t(1 << 12)
    while True:
        out = ctypes.create_string_buffer(size.value)
        call(name, *arguments, out, size)
        if size.value <= len(out):
            return json.loads(out.value)


def slots(algorithm: str, group: Group) -> list[dict[str, Any]]:
    """What fs_slots says."""
    found: list[dict[str, Any]] = _told("fs_slots", algorithm.encode(), group)
    return found


def rule(file: str, source: bytes, prologue: str, functions: str) -> dict[str, Any]:
    """What fs_rule says of a rule. From then on it is one of the algorithms."""
    if b"\0" in source:
        raise RuleError(f"{file}: the file has a 0 in it, and is no text")
    found: dict[str, Any] = _told("fs_rule", file.encode(), source, prologue.encode(), functions.encode())
    algorithms()[found["name"]] = found
    return found


@functools.cache
def device(threads: int, parallel: int | None) -> int:
    """The processors, with so many threads, of its own or lent by an fs_parallel. It stays: there are as many as there were numbers of threads."""
    handle = c_uint64()
    if parallel is None:
        call("fs_device", threads, handle)
    else:
        call("fs_device_on", threads, parallel, handle)
    return handle.value

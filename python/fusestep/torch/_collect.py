"""Where tensors and their gradients are: in one call of C, or tensor by tensor."""

from __future__ import annotations

import array
import ctypes
import functools
import operator
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ._internals import Internals, internals

# DLPack's codes, and the library's names: an element of a complex type is two numbers.
_CODES = {
    torch.float32: (2, 32),
    torch.float64: (2, 64),
    torch.float16: (2, 16),
    torch.bfloat16: (4, 16),
    torch.complex64: (5, 64),
    torch.complex128: (5, 128),
}


_WORDS = 24


class _Layout(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_void_p),
        ("dims", ctypes.c_void_p),
        ("ndim", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("grad_dtype", ctypes.c_int32),
        ("device", ctypes.c_int32),
        ("id", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("grad_code", ctypes.c_uint8),
        ("grad_bits", ctypes.c_uint8),
        ("empty", ctypes.c_uint8),
        ("words", ctypes.c_uint8),
        ("word", ctypes.c_uint8 * _WORDS),
        ("seen", ctypes.c_uint64 * (2 * 2 * _WORDS)),
    ]


class _Tensor(ctypes.Structure):
    _fields_ = [("object", ctypes.c_void_p), ("layout", ctypes.c_void_p)]


class _Collector(ctypes.Structure):
    _fields_ = [
        ("torch", ctypes.c_void_p),
        ("python", ctypes.c_void_p),
        ("exchange", ctypes.c_void_p),
        ("n", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("tensors", "values", "gradients", "mask", "held")),
        ("many", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("threads", "together", "counts")),
        ("steps", ctypes.c_void_p),
    ]


class _Steps(ctypes.Structure):
    _fields_ = [("numbers", ctypes.c_void_p), ("first", ctypes.c_int64), ("n", ctypes.c_int64), ("bits", ctypes.c_int32)]


# From so many tensors on several threads read them: of fewer one is done before others have begun.
MANY = 2048


class _Python(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_void_p)
        for name in ("list_item", "attribute", "call", "release", "none", "yes", "grad", "is_neg")
    ]


_GRAD, _IS_NEG = "grad", torch.Tensor.is_neg


class _Library:
    """collect.c, and what it is given of Python and of torch."""

    def __init__(self, path: pathlib.Path) -> None:
        def function(name: str) -> int | None:
            return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value

        self._python = _Python(
            *(function(name) for name in ("PyList_GetItem", "PyObject_GetAttr", "PyObject_CallOneArg", "Py_DecRef")),
            *map(id, (None, True, _GRAD, _IS_NEG)),
        )
        self.python = ctypes.addressof(self._python)
        library = ctypes.PyDLL(str(path))
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        self.collect, self.drop, self.taken = library.collect, library.drop, library.taken
        self.taken.argtypes, self.taken.restype = (pointer,), None
        self.collect_by_dlpack, self.release = library.collect_by_dlpack, library.release
        for f in (self.collect, self.collect_by_dlpack):
            f.argtypes, f.restype = (pointer,), integer
        for f in (self.drop, self.release):
            f.argtypes, f.restype = (pointer, ctypes.c_int), None
        self.same, self.count = library.same, library.count
        self.lend, self.parallel = library.lend, ctypes.cast(library.parallel, pointer).value
        self.lend.restype = None
        self.same.argtypes = (pointer, ctypes.py_object, integer, pointer)
        self.count.argtypes, self.count.restype = (pointer, ctypes.c_int, integer, pointer), None


@functools.cache
def _library() -> _Library | None:
    path = pathlib.Path(__file__).parents[1] / "collect.so"
    return _Library(path) if path.exists() else None


_forked = False  # the process was, from one that had this module


def _fork() -> None:
    global _forked
    _forked = True
    lent.cache_clear()
    if _library.cache_info().currsize and (library := _library()) is not None:
        library.lend(None, None)


os.register_at_fork(after_in_child=_fork)


@functools.cache
def lent() -> int | None:
    """A function of collect.c that lends threads of OpenMP, where torch runs its operations on these.

    In a child of fork OpenMP waits for threads that are its parent's, so there it is none.
    """
    library = _library()
    if library is None or _forked or "ATen parallel backend: OpenMP" not in torch.__config__.parallel_info():
        return None
    of_torch = ctypes.CDLL(torch._C.__file__)  # a handle finds what the libraries have that this one is linked to, too
    try:
        library.lend(of_torch.GOMP_parallel, of_torch.omp_get_thread_num)
    except AttributeError:
        return None
    return library.parallel


@functools.cache
def _exchange() -> int | None:
    """DLPack's function of its C exchange API that reads a tensor, where torch has it."""
    capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None:
        return None
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
    api = pointer(capsule, b"dlpack_exchange_api")
    # The version, a pointer, and then functions: of a tensor the fourth.
    if not api or ctypes.cast(api, ctypes.POINTER(ctypes.c_uint32))[0] != 1:
        return None
    return ctypes.cast(api, ctypes.POINTER(ctypes.c_void_p))[5]


class Same:
    """Sees whether lists have the objects that they had, in the same places."""

    def __init__(self, objects: Sequence[Any]) -> None:
        self.objects = list(objects)
        self._ids = array.array("Q", map(id, objects))
        self._library = _library()

    def __call__(self, now: Any) -> bool:
        if len(now) != len(self.objects):
            return False
        if self._library is None or type(now) is not list or len(now) < 16:
            return all(map(operator.is_, now, self.objects))
        return bool(self._library.same(self._library.python, now, len(now), self._ids.buffer_info()[0]))


def dense(t: Tensor) -> bool:
    """Whether a tensor's elements fill a piece of memory, in whatever order of its dimensions."""
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(t.stride(), t.shape) if n != 1):
        if stride != expected and size != 0:
            return t.numel() == 0
        expected *= size
    return True


def alike(t: Tensor, u: Tensor) -> bool:
    """Whether two tensors have their elements in the same order."""
    return t.shape == u.shape and all(n == 1 or s == r for n, s, r in zip(t.shape, t.stride(), u.stride()))


def lazy(t: Tensor) -> bool:
    """Whether a tensor's numbers are other than those in memory: negated, or conjugated."""
    return t.is_neg() or t.is_conj()


def gone(t: Tensor) -> bool:
    """Whether a tensor's memory is not there any more: its storage was resized to nothing."""
    u = plain(t)
    return bool(u.numel() > 0 and u.data_ptr() == 0)


def plain(t: Any) -> Any:
    """A distributed tensor's part that is here; any other is itself."""
    return getattr(t, "_local_tensor", t)


class Collector:
    """Finds tensors' addresses, and those of their gradients, and sees that they are what they were."""

    def __init__(self, tensors: Sequence[Tensor], gradient_types: Sequence[torch.dtype]) -> None:
        n = len(tensors)
        self.tensors = list(tensors)
        self.gradient_types = list(gradient_types)
        self.values = torch.zeros(n, dtype=torch.int64, device="cpu")
        self.gradients = torch.zeros(n, dtype=torch.int64, device="cpu")
        self.mask = torch.ones(n, dtype=torch.uint8, device="cpu")
        self.empty = any(plain(t).numel() == 0 for t in tensors)
        self.shapes = [(t.dtype, t.shape, plain(t).stride(), plain(t).device) for t in tensors]
        self._keep: list[Tensor] = []
        self.reading = "one by one"
        self._told = False  # autograd was, of changes that there are none of yet
        self._collect: Callable[[int], int] | None = None
        self._drop: Callable[[int, int], None] | None = None
        self._taken: Callable[[int], None] | None = None
        self._open = False  # gradients are held
        self._numbers: list[tuple[Tensor, int]] = []
        library, has, exchange = _library(), internals(), _exchange()
        self.silent = library is not None  # counting is no operation of torch's
        if library is None:
            return
        self._torch = None if has is None else has.of(tensors)
        self._held = (ctypes.c_void_p * n)()
        self._of = _Collector(
            torch=None if self._torch is None else ctypes.addressof(self._torch),
            python=library.python,
            exchange=exchange,
            n=n,
            values=self.values.data_ptr(),
            gradients=self.gradients.data_ptr(),
            mask=self.mask.data_ptr(),
            held=ctypes.addressof(self._held),
            many=MANY,
            threads=torch.get_num_threads(),
        )
        self._at = ctypes.addressof(self._of)
        if has is not None and self._torch is not None:
            self._layouts(has)
            self._held[:] = [has.torch.undefined] * n
            self.reading, self._collect, self._drop, self._taken = "internals", library.collect, library.drop, library.taken
        elif exchange is not None and not any(plain(t) is not t or t.is_complex() for t in tensors):
            self._layouts(None)
            self.reading, self._collect, self._drop = "DLPack", library.collect_by_dlpack, library.release

    def _layouts(self, has: Internals | None) -> None:
        """What C is told of the tensors."""
        self._layout: dict[Any, tuple[_Layout, Any]] = {}
        self._tensors = (_Tensor * len(self.tensors))()
        self._of.tensors = ctypes.addressof(self._tensors)
        for tensor, t, g in zip(self._tensors, self.tensors, self.gradient_types):
            key = type(t), t.dtype, g, t.shape, t.stride(), t.device
            if key not in self._layout:
                dims = (ctypes.c_int64 * (2 * t.ndim))(*t.shape, *t.stride())
                layout = _Layout(type=id(type(t)), dims=ctypes.addressof(dims), ndim=t.ndim, empty=t.numel() == 0)
                layout.device, layout.id = (1, 0) if t.device.type == "cpu" else (2, t.device.index)
                layout.code, layout.bits = _CODES[t.dtype]
                layout.grad_code, layout.grad_bits = _CODES[g]
                if has is not None:
                    layout.dtype, layout.grad_dtype = has.types[t.dtype], has.types[g]
                    words = has.words(t.ndim)
                    layout.words = len(words)
                    layout.word[: len(words)] = words
                self._layout[key] = layout, dims
            tensor.object, tensor.layout = id(t), ctypes.addressof(self._layout[key][0])

    def __call__(self) -> int:
        """How many gradients are None, or -1: a tensor is not what it was. The gradients stay until let_go is called, which has to be."""
        if self._collect is not None and self._drop is not None:
            self._open = True
            try:
                none = self._collect(self._at)
            except (RuntimeError, BufferError):  # DLPack has no words for a tensor
                none = -1
            if none >= 0:
                self._told = self.reading == "internals"
                return none
            self._drop(self._at, True)
        none = 0
        values, gradients, mask = [], [], []
        for i, p in enumerate(self.tensors):
            t, g = plain(p), plain(p.grad)
            if (p.dtype, p.shape, t.stride(), t.device) != self.shapes[i] or lazy(t) or gone(t):
                return -1
            values.append(t.data_ptr())
            mask.append(g is not None)
            if g is None:
                none += 1
                gradients.append(0)
                continue
            if (
                g.layout is not torch.strided
                or g.device != t.device
                or g.dtype != self.gradient_types[i]
                or not alike(g, t)
                or gone(g)
                or getattr(p.grad, "placements", None) != getattr(p, "placements", None)
            ):
                return -1
            g = g.resolve_conj().resolve_neg()
            self._keep.append(g)
            gradients.append(g.data_ptr())
        for buffer, numbers in ((self.values, values), (self.gradients, gradients), (self.mask, mask)):
            buffer.copy_(torch.tensor(numbers, dtype=buffer.dtype, device="cpu"))
        return none

    def let_go(self) -> None:
        """Lets the gradients go. Where autograd was told of changes that did not come, it is told that there are none."""
        if self._open and self._drop is not None:
            self._drop(self._at, not self._told)
            self._told = self._open = False
        if self._keep:
            self._keep.clear()

    def counts(self, numbers: Sequence[tuple[Tensor, int]]) -> None:
        """What numbers of steps, float32 or float64, there are of tensors one behind the other, each with the first one's index."""
        self._numbers = list(numbers)
        if self._taken is not None:
            table = [_Steps(t.data_ptr(), first, t.numel(), 8 * t.element_size()) for t, first in numbers]
            self._steps = (_Steps * len(table))(*table)
            self._of.steps, self._of.counts = ctypes.addressof(self._steps), len(table)

    def taken(self, some: bool) -> None:
        """Counts a step that was taken, of all tensors or those of the mask, of which autograd is told, and lets the gradients go. After another torch
        operation Python would wait for its code, which a step leaves in no cache."""
        if self._taken is not None and self._told:
            self._told = False
            self._taken(self._at)
            self._open = False
            return
        self.changed(some)
        for t, first in self._numbers:
            count(t, self.mask[first : first + t.numel()] if some else None)

    def changed(self, some: bool) -> None:
        """Tells autograd that the tensors have changed, or those of the mask."""
        if self._told:
            self._told = False
            return
        moved = [p for p, m in zip(self.tensors, self.mask.tolist()) if m] if some else self.tensors
        torch._C._increment_version(moved)
        local = [plain(p) for p in moved if plain(p) is not p]
        if local:
            torch._C._increment_version(local)


def count(numbers: Tensor, mask: Tensor | None) -> None:
    """Adds 1 to numbers, float32 or float64 and one behind the other, where mask says so."""
    library = _library()
    if library is None:
        numbers.add_(1 if mask is None else mask)
    else:
        bits = 8 * numbers.element_size()
        library.count(numbers.data_ptr(), bits, numbers.numel(), None if mask is None else mask.data_ptr())


def size(t: Tensor) -> int:
    """How many numbers a tensor has."""
    return int(plain(t).numel()) * (2 if t.is_complex() else 1)


def place(t: Any) -> str:
    """A tensor's type and layout, for errors."""
    if t.layout is not torch.strided:
        return f"{t.dtype} of layout {t.layout}"
    placed = f", placed {tuple(t.placements)}" if hasattr(t, "placements") else ""
    return f"{t.dtype} of shape {tuple(t.shape)} and strides {tuple(plain(t).stride())} on {t.device}{placed}"


def supported(t: Tensor) -> bool:
    """Whether a step can work with a tensor of this type, place and layout."""
    u = plain(t)
    return t.dtype in _CODES and u.layout is torch.strided and u.device.type in ("cpu", "cuda") and dense(u)

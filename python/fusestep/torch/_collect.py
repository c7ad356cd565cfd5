"""Where tensors and their gradients are: in one call of C, or, where torch has no C exchange API, tensor by tensor."""

from __future__ import annotations

import array
import ctypes
import functools
import operator
import pathlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

VALUE, GRADIENT, EXCEPTION = range(3)

# DLPack's codes, and the library's names: an element of a complex type is two numbers.
_CODES = {
    torch.float32: (2, 32),
    torch.float64: (2, 64),
    torch.float16: (2, 16),
    torch.bfloat16: (4, 16),
    torch.complex64: (5, 64),
    torch.complex128: (5, 128),
}


class _Layout(ctypes.Structure):
    _fields_ = [
        ("object", ctypes.c_void_p),
        ("dims", ctypes.c_void_p),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("grad_code", ctypes.c_uint8),
        ("grad_bits", ctypes.c_uint8),
    ]


class _Python(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_void_p)
        for name in ("tensor_of", "list_item", "attribute", "release", "none", "grad")
    ]


_GRAD = "grad"


class _Library:
    """collect.c, and what it is given of Python."""

    def __init__(self, path: pathlib.Path, tensor_of: int) -> None:
        def function(name: str) -> int | None:
            return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value

        self._python = _Python(
            tensor_of,
            *(function(name) for name in ("PyList_GetItem", "PyObject_GetAttr", "Py_DecRef")),
            id(None),
            id(_GRAD),
        )
        self.python = ctypes.addressof(self._python)
        library = ctypes.PyDLL(str(path))
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        self.collect, self.release, self.same, self.count = library.collect, library.release, library.same, library.count
        self.collect.argtypes, self.collect.restype = (pointer, integer, *[pointer] * 5), integer
        self.release.argtypes, self.release.restype = (pointer, pointer, integer), None
        self.same.argtypes = (pointer, ctypes.py_object, integer, pointer)
        self.count.argtypes, self.count.restype = (pointer, ctypes.c_int, integer, pointer), None


@functools.cache
def _library() -> _Library | None:
    capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    path = pathlib.Path(__file__).parents[1] / "collect.so"
    if capsule is None or not path.exists():
        return None
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
    api = pointer(capsule, b"dlpack_exchange_api")
    # The version, a pointer, and then functions: of a tensor the fourth.
    if not api or ctypes.cast(api, ctypes.POINTER(ctypes.c_uint32))[0] != 1:
        return None
    tensor_of = ctypes.cast(api, ctypes.POINTER(ctypes.c_void_p))[5]
    return _Library(path, tensor_of) if tensor_of else None


class Same:
    """Sees whether lists have the objects that they had, in the same places."""

    def __init__(self, objects: Sequence[Any]) -> None:
        self.objects = list(objects)
        self._ids = array.array("Q", map(id, objects))
        self._library = _library()

    def __call__(self, now: Any) -> bool:
        if len(now) != len(self.objects):
            return False
        if self._library is None or type(now) is not list:
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


def plain(t: Any) -> Any:
    """A distributed tensor's part that is here; any other is itself."""
    return getattr(t, "_local_tensor", t)


class Collector:
    """Finds tensors' addresses, and those of their gradients, and sees that they are what they were."""

    def __init__(self, tensors: Sequence[Tensor], gradient_types: Sequence[torch.dtype]) -> None:
        n = len(tensors)
        self.tensors = list(tensors)
        self.gradient_types = list(gradient_types)
        self.values = torch.zeros(n, dtype=torch.int64)
        self.gradients = torch.zeros(n, dtype=torch.int64)
        self.mask = torch.ones(n, dtype=torch.uint8)
        self.empty = any(plain(t).numel() == 0 for t in tensors)
        self.shapes = [(t.dtype, t.shape, plain(t).stride()) for t in tensors]
        self._keep: list[Tensor] = []
        self._library = _library()
        if self._library is None or any(plain(t) is not t or t.is_complex() for t in tensors):
            self._library = None
            return
        dims = [d for t in tensors for d in (*t.shape, *t.stride())]
        self._dims = (ctypes.c_int64 * len(dims))(*dims)
        self._layouts = (_Layout * n)()
        at = ctypes.addressof(self._dims)
        for layout, t, g in zip(self._layouts, tensors, gradient_types):
            layout.object, layout.dims, layout.ndim = id(t), at, t.ndim
            layout.code, layout.bits = _CODES[t.dtype]
            layout.grad_code, layout.grad_bits = _CODES[g]
            at += 16 * t.ndim
        self._held = (ctypes.c_void_p * n)()
        self._release = functools.partial(self._library.release, self._library.python, ctypes.addressof(self._held), n)
        self._collect = functools.partial(
            self._library.collect,
            self._library.python,
            n,
            ctypes.addressof(self._layouts),
            self.values.data_ptr(),
            self.gradients.data_ptr(),
            self.mask.data_ptr(),
            ctypes.addressof(self._held),
        )

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: Any) -> None:
        """Lets the gradients go."""
        if self._library is not None:
            self._release()
        else:
            self._keep.clear()

    def __call__(self) -> int:
        """How many gradients are None, or -1 - 4i - what is wrong with tensor i. The gradients stay as long as the collector is entered."""
        if self._library is not None:
            return int(self._collect())
        none = 0
        values, gradients, mask = [], [], []
        for i, p in enumerate(self.tensors):
            t, g = plain(p), plain(p.grad)
            if (p.dtype, p.shape, t.stride()) != self.shapes[i] or not t.device.type == "cpu":
                return -1 - 4 * i - VALUE
            values.append(t.data_ptr())
            mask.append(g is not None)
            if g is None:
                none += 1
                gradients.append(0)
                continue
            if (
                g.layout is not torch.strided
                or g.device.type != "cpu"
                or g.dtype != self.gradient_types[i]
                or not alike(g, t)
                or getattr(p.grad, "placements", None) != getattr(p, "placements", None)
            ):
                return -1 - 4 * i - GRADIENT
            g = g.resolve_conj().resolve_neg()
            self._keep.append(g)
            gradients.append(g.data_ptr())
        for buffer, numbers in ((self.values, values), (self.gradients, gradients), (self.mask, mask)):
            buffer.copy_(torch.tensor(numbers, dtype=buffer.dtype))
        return none


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
    return f"{t.dtype} of shape {tuple(t.shape)} and strides {tuple(plain(t).stride())} on {t.device}"


def supported(t: Tensor) -> bool:
    """Whether a step can work with a tensor of this type, place and layout."""
    u = plain(t)
    return t.dtype in _CODES and u.layout is torch.strided and u.device.type == "cpu" and dense(u)

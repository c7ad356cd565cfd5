"""Functions of torch's libraries that collect.c calls, and where torch's objects have what it reads.

None of it is an interface that torch keeps. So all of it is looked for, and tried on tensors, before it
is used: where anything is missing or other than expected, there is nothing, and tensors are read in
another way.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

_FUNCTIONS = {
    "grad": "_ZNK3c1010TensorImpl4gradEv",
    "data": "aoti_torch_get_data_ptr",
    "dtype": "aoti_torch_get_dtype",
    "dim": "aoti_torch_get_dim",
    "sizes": "aoti_torch_get_sizes",
    "strides": "aoti_torch_get_strides",
    "device": "aoti_torch_get_device_index",
    "assign": "aoti_torch_assign_tensors",
}

# The classes whose attribute grad is torch's own.
CLASSES = (Tensor, nn.Parameter)

TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.complex128)


class Torch(ctypes.Structure):
    """collect.c's torch."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in _FUNCTIONS),
        ("undefined", ctypes.c_void_p),
        ("dense", ctypes.c_uint64),
        ("inference", ctypes.c_uint64),
        *((name, ctypes.c_int64) for name in ("type", "tensor", "keys", "storage", "autograd", "counter", "version")),
        *((name, ctypes.c_int64) for name in ("offset", "references", "gradient", "memory", "special")),
        ("bits", ctypes.c_uint64),
    ]


class Unexpected(Exception):
    """Torch is other than what this knows."""


def _word(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


def _keys(t: Tensor) -> int:
    return int(torch._C._dispatch_keys(t).raw_repr())  # type: ignore[attr-defined]


def _key(name: str) -> int:
    c = torch._C
    return int(c.DispatchKeySet(getattr(c.DispatchKey, name)).raw_repr())


def _only(offsets: Iterable[int]) -> int:
    found = list(offsets)
    if len(found) != 1:
        raise Unexpected
    return found[0]


def _expect(*facts: bool) -> None:
    if not all(facts):
        raise Unexpected


class Internals:
    """What has been found."""

    def __init__(self) -> None:
        # A handle finds what the libraries have that this one is linked to, too.
        library = ctypes.CDLL(torch._C.__file__)
        self._f = {name: getattr(library, symbol) for name, symbol in _FUNCTIONS.items()}
        for name, f in self._f.items():
            f.restype = ctypes.c_void_p if name == "grad" else ctypes.c_int32
        self.torch = Torch(**{name: ctypes.cast(f, ctypes.c_void_p).value for name, f in self._f.items()})
        with torch.device("cpu"), torch.inference_mode(False), torch.no_grad():
            plain = [torch.zeros(2, 3, dtype=t).t() for t in TYPES]
            plain += [torch.ones(5).requires_grad_(), nn.Parameter(torch.ones(3, 1, 2)), torch.ones(()), torch.ones(9)[4:], torch.ones(9)[7:]]
            odd = [torch._neg_view(torch.ones(1)), torch.ones(1, dtype=torch.complex64).conj(), torch.eye(2).to_sparse(), torch.empty(1, device="meta")]
        with torch.device("cpu"), torch.inference_mode():
            odd.append(torch.ones(2))
            for times, t in enumerate(plain):
                for _ in range(times):
                    t.zero_()
        self._find(plain, odd)
        with torch.device("cpu"), torch.inference_mode(False), torch.no_grad():
            self._find_words(plain, odd)
            try:
                self._find_storage(plain)
            except (AttributeError, Unexpected):  # torch's functions are called, on one thread
                self.torch.bits = 0
        self.types = {t.dtype: self._number("dtype", ctypes.c_int32, t) for t in plain[: len(TYPES)]}
        _expect(len(set(self.types.values())) == len(TYPES))
        for t in plain:
            self._try(t)

    def _find(self, plain: Sequence[Tensor], odd: Sequence[Tensor]) -> None:
        head, end, every = object.__basicsize__, torch._C.TensorBase.__basicsize__, [*plain, *odd]  # type: ignore[attr-defined]
        at = self.torch
        at.type = _only(i for i in range(0, head, 8) if all(_word(id(t) + i) == id(type(t)) for t in every))
        at.tensor = _only(i for i in range(head, end, 8) if all(_word(id(t) + i) == t._cdata for t in every))
        # A TensorImpl has 24 words and more.
        at.keys = _only(i for i in range(0, 8 * 24, 8) if all(_word(t._cdata + i) == _keys(t) for t in every))
        at.dense, at.inference = _keys(plain[0]), _keys(odd[-1])
        _expect({_keys(t) for t in plain} == {at.dense}, at.dense not in map(_keys, odd), at.inference not in map(_keys, odd[:-1]))
        # Were the result no reference, it would be written to where the first argument points, and that returned.
        none = bytes(8 * 64)
        buffer = ctypes.create_string_buffer(none, len(none))
        reference = self._f["grad"](buffer, ctypes.c_void_p(plain[0]._cdata))
        _expect(reference not in (None, ctypes.addressof(buffer)), buffer.raw == none)
        at.undefined = _word(reference)

    def _find_words(self, plain: Sequence[Tensor], odd: Sequence[Tensor]) -> None:
        """Finds the words of a TensorImpl that differ between tensors which are alike but for their memory. All others say what a tensor is."""
        at, words = self.torch, self.torch.keys // 8 + 1

        def read(t: Tensor) -> list[int]:
            return [_word(t._cdata + 8 * i) for i in range(words)]

        def changed(t: Tensor, before: list[int]) -> int:
            return _only(i for i, (x, y) in enumerate(zip(before, read(t))) if x != y)

        def where(name: str, t: Tensor) -> int:
            return (self._number(name, ctypes.c_uint64, t) - t._cdata) // 8

        storage = _only(i for i in range(words) if all(read(t)[i] == t.untyped_storage()._cdata for t in plain))
        offset = _only(i for i in range(words) if all(read(t)[i] == t.storage_offset() for t in plain))
        python = _only(i for i in range(words) if all(read(t)[i] == id(t) for t in plain))
        pairs = [(read(t), read(t.detach())) for t in plain]  # they count changes together
        distinct = [i for i in range(words) if len({x[i] for x, _ in pairs}) == len(plain)]
        counter = _only(i for i in distinct if i != storage and all(x[i] == y[i] for x, y in pairs))
        versions = [(read(t)[counter], t._version) for t in plain]
        at.version = _only(b for b in range(0, 24, 4) if all(ctypes.c_uint32.from_address(c + b).value == v for c, v in versions))
        t = torch.ones(3)
        before = read(t)
        autograd = changed(t.requires_grad_(), before)
        before, held = read(t), ctypes.c_uint64(at.undefined)
        self._assign(t, held)
        references = changed(t, before)
        self._assign(None, held)
        at.storage, at.counter, at.autograd, at.offset, at.references = 8 * storage, 8 * counter, 8 * autograd, 8 * offset, 8 * references
        # Few lengths are in it, and as many strides behind them.
        sizes, strides = where("sizes", t), where("strides", t)
        most = strides - sizes
        _expect(0 < sizes < strides < words - most)
        for n in range(most + 2):
            t = torch.ones([1] * n)
            _expect((where("sizes", t) == sizes) == (n <= most), (where("strides", t) == strides) == (n <= most))
        other = {storage, offset, python, counter, autograd, references, *range(sizes, strides + most)}
        always = [i for i in range(words) if i not in other]
        _expect(0 in always, at.keys // 8 in always)
        self._words = [[*always, *range(sizes, sizes + n), *range(strides, strides + n)] for n in range(most + 1)]

        def say(t: Tensor) -> list[int]:
            return [read(t)[i] for i in self.words(t.dim())]

        alike = [torch.zeros(2, 3, dtype=t) for t in TYPES]
        others = [torch.zeros(3, 2), torch.zeros(1, 6), torch.zeros(6), torch.zeros(3, 2).t(), torch.empty(2, 3, device="meta"), torch._neg_view(alike[0])]
        others += [alike[4].conj(), torch.zeros(2, 3).to_sparse(), torch.zeros(2, 3).as_strided((2, 3), (0, 1))]
        _expect(len({tuple(say(t)) for t in alike + others}) == len(alike + others), say(odd[-1]) != say(torch.ones(2)))

    def _find_storage(self, plain: Sequence[Tensor]) -> None:
        """Finds in a StorageImpl where its memory is, and the bit that says that whoever writes there has to ask first, as where copies share memory
        until then; and sees that a count of references is what collect.c takes it for."""
        at, first = self.torch, 10

        def read(t: Tensor) -> list[int]:
            return [_word(t.untyped_storage()._cdata + 8 * i) for i in range(first)]

        plain = [*plain, torch.frombuffer(bytearray(8), dtype=torch.uint8)]
        at.memory = 8 * _only(i for i in range(first) if all(read(t)[i] == t.untyped_storage().data_ptr() for t in plain))
        changed = []
        for n in (3, 100, 5000):
            t = torch.ones(n)
            copy = torch._lazy_clone(t)  # type: ignore[attr-defined]
            before = read(copy)
            copy.zero_()
            changed.append([x & ~y for x, y in zip(before, read(copy))])
            _expect(before[at.memory // 8] == t.data_ptr() != copy.data_ptr())
        with_grad = [t for t in plain if t.requires_grad]
        for t in with_grad:
            t.grad = torch.ones_like(t)
        known = [(_word(t._cdata + at.autograd), t.grad) for t in with_grad]
        at.gradient = _only(i for i in range(0, 64, 8) if all(g is not None and _word(k + i) == g._cdata for k, g in known))
        for t in with_grad:
            t.grad = None
        _expect(len(known) > 1, all(_word(k + at.gradient) == at.undefined for k, _ in known))
        bytes_of_1 = [0x01 << 8 * i for i in range(8)]
        special = _only(i for i, x in enumerate(changed[0]) if x in bytes_of_1 and all(y[i] == x for y in changed))
        at.special, at.bits = 8 * special, changed[0][special]
        _expect(not any(read(t)[special] & at.bits for t in plain))
        for t in plain:
            before, held = _word(t._cdata + at.references), ctypes.c_uint64(at.undefined)
            _expect(before & 0xFFFFFFFF == t._use_count(), before >> 32 in (1, 1 | 1 << 31))  # type: ignore[attr-defined]
            self._assign(t, held)
            _expect(_word(t._cdata + at.references) == before + 1)
            self._assign(None, held)
            _expect(_word(t._cdata + at.references) == before)

    def words(self, dim: int) -> list[int]:
        """Which words of a TensorImpl say type, place, shape, strides, flags and keys of a tensor of so many dimensions. Of too many it is not known."""
        return self._words[dim] if dim < len(self._words) else []

    def _assign(self, t: Tensor | None, held: ctypes.c_uint64) -> None:
        """Lets a reference be one to a tensor."""
        undefined = ctypes.c_uint64(self.torch.undefined)
        of = ctypes.byref(undefined) if t is None else ctypes.c_void_p(id(t) + self.torch.tensor)
        _expect(self._f["assign"](of, ctypes.byref(held)) == 0, held.value == (undefined.value if t is None else t._cdata))

    def _number(self, name: str, kind: type[ctypes._SimpleCData[int]], t: Tensor) -> int:
        """What a function of a tensor gives."""
        out = kind()
        _expect(self._f[name](ctypes.c_void_p(id(t) + self.torch.tensor), ctypes.byref(out)) == 0)
        return out.value or 0

    def _grad(self, t: Tensor) -> int:
        return _word(self._f["grad"](ctypes.c_void_p(t._cdata)))

    def of(self, tensors: Sequence[Tensor]) -> Torch | None:
        """What collect.c reads these tensors by, which are on one device; None: they are none that it knows. It looks itself whether they are plain."""
        if not all(type(t) in CLASSES for t in tensors):
            return None
        if all(t.device.type == "cpu" for t in tensors):
            return self.torch
        try:  # the keys of a GPU's plain tensors are those of the CPU's, but for where they are
            moved = _key("CPU") ^ _key("CUDA") ^ _key("AutocastCPU") ^ _key("AutocastCUDA")
            _expect(_keys(tensors[0]) == self.torch.dense ^ moved)
            self._read(tensors[0])
        except (AttributeError, Unexpected):
            return None
        out = Torch.from_buffer_copy(self.torch)
        out.dense, out.inference = self.torch.dense ^ moved, self.torch.inference ^ moved
        return out

    def _read(self, t: Tensor) -> None:
        """Holds what the functions say of a tensor's layout to what Python does."""
        _expect(
            self._number("dtype", ctypes.c_int32, t) == self.types[t.dtype],
            self._number("dim", ctypes.c_int64, t) == t.dim(),
            self._number("data", ctypes.c_uint64, t) == t.data_ptr(),
            self._number("device", ctypes.c_int32, t) == (-1 if t.device.index is None else t.device.index),
        )
        for name, numbers in (("sizes", t.shape), ("strides", t.stride())):
            at = self._number(name, ctypes.c_uint64, t)
            _expect([ctypes.c_int64.from_address(at + 8 * i).value for i in range(t.dim())] == list(numbers))

    def _try(self, t: Tensor) -> None:
        """Holds what the functions say of a tensor, and do to it, to what Python does."""
        self._read(t)
        _expect(self._grad(t) == self.torch.undefined)
        t.grad = torch.ones_like(t)
        _expect(self._grad(t) == t.grad._cdata)
        count, held = t._use_count(), ctypes.c_uint64(self.torch.undefined)  # type: ignore[attr-defined]
        self._assign(t, held)
        _expect(t._use_count() == count + 1)  # type: ignore[attr-defined]
        self._assign(None, held)
        _expect(t._use_count() == count)  # type: ignore[attr-defined]
        version = ctypes.c_uint32.from_address(_word(t._cdata + self.torch.counter) + self.torch.version)
        torch._C._increment_version([t])
        _expect(version.value == t._version)
        version.value += 1
        _expect(version.value == t._version)
        t.grad = None
        _expect(self._grad(t) == self.torch.undefined)


@functools.cache
def internals() -> Internals | None:
    """What there is of this torch, or None."""
    try:
        return Internals()
    except (AttributeError, OSError, Unexpected):
        return None

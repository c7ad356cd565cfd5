"""Tensors of torch's on the emulated GPUs of libcuda.so.1.

They are torch's own tensors, of device cuda, at addresses that the emulated driver has given. What torch does with them it
does here on the CPU, on copies, within `Operations`. So all that fusestep does with such tensors, by torch or by its library, is what it does on a
GPU, but for the kernels of torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

import torch
from taken import take
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_any, tree_map

driver = ctypes.CDLL(os.environ["FUSESTEP_LIBCUDA"])  # whoever opens libcuda.so.1 from now on gets this one
NOT_READY = 600


def call(name, *arguments):
    """Calls the driver."""
    code = getattr(driver, name)(*arguments)
    assert code == 0, f"{name} gives {code}"


call("cuInit", 0)
_contexts = []
for _ordinal in range(2):
    _contexts.append(ctypes.c_void_p())
    call("cuDevicePrimaryCtxRetain", ctypes.byref(_contexts[-1]), _ordinal)

current = {0: 0, 1: 0}  # torch's current stream of each GPU
_captures = []  # the graph that is being captured, or none


@contextlib.contextmanager
def context(index):
    """Within it a GPU's context is the thread's, which has none beside: torch's and the library's calls must not depend on one."""
    call("cuCtxSetCurrent", _contexts[index])
    try:
        yield
    finally:
        call("cuCtxSetCurrent", ctypes.c_void_p())


def make_stream(index):
    """A stream that waits for no other."""
    s = ctypes.c_void_p()
    with context(index):
        call("cuStreamCreate", ctypes.byref(s), 1)
    return s.value


def synchronize(index, stream):
    with context(index):
        call("cuStreamSynchronize", ctypes.c_void_p(stream))


def mark(index):
    """An event behind what has been enqueued on torch's current stream."""
    event = ctypes.c_void_p()
    with context(index):
        call("cuEventCreate", ctypes.byref(event), 2)
        call("cuEventRecord", event, ctypes.c_void_p(current[index]))
    return index, event


def passed(at):
    """Whether all before an event is done."""
    with context(at[0]):
        return driver.cuEventQuery(at[1]) != NOT_READY


def busy(index=0):
    """Whether there is work under way on torch's current stream. The emulated GPU works only when somebody waits."""
    with context(index):
        return driver.cuStreamQuery(ctypes.c_void_p(current[index])) == NOT_READY


def _span(t):
    """The bytes between a tensor's first element and its last."""
    return 0 if t.numel() == 0 else (1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride()))) * t.element_size()


def put(t, device):
    """A tensor of the CPU's on a GPU, in a layout like its own."""
    index = torch.device(device).index or 0
    t = t.detach().clone(memory_format=torch.preserve_format)
    data = ctypes.c_uint64()
    with context(index):
        call("cuMemAlloc_v2", ctypes.byref(data), ctypes.c_size_t(max(_span(t), 1)))
    out = take(data.value, t, index)
    _write(out, t)
    return out


def _write(t, x):
    with context(t.device.index):
        call("cuCtxSynchronize")
        if t.numel():
            call("cuMemcpyHtoD_v2", ctypes.c_uint64(t.data_ptr()), ctypes.c_void_p(x.data_ptr()), ctypes.c_size_t(_span(t)))


def get(t):
    """A GPU's tensor on the CPU, in its layout."""
    x = torch.empty_strided(t.shape, t.stride(), dtype=t.dtype)
    with context(t.device.index):
        call("cuCtxSynchronize")
        if t.numel():
            call("cuMemcpyDtoH_v2", ctypes.c_void_p(x.data_ptr()), ctypes.c_uint64(t.data_ptr()), ctypes.c_size_t(_span(t)))
    return x


def _on_gpu(x):
    return isinstance(x, torch.Tensor) and x.device.type == "cuda"


def _is_gpu(x):
    return isinstance(x, torch.device) and x.type == "cuda"


_AS_IT_IS = ("detach", "alias", "is_pinned")
_VIEWS = ("slice", "select", "view", "unbind")


class Graph:
    """A CUDA graph as torch.cuda.graph captures it, on a stream of its own. Torch's operations in it are done here, so they part what the driver captures into
    several of its graphs. A capture runs none of it, and what it makes holds nothing yet."""

    def __init__(self, index=0):
        self.index, self._stream, self._stages = index, make_stream(index), []

    def __enter__(self):
        self._before, current[self.index] = current[self.index], self._stream
        _captures.append(self)
        self._begin()
        return self

    def __exit__(self, kind, *_):
        _captures.remove(self)
        current[self.index] = self._before
        self._end(kind is None)

    def _begin(self):
        with context(self.index):
            call("cuStreamBeginCapture_v2", ctypes.c_void_p(self._stream), 0)  # in which no thread may do what is unsafe

    def _end(self, good=True):
        graph, launchable = ctypes.c_void_p(), ctypes.c_void_p()
        with context(self.index):
            code = driver.cuStreamEndCapture(ctypes.c_void_p(self._stream), ctypes.byref(graph))
            if not good:
                return
            assert code == 0, f"the capture came to nothing: {code}"
            call("cuGraphInstantiateWithFlags", ctypes.byref(launchable), graph, ctypes.c_ulonglong(0))

        def launch():
            with context(self.index):
                call("cuGraphLaunch", launchable, ctypes.c_void_p(current[self.index]))

        self._stages.append(launch)

    def record(self, operation, name, tensors, asked):
        """Captures an operation of torch's, which gives what it makes of tensors' copies, and writes those back if it is told to."""
        of_cpu = [t for t in tensors if t.device.type == "cpu" and t.ndim]
        if name == "_local_scalar_dense" or of_cpu or asked is not None and asked.type == "cpu":
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self._end()
        made = operation(write=False)
        if name not in _VIEWS and isinstance(made, torch.Tensor) and not any(made is t for t in tensors):
            _write(made, torch.full_like(get(made), 77))
        self._begin()

        def replay():
            now = operation(write=True)
            if made is not now and name not in _VIEWS:
                _write(made, get(now))

        self._stages.append(replay)
        return made

    def replay(self):
        for stage in self._stages:
            stage()


class Operations(TorchDispatchMode):
    """Does torch's operations on tensors of the emulated GPUs."""

    def __torch_dispatch__(self, func, _types, args=(), kwargs=None):
        kwargs = kwargs or {}
        asked = next((x for x in (*args, *kwargs.values()) if isinstance(x, torch.device)), None)
        if not tree_any(_on_gpu, (args, kwargs)) and not (asked is not None and asked.type == "cuda"):
            return func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        if name in _AS_IT_IS:
            return func(*args, **kwargs)
        leaves = torch.utils._pytree.tree_leaves((args, kwargs))

        def operation(write):
            return self._do(func, args, kwargs, asked, write)

        if _captures:
            return _captures[-1].record(operation, name, [x for x in leaves if isinstance(x, torch.Tensor)], asked)
        return operation(write=True)

    def _do(self, func, args, kwargs, asked, write):
        """Does an operation on copies, and writes those back."""
        first = next((x for x in torch.utils._pytree.tree_leaves((args, kwargs)) if _on_gpu(x)), None)
        where = first.device if asked is None else asked
        copies = {}

        def here(x):
            if _on_gpu(x):
                if id(x) not in copies:
                    copies[id(x)] = (x, get(x))
                return copies[id(x)][1]
            return torch.device("cpu") if _is_gpu(x) else x

        out = func(*tree_map(here, args), **tree_map(here, kwargs))
        for x, copy in copies.values():
            if func._schema.is_mutable and write:
                _write(x, copy)
        same = {id(copy): x for x, copy in copies.values()}
        storages = {copy.untyped_storage().data_ptr(): x for x, copy in copies.values() if copy.numel()}

        def there(x):
            if not isinstance(x, torch.Tensor) or where.type == "cpu":
                return x
            if id(x) in same:
                return same[id(x)]
            of = storages.get(x.untyped_storage().data_ptr())
            if of is not None:  # a view
                return take(of.data_ptr() + x.storage_offset() * x.element_size(), x, of.device.index)
            return put(x, where)

        return tree_map(there, out)


class _Stream:
    def __init__(self, index):
        self.index = index

    def synchronize(self):
        synchronize(self.index, current[self.index])


def install(monkeypatch):
    """Lets torch believe that there are GPUs."""
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: _Stream(index))
    monkeypatch.setattr(torch.cuda, "device", lambda index: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: bool(_captures))
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda index: current[index], raising=False)



"""Steps tensors of torch's by the library for C, on a device of torch's and on the CPU: the bits must be the same.

    python3 capi_torch.py LIBRARY DEVICE      DEVICE is cuda, cuda:N, or cpu, which tries this script itself

What is looked at: torch's memory by address, its current stream, gradients that are elsewhere at each step, tensors without a gradient, state
that torch has, and that a stream which torch captures is refused.
"""

import contextlib
import ctypes
import sys
from ctypes import c_char_p, c_double, c_int, c_size_t, c_uint8, c_uint64, c_void_p

import torch


class Group(ctypes.Structure):
    """fs_group of fusestep.h."""

    _fields_ = [("n", c_size_t), ("lengths", c_void_p), ("values", c_void_p), ("hyper", c_void_p), ("options", c_char_p)]
    _fields_ += [("value_type", c_uint8), ("gradient_type", c_uint8), ("value_types", c_void_p), ("gradient_types", c_void_p)]
    _fields_ += [("state", c_void_p), ("matrix_rows", c_void_p), ("matrices", c_void_p)]


class Args(ctypes.Structure):
    """fs_args of fusestep.h."""

    _fields_ = [(name, c_void_p) for name in ("hyper", "rows", "mask", "grad_scale", "found_inf")]
    _fields_ += [(name, c_double) for name in ("max_norm", "max_tensor_norm", "clip_value", "adaptive_clip", "adaptive_eps")]
    _fields_ += [(name, c_void_p) for name in ("grad_norm", "skipped", "lr")]


FS_CAPTURING = 10
TYPES = {torch.float32: 1, torch.float64: 2, torch.bfloat16: 3, torch.float16: 4}
SHAPES = [(1,), (700,), (33, 5), (100_000,)]
library = ctypes.CDLL(sys.argv[1])


def call(name, *arguments, want=0):
    """Calls a function, which must give the result."""
    err = ctypes.create_string_buffer(1000)
    code = getattr(library, name)(*arguments, err, c_size_t(len(err)))
    if code != want:
        raise SystemExit(f"{name} gives {code}, not {want}: {err.value.decode()}")


def addresses(tensors):
    """A row of a table."""
    return (c_void_p * len(tensors))(*[None if t is None else t.data_ptr() for t in tensors])


def table(*rows):
    """A table of rows."""
    return (c_void_p * len(rows))(*[None if row is None else ctypes.addressof(row) for row in rows])


def captured(optimizer, stream, values):
    """A step on a stream that torch captures must be refused, and change nothing."""
    torch.cuda.synchronize()
    before = [v.clone() for v in values]
    torch.cuda.synchronize()
    try:
        with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream):
            call("fs_step", optimizer, ctypes.byref(Args()), want=FS_CAPTURING)
    except RuntimeError as e:
        print("the capture ends with:", str(e).splitlines()[0])
    torch.cuda.synchronize()
    if not all(map(torch.equal, before, values)):
        raise SystemExit("a step that was captured has run")


def train(device, dtype, steps, stream):
    """AdamW's values and state after some steps."""
    generator = torch.Generator().manual_seed(1)

    def normal():
        return [torch.randn(s, generator=generator).to(dtype).to(device) for s in SHAPES]

    where, optimizer = c_uint64(), c_uint64()
    if device.type == "cuda":
        call("fs_cuda", c_int(device.index), ctypes.byref(where))
    else:
        call("fs_device", c_int(1), ctypes.byref(where))
    call("fs_new", where, b"AdamW", ctypes.byref(optimizer))
    if stream is not None:
        call("fs_stream", optimizer, c_void_p(stream.cuda_stream))
    values = normal()
    state = [[torch.zeros_like(v, dtype=torch.promote_types(dtype, torch.float32)) for v in values] for _ in range(2)]
    lengths = (c_size_t * len(values))(*[v.numel() for v in values])
    rows = [addresses(row) for row in (values, *state)]
    given = table(rows[1], rows[2], None)
    group = Group(n=len(values), lengths=ctypes.addressof(lengths), values=ctypes.addressof(rows[0]), value_type=TYPES[dtype], state=ctypes.addressof(given))
    call("fs_add_group", optimizer, ctypes.byref(group))
    norm = c_double()
    for i in range(steps):
        gradients = normal()
        if i == 2:
            gradients[1] = None
        row = addresses(gradients)
        moved = table(None, row, None, None, None)
        args = Args(rows=ctypes.addressof(moved), max_norm=5.0 * (i % 2), max_tensor_norm=2.0 * (i % 3), grad_norm=ctypes.addressof(norm) if i == 3 else None)
        call("fs_step", optimizer, ctypes.byref(args))
    if stream is not None and stream != torch.cuda.default_stream():
        captured(optimizer, stream, values)
    out = [t.cpu() for t in (*values, *state[0], *state[1])]
    call("fs_free", optimizer)
    call("fs_free", where)
    return [*out, torch.tensor(norm.value, dtype=torch.float64)]


def main():
    device = torch.device(sys.argv[2])
    streams = [None]
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
        streams = [torch.cuda.default_stream(), torch.cuda.Stream()]
    for dtype in TYPES:
        want = train(torch.device("cpu"), dtype, 8, None)
        if not all(t.any() for t in want):
            raise SystemExit(f"{dtype}: something is 0 that is trained")
        for stream in streams:
            with torch.cuda.stream(stream) if stream is not None else contextlib.nullcontext():  # torch's current one is ours
                got = train(device, dtype, 8, stream)
            if not all(map(torch.equal, want, got)):
                raise SystemExit(f"{dtype} on {device}, {stream}: OTHER BITS than on the CPU")
            print(f"{dtype} on {device}, {stream}: the bits of the CPU")


if __name__ == "__main__":
    main()

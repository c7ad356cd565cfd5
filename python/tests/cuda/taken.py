"""Tensors of torch's at addresses of a GPU, which torch takes by DLPack: it looks at no GPU for that."""

import ctypes

import torch


class _Tensor(ctypes.Structure):
    """DLPack's DLManagedTensor."""

    _fields_ = [("data", ctypes.c_void_p), ("device", ctypes.c_int32), ("id", ctypes.c_int32), ("ndim", ctypes.c_int32)]
    _fields_ += [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]
    _fields_ += [("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("offset", ctypes.c_uint64)]
    _fields_ += [("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_KINDS = {torch.bfloat16: 4, torch.complex64: 5, torch.complex128: 5, torch.bool: 6, torch.uint8: 1}
_CUDA = 2
_keep = []  # nothing is freed


def take(data, like, index):
    """A GPU's tensor at an address, of a tensor's type, shape and strides."""
    n = like.ndim
    shape, strides = (ctypes.c_int64 * n)(*like.shape), (ctypes.c_int64 * n)(*like.stride())
    kind = _KINDS.get(like.dtype, 2 if like.dtype.is_floating_point else 0)
    t = _Tensor(data, _CUDA, index, n, kind, 8 * like.element_size(), 1, ctypes.addressof(shape), ctypes.addressof(strides), 0, None, None)
    _keep.append((t, shape, strides))
    return torch.utils.dlpack.from_dlpack(_new(ctypes.addressof(t), b"dltensor", None))

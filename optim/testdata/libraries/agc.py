"""Write agc.json: adaptive gradient clipping as timm's adaptive_clip_grad has it, in torch's operations, and as optax's adaptive_grad_clip computes it.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python agc.py

The two are one formula. Units of timm are along the first axis; those of optax, whose layers have it there, along the last. So optax is given a matrix
or a kernel with its first axis last. The script raises where the two differ by more than BOUND. They do differ where optax takes a tensor of one row
or one column for a vector; it is not asked about these.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "torch"))

import golden  # first: it chooses torch's kernels

import jax
import numpy as np
import optax
import torch

from inputs import Random, encode

jax.config.update("jax_enable_x64", True)

SHAPES = [(4, 3), (5,), (2, 3, 2, 2), (1, 6), (3, 1), (6, 20), ()]
CASES = [  # clipping, eps, what gradients are multiplied by
    ("all clipped", 0.01, 1e-3, 1.0),
    ("some clipped", 1.0, 1e-3, 1.0),
    ("none clipped", 100.0, 1e-3, 1.0),
    ("eps holds", 0.5, 2.0, 1.0),
    ("gradients of 0", 0.5, 1e-3, 0.0),
    ("clipped to 0", 0.5, 0.0, 1.0),  # the parameters that are 0
    ("below 1e-6", 2.0**-20, 2.0**-20, 2.0**-20),
]
CHAIN = 16  # roundings by which a library's norm may err, as in ../torch/README.md
BOUND = 3 * CHAIN + 8  # of a clipped gradient: both norms, the quotient, products


def tensors():
    """Parameters, of which the first row of each matrix is 0, and gradients whose rows are of many magnitudes."""
    rng = Random(4242)
    params, grads = [], []
    for shape in SHAPES:
        p, g = (np.array([rng.normal() for _ in range(int(np.prod(shape)))]).reshape(shape) for _ in range(2))
        if len(shape) > 1:
            p[0] = 0
            g *= 4.0 ** np.arange(-1, shape[0] - 1).reshape((-1,) + (1,) * (len(shape) - 1))
        params.append(p)
        grads.append(g)
    return params, grads


def unitwise_norm(x):
    return x.norm(2.0) if x.ndim <= 1 else x.norm(2.0, dim=tuple(range(1, x.ndim)), keepdim=True)


def timm(param, grad, clipping, eps):
    max_norm = unitwise_norm(param).clamp(min=eps) * clipping
    grad_norm = unitwise_norm(grad)
    return torch.where(grad_norm < max_norm, grad, grad * (max_norm / grad_norm.clamp(min=1e-6)))


def by_optax(param, grad, clipping, eps):
    last = lambda x: jax.numpy.asarray(np.moveaxis(x, 0, -1) if x.ndim > 1 else x)
    clipped, _ = optax.adaptive_grad_clip(clipping, eps).update(last(grad), optax.EmptyState(), last(param))
    return np.moveaxis(np.asarray(clipped), -1, 0) if param.ndim > 1 else np.asarray(clipped)


def case(name, clipping, eps, scale, dtype):
    params, grads = tensors()
    out = []
    for param, grad in zip(params, grads):
        param, grad = param.astype(dtype), grad.astype(dtype) * np.dtype(dtype).type(scale)
        clipped = timm(torch.from_numpy(np.asarray(param)), torch.from_numpy(np.asarray(grad)), clipping, eps).numpy()
        if param.squeeze().ndim == param.ndim:
            bound = BOUND * np.finfo(dtype).eps / 2
            np.testing.assert_allclose(by_optax(param, grad, clipping, eps), clipped, rtol=bound, atol=0)
        out.append(clipped.ravel().astype("float64").tolist())
    return {"name": name, "dtype": dtype, "clipping": clipping, "eps": eps, "grad_scale": scale, "clipped": out}


def main():
    golden.check()
    if optax.__version__ != "0.2.8":
        sys.exit(f"agc.py: optax is {optax.__version__}, want 0.2.8: see ../requirements.txt")
    params, grads = tensors()
    flat = lambda all, dtype: [x.astype(dtype).ravel().tolist() for x in all]
    text = encode(
        golden.header()
        | {
            "optax": optax.__version__,
            "shapes": [list(shape) for shape in SHAPES],
            "params": {dtype: flat(params, dtype) for dtype in golden.DTYPES},
            "grads": {dtype: flat(grads, dtype) for dtype in golden.DTYPES},
            "cases": [case(*row, dtype) for row in CASES for dtype in golden.DTYPES],
        }
    )
    (HERE / "agc.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main()

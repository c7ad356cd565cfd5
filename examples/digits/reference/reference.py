"""Writes softmax.json and mlp.json: what torch 2.15.0 and optax 0.2.8 reach, and scikit-learn 1.9.0's solution."""

import pathlib
import sys

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent.parent / "internal" / "compare"))
import libraries  # noqa: E402

L2 = 1e-3
images = load_digits()
pixels, digits = torch.tensor(images.data / 16), torch.tensor(images.target)
held_out = 360
train, test = slice(0, len(digits) - held_out), slice(len(digits) - held_out, None)


class Network(libraries.Problem):
    rows, batch, epochs, seed = len(digits) - held_out, 32, 30, 1
    unit = 100 / held_out

    def __init__(self, *sizes):
        self.sizes = sizes

    def init(self, rng):
        params = []
        for inputs, outputs in zip(self.sizes, self.sizes[1:]):
            params += [rng.uniform(1 / inputs**0.5, (outputs, inputs)), np.zeros(outputs, np.float32)]
        return params

    def logits(self, params, x):
        for i in range(0, len(params), 2):
            if i > 0:
                x = torch.tanh(x)
            x = torch.nn.functional.linear(x, params[i], params[i + 1])
        return x

    def loss(self, params, rows):
        x, y = pixels[train], digits[train]
        if rows is not None:
            x, y = x[rows], y[rows]
        penalty = sum((w**2).sum() for w in params[::2])
        return torch.nn.functional.cross_entropy(self.logits(params, x), y) + L2 / 2 * penalty

    def quality(self, params):
        return 100 * (self.logits(params, pixels[test]).argmax(1) == digits[test]).double().mean()


def regression():
    """The minimum that softmax regression has, by L-BFGS."""
    x, y = pixels[train].numpy(), digits[train].numpy()
    fit = LogisticRegression(C=1 / (L2 * len(y)), tol=1e-12, max_iter=10_000).fit(x, y)
    params = [torch.tensor(fit.coef_), torch.tensor(fit.intercept_)]
    problem = Network(64, 10)
    return {
        "name": "scikit-learn LogisticRegression",
        "loss": float(problem.loss(params, None)),
        "quality": float(problem.quality(params)),
    }


libraries.write(HERE, "softmax", Network(64, 10), [regression()])
libraries.write(HERE, "mlp", Network(64, 32, 10), [])

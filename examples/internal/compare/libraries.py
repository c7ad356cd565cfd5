"""Trains an example's model with other libraries' optimizers, for the examples' own reference.py.

torch 2.15.0 differentiates the loss; its optimizers, or optax's 0.2.8, make the steps, all in float64. The initial weights
and the batches are those of the Go program, float32 weights included.
"""

import csv
import functools
import json
import pathlib
import sys

import jax
import numpy as np
import optax
import optax.contrib
import torch

jax.config.update("jax_enable_x64", True)
torch.set_num_threads(1)

# What a run is disturbed by to see what rounding to float32 can do: each step multiplies the gradients by 1 + noise, and then the
# parameters and the optimizer's state by 1 + noise + drift. A rounding changes a number by a part of 2^-24 at most: the noise is 16
# times that. The drift is for what errs the same way in every step: 1 - lr·weight_decay, rounded once, is off by up to 2^-25, and a
# sum of squares that grows by less than 2^-25 of itself does not grow.
NOISE, DRIFT = 2.0**-20, 2.0**-24
NOISY_RUNS = 8


class Rand:
    """Go's math/rand/v2: rand.New(rand.NewPCG(seed, stream))."""

    MASK = 2**64 - 1

    def __init__(self, seed, stream):
        self.state = seed << 64 | stream

    def uint64(self):
        multiplier = 2549297995355413924 << 64 | 4865540595714422341
        increment = 6364136223846793005 << 64 | 1442695040888963407
        self.state = (self.state * multiplier + increment) % 2**128
        hi, lo = self.state >> 64, self.state & self.MASK
        hi ^= hi >> 32
        hi = hi * 0xDA942042E4DD58B5 & self.MASK
        hi ^= hi >> 48
        return hi * (lo | 1) & self.MASK

    def below(self, n):
        if n & (n - 1) == 0:
            return self.uint64() & (n - 1)
        while True:
            product = self.uint64() * n
            if product & self.MASK >= 2**64 % n:
                return product >> 64

    def uniform(self, radius, shape):
        """As many float32 numbers within ±radius, one after another in the order of memory."""
        n = int(np.prod(shape))
        numbers = [(2 * ((self.uint64() & 2**53 - 1) / 2**53) - 1) * radius for _ in range(n)]
        return np.array(numbers).astype(np.float32).reshape(shape)


def batches(rows, size, epochs, seed):
    """The rows of each batch, epoch by epoch: package batches."""
    rng, order, out = Rand(seed, 0), list(range(rows)), []
    for _ in range(epochs):
        for i in range(rows - 1, 0, -1):
            k = rng.below(i + 1)
            order[i], order[k] = order[k], order[i]
        out.append([torch.tensor(order[i : i + size]) for i in range(0, rows, size)])
    return out


class Torch:
    """An optimizer of torch, with l1·sign(p) added to the gradients before its steps, which torch has not."""

    def __init__(self, params, kind, lr, l1=0.0, **hyper):
        self.params, self.l1 = params, l1
        self.inner = getattr(torch.optim, kind)(params, lr=lr, **hyper)

    def step(self):
        if self.l1:
            for p in self.params:
                p.grad += self.l1 * p.sign()
        self.inner.step()

    def change(self, f):
        """Replaces the state by what f makes of it: all of it that has an element for each of a parameter's."""
        for p, slots in self.inner.state.items():
            for t in slots.values():
                if torch.is_tensor(t) and t.shape == p.shape:
                    t.copy_(f(t))


class Optax:
    """An optimizer of optax on torch's tensors."""

    def __init__(self, params, transform):
        self.params, self.shapes = params, {p.shape for p in params}
        self.state = transform.init(self.arrays(params))
        self.update = jax.jit(transform.update)

    @staticmethod
    def arrays(tensors):
        return [jax.numpy.asarray(t.detach().numpy()) for t in tensors]

    @staticmethod
    def tensor(array):
        return torch.from_numpy(np.array(array))

    def step(self):
        updates, self.state = self.update(self.arrays([p.grad for p in self.params]), self.state, self.arrays(self.params))
        for p, u in zip(self.params, updates):
            p += self.tensor(u)

    def change(self, f):
        whole = lambda a: jax.numpy.asarray(f(self.tensor(a)).numpy()) if a.shape in self.shapes else a
        self.state = jax.tree.map(whole, self.state)


def torch_optimizer(kind, **hyper):
    return f"torch {kind}", lambda params, lr: Torch(params, kind, lr, **hyper)


def optax_optimizer(name, transform):
    return f"optax {name}", lambda params, lr: Optax(params, transform(lr))


# The cases of optim.Cases that torch or optax has, by their names there.
OPTIMIZERS = {
    "sgd": torch_optimizer("SGD"),
    "sgd-l1": torch_optimizer("SGD", l1=1e-4),
    "sgd-l2": torch_optimizer("SGD", weight_decay=1e-4),
    "sgd-momentum": torch_optimizer("SGD", momentum=0.9),
    "sgd-momentum-l2": torch_optimizer("SGD", momentum=0.9, weight_decay=1e-4),
    "sgd-nesterov": torch_optimizer("SGD", momentum=0.9, nesterov=True),
    "sgd-nesterov-l2": torch_optimizer("SGD", momentum=0.9, nesterov=True, weight_decay=1e-4),
    "asgd": torch_optimizer("ASGD"),
    "adam": torch_optimizer("Adam"),
    "adam-l1": torch_optimizer("Adam", l1=1e-4),
    "adam-l2": torch_optimizer("Adam", weight_decay=1e-4),
    "adam-amsgrad": torch_optimizer("Adam", amsgrad=True),
    "adamw": torch_optimizer("AdamW"),
    "adamw-amsgrad": torch_optimizer("AdamW", amsgrad=True),
    "lion": optax_optimizer("lion", lambda lr: optax.lion(lr, weight_decay=0.0)),
    "signsgd": optax_optimizer("sign_sgd", optax.sign_sgd),
    "rmsprop": torch_optimizer("RMSprop"),
    "rmsprop-momentum": torch_optimizer("RMSprop", momentum=0.9),
    "rmsprop-centered": torch_optimizer("RMSprop", centered=True),
    "adagrad": torch_optimizer("Adagrad"),
    "adamax": torch_optimizer("Adamax"),
    "nadam": torch_optimizer("NAdam"),
    "radam": torch_optimizer("RAdam"),
    "adabelief": optax_optimizer("adabelief", optax.adabelief),
    "ademamix": optax_optimizer("ademamix", lambda lr: optax.contrib.ademamix(lr, alpha=2.0)),
    "yogi": optax_optimizer("yogi", optax.yogi),
    "adadelta": torch_optimizer("Adadelta"),
    "rprop": torch_optimizer("Rprop", step_sizes=(1e-6, 1e-2)),
}


class Problem:
    """What a script gives: rows, batch, epochs, and

    init(rng): the initial weights, float32 arrays, drawn as the Go program draws them;
    loss(params, rows): the mean over these rows, all of them if rows is None;
    quality(params): a figure of the held-out data, and unit, the least by which it can change, 0 if it is continuous.
    """

    unit = 0.0


def train(problem, deal, make, lr, dtype=torch.float64, noise=None):
    """The losses and qualities of a run, before it and after each epoch; disturbed if noise is a number.

    They and the gradients are calculated in float64, whatever the type of the parameters and so of the optimizer. Torch's gradients
    in float32 would err by the size of the terms that cancel in them, and Adagrad, dividing by what is left, would show it.
    """
    params = [torch.tensor(a, dtype=dtype, requires_grad=True) for a in problem.init(Rand(problem.seed, 1))]
    opt = make(params, lr)
    generator = torch.Generator().manual_seed(noise or 0)
    drift = DRIFT if (noise or 0) % 2 else -DRIFT

    def disturbed(t, drift=drift):
        return t * (1 + drift + NOISE * (2 * torch.rand(t.shape, generator=generator, dtype=dtype) - 1))

    def wide():
        return [p.double() for p in params]

    def evaluate():
        return float(problem.loss(wide(), None)), float(problem.quality(wide()))

    def step(rows):
        for p in params:
            p.grad = None
        with torch.enable_grad():
            problem.loss(wide(), rows).backward()
        if noise is None:
            opt.step()
            return
        for p in params:
            p.grad.copy_(disturbed(p.grad, drift=0))
        opt.step()
        for p in params:
            p.copy_(disturbed(p))
        opt.change(disturbed)

    with torch.no_grad():
        figures = [evaluate()]
        for epoch in deal:
            for rows in epoch:
                step(rows)
            figures.append(evaluate())
    return np.array(figures).T


def curve(problem, deal, name, lr):
    library, make = OPTIMIZERS[name]
    run = functools.partial(train, problem, deal, make, lr)
    clean = run()
    noisy = [np.abs(run(noise=i) - clean) for i in range(NOISY_RUNS)]
    spread = np.maximum.accumulate(np.max(noisy, axis=0), axis=1)
    # One step of a figure that moves in steps, and the rounding of what is written below.
    spread += np.array([[0.0], [problem.unit]]) + 1e-7 * np.abs(clean)
    single = np.abs(run(dtype=torch.float32) - clean) / spread
    print(f"{name:20} {clean[0, -1]:.6g} {clean[1, -1]:.6g}  float32 at {single.max(axis=1)} of the spread", flush=True)
    if not (single <= 2).all():  # as in Curve.Check
        raise SystemExit(f"{name}: in float32 the library is further from itself in float64 than twice the spread")
    number = lambda digits: lambda row: [float(f"%.{digits}g" % x) for x in row]
    return {
        "library": library,
        "lr": lr,
        "loss": number(8)(clean[0]),
        "loss_spread": number(3)(spread[0]),
        "quality": number(8)(clean[1]),
        "quality_spread": number(3)(spread[1]),
    }


def write(folder, name, problem, baselines):
    """Writes reference NAME.json, from the learning rates in NAME.csv. Optimizers named as arguments are trained again, or for
    the first time, and the others stay as they are; without arguments all are."""
    file, names = pathlib.Path(folder) / f"{name}.json", sys.argv[1:] or list(OPTIMIZERS)
    with open(file.with_suffix(".csv")) as f:
        rates = {row[0]: float(row[1]) for row in csv.reader(f)}
    curves = json.loads(file.read_text())["optimizers"] if sys.argv[1:] else {}
    deal = batches(problem.rows, problem.batch, problem.epochs, problem.seed)
    curves |= {o: curve(problem, deal, o, rates[o]) for o in names}
    out = {"seed": problem.seed, "optimizers": {o: curves[o] for o in OPTIMIZERS}, "baselines": baselines}
    lines = json.dumps(out, indent=1).replace("\n    ", "").replace("\n   ]", "]")
    file.write_text(lines + "\n")

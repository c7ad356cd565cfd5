"""Write more.json: what the optimizers beside SGD and Adam compute, for the Go tests to compare with.

    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python more.py

The inputs, the format and what keeps the bytes the same on every machine are golden.py's. Lion, which torch lacks, is
optax's. Beside each result stands a bound: RULES says the operations of each side (difference.py; README.md).
"""

import importlib.metadata
import sys

import golden  # first: it chooses torch's kernels

import numpy as np
import torch

from steps import average, average_square, case, decayed, gradient, power_units

OPTAX, JAX = "0.2.8", "0.10.2"


# --- What both sides do ---------------------------------------------------------------------------------------------


def lion(k):
    h, g, m = k.h, k.g, k.slot("exp_avg")
    beta1, beta2 = h["betas"]
    both = lambda beta: lambda m, g: beta * m + (1 - beta) * g  # optax adds in the other order, which changes nothing
    step = k.a.differ(both(beta1), both(beta1), m, g).sign()
    k.keep("exp_avg", k.a.differ(both(beta2), both(beta2), m, g))
    wd, lr = h["weight_decay"], k.lr
    ours = lambda p, s: (1 - lr * wd) * p - lr * s
    k.param(k.a.differ(ours, lambda p, s: p - lr * (s + wd * p), k.slot("param"), step))


def rmsprop(k):
    h, g, lr = k.h, gradient(k), k.lr
    v = average_square(k, "square_avg", g, h["alpha"])
    if h["centered"]:
        mean = average(k, "grad_avg", g, h["alpha"])
        v = v - mean * mean
    d = v.sqrt() + h["eps"]
    if h["momentum"] != 0:
        k.param(k.slot("param") - lr * k.keep("momentum_buffer", h["momentum"] * k.slot("momentum_buffer") + g / d))
    else:
        k.param(k.slot("param") - lr * g / d)


def adagrad(k):
    h, g = k.h, gradient(k)
    total = k.keep("sum", k.slot("sum") + g * g)
    step = k.lr / (1 + (k.t - 1) * h["lr_decay"])
    k.param(k.slot("param") - step * g / (total.sqrt() + h["eps"]))


def adamax(k):
    h, g = k.h, gradient(k)
    beta1, beta2 = h["betas"]
    m = average(k, "exp_avg", g, beta1)
    u = k.keep("exp_inf", (beta2 * k.slot("exp_inf")).maximum(g.abs() + h["eps"]))
    step = k.a.unlike(k.lr / (1 - beta1**k.t), 2 + power_units(beta1, k.t))
    k.param(k.slot("param") - step * m / u)


def denominator(k, v, beta2):
    """The corrected root: ours multiplies by a reciprocal, torch divides below the root."""
    bias = k.a.unlike(1 - beta2**k.t, power_units(beta2, k.t))
    eps = k.h["eps"]
    ours = lambda v, bias: v.sqrt() * (1 / bias.sqrt()) + eps
    return k.a.differ(ours, lambda v, bias: (v / bias).sqrt() + eps, v, bias)


def nadam(k):
    h, g, t, lr = k.h, gradient(k), k.t, k.lr
    beta1, beta2 = h["betas"]
    p = decayed(k)
    m = average(k, "exp_avg", g, beta1)
    v = average_square(k, "exp_avg_sq", g, beta2)
    d = denominator(k, v, beta2)
    mu = [beta1 * (1 - 0.5 * 0.96 ** (i * h["momentum_decay"])) for i in range(1, t + 2)]
    product, following = np.prod(mu[:-1]), np.prod(mu)
    # In units of 2^-53: 0.96^(t*decay) by a power and by a product, t + 4; a mu twice as many and three of its own, since it is
    # 1 less at most half; a product of t such; then 1 less these.
    units = t + 4 + 3
    ofproduct = (t + 1) * (units + 1)
    one = k.a.unlike(lr * (1 - mu[-2]) / (1 - product), 6 + units * mu[-2] / (1 - mu[-2]) + ofproduct * product / (1 - product))
    two = k.a.unlike(lr * mu[-1] / (1 - following), 6 + units + ofproduct * following / (1 - following))
    ours = lambda p, g, m, d, one, two: p - (one * g + two * m) / d
    k.param(k.a.differ(ours, lambda p, g, m, d, one, two: p - one * g / d - two * m / d, p, g, m, d, one, two))


def average_length(beta2, t):
    """The length of RAdam's moving average, and how far apart the two sides' may be."""
    longest, subtrahend = 2 / (1 - beta2) - 1, 2 * t * beta2**t / (1 - beta2**t)
    length, error = longest - subtrahend, (longest + subtrahend * (8 + t + power_units(beta2, t))) * 2.0**-53
    if abs(length - 5) <= error:
        raise ValueError("whether a step is adaptive depends on rounding")
    return length, error


def rectification(beta2, length, error):
    """RAdam's factor of a step, and how far apart the two sides' may be, in units of 2^-53."""
    longest = 2 / (1 - beta2) - 1
    # The relative error of (length-4)*(length-2)/length is at most that of the three of them.
    units = error * (1 / abs(length - 4) + 1 / abs(length - 2) + 1 / abs(length)) * 2.0**53
    return np.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)), 12 + units


def radam(k):
    h, g, t, lr = k.h, gradient(k), k.t, k.lr
    beta1, beta2 = h["betas"]
    p = decayed(k)
    m = average(k, "exp_avg", g, beta1)
    v = average_square(k, "exp_avg_sq", g, beta2)
    bias1, bias2 = 1 - beta1**t, 1 - beta2**t
    length, error = average_length(beta2, t)
    one = k.a.unlike(lr / bias1, 3 + power_units(beta1, t))
    if length <= 5:
        k.param(k.a.differ(lambda p, m, one: p - one * m, lambda p, m, one: p - m * (one / lr if lr else one) * lr, p, m, one))
        return
    rect, units = rectification(beta2, length, error)
    two = k.a.unlike(np.sqrt(bias2) * rect, units + power_units(beta2, t))
    ours = lambda p, m, v, one, two: p - one * two * (m / (v.sqrt() + h["eps"]))
    torchs = lambda p, m, v, one, two: p - m * (one / lr if lr else one) * lr * (1 / (v.sqrt() + h["eps"]) * two) * 1.0
    k.param(k.a.differ(ours, torchs, p, m, v, one, two))


def adadelta(k):
    h, g = k.h, gradient(k)
    v = average_square(k, "square_avg", g, h["rho"])
    delta = (k.slot("acc_delta") + h["eps"]).sqrt() / (v + h["eps"]).sqrt() * g
    average_square(k, "acc_delta", delta, h["rho"])
    k.param(k.slot("param") - k.lr * delta)


def rprop(k):
    """Both sides perform the same operations on equal numbers: nothing differs, and the rule serves to check that alone."""
    h, g = k.h, np.float64(k.g.x)
    with np.errstate(under="ignore"):
        turn = np.float64(g.astype(k.a.dtype) * k.slot("prev").x.astype(k.a.dtype))
    factor = np.where(turn > 0, h["etas"][1], np.where(turn < 0, h["etas"][0], 1))
    g = np.where(turn < 0, 0, g)
    step = np.clip(k.slot("step_size").x * factor, *h["step_sizes"])
    k.put("prev", k.number(g))
    k.put("step_size", k.number(step))
    k.param(k.number(k.slot("param").x - np.sign(g) * step))


RULES = {"lion": lion, "rmsprop": rmsprop, "adagrad": adagrad, "adamax": adamax, "nadam": nadam, "radam": radam, "adadelta": adadelta, "rprop": rprop}

# --- Cases ----------------------------------------------------------------------------------------------------------

DEFAULTS = {
    "lion": {"lr": 1e-2, "betas": (0.9, 0.99), "weight_decay": 0.0, "maximize": False},
    "rmsprop": {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "centered": False, "maximize": False},
    "adagrad": {"lr": 1e-2, "lr_decay": 0.0, "weight_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10, "maximize": False},
    "adamax": {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "maximize": False},
    "nadam": {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "momentum_decay": 4e-3, "decoupled_weight_decay": False, "maximize": False},
    "radam": {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decoupled_weight_decay": False, "maximize": False},
    "adadelta": {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "maximize": False},
    "rprop": {"lr": 1e-2, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0), "maximize": False},
}
CLASSES = {"rmsprop": torch.optim.RMSprop, "adagrad": torch.optim.Adagrad, "adamax": torch.optim.Adamax, "nadam": torch.optim.NAdam, "radam": torch.optim.RAdam, "adadelta": torch.optim.Adadelta, "rprop": torch.optim.Rprop}

CASES = {
    "lion": {
        "defaults": {"lr": 1e-4},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "betas 0.95 0.98": {"betas": (0.95, 0.98)},
        "betas 0.3 0.8": {"betas": (0.3, 0.8)},
        "betas 0 0.9": {"betas": (0.0, 0.9)},
        "wd": {"weight_decay": 0.1},
        "wd+maximize": {"weight_decay": 0.1, "maximize": True},
    },
    "rmsprop": {
        "defaults": {},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1, "momentum": 0.9},
        "alpha 0.5 eps 1e-3": {"alpha": 0.5, "eps": 1e-3},
        "wd+maximize": {"weight_decay": 0.1, "eps": 1e-2, "maximize": True},
        "momentum": {"momentum": 0.9},
        "momentum+wd": {"momentum": 0.5, "weight_decay": 0.01, "eps": 1e-2},
        "centered": {"centered": True},
        "centered+momentum+maximize": {"centered": True, "momentum": 0.9, "alpha": 0.9, "maximize": True},
    },
    "adagrad": {
        "defaults": {},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "lr_decay": {"lr_decay": 0.3},
        "initial": {"initial_accumulator_value": 0.1},
        "initial+lr_decay+maximize": {"lr": 0.5, "initial_accumulator_value": 3.0, "lr_decay": 1e-2, "maximize": True},
        "eps 1e-3": {"eps": 1e-3},
        "wd": {"weight_decay": 0.1, "eps": 1e-2},
        "wd+maximize": {"weight_decay": 0.1, "initial_accumulator_value": 0.5, "maximize": True},
    },
    "adamax": {
        "defaults": {},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "betas 0.3 0.8": {"lr": 0.1, "betas": (0.3, 0.8)},
        "betas 0 0.9": {"betas": (0.0, 0.9)},
        "eps 1e-3": {"eps": 1e-3},
        "wd": {"weight_decay": 0.1, "eps": 1e-3},
        "maximize": {"maximize": True},
    },
    "nadam": {
        "defaults": {},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "betas 0.3 0.8": {"lr": 0.1, "betas": (0.3, 0.8)},
        "betas 0 0.9": {"betas": (0.0, 0.9)},
        "momentum_decay 0": {"momentum_decay": 0.0},
        "momentum_decay 1": {"momentum_decay": 1.0, "eps": 1e-3},
        "wd": {"weight_decay": 0.1, "eps": 1e-3},
        "decoupled": {"weight_decay": 0.1, "decoupled_weight_decay": True},
        "decoupled+maximize": {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
    },
    "radam": {
        "defaults": {"lr": 1e-3},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "betas 0.3 0.8": {"betas": (0.3, 0.8)},
        "betas 0 0.9": {"betas": (0.0, 0.9)},
        "betas 0.9 0.5": {"betas": (0.9, 0.5)},
        "wd": {"weight_decay": 0.1, "eps": 1e-2},
        "decoupled": {"weight_decay": 0.1, "decoupled_weight_decay": True},
        "decoupled+maximize": {"weight_decay": 0.1, "betas": (0.9, 0.95), "decoupled_weight_decay": True, "maximize": True},
    },
    "adadelta": {
        "defaults": {},
        "lr 0": {"lr": 0.0, "weight_decay": 0.1},
        "rho 0.5": {"rho": 0.5},
        "rho 0": {"rho": 0.0},
        "eps 1e-3": {"eps": 1e-3, "lr": 0.1},
        "wd": {"weight_decay": 0.1},
        "maximize": {"maximize": True},
    },
    "rprop": {
        "defaults": {},
        "lr 0": {"lr": 0.0},
        "etas": {"etas": (0.3, 1.7), "step_sizes": (1e-3, 0.1)},
        "maximize": {"lr": 0.1, "maximize": True},
    },
}


class CorrectSquareRoot(torch.overrides.TorchFunctionMode):
    """golden.CorrectSquareRoot, for roots in place too."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.sqrt:
            return torch.from_numpy(np.asarray(np.sqrt(args[0].detach().numpy())))
        if func is torch.Tensor.sqrt_:
            return args[0].copy_(torch.from_numpy(np.asarray(np.sqrt(args[0].detach().numpy()))))
        return func(*args, **(kwargs or {}))


class Torch:
    def __init__(self, optimizer, hyper, init, dtype):
        self.dtype = golden.DTYPES[dtype]
        self.param = torch.nn.Parameter(torch.tensor(init, dtype=self.dtype))
        self.opt = optimizer([self.param], foreach=False, **hyper)

    def step(self, lr, grad):
        self.opt.param_groups[0]["lr"] = lr
        self.param.grad = torch.tensor(grad, dtype=self.dtype)
        with CorrectSquareRoot():
            self.opt.step()

    def values(self):
        tensors = {"param": self.param, **self.opt.state.get(self.param, {})}
        return {
            name: tensor.detach().double().numpy().copy()
            for name, tensor in tensors.items()
            if isinstance(tensor, torch.Tensor) and tensor.dim() > 0
        }


class Optax:
    """Each operation runs, and is rounded, by itself: nothing is jitted. Make(optax, hyper, lr, t) is a step's transformation, and
    slots are the fields of its first state, by name."""

    def __init__(self, make, slots, hyper, init, dtype):
        import jax
        import optax

        jax.config.update("jax_enable_x64", True)
        self.jax, self.optax, self.make, self.slots, self.hyper, self.dtype = jax, optax, make, slots, hyper, dtype
        self.value = jax.numpy.asarray(init, dtype=dtype)
        self.state, self.t = None, 0

    def step(self, lr, grad):
        self.t += 1
        opt = self.make(self.optax, self.hyper, lr, self.t)
        if self.state is None:
            self.state = opt.init(self.value)
        g = self.jax.numpy.asarray(grad, dtype=self.dtype)
        updates, self.state = opt.update(-g if self.hyper["maximize"] else g, self.state, self.value)
        self.value = self.optax.apply_updates(self.value, updates)

    def values(self):
        out = {"param": np.array(self.value, dtype=np.float64)}
        if self.state is not None:
            out |= {name: np.array(getattr(self.state[0], field), dtype=np.float64) for name, field in self.slots.items()}
        return out


def optax_lion(optax, h, lr, t):
    return optax.lion(lr, b1=h["betas"][0], b2=h["betas"][1], weight_decay=h["weight_decay"])


def initial(name, hyper):
    """State that does not start at 0."""
    if name == "adagrad":
        return {"sum": hyper["initial_accumulator_value"]}
    if name == "rprop":
        return {"step_size": hyper["lr"]}
    return {}


def check(file, versions):
    for module, want in {"torch": golden.TORCH, "numpy": golden.NUMPY, **versions}.items():
        have = importlib.metadata.version(module).split("+")[0]
        if have != want:
            sys.exit(f"{file}: {module} is {have}, want {want}")
    torch.set_default_dtype(torch.float64)  # of state that is one number, float32 otherwise, whatever the parameter
    torch.set_num_threads(1)


def write(file, table, defaults, rules, library, initial, **versions):
    """Runs all cases with the library that library(name, hyper, init, dtype) starts, and writes them to a file."""
    check(file, versions)
    cases = []
    for name, options in table.items():
        for label, changed in options.items():
            for dtype in golden.DTYPES:
                cases.append(case(f"{name}/{label}", name, defaults[name] | changed, dtype, library, rules[name], initial))
    text = golden.encode(golden.header() | versions | {"cases": cases})
    (golden.HERE / file).write_text(text + "\n", encoding="ascii")


def library(name, hyper, init, dtype):
    if name in CLASSES:
        return Torch(CLASSES[name], hyper, init, dtype)
    return Optax(optax_lion, {"exp_avg": "mu"}, hyper, init, dtype)


if __name__ == "__main__":
    write("more.json", CASES, DEFAULTS, RULES, library, initial, optax=OPTAX, jax=JAX)

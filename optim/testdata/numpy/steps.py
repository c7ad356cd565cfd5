"""One case of an optimizer's golden file: what a library computes, or what is stated in numpy, and how far a correct implementation
may be from it. Needs numpy alone. README.md says how to add a rule."""

import pathlib
import sys

import numpy as np

import difference
import inputs

DTYPES = ("float32", "float64")

# --- Terms of the rules that both sides have --------------------------------------------------------------------------


def gradient(k):
    """The effective gradient, with coupled decay."""
    g, wd = k.g, k.h.get("weight_decay", 0)
    if wd != 0 and not k.decoupled:
        g = g + wd * k.slot("param")
    return g


def average(k, name, g, beta):
    """A moving average: ours is beta*m + (1-beta)*g, torch's a lerp."""
    w = 1 - beta
    if w < 0.5:
        lerp = lambda m, g: m + w * (g - m)
    else:
        lerp = lambda m, g: g - (g - m) * beta
    return k.keep(name, k.a.differ(lambda m, g: beta * m + w * g, lerp, k.slot(name), g))


def average_square(k, name, g, beta):
    """A moving average of squares: the same operations on both sides."""
    return k.keep(name, beta * k.slot(name) + (1 - beta) * g * g)


def power_units(beta, t):
    """How far apart 1 - beta^t may be from a power and from a running product, relative, in units of 2^-53."""
    return (t + 2) * beta**t / (1 - beta**t) + 2


def decayed(k):
    """The parameter after decoupled decay: the same operations on both sides."""
    wd = k.h["weight_decay"]
    p = k.slot("param")
    return (1 - k.lr * wd) * p if k.decoupled and wd != 0 else p


def bias(k, beta):
    """1 - beta^t. Torch and the authors take a power, within 2 units of 2^-53; XLA's is a product by squaring, within t - 1 of them,
    as ours is."""
    power = beta**k.t
    return k.a.unlike(1 - power, 2 * k.t * power / (1 - power) + 2)


def norm(x, u=None):
    """The root of the sum of squares, for differ: ours adds in float64, with a u of WIDE."""
    return (x * x).total(u).sqrt()


WIDE = 2.0**-53


# --- A case -----------------------------------------------------------------------------------------------------------


class Step:
    """One step of a trajectory, as a rule above sees it."""

    def __init__(self, t, hyper, lr, grad, after, slots, arithmetic, last_lr=None):
        self.t, self.h, self.lr, self.last_lr, self.after, self.a = t, hyper, lr, last_lr, after, arithmetic
        self.decoupled = hyper.get("decoupled_weight_decay", hyper.get("decoupled", False))
        self.slots, self.next = slots, {}
        self.g = self.number(-grad if hyper["maximize"] else grad)

    def number(self, x, e=0.0):
        return difference.Number(self.a, x, e)

    def slot(self, name):
        return self.slots[name]

    def keep(self, name, x):
        """The new value of a moment that ours flushes."""
        self.next[name] = x.flushed(self.after[name])
        return self.next[name]

    def put(self, name, x):
        self.next[name] = x.stored(self.after[name])
        return self.next[name]

    def param(self, x):
        self.put("param", x)


class Bounds:
    """The bounds beside a library's trajectory, from step to step: slots are its numbers as rule sees them, and how far a correct
    implementation may be from each. Before is what the library starts from, initial the state that does not start at 0. So many units in the
    last place may the library be from the rule, evaluated precisely."""

    def __init__(self, label, hyper, rule, before, initial, arithmetic, units=100):
        self.units = units
        self.label, self.hyper, self.rule, self.initial, self.a = label, hyper, rule, initial, arithmetic
        self.slots = {slot: difference.Number(arithmetic, value) for slot, value in before.items()}
        self.t, self.last_lr = 0, None

    def step(self, lr, grad, after):
        """Follows a step of the library's, after which its numbers are these."""
        self.t += 1
        for slot, value in after.items():
            if not np.isfinite(value).all():
                raise ValueError(f"{self.label}: {slot} is not finite: {value}")
            self.slots.setdefault(slot, difference.Number(self.a, np.zeros_like(value)))
        if self.t == 1:
            self.slots |= {slot: difference.Number(self.a, np.full_like(grad, x)) for slot, x in self.initial.items()}
        step = Step(self.t, self.hyper, lr, grad, after, self.slots, self.a, self.last_lr)
        self.rule(step)
        for slot, x in step.next.items():
            if not np.isfinite(x.e).all():
                raise ValueError(f"{self.label} {self.a.dtype}: {slot} after step {self.t}: no bound: {x.e}")
            # What the rule above computes is what the library computed, or the bound is one of something else.
            path = np.abs(after[slot]) + np.abs(self.slots[slot].x)
            lost = (4 if self.a.flushes else 1) * self.a.tiny
            if (np.abs(x.computed - after[slot]) > self.units * self.a.u * path + lost).any():
                raise ValueError(f"{self.label} {self.a.dtype}: {slot} after step {self.t} is {after[slot]}, by its rule {x.computed}")
        self.slots, self.last_lr = step.next, lr


def case(label, name, hyper, dtype, library, rule, initial):
    """One case of a file: what the library computes on inputs.py's inputs, and on more that it is given, by step and name of the
    state, and the bounds that the rule derives. Hyper's "elements" is no hyperparameter: it has the indices of those that the tensor has, where it
    has not all. Nor is "shape": that of the tensor, where it has more than one axis. Nor is "lr_factor", in place of inputs.py's."""
    hyper = type(hyper)(hyper)
    elements = hyper.pop("elements", slice(None))
    shape = hyper.pop("shape", None)
    factors = hyper.pop("lr_factor", None)
    init, grads = (x.astype(dtype).astype(np.float64)[..., elements] for x in inputs.inputs())
    if shape is not None:
        init, grads = init.reshape(shape), grads.reshape(-1, *shape)
    run = library(name, hyper, init, dtype)
    arithmetic = difference.Arithmetic(dtype, getattr(run, "flushes", False))
    out = {"name": label, "optimizer": name, "dtype": dtype, "hyper": hyper}
    if isinstance(elements, list):
        out["elements"] = elements
    if shape is not None:
        out["shape"] = shape
    if factors is not None:
        out["lr_factor"] = factors
    if hasattr(run, "given"):
        out["input"] = run.given
    out |= {key: {} for key in ("param", "param_bound", "state", "state_bound")}
    bounds = Bounds(label, hyper, rule, run.values(), initial(name, hyper), arithmetic)
    for t, (factor, grad) in enumerate(zip(factors or inputs.LR_FACTOR, grads), start=1):
        lr = hyper["lr"] * factor
        run.step(lr, grad)
        after = run.values()
        bounds.step(lr, grad, after)
        if t in inputs.RECORDED:
            out["param"][t] = after["param"].ravel().tolist()
            out["param_bound"][t] = inputs.round_up(bounds.slots["param"].e.ravel())
        if t in inputs.RECORDED_STATE:
            out["state"][t] = {slot: value.ravel().tolist() for slot, value in after.items() if slot != "param"}
            out["state_bound"][t] = {slot: inputs.round_up(bounds.slots[slot].e.ravel()) for slot in out["state"][t]}
    return out


class Stated:
    """An algorithm as its paper, or its authors' code, states it: rule(run, lr, g) is a step. Each of its operations is one of numpy, on
    arrays of the dtype or on scalars f(x), where f = run.dtype rounds a Python float."""

    def __init__(self, step, hyper, init, dtype):
        self.rule, self.hyper, self.dtype = step, hyper, np.dtype(dtype).type
        self.slots, self.t = {"param": np.array(init, dtype=dtype)}, 0

    def step(self, lr, grad):
        self.t += 1
        g = np.array(grad, dtype=self.dtype)
        self.rule(self, lr, -g if self.hyper["maximize"] else g)

    def state(self, name):
        return self.slots.get(name, np.zeros_like(self.slots["param"]))

    def values(self):
        return {name: x.astype(np.float64) for name, x in self.slots.items()}


def write(name, cases, defaults, stated, rule, initial=lambda name, hyper: {}):
    """Writes name.json beside this script: all cases of the algorithm as stated, and how far ours, by the rule, may be from them."""
    if np.__version__ != inputs.NUMPY:
        sys.exit(f"{name}: numpy is {np.__version__}, want {inputs.NUMPY}")
    start = lambda _, hyper, init, dtype: Stated(stated, hyper, init, dtype)
    out = []
    for label, changed in cases.items():
        hyper = defaults | changed
        for dtype in hyper.pop("dtypes", DTYPES):  # of a case that has not all
            out.append(case(f"{name}/{label}", name, hyper, dtype, start, rule, initial))
    text = inputs.encode({"numpy": inputs.NUMPY, "cases": out})
    (pathlib.Path(__file__).resolve().parent / f"{name}.json").write_text(text + "\n", encoding="ascii")

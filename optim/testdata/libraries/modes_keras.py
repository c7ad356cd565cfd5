"""Write modes_keras.json: what Keras' optimizers compute.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python modes_keras.py

On TensorFlow, without which Keras has no float64, and nothing is compiled: each operation is rounded by itself. Some things are
replaced: roots, powers and sums by ones that do not depend on the CPU, casts of Python's floats to float64 by ones that do not go
through float32, and the learning rate's variable, which is float32 whatever is asked for.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import modes  # first: through it golden chooses torch's kernels

import keras
import numpy as np
import tensorflow as tf

import sparse

from adafactor import least
from inputs import ORDINARY
from modes import bias, complement, squares
from steps import WIDE, norm

KERAS, TENSORFLOW = "3.15.1", "2.21.0"

ops = keras.src.ops


def power(x, y):
    """A square, a root, or of a number the double's power, rounded to the type, which is the tensor's."""
    if y == 2 and isinstance(y, int):
        return x * x
    if isinstance(y, float) and y > 0:
        return sparse.power(x, y)
    f = (x if isinstance(y, float) else y).numpy().dtype.type
    return tf.constant(f(float(f(x)) ** float(y)))


def cast(x, dtype, cast=tf.cast):
    return tf.constant(x, dtype) if isinstance(x, float) else cast(x, dtype)


ops.power, ops.sqrt, tf.cast = power, lambda x: tf.constant(np.sqrt(x.numpy())), cast
ops.sum = lambda x: tf.constant(x.numpy().sum())
ops.mean = lambda x, axis=None, keepdims=False: tf.constant(x.numpy().mean(axis, keepdims=keepdims))


# --- What both sides do ---------------------------------------------------------------------------------------------


def decayed(k):
    """The parameter after decay, which Keras has for all optimizers, decoupled, and subtracts first."""
    p, wd, lr = k.slot("param"), k.h["weight_decay"], k.lr
    return k.a.differ(lambda p: (1 - lr * wd) * p, lambda p: p - p * wd * lr, p) if wd else p


def lerp(k, name, g, w):
    """A moving average. W is 1 - beta on both sides."""
    ours = lambda m, g, w: (1 - w) * m + w * g
    return k.keep(name, k.a.differ(ours, lambda m, g, w: m + (g - m) * w, k.slot(name), g, w))


def powers(k, beta):
    """1 - beta^t: Keras takes the power in the parameter's type."""
    f = np.dtype(k.a.dtype).type
    return bias(k, f(1) - f(float(f(beta)) ** k.t), beta)


def sgd(k):
    h, g, p, lr, mu = k.h, k.g, decayed(k), k.lr, k.h["momentum"]
    step = lr * g
    if mu:
        step = k.keep("momentum_buffer", mu * k.slot("momentum_buffer") + step)
        if h["nesterov"]:
            step = lr * g + mu * step
    k.param(p - step)


def adam(k):
    h, g, p, lr, eps, (beta1, beta2) = k.h, k.g, decayed(k), k.lr, k.h["eps"], k.h["betas"]
    m = lerp(k, "exp_avg", g, k.a.scalar(1 - beta1))
    v = lerp(k, "exp_avg_sq", g * g, k.a.scalar(1 - beta2))
    if h["amsgrad"]:
        v = k.put("max_exp_avg_sq", k.slot("max_exp_avg_sq").maximum(v))
    ours = lambda p, m, v, bias1, bias2: p - lr * bias2.sqrt() / bias1 * (m / (v.sqrt() + eps))
    keras = lambda p, m, v, bias1, bias2: p - m * (lr * bias2.sqrt() / bias1) / (v.sqrt() + eps)
    k.param(k.a.differ(ours, keras, p, m, v, powers(k, beta1), powers(k, beta2)))


def lamb(k):
    g, p, lr, eps, (beta1, beta2) = k.g, k.slot("param"), k.lr, k.h["eps"], k.h["betas"]
    m = lerp(k, "exp_avg", g, k.a.scalar(1 - beta1))
    v = lerp(k, "exp_avg_sq", g * g, k.a.scalar(1 - beta2))

    def ours(p, m, v, bias1, bias2):
        u = 1 / bias1 * (m / (v.sqrt() * (1 / bias2.sqrt()) + eps))
        return p - lr * (norm(p, WIDE) / norm(u, WIDE)) * u

    def keras(p, m, v, bias1, bias2):
        u = m / bias1 / ((v / bias2).sqrt() + eps)
        return p - norm(p) / norm(u) * lr * u

    k.param(k.a.differ(ours, keras, p, m, v, powers(k, beta1), powers(k, beta2)))


def adamax(k):
    g, p, lr, eps, (beta1, beta2) = k.g, decayed(k), k.lr, k.h["eps"], k.h["betas"]
    m = lerp(k, "exp_avg", g, k.a.scalar(1 - beta1))
    u = k.keep("exp_inf", (beta2 * k.slot("exp_inf")).maximum(g.abs()))
    ours = lambda p, m, u, bias: p - lr / bias * m / (u + eps)
    k.param(k.a.differ(ours, lambda p, m, u, bias: p - lr * m / (bias * (u + eps)), p, m, u, powers(k, beta1)))


def adagrad(k):
    g, p = k.g, decayed(k)
    total = k.keep("sum", k.slot("sum") + g * g)
    k.param(p - k.lr * g / (total + k.h["eps_root"]).sqrt())


def adadelta(k):
    g, p, rho, eps = k.g, decayed(k), k.h["rho"], k.h["eps"]
    v = squares(k, "square_avg", g, rho)
    ours = lambda d, v, g: (d + eps).sqrt() / (v + eps).sqrt() * g
    delta = k.a.differ(ours, lambda d, v, g: (d + eps).sqrt() * g / (v + eps).sqrt(), k.slot("acc_delta"), v, g)
    squares(k, "acc_delta", delta, rho)
    k.param(p - k.lr * delta)


def rmsprop(k):
    h, g, p, alpha = k.h, k.g, decayed(k), k.h["alpha"]
    v = squares(k, "square_avg", g, alpha)
    if h["centered"]:
        mean = k.keep("grad_avg", alpha * k.slot("grad_avg") + (1 - alpha) * g)
        v = v - mean * mean
    step = k.lr * g / (v + h["eps_root"]).sqrt()
    if h["momentum"]:
        step = k.keep("momentum_buffer", h["momentum"] * k.slot("momentum_buffer") + step)
    k.param(p - step)


def nadam(k):
    g, p, lr, eps, (beta1, beta2) = k.g, decayed(k), k.lr, k.h["eps"], k.h["betas"]
    m = lerp(k, "exp_avg", g, complement(k, beta1))
    v = lerp(k, "exp_avg_sq", g * g, complement(k, beta2))
    # Keras computes the schedule, and the product of its momenta, in the parameter's type.
    f, product, exact = np.dtype(k.a.dtype).type, 1, 1
    for t in range(1, k.t + 2):
        decay = f(float(f(0.96)) ** t)
        factor, mu = f(1) - f(0.5) * decay, beta1 * (1 - 0.5 * 0.96**t)
        following, exact_following = f(product) * (f(beta1) * factor), exact * mu
        if t <= k.t:
            product, exact, u, now = f(product) * f(beta1) * factor, exact_following, f(beta1) * factor, mu
    # Ours are within 4 units of 2^-53 for each of the t momenta.
    apart = lambda theirs, ours: k.number(np.longdouble(theirs), abs(np.longdouble(theirs) - ours) + 4 * (k.t + 2) * 2.0**-53)
    grads, moments = [(f(1) - u, 1 - now), (f(1) - product, 1 - exact)], [(f(beta1) * factor, mu), (f(1) - following, 1 - exact_following)]
    scalars = [apart(*pair) for pair in grads + moments]

    def ours(p, g, m, v, bias2, one, bias, two, next_bias):
        return p - (lr * one / bias * g + lr * two / next_bias * m) / (v.sqrt() * (1 / bias2.sqrt()) + eps)

    def keras(p, g, m, v, bias2, one, bias, two, next_bias):
        return p - (two * m / next_bias + one * g / bias) * lr / ((v / bias2).sqrt() + eps)

    k.param(k.a.differ(ours, keras, p, g, m, v, powers(k, beta2), *scalars))


def lion(k):
    g, p, m, (beta1, beta2) = k.g, decayed(k), k.slot("exp_avg"), k.h["betas"]
    both = lambda beta: lambda m, g, w: beta * m + w * g
    step = k.a.differ(both(beta1), both(beta1), m, g, complement(k, beta1)).sign()
    k.keep("exp_avg", k.a.differ(both(beta2), both(beta2), m, g, complement(k, beta2)))
    k.param(p - k.lr * step)


def adafactor(k):
    f, h = np.dtype(k.a.dtype).type, k.h
    rest = f(1) - f(float(k.t) ** h["beta2_decay"])
    rate = min(f(k.lr), f(1) / np.sqrt(f(k.t)))

    def step(h, u, p, rate):
        return least(modes.rms(p), h["eps"][1]) * rate * (u / least(modes.rms(u) / h["d"], 1))

    update = lambda g, *v: g / (v[0] / v[2] * v[1] if len(v) > 1 else v[0]).sqrt()
    modes.adafactor(k, f(1) - rest, rest, rate, update, step)


RULES = {
    "sgd": sgd, "adam": adam, "adamw": adam, "adamax": adamax, "adagrad": adagrad, "adadelta": adadelta, "rmsprop": rmsprop,
    "nadam": nadam, "lion": lion, "lamb": lamb, "ftrl": sparse.ftrl, "adafactor": adafactor,
}  # fmt: skip

# --- Cases ----------------------------------------------------------------------------------------------------------

ADAM = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-7}
KERAS_ADAM = ADAM | {"eps_hat": True}
MOMENTUM = {"lr": 0.01, "momentum": 0.9, "lr_in_momentum": True}
ADAMAX = ADAM | {"eps_outside": True}
ADAGRAD = {"lr": 0.001, "initial_accumulator": 0.1, "eps_root": 1e-7}
ADADELTA = {"lr": 0.001, "rho": 0.95, "eps": 1e-7}
RMSPROP = {"lr": 0.001, "alpha": 0.9, "eps_root": 1e-7}
LAMB = ADAM | {"nvlamb": True, "elements": ORDINARY}
ADAFACTOR = {"lr": 0.001, "beta2_decay": -0.8, "eps": (0.0, 1e-3), "d": 1.0, "eps_square": 1e-30, "elements": ORDINARY, "shape": (4, 5)}
DECAY = {"weight_decay": 0.004, "decoupled": True}

LISTED = [
    ("SGD()", "sgd", {"lr": 0.01}),
    ("SGD(momentum=0.9)", "sgd", MOMENTUM),
    ("SGD(momentum=0.9, nesterov=True)", "sgd", MOMENTUM | {"nesterov": True}),
    ("SGD(momentum=0.9, weight_decay=0.004)", "sgd", MOMENTUM | DECAY),
    ("Adam()", "adam", KERAS_ADAM),
    ("Adam(amsgrad=True)", "adam", KERAS_ADAM | {"amsgrad": True}),
    ("AdamW()", "adamw", KERAS_ADAM | {"weight_decay": 0.004}),
    ("Adamax()", "adamax", ADAMAX),
    ("Adamax(weight_decay=0.004)", "adamax", ADAMAX | DECAY),
    ("Adagrad()", "adagrad", ADAGRAD),
    ("Adagrad(weight_decay=0.004)", "adagrad", ADAGRAD | DECAY),
    ("Adadelta()", "adadelta", ADADELTA),
    ("Adadelta(weight_decay=0.004)", "adadelta", ADADELTA | DECAY),
    ("RMSprop()", "rmsprop", RMSPROP),
    ("RMSprop(momentum=0.9)", "rmsprop", RMSPROP | {"momentum": 0.9, "lr_in_momentum": True}),
    ("RMSprop(centered=True)", "rmsprop", RMSPROP | {"centered": True}),
    ("RMSprop(weight_decay=0.004)", "rmsprop", RMSPROP | DECAY),
    ("Nadam()", "nadam", ADAM | {"momentum_decay": 1.0}),
    ("Nadam(weight_decay=0.004)", "nadam", ADAM | {"momentum_decay": 1.0} | DECAY),
    ("Lamb()", "lamb", LAMB),
    ("Adafactor()", "adafactor", ADAFACTOR),
    ("Adafactor(beta_2_decay=-0.5, epsilon_1=1e-8, clip_threshold=2.0)", "adafactor", ADAFACTOR | {"beta2_decay": -0.5, "eps_square": 1e-8, "d": 2.0}),
    ("Ftrl()", "ftrl", {"lr": 0.001, "initial_accumulator": 0.1}),
    ("Ftrl(l1_regularization_strength=0.1)", "ftrl", {"lr": 0.001, "initial_accumulator": 0.1, "l1": 0.1}),
    ("Lion()", "lion", {"lr": 0.001, "betas": (0.9, 0.99)}),
    ("Lion(weight_decay=0.004)", "lion", {"lr": 0.001, "betas": (0.9, 0.99), "weight_decay": 0.004}),
]

OTHERS = [
    ("Adafactor()", "adafactor", ADAFACTOR | {"shape": (20,)}),
    ("Adafactor(learning_rate=1.0, relative_step=False)", "adafactor", ADAFACTOR | {"lr": 1.0, "shape": (5, 4)}),
    ("Adafactor(epsilon_2=0.5)", "adafactor", ADAFACTOR | {"eps": (0.0, 0.5), "shape": (2, 2, 5), "elements": modes.SPREAD}),
    ("Adafactor(beta_2_decay=-1.5, epsilon_1=0.01)", "adafactor", ADAFACTOR | {"beta2_decay": -1.5, "eps_square": 0.01, "shape": (2, 1, 5, 2), "elements": modes.SPREAD}),
    ("Lamb(learning_rate=0.1, beta_1=0.3, beta_2=0.8, epsilon=0.001)", "lamb", LAMB | {"lr": 0.1, "betas": (0.3, 0.8), "eps": 1e-3}),
    ("SGD(learning_rate=0.1, weight_decay=0.5)", "sgd", {"lr": 0.1, "weight_decay": 0.5, "decoupled": True}),
    ("SGD(learning_rate=0.3, momentum=0.5, nesterov=True, weight_decay=0.1)", "sgd",
        {"lr": 0.3, "momentum": 0.5, "lr_in_momentum": True, "nesterov": True, "weight_decay": 0.1, "decoupled": True}),
    ("Adam(learning_rate=0.1, beta_1=0.3, beta_2=0.8, epsilon=0.001)", "adam",
        {"lr": 0.1, "betas": (0.3, 0.8), "eps": 1e-3, "eps_hat": True}),
    ("AdamW(learning_rate=0.1, beta_1=0.0, beta_2=0.9, amsgrad=True, weight_decay=0.1)", "adamw",
        {"lr": 0.1, "betas": (0.0, 0.9), "eps": 1e-7, "eps_hat": True, "amsgrad": True, "weight_decay": 0.1}),
    ("Adamax(learning_rate=0.1, beta_1=0.3, beta_2=0.8, epsilon=0.1)", "adamax",
        {"lr": 0.1, "betas": (0.3, 0.8), "eps": 0.1, "eps_outside": True}),
    ("Adagrad(learning_rate=0.1, initial_accumulator_value=0.0, epsilon=0.001)", "adagrad", {"lr": 0.1, "eps_root": 1e-3}),
    ("RMSprop(learning_rate=0.1, rho=0.5, momentum=0.5, centered=True, epsilon=0.01, weight_decay=0.1)", "rmsprop",
        {"lr": 0.1, "alpha": 0.5, "momentum": 0.5, "lr_in_momentum": True, "centered": True, "eps_root": 0.01, "weight_decay": 0.1,
         "decoupled": True}),
]  # fmt: skip

# The optimizers' names for the state, and its sign there.
SLOTS = {
    "SGD": {"momentum_buffer": ("momentums", -1)},
    "Adam": {"exp_avg": ("_momentums", 1), "exp_avg_sq": ("_velocities", 1), "max_exp_avg_sq": ("_velocity_hats", 1)},
    "Adamax": {"exp_avg": ("_m", 1), "exp_inf": ("_u", 1)},
    "Adagrad": {"sum": ("_accumulators", 1)},
    "Adadelta": {"square_avg": ("_accumulated_grads", 1), "acc_delta": ("_accumulated_delta_vars", 1)},
    "RMSprop": {"square_avg": ("_velocities", 1), "grad_avg": ("_average_gradients", 1), "momentum_buffer": ("_momentums", 1)},
    "Lion": {"exp_avg": ("_momentums", 1)},
    "Adafactor": {"variance": ("_v", 1), "row_var": ("_r", 1), "col_var": ("_c", 1)},
    "Ftrl": {"accumulator": ("_accumulators", 1), "linear": ("_linears", 1)},
}  # fmt: skip
SLOTS |= {"AdamW": SLOTS["Adam"], "Nadam": SLOTS["Adam"], "Lamb": SLOTS["Adam"]}


class Keras:
    def __init__(self, name, call, hyper, init, dtype):
        # TensorFlow sets what is subnormal to 0. In FTRL that is squares alone, which are nothing beside the first accumulator.
        self.flushes = name != "ftrl"
        keras.config.set_floatx(dtype)
        self.value = keras.Variable(init, dtype=dtype)
        self.opt = eval("keras.optimizers." + call)
        if abs(float(self.opt.learning_rate) - hyper["lr"]) > 1e-7 * hyper["lr"]:
            raise ValueError(f"{call}: the learning rate is {float(self.opt.learning_rate)}")
        self.opt.build([self.value])

    def step(self, lr, grad):
        self.opt.learning_rate = lambda: lr
        self.opt.apply([tf.constant(grad, self.value.dtype)], [self.value])

    def values(self):
        out = {"param": self.value.numpy().astype(np.float64)}
        for name, (attribute, sign) in SLOTS[type(self.opt).__name__].items():
            if slots := getattr(self.opt, attribute, None):
                out[name] = sign * slots[0].numpy().astype(np.float64) + 0.0
        if "variance" in out:  # of a matrix it is made of the others
            if out["param"].ndim > 1:
                del out["variance"]
                out["row_var"], out["col_var"] = out["row_var"][..., None], out["col_var"][..., None, :]
            else:
                del out["row_var"], out["col_var"]
        return out


if __name__ == "__main__":
    modes.write("modes_keras", LISTED, OTHERS, RULES, Keras, keras=KERAS, tensorflow_cpu=TENSORFLOW)

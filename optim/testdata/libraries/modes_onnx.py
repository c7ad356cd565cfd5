"""Write modes_onnx.json: what the optimizers among ONNX' operators compute, those of ai.onnx.preview.training.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python modes_onnx.py

By ONNX' reference evaluator. Its results are float64 where numpy's rules make them so; the next step starts from them rounded to
the type. Attributes are float32, so hyperparameters are too; and so is 1 - norm_coefficient_post, which is exact in these cases.
"""

import modes  # first: through it golden chooses torch's kernels

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

import more

from modes import squares

ONNX, DOMAIN = "1.23.2", "ai.onnx.preview.training"

# --- What both sides do ---------------------------------------------------------------------------------------------


def momentum(k):
    h, g, mu = k.h, more.gradient(k), k.h["momentum"]
    kept = 1 if k.t == 1 else 1 - h["dampening"]
    buf = k.keep("momentum_buffer", mu * k.slot("momentum_buffer") + (g if kept == 1 else kept * g))
    k.param(k.slot("param") - k.lr * (g + mu * buf if h["nesterov"] else buf))


def adam(k):
    g, lr, eps, (beta1, beta2), post = more.gradient(k), k.lr, k.h["eps"], k.h["betas"], k.h["norm_coefficient_post"]
    m = k.keep("exp_avg", beta1 * k.slot("exp_avg") + (1 - beta1) * g)
    v = squares(k, "exp_avg_sq", g, beta2)
    rate = lr * np.sqrt(1 - beta2**k.t) / (1 - beta1**k.t)
    rate = k.a.unlike(rate, 6 + sum(2 * k.t * beta**k.t / (1 - beta**k.t) for beta in (beta1, beta2)))
    ours = lambda p, m, v, rate: (1 - post) * p - (1 - post) * rate * (m / (v.sqrt() + eps))
    onnxs = lambda p, m, v, rate: (1 - post) * (p - rate * (m / (v.sqrt() + eps)))
    k.param(k.a.differ(ours, onnxs, k.slot("param"), m, v, rate))


def adagrad(k):
    h, g, eps = k.h, more.gradient(k), k.h["eps"]
    total = k.keep("sum", k.slot("sum") + g * g)
    rate = k.lr / (1 + (k.t - 1) * h["lr_decay"])
    both = lambda p, g, s: p - rate * g / (s.sqrt() + eps)
    k.param(k.a.differ(both, both, k.slot("param"), g, total))


RULES = {"sgd": momentum, "adam": adam, "adagrad": adagrad}

# --- Cases ----------------------------------------------------------------------------------------------------------


def attribute(x):
    return float(np.float32(x))


ADAM = {"lr": 0.001, "betas": (attribute(0.9), attribute(0.999)), "eps": attribute(1e-6), "eps_hat": True}
MOMENTUM = {"lr": 0.1, "momentum": attribute(0.9)}

LISTED = [
    ('Momentum(R=0.1, alpha=0.9, beta=1.0, norm_coefficient=0.0, mode="standard")', "sgd", MOMENTUM),
    ('Momentum(R=0.1, alpha=0.9, beta=0.25, norm_coefficient=0.0, mode="standard")', "sgd", MOMENTUM | {"dampening": 0.75}),
    ('Momentum(R=0.1, alpha=0.9, beta=1.0, norm_coefficient=0.01, mode="nesterov")', "sgd",
        MOMENTUM | {"nesterov": True, "weight_decay": attribute(0.01)}),
    ("Adam(R=0.001)", "adam", ADAM),
    ("Adam(R=0.001, epsilon=0.001, norm_coefficient=0.01)", "adam", ADAM | {"eps": attribute(1e-3), "weight_decay": attribute(0.01)}),
    ("Adam(R=0.001, norm_coefficient_post=0.0078125)", "adam", ADAM | {"norm_coefficient_post": 0.0078125}),
    ("Adagrad(R=0.01)", "adagrad", {"lr": 0.01, "eps": attribute(1e-6)}),
    ("Adagrad(R=0.01, norm_coefficient=0.01, decay_factor=0.1)", "adagrad",
        {"lr": 0.01, "eps": attribute(1e-6), "weight_decay": attribute(0.01), "lr_decay": attribute(0.1)}),
]  # fmt: skip

OTHERS = [
    ("Adam(R=0.1, alpha=0.3, beta=0.8, epsilon=0.1, norm_coefficient=0.1, norm_coefficient_post=0.25)", "adam",
        {"lr": 0.1, "betas": (attribute(0.3), attribute(0.8)), "eps": attribute(0.1), "eps_hat": True,
         "weight_decay": attribute(0.1), "norm_coefficient_post": 0.25}),
]  # fmt: skip

SLOTS = {"Momentum": ("momentum_buffer",), "Adam": ("exp_avg", "exp_avg_sq"), "Adagrad": ("sum",)}


class Onnx:
    def __init__(self, name, call, hyper, init, dtype):
        self.first, self.t = 1 if name == "adam" else 0, 0  # what T is in the first step
        self.type, kind = np.dtype(dtype), onnx.TensorProto.FLOAT if dtype == "float32" else onnx.TensorProto.DOUBLE
        operator, _, arguments = call.partition("(")
        attributes = eval("dict(" + arguments)
        if attributes.pop("R") != hyper["lr"]:
            raise ValueError(f"{call}: the learning rate is not {hyper['lr']}")
        names = ("param", *SLOTS[operator])
        inputs, outputs = ("R", "T", names[0], "grad", *names[1:]), [name + "_new" for name in names]
        node = onnx.helper.make_node(operator, inputs, outputs, domain=DOMAIN, **attributes)
        value = lambda name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64 if name == "T" else kind, None)
        graph = onnx.helper.make_graph([node], "step", [value(x) for x in inputs], [value(x) for x in outputs])
        versions = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid(DOMAIN, 1)]
        self.evaluator = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=versions))
        self.slots = {name: np.zeros_like(init, dtype=dtype) for name in names} | {"param": np.array(init, dtype=dtype)}

    def step(self, lr, grad):
        scalars = {"R": np.array(lr, self.type), "T": np.array(self.first + self.t), "grad": grad.astype(self.type)}
        with np.errstate(under="ignore"):
            after = self.evaluator.run(None, self.slots | scalars)
        self.slots = {name: np.asarray(x).astype(self.type) for name, x in zip(self.slots, after)}
        self.t += 1

    def values(self):
        return {name: x.astype(np.float64) for name, x in self.slots.items()}


if __name__ == "__main__":
    modes.write("modes_onnx", LISTED, OTHERS, RULES, Onnx, onnx=ONNX)

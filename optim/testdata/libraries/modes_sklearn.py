"""Write modes_sklearn.json: what the optimizers of scikit-learn's MLPClassifier and MLPRegressor compute.

    python -m venv venv
    venv/bin/pip install --require-hashes -r ../requirements.txt
    venv/bin/python modes_sklearn.py
"""

import modes  # first: through it golden chooses torch's kernels

import numpy as np
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from modes import squares

SKLEARN = "1.9.1"


# --- What both sides do ---------------------------------------------------------------------------------------------


def sgd(k):
    h, g, lr, mu = k.h, k.g, k.lr, k.h["momentum"]
    step = k.keep("momentum_buffer", mu * k.slot("momentum_buffer") + lr * g)
    k.param(k.slot("param") - (mu * step + lr * g if h["nesterov"] else step))


def adam(k):
    g, lr, eps, (beta1, beta2) = k.g, k.lr, k.h["eps"], k.h["betas"]
    m = k.keep("exp_avg", beta1 * k.slot("exp_avg") + (1 - beta1) * g)
    v = squares(k, "exp_avg_sq", g, beta2)
    # From a power, and a running product; scikit-learn's rate, a double, makes it compute the last line in float64.
    rate = lr * np.sqrt(1 - beta2**k.t) / (1 - beta1**k.t)
    rate = k.a.unlike(rate, 6 + sum(2 * k.t * beta**k.t / (1 - beta**k.t) for beta in (beta1, beta2)))
    ours = lambda p, m, v, rate: p - rate * (m / (v.sqrt() + eps))
    k.param(k.a.differ(ours, lambda p, m, v, rate: p + -rate * m / (v.sqrt() + eps), k.slot("param"), m, v, rate))


RULES = {"sgd": sgd, "adam": adam}

# --- Cases ----------------------------------------------------------------------------------------------------------

SGD = {"lr": 0.1, "momentum": 0.9, "lr_in_momentum": True, "nesterov": True}

LISTED = [
    ("SGDOptimizer(params)", "sgd", SGD),
    ("SGDOptimizer(params, nesterov=False)", "sgd", SGD | {"nesterov": False}),
    ("AdamOptimizer(params)", "adam", {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8, "eps_hat": True}),
]

OTHERS = [
    ("SGDOptimizer(params, 0.5, momentum=0.3)", "sgd", SGD | {"lr": 0.5, "momentum": 0.3}),
    ("AdamOptimizer(params, 0.1, 0.3, 0.8, 0.001)", "adam", {"lr": 0.1, "betas": (0.3, 0.8), "eps": 1e-3, "eps_hat": True}),
]

# The optimizers' names for the state, and its sign there.
SLOTS = {SGDOptimizer: {"momentum_buffer": ("velocities", -1)}, AdamOptimizer: {"exp_avg": ("ms", 1), "exp_avg_sq": ("vs", 1)}}


class Sklearn:
    def __init__(self, name, call, hyper, init, dtype):
        self.params = [np.array(init, dtype=dtype)]
        self.opt = eval(call, globals(), {"params": self.params})
        if self.opt.learning_rate_init != hyper["lr"]:
            raise ValueError(f"{call}: the learning rate is {self.opt.learning_rate_init}")

    def step(self, lr, grad):
        self.opt.learning_rate_init = self.opt.learning_rate = lr
        self.opt.update_params(self.params, [np.array(grad, dtype=self.params[0].dtype)])

    def values(self):
        out = {"param": np.array(self.params[0], dtype=np.float64)}
        for name, (attribute, sign) in SLOTS[type(self.opt)].items():
            out[name] = sign * np.array(getattr(self.opt, attribute)[0], dtype=np.float64) + 0.0
        return out


if __name__ == "__main__":
    modes.write("modes_sklearn", LISTED, OTHERS, RULES, Sklearn, **{"scikit-learn": SKLEARN})

"""Measure how far fusestep's order of operations is from torch's, in numpy, and compare with the bounds.

    venv/bin/python check.py                        # against the kernels that golden.py uses
    venv/bin/python check.py avx2                   # against those that torch would use itself: avx2, avx512

Prints two Markdown tables. The first compares with the bounds; the script exits with 1 when one is exceeded. The second
takes the differences between the two orders one by one. Torch's vector kernels fuse multiplications with additions, so
the second form, in which torch is left wholly to itself, uses the bounds for any order of operations and prints the
first table only.
"""

import contextlib
import os
import sys

capability = sys.argv[1] if len(sys.argv) > 1 else "default"
os.environ["ATEN_CPU_CAPABILITY"] = capability

import numpy as np
import torch

torch.backends.cpu.get_cpu_capability()  # reads the environment now, before golden sets it

import bound
import golden


# Where torch's order differs from ours.
DIFFERENCES = ("flush", "l1 before decay", "lerp", "division", "addcdiv", "pow")


class Ours:
    """Fusestep's order: one numpy operation on arrays of the parameter's dtype for each operation, so each is rounded.
    The scalars of a step are computed in double precision and rounded once. The differences named in torchs are
    resolved in torch's way."""

    def __init__(self, optimizer, hyper, dtype, torchs=()):
        self.torchs = torchs
        self.rule = self.sgd if optimizer == "sgd" else self.adam
        self.optimizer, self.hyper, self.dtype = optimizer, hyper, np.dtype(dtype).type
        self.tiny = self.dtype(bound.LIMITS[dtype][1])
        self.slots = {}
        self.power1 = self.power2 = 1.0
        self.t = 0

    def flush(self, x, divided=0):
        if "flush" in self.torchs:
            return x
        return np.where((np.abs(x) < self.tiny) & (divided == 0), self.dtype(0), x)

    def step(self, lr, grad):
        h, p, f = self.hyper, self.slots["param"], self.dtype
        g = -grad if h["maximize"] else grad
        terms = []
        if h["weight_decay"] != 0 and self.optimizer != "adamw":
            terms.append(f(h["weight_decay"]) * p)
        if h["l1"] != 0:
            terms.append(f(h["l1"]) * np.sign(p))
        for term in reversed(terms) if "l1 before decay" in self.torchs else terms:
            g = g + term
        self.rule(lr, g)

    def sgd(self, lr, g):
        h, s, f = self.hyper, self.slots, self.dtype
        if h["momentum"] != 0:
            buf = g
            if "momentum_buffer" in s:
                buf = f(h["momentum"]) * s["momentum_buffer"] + f(1 - h["dampening"]) * g
            buf = s["momentum_buffer"] = self.flush(buf)
            g = g + f(h["momentum"]) * buf if h["nesterov"] else buf
        s["param"] = self.flush(s["param"] - f(lr) * g)

    def adam(self, lr, g):
        h, s, f = self.hyper, self.slots, self.dtype
        p, zero = s["param"], np.zeros_like(g)
        beta1, beta2 = h["betas"]
        self.t += 1
        self.power1 *= beta1
        self.power2 *= beta2
        if "pow" in self.torchs:
            self.power1, self.power2 = beta1**self.t, beta2**self.t
        size = f(lr / (1 - self.power1))
        correction = (1 - self.power2) ** 0.5
        if self.optimizer == "adamw" and h["weight_decay"] != 0:
            p = p * f(1 - lr * h["weight_decay"])
        m, w = s.get("exp_avg", zero), f(1 - beta1)
        if "lerp" in self.torchs:
            m = m + w * (g - m) if w < 0.5 else g - (g - m) * (1 - w)
        else:
            m = f(beta1) * m + w * g
        v = f(beta2) * s.get("exp_avg_sq", zero) + (f(1 - beta2) * g) * g
        m = s["exp_avg"] = self.flush(m)
        v = s["exp_avg_sq"] = self.flush(v, m)
        if h["amsgrad"]:
            v = s["max_exp_avg_sq"] = self.flush(np.maximum(s.get("max_exp_avg_sq", zero), v), m)
        q = np.sqrt(v) / f(correction) if "division" in self.torchs else np.sqrt(v) * f(1 / correction)
        d = q + f(h["eps"])
        s["param"] = self.flush(p - ((size * m) / d if "addcdiv" in self.torchs else size * (m / d)))


class Worst:
    """The worst figures over the values of one row of a table. S is |p| plus the lengths of all steps so far."""

    def __init__(self):
        self.values = self.equal = self.loose = 0
        self.of_bound = self.in_path = self.of_path = self.relative = 0.0
        self.case = ""

    def add(self, name, dev, limit, path, ref, u):
        self.values += dev.size
        self.equal += int((dev == 0).sum())
        self.loose += int((limit > 1000 * u * path).sum())
        used = float(np.max(ratio(dev, limit)))
        if used > self.of_bound:
            self.of_bound, self.case = used, name
        self.in_path = max(self.in_path, float(np.max(ratio(dev, u * path))))
        self.of_path = max(self.of_path, float(np.max(ratio(dev, path))))
        self.relative = max(self.relative, float(np.max(ratio(dev, np.abs(ref)))))


def ratio(x, y):
    """x/y, with 0/0 = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x == 0, 0.0, x / y)


def measure(table, key, torchs=(), any_order=False):
    """Runs all cases, and adds what it finds to the rows of the table that key(optimizer, coupled, dtype, slot) names;
    to none if that is None."""
    context = contextlib.nullcontext if any_order else golden.CorrectSquareRoot
    for name, optimizer, hyper, dtype in golden.cases():
        u = bound.LIMITS[dtype][0]
        limit = bound.Bound(optimizer, hyper, dtype, any_order)
        ours = Ours(optimizer, hyper, dtype, torchs)
        coupled = optimizer == "adam" and hyper["weight_decay"] != 0
        lengths = 0.0
        for lr, grad, before, after in golden.trajectory(optimizer, hyper, dtype, context):
            limit.step(lr, grad, before, after)
            ours.slots.setdefault("param", before["param"].astype(dtype))
            ours.step(lr, grad.astype(dtype))
            lengths = lengths + np.abs(after["param"] - before["param"])
            for slot, ref in after.items():
                row = key(optimizer, coupled, dtype, slot)
                if row is not None:
                    dev = np.abs(ours.slots[slot].astype("float64") - ref)
                    path = np.abs(ref) + lengths
                    table.setdefault(row, Worst()).add(name, dev, limit[slot], path, ref, u)
    return table


def row(*cells):
    print("| " + " | ".join(cells) + " |")


def heading(*cells):
    row(*cells)
    row(*("---" for _ in cells))


def against_bounds(any_order):
    def key(optimizer, coupled, dtype, slot):
        return optimizer + (", coupled decay" if coupled else ""), dtype, slot

    table = measure({}, key, (), any_order)
    heading("optimizer", "dtype", "slot", "same bits", "of the bound", "of u·S", "of S", "of the value", "case")
    for (optimizer, dtype, slot), w in sorted(table.items()):
        sums = (f"{w.in_path:.3g}", f"{w.of_path:.2g}", f"{w.relative:.2g}") if slot == "param" else ("",) * 3
        row(optimizer, dtype, slot, f"{100 * w.equal / w.values:.1f} %", f"{w.of_bound:.2f}", *sums, w.case)
    print()
    for (optimizer, dtype, slot), w in sorted(table.items()):
        if slot == "param" and w.loose:
            print(f"{optimizer}, {dtype}: {w.loose} of {w.values} bounds exceed 1000 u·S")
    return all(w.of_bound <= 1 for w in table.values())


def one_by_one():
    """What is left of the deviation of Adam and AdamW when we do as torch does in all respects but one."""

    def key(optimizer, coupled, dtype, slot):
        if slot == "param" and optimizer != "sgd":
            return dtype

    heading("as torch, except", "float32: same bits", "of u·S", "float64: same bits", "of u·S")
    for ours in (None, *DIFFERENCES):
        table = measure({}, key, [name for name in DIFFERENCES if name != ours])
        cells = []
        for dtype in golden.DTYPES:
            w = table[dtype]
            cells += [f"{100 * w.equal / w.values:.1f} %", f"{w.in_path:.3g}"]
        row(ours or "nothing", *cells)


def main():
    any_order = capability != "default"
    print(f"torch {torch.__version__}, kernels {torch.backends.cpu.get_cpu_capability()}\n")
    within = against_bounds(any_order)
    if not any_order:
        print()
        one_by_one()
    sys.exit(not within)


if __name__ == "__main__":
    main()

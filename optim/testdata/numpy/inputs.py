"""What every golden case of an optimizer runs on, and how its file is written. Needs numpy alone."""

import json

import numpy as np

NUMPY = "2.4.6"


class Random:
    """SplitMix64 (Steele, Lea and Flood 2014). Uses nothing that differs between machines or library versions."""

    def __init__(self, seed):
        self.state = seed

    def bits(self):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    def uniform(self):
        """A multiple of 2^-53 in [0, 1)."""
        return (self.bits() >> 11) * 2.0**-53

    def normal(self):
        """Nearly a standard normal: the sum of twelve uniforms, centred. Within (-6, 6); needs no logarithm."""
        return sum(self.uniform() for _ in range(12)) - 6.0

    def sign(self):
        return 1.0 if self.bits() >> 63 else -1.0


STEPS = 25
RECORDED = (1, 2, 3, 9, 25)  # steps after which the parameter is recorded
RECORDED_STATE = (1, 25)  # steps after which the optimizer's state is recorded

# Multiplied onto a case's learning rate, step by step: it falls at steps 8 and 17, rises at step 9.
LR_FACTOR = [1.0] * 7 + [0.1] + [2.0] * 8 + [0.25] * 9


def elements(rng):
    """The 24 elements of the parameter, each with a story: (initial value, its gradients in all steps)."""
    normal, uniform, sign, steps = rng.normal, rng.uniform, rng.sign, range(STEPS)

    def huge():  # squares stay finite in float32
        return sign() * 1e15 * (1.0 + 999.0 * uniform())

    # Ordinary weights and gradients, the gradients of seven magnitudes.
    for scale in (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3):
        yield normal(), [scale * normal() for _ in steps]
    yield 100.0 * normal(), [normal() for _ in steps]

    # The gradient is always zero: of a weight (an embedding row never looked up), of a zero, of both signs.
    yield normal(), [0.0 for _ in steps]
    yield 0.0, [0.0 for _ in steps]
    yield normal(), [-0.0 if t % 2 else 0.0 for t in steps]
    # Zero for a long while, then not; sometimes not; once not.
    yield normal(), [0.0 if t < 17 else normal() for t in steps]
    yield normal(), [normal() if t % 3 == 1 else -0.0 for t in steps]
    yield normal(), [1e4 if t == 4 else 0.0 for t in steps]

    # Huge and tiny gradients. The weighted squares of 1e-18 are subnormal in float32 though their sum over the steps
    # may be normal, those of 1e-19 are subnormal, the squares of 1e-22 are subnormal and vanish when weighted, those
    # of 1e-30 vanish. The initial zeros let the tiny updates show.
    yield normal(), [huge() for _ in steps]
    yield 0.0, [1e-18 * (1.0 + uniform()) for _ in steps]
    yield 0.0, [1e-19 * normal() for _ in steps]
    yield -0.0, [1e-22 * normal() for _ in steps]
    yield normal(), [1e-30 * normal() for _ in steps]

    # The sign changes at every step; the magnitude changes at every step.
    yield normal(), [(0.5 if t % 2 else -0.5) for t in steps]
    yield normal(), [sign() * (1e-6, 1e-3, 1.0, 1e3, 1e6)[rng.bits() % 5] * (1.0 + uniform()) for _ in steps]

    # Huge and tiny weights.
    yield 1.5e16, [normal() for _ in steps]
    yield -7e15, [huge() for _ in steps]
    yield 1e-30, [1e-3 * normal() for _ in steps]


# Those without huge weights and gradients, of whose norms nothing would be left of the others.
ORDINARY = [i for i in range(24) if i not in (14, 20, 21, 22)]


def inputs():
    """Initial values and gradients in double precision, (24,) and (STEPS, 24)."""
    init, grads = zip(*elements(Random(20250)))
    return np.array(init), np.array(grads).T.copy()


# --- Output ---------------------------------------------------------------------------------------------------------


def round_up(bounds):
    """The bounds as decimal numbers of three digits, none below its original."""
    return [float(f"{b * 1.01:.2e}") for b in bounds.tolist()]


def encode(value, indent=""):
    """JSON with one array of numbers, or one flat object, per line. A float is written as the shortest decimal that
    reads back as the same double."""
    inner = indent + " "
    if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()):
        lines = [f"{inner}{json.dumps(str(k))}: {encode(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value):
        return "[\n" + ",\n".join(inner + encode(v, inner) for v in value) + f"\n{indent}]"
    separators = (", ", ": ") if isinstance(value, dict) else (",", ":")
    return json.dumps(value, allow_nan=False, separators=separators)

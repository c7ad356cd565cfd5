"""How far a correct implementation may be from torch: a running error bound beside a trajectory of torch's.

README.md derives the formulas; the names here are the names there. Each line of a rule contributes what its operands'
differences become (the first-order terms) and what the two implementations' own roundings may differ by.
"""

import numpy as np

# Unit roundoff, smallest normal number, and half of the spacing of the subnormal numbers.
LIMITS = {
    "float32": (2.0**-24, 2.0**-126, 2.0**-150),
    "float64": (2.0**-53, 2.0**-1022, 0.0),
}


class Bound:
    """Bounds |ours - torch|, element by element: bound["param"], bound["exp_avg"] and so on.

    With any_order=False both sides are taken to perform the operations that README.md lists, each rounded, so an
    operation that both perform on equal operands adds nothing and a bound of 0 says "the same bits". With
    any_order=True each side may also fuse a product with an addition or associate it differently, and torch's square
    roots need not be rounded correctly.
    """

    def __init__(self, optimizer, hyper, dtype, any_order=False):
        self.rule = self.sgd if optimizer == "sgd" else self.adam
        self.decoupled = optimizer == "adamw"
        self.hyper, self.dtype, self.any_order = hyper, dtype, any_order
        self.u, self.tiny, self.sub = LIMITS[dtype]
        self.t = 0
        self.error = {}

    def __getitem__(self, slot):
        return self.error[slot]

    def step(self, lr, grad, before, after):
        """Moves the bound over one step: raw gradient, slots before and after it, as float64 arrays."""
        self.t += 1
        zero = np.zeros_like(grad)
        for slot in after:
            self.error.setdefault(slot, zero)
        zeros = {slot: zero for slot in after}
        self.rule(lr, grad, zeros | before, after)

    # --- Parts that the rules share -------------------------------------------------------------------------------

    def rounded(self, x, error):
        """What one rounding on either side adds: to the result x of one operation whose operands differ by error."""
        both = 2 * (self.u * np.abs(x) + self.sub)
        return both if self.any_order else np.where(error == 0, 0.0, both)

    def flushed(self, x, error):
        """Ours sets a moment below the smallest normal number to 0; torch keeps it."""
        near = (np.abs(x) <= self.tiny + error) & ((x != 0) | (error != 0))
        return error + np.where(near, self.tiny, 0.0)

    def gradient(self, grad, p, ep):
        """The effective gradient: its value and its error."""
        h, u = self.hyper, self.u
        g = -grad if h["maximize"] else grad
        eg = np.zeros_like(g)
        l1, wd = h["l1"] * np.sign(p), 0.0 if self.decoupled else h["weight_decay"]
        unsure = (ep > 0) & (ep >= np.abs(p))
        if h["l1"] != 0 and unsure.any():
            if not self.any_order:
                raise ValueError("l1: the sign of a parameter depends on rounding: choose other inputs")
            eg = np.where(unsure, 2 * h["l1"], 0.0)
        if wd != 0:
            decay = wd * p
            eg = eg + wd * ep + self.rounded(decay, ep)
            if h["l1"] != 0:  # torch adds the two terms in the other order
                eg = eg + u * (np.abs(g + decay) + np.abs(g + l1) + 2 * np.abs(g + decay + l1))
            else:
                eg = eg + self.rounded(g + decay, eg)
            g = g + decay
        elif h["l1"] != 0:
            eg = eg + self.rounded(g + l1, eg)
        return g + l1, eg

    # --- Rules ----------------------------------------------------------------------------------------------------

    def sgd(self, lr, grad, before, after):
        h, ep = self.hyper, self.error["param"]
        g, eg = self.gradient(grad, before["param"], ep)
        mu = h["momentum"]
        if mu != 0:
            buf, eb = g, eg
            if self.t > 1:
                buf, old = after["momentum_buffer"], before["momentum_buffer"]
                eb = self.error["momentum_buffer"]
                scale = 1 - h["dampening"]
                product = self.rounded(mu * old, eb)
                if scale not in (0, 1):
                    product = product + self.rounded(scale * g, eg)
                eb = mu * eb + scale * eg + product
                eb = eb + self.rounded(buf, eb)
            eb = self.flushed(buf, eb)
            self.error["momentum_buffer"] = eb
            if h["nesterov"]:
                eg = eg + mu * eb + self.rounded(mu * buf, eb)
                g = g + mu * buf
                eg = eg + self.rounded(g, eg)
            else:
                g, eg = buf, eb
        ep = ep + abs(lr) * eg + self.rounded(lr * g, eg)
        self.error["param"] = ep + self.rounded(after["param"], ep)

    def adam(self, lr, grad, before, after):
        h, u, error = self.hyper, self.u, self.error
        beta1, beta2 = h["betas"]
        p, ep = before["param"], error["param"]
        g, eg = self.gradient(grad, p, ep)

        # m: torch's lerp m + w(g-m), or g - (1-w)(g-m) when w >= 1/2, against beta1*m + w*g.
        m, em, w = before["exp_avg"], error["exp_avg"], 1 - beta1
        m1 = after["exp_avg"]
        same = (eg == 0) & (em == 0) & (((m == 0) & ((g == 0) | (w < 0.5))) | (w == 1))
        if self.any_order:
            same &= (m == 0) & (g == 0)
        coefficients = np.abs(m)
        ours = beta1 * np.abs(m) + w * np.abs(g) + np.abs(m1)
        torchs = 2 * min(w, beta1) * np.abs(g - m) + np.abs(m1)
        em = beta1 * em + w * eg + np.where(same, 0.0, u * (coefficients + ours + torchs) + 5 * self.sub)
        em = self.flushed(m1, em)

        # v: the same operations on both sides.
        v, ev = before["exp_avg_sq"], error["exp_avg_sq"]
        v1 = after["exp_avg_sq"]
        square = (1 - beta2) * g * g
        eg2 = (1 - beta2) * (2 * np.abs(g) + eg) * eg + 2 * self.rounded(square, eg)
        ev = beta2 * ev + self.rounded(beta2 * v, ev) + eg2
        ev = ev + self.rounded(v1, ev)
        ev = self.flushed(v1, ev)
        error["exp_avg"], error["exp_avg_sq"] = em, ev
        if h["amsgrad"]:
            v1 = after["max_exp_avg_sq"]
            ev = np.maximum(error["max_exp_avg_sq"], ev)
            error["max_exp_avg_sq"] = ev

        # d: ours multiplies by the reciprocal, torch divides.
        root, eroot = np.sqrt(v1), sqrt_error(v1, ev)
        eroot = eroot + self.rounded(root, eroot)
        if self.any_order:  # a root may also err by a whole unit in the last place, as MKL's do
            eroot = eroot + u * root
        correction1, correction2 = 1 - beta1**self.t, 1 - beta2**self.t
        q = root / np.sqrt(correction2)
        eq = eroot / np.sqrt(correction2) + u * (4 + self.scalar(beta2) / 2) * q
        d = q + h["eps"]
        ed = eq + np.where(eq == 0, 0.0, 2 * u * d)

        # U: ours is step*(m/d), torch's (step*m)/d.
        size = abs(lr) / correction1
        update = size * m1 / d
        most = 1.01 * size * np.sqrt(correction2) * steepest(beta1, beta2, self.t)
        eu = size * (em + np.abs(m1 / d) * ed) / np.maximum(d - ed, 0.99 * h["eps"])
        eu = np.minimum(eu, np.abs(update) + most)
        eu = eu + np.where((m1 == 0) & (em == 0), 0.0, u * (6 + self.scalar(beta1)) * np.abs(update) + 3 * self.sub)

        # p
        if self.decoupled and h["weight_decay"] != 0:
            decay = 1 - lr * h["weight_decay"]
            p = decay * p
            ep = abs(decay) * ep + self.rounded(p, ep)
        ep = ep + eu
        error["param"] = ep + self.rounded(after["param"], ep)

    def scalar(self, beta):
        """Relative difference, in units of u, of 1 - beta^t from a power and from a running product. In float32 both
        are doubles rounded once, which the roundings counted by the caller cover."""
        if self.dtype == "float32":
            return 0.0
        power = beta**self.t
        return (self.t + 2) * power / (1 - power) + 2


def steepest(beta1, beta2, t):
    """The most that |m|/sqrt(v) can be after t steps, whatever the gradients (Cauchy-Schwarz)."""
    if beta2 == 0:
        return 1.0 if t == 1 or beta1 == 0 else np.inf
    return (1 - beta1) / np.sqrt(1 - beta2) * np.sqrt(sum((beta1**2 / beta2) ** k for k in range(t)))


def sqrt_error(x, error):
    """The most that sqrt(y) differs from sqrt(x) for any y >= 0 within error of x."""
    with np.errstate(invalid="ignore", divide="ignore"):
        below = np.where(error < x, error / (np.sqrt(x) + np.sqrt(np.maximum(x - error, 0))), np.sqrt(x))
        above = np.where(error > 0, error / (np.sqrt(x) + np.sqrt(x + error)), 0.0)
    return np.maximum(below, above)

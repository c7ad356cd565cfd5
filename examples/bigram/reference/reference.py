"""Writes opticks.json: what torch 2.15.0 and optax 0.2.8 reach."""

import math
import pathlib
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent.parent / "internal" / "compare"))
import libraries  # noqa: E402

text = (HERE.parent / "data" / "opticks.txt").read_text(encoding="utf-8")
alphabet = sorted(set(text))
chars = torch.tensor([alphabet.index(c) for c in text])
first, second = chars[:-1], chars[1:]
learned = len(chars) * 9 // 10 - 1  # pairs


def pairs(first, second):
    counts = torch.bincount(first * len(alphabet) + second, minlength=len(alphabet) ** 2)
    return counts.reshape(len(alphabet), len(alphabet))


class Bigram(libraries.Problem):
    rows, batch, epochs, seed = learned, 512, 10, 1
    to_learn = pairs(first[:learned], second[:learned])
    held_out = pairs(first[learned:], second[learned:])

    def init(self, rng):
        return [np.zeros((len(alphabet), len(alphabet)), np.float32)]

    def bits(self, params, counts):
        return -(counts * params[0].log_softmax(1)).sum() / counts.sum() / math.log(2)

    def loss(self, params, rows):
        if rows is None:
            return self.bits(params, self.to_learn)
        return torch.nn.functional.cross_entropy(params[0][first[rows]], second[rows]) / math.log(2)

    def quality(self, params):
        return self.bits(params, self.held_out)


libraries.write(HERE, "opticks", Bigram(), [])

"""Writes cuisines.json: what torch 2.15.0 and optax 0.2.8 reach, and two predictions without factors."""

import csv
import pathlib
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent.parent / "internal" / "compare"))
import libraries  # noqa: E402

FACTORS, PENALTY = 4, 0.1
with open(HERE.parent / "data" / "cuisines.csv") as f:
    cuisines, *lines = csv.reader(f)
ratings = torch.tensor([(i, k, int(x)) for i, line in enumerate(lines) for k, x in enumerate(line) if x])
tenth = torch.arange(len(ratings)) % 10 == 9
learned, held_out = ratings[~tenth], ratings[tenth]
mean = float(learned[:, 2].double().mean())


class Factorisation(libraries.Problem):
    rows, batch, epochs, seed = len(learned), 256, 40, 1

    def init(self, rng):
        people, cuisine = (rng.uniform(0.1, (n, FACTORS)) for n in (len(lines), len(cuisines)))
        return [np.zeros(len(lines), np.float32), people, np.zeros(len(cuisines), np.float32), cuisine]

    def parts(self, params, x):
        """Each rating's error, and what is penalised."""
        bias, people, cuisine_bias, cuisine = params
        b, p, c, q = bias[x[:, 0]], people[x[:, 0]], cuisine_bias[x[:, 1]], cuisine[x[:, 1]]
        return mean + b + c + (p * q).sum(1) - x[:, 2], b**2 + c**2 + (p**2).sum(1) + (q**2).sum(1)

    def loss(self, params, rows):
        error, squares = self.parts(params, learned if rows is None else learned[rows])
        return ((error**2 + PENALTY * squares) / 2).mean()

    def quality(self, params):
        return (self.parts(params, held_out)[0] ** 2).mean().sqrt()


problem = Factorisation()


def without_factors(name, people, cuisine):
    vectors = [torch.zeros(n, FACTORS).double() for n in (len(lines), len(cuisines))]
    params = [torch.tensor(people), vectors[0], torch.tensor(cuisine), vectors[1]]
    return {"name": name, "loss": float(problem.loss(params, None)), "quality": float(problem.quality(params))}


def biases():
    """The minimum of the loss without factors: ridge regression, solved exactly."""
    x, n = learned.numpy(), len(lines) + len(cuisines)
    design = np.zeros((len(x), n))
    rows = np.arange(len(x))
    design[rows, x[:, 0]] = design[rows, len(lines) + x[:, 1]] = 1
    gram = design.T @ design
    gram += PENALTY * np.diag(np.diag(gram)) + 1e-12 * np.eye(n)
    b = np.linalg.solve(gram, design.T @ (x[:, 2] - mean))
    return b[: len(lines)], b[len(lines) :]


libraries.write(
    HERE,
    "cuisines",
    problem,
    [
        without_factors("the mean of all ratings", np.zeros(len(lines)), np.zeros(len(cuisines))),
        without_factors("biases alone, the best ones", *biases()),
    ],
)

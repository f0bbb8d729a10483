"""Differential equations with known solutions, for every test of a solver."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Problem:
    name: str
    f: Callable[[Tensor, Tensor], Tensor]
    x0: Tensor
    exact: Callable[[Tensor], Tensor]  # the state at a time

    def __repr__(self) -> str:
        return self.name


def point(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


CURVATURES = point(1.0, 5.0)

PROBLEMS = (
    Problem("decay", lambda t, x: -x, point(1.0), lambda t: point(1.0) * torch.exp(-t)),
    Problem(
        "rotation",
        lambda t, x: math.tau / 4 * torch.stack([-x[1], x[0]]),
        point(1.0, 0.0),
        lambda t: torch.stack([torch.cos(math.tau / 4 * t), torch.sin(math.tau / 4 * t)]),
    ),
    Problem(
        "velocity that depends on time",
        lambda t, x: -2 * t * x,
        point(1.0, 2.0),
        lambda t: point(1.0, 2.0) * torch.exp(-(t**2)),
    ),
    Problem(
        "logistic growth",
        lambda t, x: 3 * x * (1 - x),
        point(0.1),
        lambda t: 1 / (1 + 9 * torch.exp(-3 * t)) * point(1.0),
    ),
    Problem(
        "gradient flow in a valley",
        lambda t, x: -CURVATURES * x,
        point(1.0, 1.0),
        lambda t: torch.exp(-CURVATURES * t),
    ),
)

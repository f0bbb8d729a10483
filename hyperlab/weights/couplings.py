"""Which random start goes to which target of a batch."""

from types import MappingProxyType

import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..base import ConfigError


def independent(x0: Tensor, _x1: Tensor, _labels: Tensor | None = None) -> Tensor:
    """Every target keeps the start that it was drawn with."""
    return x0


def optimal(
    x0: Float[Tensor, " n dim"], x1: Float[Tensor, " n dim"], _labels: Tensor | None = None
) -> Float[Tensor, " n dim"]:
    """The starts in that order in which the sum of |x0 - x1|^2 is least: a bijection.

    Taking from every start its least cost changes no order's rank, and makes the search faster.

    Source: Tong et al. 2024 (arXiv:2302.00482), section 4; they draw pairs from the plan with
    replacement, which keeps about two thirds of a batch's targets.
    """
    cost = torch.cdist(x1.double(), x0.double()).square()
    cost = cost - cost.amin(0)
    order = linear_sum_assignment(cost.cpu().numpy())[1]
    return x0[torch.from_numpy(order).to(x0.device)]


def optimal_within(
    x0: Float[Tensor, " n dim"],
    x1: Float[Tensor, " n dim"],
    labels: Int64[Tensor, " n"] | None,
) -> Float[Tensor, " n dim"]:
    """As `optimal`, among the points of one condition: starts do not depend on the condition.

    Source: Cheng and Schwing 2025 (arXiv:2503.10636), for conditions of a finite number.
    """
    if labels is None:
        raise ConfigError("coupling 'optimal_within' needs the label of every point")
    coupled = x0.clone()
    for label in labels.unique():
        rows = labels == label
        coupled[rows] = optimal(x0[rows], x1[rows])
    return coupled


COUPLINGS = MappingProxyType(
    {"independent": independent, "optimal": optimal, "optimal_within": optimal_within}
)

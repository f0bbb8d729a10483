"""Which random start goes to which target of a batch."""

from types import MappingProxyType

import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..base import ConfigError

Points = Float[Tensor, " n dim"]
Labels = Int64[Tensor, " n"]


def independent(x0: Points, _x1: Points, _labels: Labels | None = None) -> Points:
    """Every target keeps the start that it was drawn with."""
    return x0


def optimal(x0: Points, x1: Points, _labels: Labels | None = None) -> Points:
    """The starts in that order in which the sum of |x0 - x1|^2 is least: a bijection.

    Taking from every start its least cost changes no order's rank, and makes the search faster.
    Not for targets with a context: each would see only the starts near it, while a sample starts
    anywhere. Of eight modes on a ring 53 % of the samples then reach the one that was asked for.

    Source: Tong et al. 2024 (arXiv:2302.00482), section 4; they draw pairs from the plan with
    replacement, which keeps about two thirds of a batch's targets.
    """
    cost = torch.cdist(x1.double(), x0.double()).square()
    cost = cost - cost.amin(0)
    order = linear_sum_assignment(cost.cpu().numpy())[1]
    return x0[torch.from_numpy(order).to(x0.device)]


def optimal_within(x0: Points, x1: Points, labels: Labels | None) -> Points:
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


def require_within(name: str, context: int) -> None:
    """Raise ConfigError where a context (of so many numbers) is coupled over a whole batch."""
    if context and name == "optimal":
        raise ConfigError(
            "coupling 'optimal' makes starts depend on the context, and samples then miss it; "
            "take 'optimal_within' with the label of every point, or 'independent'"
        )


def require_one_condition(
    x1: Points, context: Float[Tensor, " n c"], labels: Labels
) -> None:
    """Raise ConfigError if points of one label depend on their contexts: 'optimal' comes back.

    Several contexts of one label may share the same points, as random support sets of one data
    set share its networks.
    """
    scale = x1.std(0).norm() + 1e-8
    for label in labels.unique().tolist():
        rows = labels == label
        contexts, which = context[rows].unique(dim=0, return_inverse=True)
        sums = x1.new_zeros(len(contexts), x1.shape[1]).index_add(0, which, x1[rows])
        means = sums / which.bincount()[:, None]
        if (means - means[0]).norm(dim=1).max() > 1e-3 * scale:
            raise ConfigError(
                f"points of label {label} differ between its {len(contexts)} contexts, so coupling "
                "'optimal_within' would skew what is sampled; give every context a label of its "
                "own, or take 'independent'"
            )


COUPLINGS = MappingProxyType(
    {"independent": independent, "optimal": optimal, "optimal_within": optimal_within}
)

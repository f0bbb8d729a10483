"""Continuous paths through recorded parameter trajectories.

A trajectory is known at the knots t_0 = 0 < ... < t_K = 1. Each path here is *linear in
the recorded thetas*: theta(t) = sum_k w_k(t) theta_k, with velocity sum_k w_k'(t) theta_k,
where the weights depend on the times alone. So many trajectories with the same knots are
read at any times by one small matrix product; nothing is solved or stored for each.
"""

from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from .base import ConfigError

ROUNDING = 4 * torch.finfo(torch.float32).eps  # of times, which run from 0 to 1

# What each knot counts for, in the values and in the slopes; one row per time.
Weights = tuple[Float[Tensor, " n knots"], Float[Tensor, " n knots"]]


@dataclass(frozen=True, eq=False)
class Interpolant:
    """What the three paths share; make one of those.

    Args:
        times: knot times, increasing from 0 to 1.
        thetas: recorded parameters at the knots.

    Raises:
        ConfigError: if the times do not increase from 0 to 1 or do not fit the thetas.
    """

    times: Float[Tensor, " knots"]
    thetas: Float[Tensor, "*batch knots params"]

    def __post_init__(self) -> None:
        _check_times(self.times)
        if self.thetas.ndim < 2 or self.thetas.shape[-2] != len(self.times):
            raise ConfigError(
                f"thetas of shape {tuple(self.thetas.shape)} do not have the "
                f"{len(self.times)} knots of the times; want ... x knots x params"
            )

    @staticmethod
    def weights(times: Float[Tensor, " knots"], t: Float[Tensor, " n"]) -> Weights:
        """What every knot counts for in theta(t) and in its derivative; rows are times."""
        raise NotImplementedError

    def evaluate(self, t: Float[Tensor, " n"]) -> Float[Tensor, "*batch n params"]:
        """theta(t); beyond the ends the outermost piece goes on."""
        return self._weights(t)[0] @ self.thetas

    def derivative(self, t: Float[Tensor, " n"]) -> Float[Tensor, "*batch n params"]:
        """The velocity d theta/dt, in units of theta per unit of t."""
        return self._weights(t)[1] @ self.thetas

    def both_each(
        self, t: Float[Tensor, " batch"]
    ) -> tuple[Float[Tensor, " batch params"], Float[Tensor, " batch params"]]:
        """theta_i(t_i) and the velocity there, one time for each of a batch of trajectories."""
        if self.thetas.ndim != 3 or len(self.thetas) != len(t):
            raise ConfigError(
                f"one time per trajectory: got {len(t)} times for thetas of shape "
                f"{tuple(self.thetas.shape)}; want batch x knots x params"
            )
        return torch.bmm(torch.stack(self._weights(t), dim=1), self.thetas).unbind(1)

    def _weights(self, t: Tensor) -> Weights:
        values, slopes = self.weights(self.times, t)
        return values.to(self.thetas), slopes.to(self.thetas)


class Linear(Interpolant):
    """The straight line from the first theta to the last: one velocity, HyperFlow-L.

    theta(t) = theta_0 + t (theta_K - theta_0)

    Source: HyperFlow (Kim et al. 2025, arXiv:2504.15323), linear interpolation.
    """

    @staticmethod
    def weights(times: Float[Tensor, " knots"], t: Float[Tensor, " n"]) -> Weights:
        ends = _check_times(times).new_zeros(2, len(times))
        ends[0, 0] = ends[1, -1] = 1
        t = t.double()[:, None]
        return (1 - t) * ends[0] + t * ends[1], (ends[1] - ends[0]).expand(len(t), -1)


class PiecewiseLinear(Interpolant):
    """Straight from each knot to the next: Euler from knot to knot gives the iterates back.

    For t in [t_k, t_k+1), with h = t_k+1 - t_k and u = (t - t_k) / h:
    theta(t) = (1 - u) theta_k + u theta_k+1,  velocity (theta_k+1 - theta_k) / h

    Source: HyperFlow (Kim et al. 2025, arXiv:2504.15323), linear between checkpoints.
    """

    @staticmethod
    def weights(times: Float[Tensor, " knots"], t: Float[Tensor, " n"]) -> Weights:
        knots = _check_times(times)
        k, u, h = _locate(knots, t)
        unit = torch.eye(len(knots)).to(knots)
        return (1 - u) * unit[k] + u * unit[k + 1], (unit[k + 1] - unit[k]) / h


class Cubic(Interpolant):
    """The natural cubic spline through all knots: velocity and bend are continuous.

    With M_k the second derivative at knot k, a = 1 - u, the rest as in `PiecewiseLinear`:
    theta(t) = a theta_k + u theta_k+1 + h^2/6 ((a^3 - a) M_k + (u^3 - u) M_k+1)
    M is linear in the thetas, see `second_derivatives`.

    Source: HyperFlow (Kim et al. 2025, arXiv:2504.15323), piecewise cubic spline; the paper
    does not state the boundary condition, M_0 = M_K = 0 ("natural") is ours.
    """

    @staticmethod
    def weights(times: Float[Tensor, " knots"], t: Float[Tensor, " n"]) -> Weights:
        knots = _check_times(times)
        k, u, h = _locate(knots, t)
        a, bend = 1 - u, second_derivatives(tuple(knots.tolist())).to(knots)
        values, slopes = PiecewiseLinear.weights(times, t)
        values = values + h**2 / 6 * ((a**3 - a) * bend[k] + (u**3 - u) * bend[k + 1])
        slopes = slopes + h / 6 * ((1 - 3 * a**2) * bend[k] + (3 * u**2 - 1) * bend[k + 1])
        return values, slopes


KINDS = MappingProxyType({"linear": Linear, "piecewise": PiecewiseLinear, "cubic": Cubic})


@lru_cache(maxsize=32)
def second_derivatives(times: tuple[float, ...]) -> Float[Tensor, " knots knots"]:
    """The matrix S with M = S theta: second derivatives of the natural spline at its knots.

    Continuity of the velocity at the inner knots, with h_k = t_k+1 - t_k:
    h_k-1 M_k-1 + 2 (h_k-1 + h_k) M_k + h_k M_k+1
        = 6 ((theta_k+1 - theta_k) / h_k - (theta_k - theta_k-1) / h_k-1),  M_0 = M_K = 0
    One solve per grid of times, in double precision, kept for the next call.

    Source: de Boor 1978, A Practical Guide to Splines, chapter IV.
    """
    h = torch.tensor(times, dtype=torch.float64).diff()
    n = len(times)
    left, right = torch.eye(n).to(h), torch.zeros(n, n).to(h)
    for k in range(1, n - 1):
        left[k, k - 1 : k + 2] = torch.stack([h[k - 1], 2 * (h[k - 1] + h[k]), h[k]])
        rise, fall = 6 / h[k], 6 / h[k - 1]
        right[k, k - 1 : k + 2] = torch.stack([fall, -rise - fall, rise])
    return torch.linalg.solve(left, right)


def _check_times(times: Tensor) -> Tensor:
    if times.ndim != 1 or len(times) < 2 or not (times.diff() > 0).all():
        raise ConfigError(f"knot times must increase, got {times.tolist()}")
    if abs(times[0]) > 1e-6 or abs(times[-1] - 1) > 1e-6:
        raise ConfigError(f"knot times must run from 0 to 1, got {times.tolist()}")
    return times.double()


def _locate(knots: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # Inner knots alone are boundaries: times outside the record follow the outermost piece.
    # A time a rounding error before a knot counts as on it (in single precision, as records
    # are), so that a step which starts at a knot never goes along the piece before.
    t, h = t.to(knots), knots.diff()
    k = torch.bucketize(t + ROUNDING, knots[1:-1].contiguous(), right=True)
    return k, ((t - knots[k]) / h[k])[:, None], h[k][:, None]

"""How well a drift network knows the flow of tasks it never saw.

Errors are relative, sqrt(sum |h - v|^2 / sum |v|^2), in the units that the network is trained
in: 0 is perfect, 1 is what "no adaptation" (h = 0) gets. For the linear path the error on the
path itself says nothing at t > 0, for (theta_t - theta_0) / t is the answer; so look at t = 0,
and along the network's own roll-outs, where theta_t no longer comes from the recorded path.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .. import interpolants, solvers
from ..base import ConfigError, Velocity, choose
from ..hyperflow.drift import Drift
from ..hyperflow.trajectories import Trajectories
from ..models import belonging

BATCH = 64  # tasks that a drift network sees together
Rows = Float[Tensor, " tasks params"]
Unit = Float[Tensor, " params"] | None  # 0 leaves a parameter out; None: the network's own


@dataclass(frozen=True, eq=False)
class Fit:
    """Predicted against true vectors of several tasks; NaN for tokens that do not move."""

    error: float  # relative, of all parameters that move
    cosine: float  # between predicted and true, mean over the tasks
    token_error: Float[Tensor, " tokens"]
    token_cosine: Float[Tensor, " tokens"]


def compare(
    predicted: Rows, true: Rows, unit: Float[Tensor, " params"], *, token_size: int
) -> Fit:
    """Relative error and cosine of predicted vectors, as a whole and token by token.

    A unit of 0 leaves a parameter out (the inert key biases).
    """
    if len(unit) % token_size:
        raise ConfigError(f"{len(unit)} parameters are no multiple of {token_size=}")
    moves, per_unit = unit > 0, 1 / unit.where(unit > 0, torch.inf)
    p, v = predicted * per_unit, true * per_unit
    p_tokens, v_tokens = (x.unflatten(1, (-1, token_size)) for x in (p, v))
    still = ~moves.unflatten(0, (-1, token_size)).any(1)
    token_error = _relative(p_tokens - v_tokens, v_tokens, dim=(0, 2))
    token_cosine = torch.cosine_similarity(p_tokens, v_tokens, dim=2).mean(0)
    return Fit(
        error=float(_relative(p - v, v, dim=(0, 1))),
        cosine=float(torch.cosine_similarity(p, v, dim=1).mean()),
        token_error=token_error.masked_fill(still, torch.nan),
        token_cosine=token_cosine.masked_fill(still, torch.nan),
    )


def _relative(difference: Tensor, true: Tensor, dim: tuple[int, ...]) -> Tensor:
    size = true.square().sum(dim).clamp(min=1e-30)
    return (difference.square().sum(dim) / size).sqrt()


def on_path(
    net: Drift,
    data: Trajectories,
    t: float = 0.0,
    *,
    path: str = "cubic",
    unit: Unit = None,
) -> Fit:
    """The drift at theta(t) of the recorded path against the path's own velocity.

    Args:
        path: the kind of path that the network was trained on.
    """
    theta, velocity = true_flow(data, t, path=path)
    return _in_units(net, drifts(net, data, theta, t), velocity, unit)


def mean_baseline(
    train: Trajectories, data: Trajectories, t: float = 0.0, *, path: str = "cubic"
) -> Fit:
    """What the mean velocity of the training tasks gets: a predictor that sees no task."""
    velocity = true_flow(data, t, path=path)[1]
    mean = true_flow(train, t, path=path)[1].mean(0)
    size = train.token_size
    return compare(mean.expand_as(velocity), velocity, train.unit(), token_size=size)


def along_rollouts(
    net: Drift, data: Trajectories, *, path: str = "cubic", unit: Unit = None
) -> list[Fit]:
    """The drift at each knot of the network's own roll-outs against the path's velocity then."""
    f, thetas = bound(net, data), rollouts(net, data)
    times = torch.linspace(0, 1, len(thetas))
    return [
        _in_units(net, f(t, theta), true_flow(data, float(t), path=path)[1], unit)
        for t, theta in zip(times, thetas, strict=True)
    ]


def end_points(net: Drift, data: Trajectories, *, unit: Unit = None) -> Fit:
    """The whole displacement of the roll-outs against that of fine-tuning."""
    moved = rollouts(net, data)[-1] - data.thetas[:, 0]
    return _in_units(net, moved, data.displacement, unit)


def _in_units(net: Drift, predicted: Tensor, true: Tensor, unit: Unit) -> Fit:
    unit = net.scale if unit is None else unit
    return compare(predicted, true, unit, token_size=net.shape.token_size)


def rollouts(
    net: Drift, data: Trajectories, *, steps: int = 10
) -> Float[Tensor, " knots tasks params"]:
    """d theta/dt = h(theta, t | S) from t = 0 to 1, for every task."""
    f = bound(net, data)
    return solvers.solve(f, data.thetas[:, 0], steps=steps, method="chebyshev")


def true_flow(data: Trajectories, t: float, *, path: str = "cubic") -> tuple[Rows, Rows]:
    """theta(t) and d theta/dt of every recorded path."""
    curves = choose(interpolants.KINDS, path)(data.times, data.thetas)
    return curves.both_each(data.thetas.new_full((len(data),), t))


def drifts(net: Drift, data: Trajectories, theta: Rows, t: float) -> Rows:
    """h(theta_i, t | S_i) for every task i."""
    return bound(net, data)(theta.new_tensor(t), theta)


def bound(net: Drift, data: Trajectories) -> Velocity:
    """The velocity f(t, theta) of all tasks at once; every support set is read once."""
    belonging.require_same(net.target, data.target, "drift network and trajectories differ")
    parts = torch.arange(len(data)).split(BATCH)
    flows = [(rows, net.given(data.trimmed(rows).contexts)) for rows in parts]
    return lambda t, theta: torch.cat([f(t, theta[rows]) for rows, f in flows])

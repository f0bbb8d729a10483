"""Fitting a drift network to recorded trajectories: HyperFlow's regression, and its departures.

`DriftConfig` switches each departure off: noise on theta_t, times that are exactly 0, images left
out of a support set, and theta itself.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from .. import interpolants
from ..base import Progress, choose, silent, stream
from ..models import belonging
from ..nn import Descent, History, fit, lent
from .context import Context
from .drift import Drift, DriftNetwork, Shape
from .trajectories import Stream, Trajectories

BATCH = 64  # tasks that validation looks at together
REGULAR = {"warmup": 50, "weight_decay": 0.05, "ema": 0.998}


@dataclass(frozen=True, kw_only=True)
class DriftConfig:
    """How a drift network is trained."""

    path: str = "cubic"  # HyperFlow-L "linear", -P "piecewise" or -C "cubic"
    every: int = 1  # the path goes through every so many-th knot, and the last
    steps: int = 12_000  # gradient steps
    batch: int = 32  # trajectories a step
    lr: float = 1e-3  # peak, AdamW, cosine
    at_start: float = 0.3  # share of the times drawn that are exactly 0
    noise: float = 0.1  # of theta_t, in units of each token's displacement
    hide: float = 0.1  # share of the support images left out of a step's context
    sees_theta: bool = True  # False: h(t, S)
    width: int = 128

    def __post_init__(self) -> None:
        choose(interpolants.KINDS, self.path)

    @classmethod
    def at(cls, scale: str) -> "DriftConfig":
        small = cls(steps=60, batch=8, width=32)
        laptop = cls(steps=300, width=96)
        return choose({"smoke": small, "laptop": laptop, "paper": cls()}, scale)


def fit_drift(
    data: Trajectories | Stream,
    config: DriftConfig,
    *,
    generator: torch.Generator,
    validation: Trajectories | None = None,
    correcting: Drift | None = None,
    progress: Progress = silent,
) -> tuple[DriftNetwork, History]:
    """Minimise E |h(theta_t, t | S) - v_t|^2 in units of each token's displacement and of v_t.

    So a loss of 1 is that of no adaptation, h = 0.

    Recorded points can give velocities away: for the linear path theta_t does for every t > 0, for
    the others its noise does. So noise is put on theta_t, and part of the times are exactly 0.

    Args:
        validation: other tasks. Their loss is taken ten times; the network is that of the least.
        correcting: another drift of the same target; what is regressed is what it leaves over.

    Source: HyperFlow, arXiv:2504.15323, section 3.1 (squared error, t uniform; the rest is ours).
    """
    if correcting is not None:
        what = "trajectories and the drift to correct do not belong together"
        belonging.require_same(data.sample.target, correcting.target, what)
    with lent(generator):
        net = build(data.sample, config)
        batches = data.batches(config.batch, generator)

        def loss() -> Tensor:
            return training_loss(net, next(batches), config, generator, correcting)

        options = {"data": validation, "config": config, "correcting": correcting}
        watch = None if validation is None else partial(validation_loss, **options)
        descent = Descent(steps=config.steps, lr=config.lr, best=bool(watch), **REGULAR)
        return fit(
            net, loss, descent, desc="drift network", progress=progress, validate=watch
        )


def training_loss(
    net: DriftNetwork,
    data: Trajectories,
    config: DriftConfig,
    generator: torch.Generator,
    correcting: Drift | None,
) -> Float[Tensor, ""]:
    """The loss at random times, with noise on theta_t and without some of the images."""
    theta, t, v, context = examples(data, config, generator, correcting)
    noise = torch.randn(theta.shape, generator=generator).to(theta)
    theta = theta + config.noise * net.scale * noise
    return drift_loss(net, theta, t, v, hide_images(context, config.hide, generator))


def drift_loss(
    net: Drift,
    theta: Float[Tensor, " batch params"],
    t: Float[Tensor, " batch"],
    v: Float[Tensor, " batch params"],
    context: Context,
) -> Float[Tensor, ""]:
    """Mean squared error of the drift over the parameters that move, in their own units."""
    moves = net.scale > 0
    error = (net(theta, t, context) - v)[:, moves] / (net.speed * net.scale[moves])
    return error.square().mean()


@torch.no_grad()
def validation_loss(
    net: Drift, data: Trajectories, config: DriftConfig, correcting: Drift | None = None
) -> float:
    """The loss on tasks that were held out, always at the same times, without any noise."""
    total, generator = 0.0, stream(0, "validation")
    for rows in torch.arange(len(data)).split(BATCH):
        batch = examples(data.trimmed(rows), config, generator, correcting)
        total += len(rows) * float(drift_loss(net, *batch))
    return total / len(data)


def hide_images(context: Context, share: float, generator: torch.Generator) -> Context:
    """The same contexts without a random share of their images: regularises a small data set."""
    dice = torch.rand(context.labels.shape, generator=generator).to(context.residual.device)
    labels = context.labels.masked_fill(dice < share, -1)
    labels[:, 0] = context.labels[:, 0]  # never empty
    return replace(context, labels=labels)


def examples(
    data: Trajectories,
    config: DriftConfig,
    generator: torch.Generator,
    correcting: Drift | None,
) -> tuple[Tensor, Tensor, Tensor, Context]:
    """theta_t, a time t for each task, and what `correcting` leaves of the velocity there."""
    kind, last = choose(interpolants.KINDS, config.path), len(data.times) - 1
    knots = [*range(0, last, config.every), last]
    path = kind(data.times[knots], data.thetas[:, knots])
    u = torch.rand(2, len(data), generator=generator)
    if config.path == "piecewise":
        u[0] = data.times[knots][(u[0] * (len(knots) - 1)).long()]  # before a piece's noise
    t = (u[0] * (u[1] >= config.at_start)).to(data.thetas)
    theta, v = path.both_each(t)
    v = v if correcting is None else v - correcting(theta, t, data.contexts)
    return theta, t, v, data.contexts


def build(data: Trajectories, config: DriftConfig) -> DriftNetwork:
    """An untrained network in the units of `data`."""
    few = data.trimmed(torch.arange(min(len(data), 256)))
    images = few.contexts.features[few.contexts.labels >= 0].float()
    shape = Shape(
        n_params=data.thetas.shape[-1],
        token_size=data.token_size,
        n_inputs=images.shape[-1],
        width=config.width,
        sees_theta=config.sees_theta,
    )
    net = DriftNetwork(shape).to(data.thetas.device)
    net.target = data.target
    net.theta0.copy_(data.theta0)
    net.scale.copy_(data.unit())
    moves = net.scale > 0
    v = examples(few, config, stream(0, "speed"), None)[2]
    net.speed.copy_((v[:, moves] / net.scale[moves]).square().mean().sqrt())
    net.input_mean.copy_(images.mean(0))
    net.input_std.copy_(images.std(0).clamp(min=1e-3))
    return net

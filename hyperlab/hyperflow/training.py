"""Fitting the drift network to recorded trajectories."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .. import interpolants
from ..base import Progress, choose, silent
from ..nn import cosine_warmup, ema_update
from .context import Context
from .drift import DriftNetwork, Shape
from .trajectories import Trajectories

EMA = 0.995  # decay of the averaged network


@dataclass(frozen=True, kw_only=True)
class DriftConfig:
    """How a drift network is trained."""

    path: str = "cubic"  # HyperFlow-L "linear", HyperFlow-C "cubic", or "piecewise"
    steps: int = 3_000  # gradient steps
    batch: int = 32  # trajectories a step
    lr: float = 1e-3  # peak, AdamW, cosine
    weight_decay: float = 0.05
    at_start: float = 0.3  # share of the times drawn that are exactly 0
    jitter: float = 0.1  # noise on theta_t, in units of each parameter's usual displacement
    width: int = 128
    dropout: float = 0.2
    hide: float = 0.2  # share of the support images left out of a step's context

    def __post_init__(self) -> None:
        choose(interpolants.KINDS, self.path)

    @classmethod
    def at(cls, scale: str) -> "DriftConfig":
        small = cls(steps=60, batch=8, width=32)
        return choose({"smoke": small, "laptop": cls(steps=600), "paper": cls()}, scale)


def fit_drift(
    data: Trajectories,
    config: DriftConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
    watch: Callable[[int, nn.Module], None] | None = None,
) -> DriftNetwork:
    """Minimise E |h(theta_t, t | S) - v_t|^2 in units of each parameter's displacement.

    For the linear path theta_t gives v away for t > 0, so part of the times are exactly 0 and
    theta_t is jittered; what counts is the prediction at t = 0 and along roll-outs.

    Args:
        watch: called as watch(step, averaged network) every tenth of the training.

    Source: HyperFlow, arXiv:2504.15323, section 3.1 (squared error, t uniform); the two
    departures above are ours.
    """
    with _lent(generator):
        return _fit(data, config, generator, progress, watch)


@contextmanager
def _lent(generator: torch.Generator) -> Iterator[None]:
    # First weights and dropout draw from torch's global stream, so it becomes ours for a while.
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _fit(
    data: Trajectories,
    config: DriftConfig,
    generator: torch.Generator,
    progress: Progress,
    watch: Callable[[int, nn.Module], None] | None,
) -> DriftNetwork:
    device = data.thetas.device
    net = build(data, config).to(device)
    average = copy.deepcopy(net).eval()
    optimiser = torch.optim.AdamW(
        net.parameters(), config.lr, weight_decay=config.weight_decay
    )
    net.train()
    for step in progress(
        range(config.steps), total=config.steps, desc=f"drift ({config.path})"
    ):
        rows = torch.randint(len(data), (config.batch,), generator=generator)
        t, theta, v = draw(data.thetas[rows], data.times, config, net.scale, generator)
        for group in optimiser.param_groups:
            group["lr"] = config.lr * cosine_warmup(step, warmup=50, total=config.steps)
        context = hide_images(data.context(rows), config.hide, generator)
        loss = drift_loss(net, theta, t, v, context)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        ema_update(average, net, min(EMA, (1 + step) / (10 + step)))
        if watch and (step + 1) % max(1, config.steps // 10) == 0:
            watch(step + 1, average)
    return average


def drift_loss(
    net: DriftNetwork,
    theta: Float[Tensor, " batch params"],
    t: Float[Tensor, " batch"],
    v: Float[Tensor, " batch params"],
    context: Context,
) -> Float[Tensor, ""]:
    """Mean squared error of the drift over the parameters that move, in their own units."""
    moves = net.scale > 0
    error = (net(theta, t, context) - v)[:, moves] / net.scale[moves]
    return error.square().mean()


def hide_images(context: Context, share: float, generator: torch.Generator) -> Context:
    """The same contexts without a random share of their images: regularises a small data set."""
    dice = torch.rand(context.labels.shape, generator=generator).to(context.residual.device)
    labels = context.labels.masked_fill(dice < share, -1)
    labels[:, 0] = context.labels[:, 0]  # never empty
    return replace(context, labels=labels)


def draw(
    thetas: Float[Tensor, " batch knots params"],
    times: Float[Tensor, " knots"],
    config: DriftConfig,
    scale: Float[Tensor, " params"],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Times t, points theta_t near the path, and the path's velocities there."""
    path = choose(interpolants.KINDS, config.path)(times, thetas)
    u = torch.rand(2, len(thetas), generator=generator)
    t = (u[0] * (u[1] >= config.at_start)).to(thetas)
    noise = torch.randn(thetas[:, 0].shape, generator=generator).to(thetas)
    theta, v = path.both_each(t)
    return t, theta + config.jitter * scale * noise * (t > 0)[:, None], v


def build(data: Trajectories, config: DriftConfig) -> DriftNetwork:
    """An untrained network with the units of `data`."""
    context = data.context(torch.arange(min(len(data), 256)))
    shape = Shape(
        n_params=data.thetas.shape[-1],
        token_size=data.token_size,
        n_inputs=context.features.shape[-1],
        n_residual=context.residual.shape[-1],
        width=config.width,
        dropout=config.dropout,
    )
    net = DriftNetwork(shape)
    present = context.labels >= 0
    features = context.features.float()[present]
    net.theta0.copy_(data.thetas[0, 0])
    net.scale.copy_(data.unit())
    net.feature_mean.copy_(features.mean(0))
    net.feature_std.copy_(features.std(0).clamp(min=1e-3))
    net.residual_std.copy_(context.residual.float()[present].std())
    return net

"""Fitting the drift network to recorded trajectories: its pace and its correction.

The Jacobian in it stays as it is. `path` decides what is regressed, and more: "linear" takes the
guess at theta0 and has no feedback from theta, the others take it at theta_t, each at its own pace.
So a linear and a cubic network do not differ by their paths alone; cubic and piecewise do.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .. import interpolants
from ..base import Progress, choose, silent
from ..models import belonging
from ..nn import Descent, History, fit, lent
from .context import Context
from .jacobian import LearnedJacobian
from .jacobian_flow import JacobianFlow, Shape
from .trajectories import Stream, Trajectories

EMA = 0.995  # decay of the averaged network


@dataclass(frozen=True, kw_only=True)
class DriftConfig:
    """How a drift network is trained."""

    path: str = "cubic"  # Jacobian flow L "linear", Jacobian flow C "cubic", or "piecewise"
    steps: int = 3_000  # gradient steps
    batch: int = 32  # trajectories a step
    lr: float = 1e-3  # peak, AdamW, cosine
    weight_decay: float = 0.05
    at_start: float = 0.3  # share of the times drawn that are exactly 0
    width: int = 96
    dropout: float = 0.2
    hide: float = 0.2  # share of the support images left out of a step's context

    def __post_init__(self) -> None:
        choose(interpolants.KINDS, self.path)

    @classmethod
    def at(cls, scale: str) -> "DriftConfig":
        small = cls(steps=60, batch=8, width=32)
        return choose({"smoke": small, "laptop": cls(steps=600), "paper": cls()}, scale)


def fit_drift(
    data: Trajectories | Stream,
    config: DriftConfig,
    jacobian: LearnedJacobian,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
    validate: Callable[[nn.Module], float] | None = None,
) -> tuple[JacobianFlow, History]:
    """Minimise E |h(theta_t, t | S) - v_t|^2 in units of each parameter's displacement.

    Recorded points can give velocities away: for the linear path theta_t does for every t > 0, for
    the others its noise does. So only the Jacobian's guess sees theta_t, at a pace that is set at
    t = 0 and not trained, and part of the times are exactly 0.

    Args:
        jacobian: of the same target; it stays as it is.
        validate: of the averaged network, asked after every tenth of the training.

    Source: HyperFlow, arXiv:2504.15323, section 3.1 (squared error, t uniform); the
    departures above are ours.
    """
    steps, decay = config.steps, config.weight_decay
    descent = Descent(steps=steps, lr=config.lr, warmup=50, weight_decay=decay, ema=EMA)
    with lent(generator):
        net = build(data.sample, config, jacobian)
        net.pace.copy_(pace(net, data.sample, config.path))
        batches = data.batches(config.batch, generator)

        def loss() -> Tensor:
            batch = next(batches)
            t, theta, v = draw(batch.thetas, batch.times, config, generator)
            context = hide_images(batch.contexts, config.hide, generator)
            return drift_loss(net, theta, t, v, context)

        desc = f"drift ({config.path})"
        return fit(net, loss, descent, desc=desc, progress=progress, validate=validate)


def drift_loss(
    net: JacobianFlow,
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
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Times t, points theta_t of the path, and its velocities there."""
    path = choose(interpolants.KINDS, config.path)(times, thetas)
    u = torch.rand(2, len(thetas), generator=generator)
    if config.path == "piecewise":
        # At the knots: the noise of the next step is not in theta_t.
        u[0] = times[(u[0] * (len(times) - 1)).long()]
    t = (u[0] * (u[1] >= config.at_start)).to(thetas)
    return t, *path.both_each(t)


def build(
    data: Trajectories, config: DriftConfig, jacobian: LearnedJacobian
) -> JacobianFlow:
    """An untrained network in the units of `data`, with `jacobian` in it."""
    what = "trajectories and learned Jacobian do not belong together"
    belonging.require_same(data.target, jacobian.target, what)
    context = data.context(torch.arange(min(len(data), 256)))
    shape = Shape(
        n_params=data.thetas.shape[-1],
        token_size=data.token_size,
        n_inputs=context.features.shape[-1],
        n_residual=context.residual.shape[-1],
        width=config.width,
        dropout=config.dropout,
        jacobian_width=jacobian.near.out_features,
        feedback=config.path != "linear",
    )
    net = JacobianFlow(shape).to(data.thetas.device)
    net.jacobian.load_state_dict(jacobian.state_dict())
    net.target = net.jacobian.target = data.target
    net.theta0.copy_(data.theta0)
    net.scale.copy_(data.unit())
    with torch.no_grad():
        gates = net.jacobian.gates(context.features)
        hidden = net.jacobian.hidden(gates, context.residual.float())
        net.image_unit.copy_(hidden[context.labels >= 0].std().clamp(min=1e-12))
    return net


@torch.no_grad()
def pace(net: JacobianFlow, data: Trajectories, path: str) -> Float[Tensor, ""]:
    """The least-squares factor from guessed gradients at theta0 to what was recorded there.

    For the straight path that is the whole displacement; for the others the first step, whose
    factor would be learning rate times number of steps, were the guess exact.
    """
    sample = torch.arange(min(len(data), 256))
    guess = net.read(data.context(sample)).start
    knot = -1 if path == "linear" else 1
    moved = (data.thetas[sample, knot] - data.thetas[sample, 0]) / data.times[knot]
    return (guess * moved).sum() / guess.square().sum().clamp(min=1e-20)

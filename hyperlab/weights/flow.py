"""Flow matching: a velocity that carries random points to networks (or to their codes)."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from .. import solvers
from ..base import ConfigError, Progress, Velocity, choose, silent
from ..nn import MLP, TimeEmbedding, cosine_warmup, ema_update, lent

EMA = 0.999  # decay of the averaged field


def normal(n: int, dim: int, generator: torch.Generator) -> Float[Tensor, " n dim"]:
    """Standard normal points."""
    return torch.randn(n, dim, generator=generator)


def kaiming_normal(n: int, dim: int, generator: torch.Generator) -> Float[Tensor, " n dim"]:
    """Normal with variance 2 / dim: Kaiming's for a map that reads the whole code.

    Source: FLoWN, arXiv:2503.19371, table 10 says "Kaiming"; of which fan it does not say.
    """
    return normal(n, dim, generator) * (2 / dim) ** 0.5


def kaiming_uniform(
    n: int, dim: int, generator: torch.Generator
) -> Float[Tensor, " n dim"]:
    """Uniform between -b and b, b = sqrt(6 / dim): the same variance."""
    return (2 * torch.rand(n, dim, generator=generator) - 1) * (6 / dim) ** 0.5


PRIORS = MappingProxyType(
    {"normal": normal, "kaiming_normal": kaiming_normal, "kaiming_uniform": kaiming_uniform}
)


def independent(x0: Tensor, _x1: Tensor, _labels: Tensor | None = None) -> Tensor:
    """Every target keeps the start that it was drawn with."""
    return x0


def optimal(
    x0: Float[Tensor, " n dim"], x1: Float[Tensor, " n dim"], _labels: Tensor | None = None
) -> Float[Tensor, " n dim"]:
    """The starts in that order in which the sum of |x0 - x1|^2 is least: a bijection.

    Source: Tong et al. 2024 (arXiv:2302.00482), section 4; they draw pairs from the plan with
    replacement, which keeps about two thirds of a batch's targets.
    """
    cost = torch.cdist(x1.double(), x0.double()).square()
    return x0[torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1])]


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


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """How a flow is built and trained."""

    prior: str = "kaiming_normal"  # of the starting points, see PRIORS
    coupling: str = "independent"  # of starts and targets in a batch, see COUPLINGS
    width: int = 256  # of the field's layers
    depth: int = 3  # residual blocks
    steps: int = 4_000  # gradient steps of AdamW
    batch: int = 128  # pairs a step
    lr: float = 1e-3  # peak, cosine

    def __post_init__(self) -> None:
        choose(PRIORS, self.prior)
        choose(COUPLINGS, self.coupling)

    @classmethod
    def at(cls, scale: str) -> "FlowConfig":
        small = cls(width=64, depth=2, steps=150, batch=32)
        return choose({"smoke": small, "laptop": cls(), "paper": cls(steps=30_000)}, scale)


class Field(nn.Module):
    """f(t, x) or f(t, x, context): residual blocks, each told the time and the context."""

    def __init__(self, dim: int, width: int, depth: int, context: int = 0) -> None:
        super().__init__()
        self.time = TimeEmbedding(width)
        self.context = nn.Linear(context, width) if context else None
        self.into, self.out = nn.Linear(dim, width), nn.Linear(width, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.blocks = nn.ModuleList(MLP(width, 2 * width, width) for _ in range(depth))
        self.told = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))

    def forward(
        self,
        t: Float[Tensor, " n"],
        x: Float[Tensor, " n dim"],
        context: Float[Tensor, " n c"] | None = None,
    ) -> Float[Tensor, " n dim"]:
        condition = self.time(t)
        if self.context is not None:
            condition = condition + self.context(context)
        h = self.into(x)
        for norm, block, told in zip(self.norms, self.blocks, self.told, strict=True):
            scale, shift = told(condition).chunk(2, -1)
            h = h + block((1 + scale) * norm(h) + shift)
        return self.out(h)


def flow_loss(
    velocity: Velocity,
    x0: Float[Tensor, " n dim"],
    x1: Float[Tensor, " n dim"],
    t: Float[Tensor, " n"],
) -> Float[Tensor, ""]:
    """Squared error to the straight-line velocity x1 - x0 at x_t = (1 - t) x0 + t x1.

    Source: Lipman et al. 2023 (arXiv:2210.02747); FLoWN, arXiv:2503.19371, equation 1.
    """
    x_t = torch.lerp(x0, x1, t[:, None])
    return (velocity(t, x_t) - (x1 - x0)).square().mean()


class Scaled(nn.Module):
    """What generators of points share: they work where the data have mean 0 and deviation 1.

    One number scales all coordinates, so that the shape of the data stays.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, x1: Float[Tensor, " n dim"], field: Field) -> None:
        super().__init__()
        if not len(x1) or not x1.isfinite().all():
            raise ConfigError(f"want one or more points of finite numbers: {x1.shape}")
        self.field = field
        self.register_buffer("mean", x1.mean(0))
        self.register_buffer("scale", (x1 - x1.mean(0)).square().mean().sqrt() + 1e-8)

    def to_unit(self, x: Float[Tensor, " n dim"]) -> Float[Tensor, " n dim"]:
        return (x - self.mean) / self.scale

    def from_unit(self, x: Float[Tensor, "*some dim"]) -> Float[Tensor, "*some dim"]:
        return self.mean + self.scale * x

    def given(self, context: Float[Tensor, " c"] | None = None) -> Velocity:
        """The field as a plain f(t, x) of one time, in the scaled space."""

        def velocity(t: Tensor, x: Tensor) -> Tensor:
            told = None if context is None else context.expand(len(x), -1)
            return self.field(t.expand(len(x)), x, told)

        return velocity


class Flow(Scaled):
    """A trained velocity; the prior lives in the scaled space."""

    def __init__(
        self, x1: Float[Tensor, " n dim"], config: FlowConfig, context: int = 0
    ) -> None:
        field = Field(x1.shape[1], config.width, config.depth, context)
        super().__init__(x1, field)
        self.config = config

    def start(self, n: int, generator: torch.Generator) -> Float[Tensor, " n dim"]:
        """Points of the prior, in the scaled space."""
        draw = choose(PRIORS, self.config.prior)
        return draw(n, len(self.mean), generator).to(self.mean)

    @torch.no_grad()
    def path(
        self,
        n: int,
        *,
        generator: torch.Generator,
        steps: int = 100,
        method: str = "euler",
        context: Float[Tensor, " c"] | None = None,
    ) -> Float[Tensor, " knots n dim"]:
        """From points of the prior to samples; NFE is steps x `solvers.NFE[method]`."""
        start = self.start(n, generator)
        states = solvers.solve(self.given(context), start, steps=steps, method=method)
        return self.from_unit(states)

    def sample(self, n: int, *, generator: torch.Generator, **how: object) -> Tensor:
        """The ends of `path`, n x dim; `how` as there."""
        return self.path(n, generator=generator, **how)[-1]


def fit_flow(
    x1: Float[Tensor, " n dim"],
    config: FlowConfig,
    *,
    generator: torch.Generator,
    context: Float[Tensor, " n c"] | None = None,
    labels: Int64[Tensor, " n"] | None = None,
    progress: Progress = silent,
) -> Flow:
    """Fit a flow from the prior to the points x1.

    Args:
        context: of each point, what the velocity is told.
        labels: of each point, for the coupling within conditions.
    """
    with lent(generator):
        flow = Flow(x1, config, 0 if context is None else context.shape[1])
    target, couple = flow.to_unit(x1), choose(COUPLINGS, config.coupling)

    def loss(field: Field, rows: Tensor) -> Tensor:
        told = None if context is None else context[rows]
        x0 = flow.start(len(rows), generator)
        x0 = couple(x0, target[rows], None if labels is None else labels[rows])
        t = torch.rand(len(rows), generator=generator).to(x0)
        return flow_loss(lambda t, x: field(t, x, told), x0, target[rows], t)

    flow.field = fit_field(flow.field, loss, len(x1), config, generator, progress)
    return flow


def fit_field(
    field: Field,
    loss: Callable[[Field, Int64[Tensor, " batch"]], Float[Tensor, ""]],
    n: int,
    config: FlowConfig,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Field:
    """Minimise loss(field, rows) over random rows of n points; the averaged field."""
    average = copy.deepcopy(field)
    optimiser = torch.optim.AdamW(field.parameters(), config.lr, weight_decay=2e-6)
    for step in progress(range(config.steps), total=config.steps, desc="field"):
        for group in optimiser.param_groups:
            group["lr"] = config.lr * cosine_warmup(step, warmup=100, total=config.steps)
        found = loss(field, torch.randint(n, (config.batch,), generator=generator))
        optimiser.zero_grad()
        found.backward()
        nn.utils.clip_grad_norm_(field.parameters(), 1.0)
        optimiser.step()
        ema_update(average, field, min(EMA, (1 + step) / (10 + step)))
    return average.eval().requires_grad_(requires_grad=False)

"""Flow matching: a velocity that carries random points to networks (or to their codes)."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .. import solvers
from ..base import ConfigError, Progress, Velocity, choose, silent
from ..nn import Descent, fit, lent
from . import couplings, fields
from .couplings import COUPLINGS, Labels, Points

EMA = 0.999  # decay of the averaged field
RTOL, ATOL = 1e-5, 1e-6  # of the adaptive solver; ten times as much bends paths visibly
Prior = Callable[[int, int, torch.Generator], Tensor]  # (n, dim, stream) -> n x dim


def normal(n: int, dim: int, generator: torch.Generator) -> Points:
    """Standard normal points."""
    return torch.randn(n, dim, generator=generator)


def kaiming_normal(n: int, dim: int, generator: torch.Generator) -> Points:
    """Normal with variance 2 / dim: Kaiming's for a map that reads the whole code.

    So does torch's `kaiming_normal_` on n codes of 4 x h x w: each counts as one output.

    Source: FLoWN, arXiv:2503.19371, table 10 says "Kaiming"; of which fan it does not say.
    """
    return normal(n, dim, generator) * (2 / dim) ** 0.5


PRIORS = MappingProxyType({"normal": normal, "kaiming_normal": kaiming_normal})


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """How a flow is built and trained; prior and solver are FLoWN's, the field is not."""

    prior: str | Prior = "kaiming_normal"  # of the starts: in PRIORS, or a function
    coupling: str = "independent"  # of starts and targets in a batch, see COUPLINGS
    shape: tuple[int, ...] = ()  # of codes that are maps, for a UNet; (): residual MLP
    width: int = 256  # of the field's layers; channels of a UNet
    depth: int = 3  # residual blocks; levels of a UNet
    steps: int = 4_000  # gradient steps of AdamW
    batch: int = 128  # pairs a step
    lr: float = 1e-3  # peak, cosine
    join: str = "linear"  # how a context comes in, see `fields.JOINS`

    def __post_init__(self) -> None:
        if isinstance(self.prior, str):
            choose(PRIORS, self.prior)
        choose(fields.JOINS, self.join)
        choose(COUPLINGS, self.coupling)
        if min(self.width, self.depth, self.steps, self.batch) < 1 or not self.lr > 0:
            raise ConfigError(f"width, depth, steps, batch >= 1 and lr > 0: {self}")

    @classmethod
    def at(cls, scale: str) -> "FlowConfig":
        """Presets; "paper" is the largest, not FLoWN's tables 6 and 10."""
        small = cls(width=64, depth=2, steps=150, batch=32)
        return choose({"smoke": small, "laptop": cls(), "paper": cls(steps=30_000)}, scale)


def flow_loss(
    velocity: Velocity, x0: Points, x1: Points, t: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Squared error, mean over n and dim, to the velocity x1 - x0 at x_t = (1 - t) x0 + t x1.

    Source: Lipman et al. 2023 (arXiv:2210.02747); FLoWN, arXiv:2503.19371, equation 1.
    """
    x_t = torch.lerp(x0, x1, t[:, None])
    return (velocity(t, x_t) - (x1 - x0)).square().mean()


class Scaled(nn.Module):
    """What generators of points share: they work where the data have mean 0 and deviation 1.

    One number scales all coordinates, so that the shape of the data stays.

    Args:
        context: numbers of a point's context; 0: the field knows the time alone.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, x1: Points, config: FlowConfig, context: int = 0) -> None:
        super().__init__()
        if not len(x1) or not x1.isfinite().all():
            raise ConfigError(f"want one or more points of finite numbers: {x1.shape}")
        self.config, self.context = config, context
        sizes = {"shape": config.shape, "width": config.width, "depth": config.depth}
        self.field = fields.field(x1.shape[1], context=context, join=config.join, **sizes)
        self.register_buffer("mean", x1.mean(0))
        self.register_buffer("scale", (x1 - x1.mean(0)).square().mean().sqrt() + 1e-8)

    @classmethod
    def untrained(
        cls,
        x1: Points,
        config: FlowConfig,
        context: Tensor | None,
        generator: torch.Generator,
    ) -> "Scaled":
        """One for these points and their contexts, its first weights drawn from `generator`."""
        if context is not None and len(context) != len(x1):
            raise ConfigError(f"{len(x1)} points want a context each, got {len(context)}")
        with lent(generator):
            return cls(x1, config, 0 if context is None else context.shape[1]).to(x1)

    def to_unit(self, x: Points) -> Points:
        return (x - self.mean) / self.scale

    def from_unit(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return self.mean + self.scale * x

    def given(self, context: Float[Tensor, "*rows c"] | None = None) -> Velocity:
        """The field as a plain f(t, x) of one time, in the scaled space."""

        def velocity(t: Tensor, x: Tensor) -> Tensor:
            each = None if context is None else context.expand(len(x), -1)
            return self.field(t.expand(len(x)), x, each)

        return velocity


def follow(
    f: Velocity, x0: Points, *, steps: int, method: str
) -> tuple[Float[Tensor, " knots n dim"], int]:
    """The states at steps + 1 equal times, and the NFE: how often f was asked.

    Args:
        method: of `solvers.STEPS`, or "adaptive", which chooses its own steps between the times.
    """
    nfe = 0

    def counted(t: Tensor, x: Tensor) -> Tensor:
        nonlocal nfe
        nfe += 1
        return f(t, x)

    choose({**solvers.STEPS, "adaptive": None}, method)
    if method == "adaptive":
        times = torch.linspace(0, 1, steps + 1)
        states = solvers.solve_adaptive(counted, x0, times, rtol=RTOL, atol=ATOL)
    else:
        states = solvers.solve(counted, x0, steps=steps, method=method)
    return states, nfe


class Flow(Scaled):
    """A trained velocity from the prior to the data, both in the scaled space."""

    def __init__(self, x1: Points, config: FlowConfig, context: int = 0) -> None:
        couplings.require_within(config.coupling, context)
        super().__init__(x1, config, context)

    def start(self, n: int, generator: torch.Generator) -> Points:
        """Points of the prior, in the scaled space.

        A prior with a name lives there; one that is given lives where the data do.
        """
        prior, dim = self.config.prior, len(self.mean)
        if isinstance(prior, str):
            return PRIORS[prior](n, dim, generator).to(self.mean)
        return self.to_unit(prior(n, dim, generator).to(self.mean))

    @torch.no_grad()
    def path(
        self,
        n: int,
        *,
        generator: torch.Generator,
        steps: int = 100,
        method: str = "euler",
        context: Float[Tensor, "*rows c"] | None = None,
    ) -> Float[Tensor, " knots n dim"]:
        """From points of the prior to samples, as `follow` does; Euler's NFE is `steps`."""
        x0, velocity = self.start(n, generator), self.given(context)
        return self.from_unit(follow(velocity, x0, steps=steps, method=method)[0])

    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator,
        steps: int = 100,
        method: str = "euler",
        context: Float[Tensor, "*rows c"] | None = None,
    ) -> Points:
        """The ends of `path`."""
        solver = {"steps": steps, "method": method}
        return self.path(n, generator=generator, context=context, **solver)[-1]


def fit_flow(
    x1: Points,
    config: FlowConfig,
    *,
    generator: torch.Generator,
    context: Float[Tensor, " n c"] | None = None,
    labels: Labels | None = None,
    progress: Progress = silent,
) -> Flow:
    """Fit a flow from the prior to the points x1.

    Args:
        context: of each point, what its velocity depends on.
        labels: of each point, for the coupling within conditions.

    Raises:
        ConfigError: a context beside coupling "optimal", or within labels whose points depend on
            more of the context than the label.
    """
    flow = Flow.untrained(x1, config, context, generator)
    if labels is not None and len(labels) != len(x1):
        raise ConfigError(f"{len(x1)} points want a label each, got {len(labels)}")
    if config.coupling == "optimal_within" and None not in (context, labels):
        couplings.require_one_condition(x1, context, labels)
    target, couple = flow.to_unit(x1), choose(COUPLINGS, config.coupling)

    def loss(field: nn.Module, rows: Tensor) -> Tensor:
        each = None if context is None else context[rows]
        x0 = flow.start(len(rows), generator)
        x0 = couple(x0, target[rows], None if labels is None else labels[rows])
        t = torch.rand(len(rows), generator=generator).to(x0)
        return flow_loss(lambda t, x: field(t, x, each), x0, target[rows], t)

    flow.field = fit_field(flow.field, loss, len(x1), config, generator, progress)
    return flow


def fit_field(
    field: nn.Module,
    loss: Callable[[nn.Module, Int64[Tensor, " batch"]], Float[Tensor, ""]],
    n: int,
    config: FlowConfig,
    generator: torch.Generator,
    progress: Progress = silent,
) -> nn.Module:
    """Minimise loss(field, rows) over random rows of n points; the averaged field."""

    def draw() -> Tensor:
        return loss(field, torch.randint(n, (config.batch,), generator=generator))

    descent = Descent(
        steps=config.steps, lr=config.lr, warmup=100, weight_decay=2e-6, ema=EMA, fused=True
    )
    average, _ = fit(field, draw, descent, desc="field", progress=progress)
    return average.requires_grad_(requires_grad=False)

"""Fine-tuning of a flow on what its networks do: back through network, decoder and solver."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from .. import solvers
from ..base import ConfigError, Progress, choose, silent
from ..models.cnn import Network
from .couplings import optimal
from .encoders import Encoder
from .flow import Flow, flow_loss
from .recipes import Images

Starts, Networks = Float[Tensor, " n latent"], Float[Tensor, " n params"]


@dataclass(frozen=True, kw_only=True)
class ThroughConfig:
    """How a flow is fine-tuned through its solver; FLoWN's is t' alone."""

    steps: int = 20  # of the solver, from t = 0 to 1
    method: str = "euler"  # of the solver, see `solvers.STEPS`
    detach: float = 0.4  # t': no gradient before it; the nearest knot is taken
    networks: int = 8  # generated for an update
    batch: int = 64  # images of an update, the same for all its networks
    updates: int = 300  # gradient steps of Adam
    lr: float = 1e-3  # constant
    anchor: float = 0.0  # weight of flow matching to the source's codes before t'

    def __post_init__(self) -> None:
        choose(solvers.STEPS, self.method)
        if min(self.steps, self.networks, self.batch, self.updates) < 1 or not self.lr > 0:
            raise ConfigError(f"steps, networks, batch, updates >= 1 and lr > 0: {self}")
        if not 0 <= self.detach <= 1 or not self.anchor >= 0:
            raise ConfigError(f"want 0 <= detach <= 1 and anchor >= 0: {self}")

    @property
    def knot(self) -> int:
        """Steps of the solver that run without gradient."""
        return round(self.detach * self.steps)

    @classmethod
    def at(cls, scale: str) -> "ThroughConfig":
        """Presets; "paper" is the largest, not FLoWN's table 9 (AdamW, rates of 1e-2 and 1e-5)."""
        small = cls(steps=5, networks=2, batch=16, updates=5)
        paper = cls(steps=100, networks=16, updates=3_000)
        return choose({"smoke": small, "laptop": cls(), "paper": paper}, scale)


@dataclass(frozen=True, eq=False)
class Maker:
    """What makes networks: a flow in an encoder's codes, and what the decoded rows are.

    Args:
        context: what the flow is conditioned on; None: nothing.
    """

    flow: Flow
    encoder: Encoder
    architecture: Network
    context: Float[Tensor, " c"] | None = None

    def __post_init__(self) -> None:
        sizes = (len(self.flow.mean), len(self.encoder.mean))
        if sizes != (wanted := (self.encoder.latent, self.architecture.n_params)):
            raise ConfigError(
                f"codes and networks of {sizes} numbers, but encoder and architecture have "
                f"{wanted}"
            )
        shapes = getattr(self.architecture, "shapes", None)
        graph = getattr(getattr(self.encoder, "graph", None), "shapes", None)
        if graph and shapes and list(graph.items()) != list(shapes.items()):
            raise ConfigError(
                f"the encoder reads graphs of {dict(graph)}, not networks of {dict(shapes)}"
            )

    def start(self, n: int, generator: torch.Generator) -> Starts:
        """Points of the prior."""
        return self.flow.start(n, generator)

    def networks(self, x0: Starts, config: ThroughConfig) -> Networks:
        """The networks that come of the starts x0; gradients reach the field from t' on.

        The same gradients as those of a whole path that is detached at t', without the memory of
        its first part.

        Source: FLoWN, arXiv:2503.19371, section 3.1, "fine-tuning", with t' = 0.4.
        """
        velocity, knot, steps = self.flow.given(self.context), config.knot, config.steps
        x, method = x0, config.method
        if knot:
            with torch.no_grad():
                end = knot / steps
                x = solvers.solve(velocity, x, steps=knot, t_end=end, method=method)[-1]
        if knot < steps:
            at, rest = knot / steps, steps - knot
            x = solvers.solve(velocity, x, steps=rest, t_start=at, method=method)[-1]
        return self.encoder.decode(self.flow.from_unit(x))


def cross_entropies(
    architecture: Network, w: Float[Tensor, " models params"], data: Images
) -> Float[Tensor, " models"]:
    """The mean cross-entropy of every network, with gradients."""
    logits = architecture.logits(w, data.images).transpose(1, 2)
    wanted = data.labels.expand(len(w), -1)
    return F.cross_entropy(logits, wanted, reduction="none").mean(1)


def gradient(
    maker: Maker, x0: Starts, data: Images, config: ThroughConfig
) -> tuple[Float[Tensor, ""], list[Tensor]]:
    """The mean cross-entropy of the networks of x0, and its gradient for each field parameter."""
    parameters = list(maker.flow.field.parameters())
    loss = cross_entropies(maker.architecture, maker.networks(x0, config), data).mean()
    if config.knot == config.steps:
        return loss, [torch.zeros_like(p) for p in parameters]
    return loss, list(torch.autograd.grad(loss, parameters))


def source_loss(
    maker: Maker, codes: Starts, config: ThroughConfig, generator: torch.Generator
) -> Float[Tensor, ""]:
    """Flow matching to the codes at times before t': does the early path still fit the source?"""
    flow = maker.flow
    t = config.detach * torch.rand(len(codes), generator=generator).to(codes)
    context = None if maker.context is None else maker.context.expand(len(codes), -1)
    x0, x1 = flow.start(len(codes), generator), flow.to_unit(codes)
    if flow.config.coupling != "independent":  # as it was fitted; here the context is one
        x0 = optimal(x0, x1)
    return flow_loss(lambda t, x: flow.field(t, x, context), x0, x1, t)


def updates(
    maker: Maker,
    data: Images,
    config: ThroughConfig,
    *,
    generator: torch.Generator,
    codes: Starts | None = None,
) -> Iterator[Maker]:
    """A copy of the maker before the first update and after each: always the same object.

    Args:
        data: labelled images of the target's training part.
        codes: of the source's networks, for the anchor.
    """
    _check(maker.architecture, data)
    if config.anchor and codes is None:
        raise ConfigError("an anchor wants the codes of the source's networks")
    tuned = replace(maker, flow=copy.deepcopy(maker.flow))
    parameters = list(tuned.flow.field.requires_grad_().parameters())
    optimiser = torch.optim.Adam(parameters, config.lr)
    yield tuned
    for _ in range(config.updates):
        x0 = tuned.start(config.networks, generator)
        _, slopes = gradient(tuned, x0, _batch(data, config.batch, generator), config)
        if config.anchor:
            loss = config.anchor * source_loss(tuned, codes, config, generator)
            pulls = torch.autograd.grad(loss, parameters)
            slopes = [a + b for a, b in zip(slopes, pulls, strict=True)]
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = slope
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        yield tuned


def finetune_through(
    maker: Maker,
    data: Images,
    config: ThroughConfig,
    *,
    generator: torch.Generator,
    codes: Starts | None = None,
    progress: Progress = silent,
) -> Maker:
    """A copy of the maker whose flow is fine-tuned on labelled images of another data set.

    Each update generates a few networks, takes their mean cross-entropy on a few images, and
    follows its gradient back through networks, decoder and solver to the field's parameters.
    Decoder and encoder stay as they are. Arguments are those of `updates`.

    Source: FLoWN, arXiv:2503.19371, section 3.1 and table 4.
    """
    rounds = updates(maker, data, config, generator=generator, codes=codes)
    *_, tuned = progress(rounds, total=config.updates + 1, desc="through the ODE")
    tuned.flow.requires_grad_(requires_grad=False)
    return tuned


def descend(
    make: Callable[[Tensor], Tensor],
    points: Float[Tensor, " n dim"],
    architecture: Network,
    data: Images,
    config: ThroughConfig,
    *,
    generator: torch.Generator,
) -> Iterator[Float[Tensor, " n dim"]]:
    """Adam on n points, each down the cross-entropy of its own network make(point).

    The points before the first update and after each: always the same tensor. With networks as
    points and make = identity this is plain training; with codes and the decoder, or starts and
    `Maker.networks`, only what a generator takes in is moved.

    Source: the last is Ben-Hamu et al. 2024 (D-Flow), arXiv:2402.14017, with Adam.
    """
    _check(architecture, data)
    points = points.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([points], config.lr)
    yield points.detach()
    for _ in range(config.updates):
        batch = _batch(data, config.batch, generator)
        loss = cross_entropies(architecture, make(points), batch).sum()
        (points.grad,) = torch.autograd.grad(loss, [points])
        optimiser.step()
        yield points.detach()


def _batch(data: Images, n: int, generator: torch.Generator) -> Images:
    rows = torch.randint(len(data.labels), (n,), generator=generator)
    return Images(data.images[rows], data.labels[rows])


def _check(architecture: Network, data: Images) -> None:
    labels = sorted(set(data.labels.tolist()))
    if not labels or not 0 <= labels[0] <= labels[-1] < architecture.n_classes:
        raise ConfigError(
            f"want images with labels 0 to {architecture.n_classes - 1}, got {labels}"
        )
    if broken := int((~data.images.isfinite()).flatten(1).any(1).sum()):
        raise ConfigError(f"{broken} of {len(data.images)} images hold NaN or infinity")

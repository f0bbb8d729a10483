"""Generated heads after FLoWN's few-shot setting, a diffusion rival, and a linear map as control.

A generator is told what a support set says and learns, from base tasks, what heads *many* images
might have given. The defaults are ours: what is missing from the head fitted to the support, eight
principal components of it, from a standard normal. FLoWN generates whole heads from Kaiming's
distribution in the codes of a VAE, told a set encoder's vector.

Classes have no order, so either each row of a head is generated for itself, told of its own class
("row"), or all of them at once, over many orders of the classes ("head").

Source: FLoWN, arXiv:2503.19371, sections 3.2 and A.4.3, table 6; D2NWG, arXiv:2402.18153.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import ConfigError, choose
from .diffusion import fit_diffusion
from .encoders import PCA, Encoder, EncoderConfig, fit_vae
from .flow import FlowConfig, fit_flow
from .heads import WAY, BaseConfig, HeadSet, Whitening, tell

AXES = {"row": (0, 1), "head": (1, 2)}  # those of tasks x way x numbers that become one


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """How heads become codes, and who generates those."""

    kind: str = "flow"  # "flow" (as FLoWN), "diffusion" (as D2NWG) or "ridge", see KINDS
    by: str = "row"  # what is generated at once: a class's "row", or the "head"
    residual: bool = True  # generate what is missing from the support's head, not all
    encoder: str = "pca"  # of rows: "pca" or "vae"
    latent: int = 8  # numbers of a row's code; of 8, 16, 32 best on validation: an edge
    orders: int = 8  # of the classes that every base task is seen in, by head
    flow: FlowConfig = FlowConfig(prior="normal", width=96, depth=2, steps=1_500)
    ridge: float = 1.0  # penalty of kind "ridge", times the number of rows / 1000

    def __post_init__(self) -> None:
        choose(KINDS, self.kind)
        choose(AXES, self.by)
        choose({"pca": 1, "vae": 1}, self.encoder)
        if self.flow.coupling != "independent":
            raise ConfigError(
                f"every support set is a context of its own, with which coupling "
                f"{self.flow.coupling!r} skews the samples; take 'independent'"
            )

    @classmethod
    def at(cls, scale: str) -> "GeneratorConfig":
        """Presets; "paper" is the largest, not FLoWN's table 6."""
        quick = FlowConfig(width=32, depth=1, steps=60, batch=64)
        small = cls(flow=quick, latent=8, orders=2)
        return choose({"smoke": small, "laptop": cls(), "paper": cls(latent=64)}, scale)


@runtime_checkable
class Model(Protocol):
    """What generates codes, given contexts."""

    def sample(
        self, n: int, *, generator: torch.Generator, steps: int, context: Tensor
    ) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Ridge:
    """The one code that a linear map of the context gives: no generator, the control."""

    weights: Float[Tensor, " c_and_1 dim"]

    def sample(
        self, n: int, *, generator: torch.Generator, steps: int, context: Tensor
    ) -> Tensor:
        """What the map gives for each of n contexts; nothing is drawn."""
        return context @ self.weights[:-1] + self.weights[-1]


def fit_ridge(codes: Tensor, context: Tensor, config: GeneratorConfig) -> Ridge:
    """min |X A - Z|^2 + ridge |A|^2, in closed form."""
    x = torch.cat([context, context.new_ones(len(context), 1)], 1)
    penalty = config.ridge * len(x) / 1_000 * torch.eye(x.shape[1]).to(x)
    return Ridge(torch.linalg.solve(x.T @ x + penalty, x.T @ codes))


KINDS = {
    "flow": lambda z, c, config, g: fit_flow(z, config.flow, context=c, generator=g),
    "diffusion": lambda z, c, config, g: fit_diffusion(
        z, config.flow, context=c, generator=g
    ),
    "ridge": lambda z, c, config, _g: fit_ridge(z, c, config),
}


@dataclass(frozen=True, eq=False)
class HeadGenerator:
    """Heads for a task that was never seen, from the features of its support set."""

    whiten: Whitening
    base: BaseConfig
    config: GeneratorConfig
    encoder: Encoder  # of rows
    model: Model  # of codes
    mean: Float[Tensor, " c"]
    std: Float[Tensor, " c"]

    @torch.no_grad()
    def sample(
        self,
        support: Float[Tensor, " tasks way shots dim"],
        n: int,
        *,
        generator: torch.Generator,
        steps: int = 20,
        about: Float[Tensor, " tasks way others dim"] | None = None,
    ) -> Float[Tensor, " tasks n way row"]:
        """n heads for every task, on whitened features; all tasks at once.

        Args:
            support: features as the backbone gives them.
            about: the support sets of other tasks, in the place of its own; a control.
        """
        context, start = tell(self.whiten(support), self.base)
        if about is not None:
            context = tell(self.whiten(about), self.base)[0]
        c = ((context - self.mean) / self.std).flatten(*AXES[self.config.by])
        c = c.repeat_interleave(n, 0)
        z = self.model.sample(len(c), generator=generator, steps=steps, context=c)
        rows = self.encoder.decode(z.reshape(-1, self.encoder.latent))
        if self.config.by == "row":
            rows = rows.unflatten(0, (-1, WAY, n)).transpose(1, 2)
        else:
            rows = rows.unflatten(0, (-1, n, WAY))
        heads = rows + start[:, None] if self.config.residual else rows
        return heads - heads.mean(2, keepdim=True)


def fit_generator(
    base_heads: HeadSet,
    whiten: Whitening,
    base: BaseConfig,
    config: GeneratorConfig,
    *,
    generator: torch.Generator,
) -> HeadGenerator:
    """Fit the encoder to the rows of base heads, and the model to their codes and contexts."""
    rows = base_heads.heads - base_heads.start if config.residual else base_heads.heads
    flat = rows.flatten(0, 1)
    context = base_heads.context
    mean, std = context.mean((0, 1)), context.std((0, 1)).clamp(min=1e-6)
    context = (context - mean) / std
    if config.encoder == "pca":
        encoder: Encoder = PCA(flat, min(config.latent, flat.shape[1], len(flat) - 1))
    else:
        steps = config.flow.steps
        sizes = EncoderConfig(latent=config.latent, width=256, steps=steps, batch=256)
        encoder = fit_vae(flat, sizes, generator=generator)
    with torch.no_grad():
        codes = encoder.encode(flat).unflatten(0, context.shape[:2])
    if config.by == "head":
        codes, context = in_orders(codes, context, config.orders, generator)
    pair = (x.flatten(*AXES[config.by]) for x in (codes, context))
    model = choose(KINDS, config.kind)(*pair, config, generator)
    return HeadGenerator(whiten, base, config, encoder, model, mean, std)


def in_orders(
    codes: Float[Tensor, " tasks way k"],
    context: Float[Tensor, " tasks way c"],
    orders: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Every task in random orders of its classes, the same for code and context."""
    keys = torch.rand(orders * len(codes), codes.shape[1], generator=generator)
    order = keys.argsort(1)[..., None].to(codes.device)
    return tuple(
        x.repeat(orders, 1, 1).gather(1, order.expand(-1, -1, x.shape[2]))
        for x in (codes, context)
    )

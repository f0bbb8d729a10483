"""Networks f(t, x) or f(t, x, context) for flows and diffusions, of rows and of maps."""

from math import prod
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..base import ConfigError, choose
from ..nn import MLP, TimeEmbedding

CONVOLUTIONS = {2: nn.Conv1d, 3: nn.Conv2d}  # by the axes of a map, channels included
Times, Contexts = Float[Tensor, " n"], Float[Tensor, " n c"]

LATENT = "latent"  # the context stands beside the point, and joins nothing
# How the context joins the time's embedding.
JOINS = MappingProxyType(
    {
        "linear": lambda context, width: nn.Linear(context, width),
        "layers": lambda context, width: MLP(context, width, width),
        LATENT: lambda _context, _width: None,
    }
)


class Condition(nn.Module):
    """What scales and shifts every block: the time's embedding plus a map of the context.

    Args:
        join: of `JOINS`; "layers" are two of them, as FLoWN has.

    Source: FLoWN, arXiv:2503.19371, section A.4.2.
    """

    def __init__(self, width: int, context: int, join: str = "linear") -> None:
        super().__init__()
        self.time, self.n_context = TimeEmbedding(width), context
        self.context = choose(JOINS, join)(context, width) if context else None

    def forward(self, t: Times, context: Contexts | None) -> Float[Tensor, " n width"]:
        got = 0 if context is None else context.shape[1]
        if got != self.n_context:
            raise ConfigError(
                f"this field is told {self.n_context or 'no'} numbers of context, got "
                f"{got or 'none'}"
            )
        time = self.time(t)
        return time if self.context is None else time + self.context(context)


class Beside(nn.Module):
    """The context as one more point of the same shape, beside x: twice the channels.

    Source: FLoWN, arXiv:2503.19371, section 2.2, as in D2NWG (Soro et al. 2024, arXiv:2402.18153).
    """

    def __init__(self, dim: int, width: int, context: int) -> None:
        super().__init__()
        self.map = MLP(context, width, dim)

    def forward(self, x: Float[Tensor, " n c_in *map"], context: Contexts) -> Tensor:
        return torch.cat([x, self.map(context).view_as(x)], 1)


class Field(nn.Module):
    """Of rows: residual blocks, each scaled and shifted by the time and the context."""

    def __init__(
        self, dim: int, width: int, depth: int, context: int = 0, join: str = "linear"
    ) -> None:
        super().__init__()
        self.condition = Condition(width, context, join)
        apart = join == LATENT and context > 0
        self.beside = Beside(dim, width, context) if apart else None
        self.into = nn.Linear(2 * dim if apart else dim, width)
        self.out = nn.Linear(width, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.blocks = nn.ModuleList(MLP(width, 2 * width, width) for _ in range(depth))
        self.scale_shift = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))

    def forward(
        self, t: Times, x: Float[Tensor, " n dim"], context: Contexts | None = None
    ) -> Float[Tensor, " n dim"]:
        condition = self.condition(t, context)
        h = self.into(self.beside(x, context) if self.beside else x)
        for norm, block, of in zip(self.norms, self.blocks, self.scale_shift, strict=True):
            scale, shift = of(condition).chunk(2, -1)
            h = h + block((1 + scale) * norm(h) + shift)
        return self.out(h)


class MapBlock(nn.Module):
    """Two convolutions beside a skip; the condition scales and shifts what is between them."""

    def __init__(self, axes: int, n_in: int, n_out: int, width: int) -> None:
        super().__init__()
        conv = CONVOLUTIONS[axes]
        self.norms = nn.ModuleList([nn.GroupNorm(1, n_in), nn.GroupNorm(1, n_out)])
        self.first, self.second = (conv(n, n_out, 3, padding=1) for n in (n_in, n_out))
        self.scale_shift = nn.Linear(width, 2 * n_out)
        self.skip = conv(n_in, n_out, 1)

    def forward(self, x: Float[Tensor, " n c_in *map"], condition: Tensor) -> Tensor:
        h = self.norms[1](self.first(F.silu(self.norms[0](x))))
        both = self.scale_shift(condition).view(len(x), -1, *[1] * (x.ndim - 2))
        scale, shift = both.chunk(2, 1)
        return self.skip(x) + self.second(F.silu((1 + scale) * h + shift))


class UNet(nn.Module):
    """Of maps: down over `depth` levels, each half as long, and up again beside what was kept.

    Rows in, rows out; `shape` says what map a row is: channels, then one or two axes.

    Source: Ronneberger et al. 2015 (arXiv:1505.04597), with residual blocks.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        depth: int,
        context: int = 0,
        join: str = "linear",
    ) -> None:
        super().__init__()
        self.shape, axes, conv = shape, len(shape), CONVOLUTIONS[len(shape)]
        self.condition = Condition(width, context, join)
        apart = join == LATENT and context > 0
        self.beside = Beside(prod(shape), width, context) if apart else None
        self.into = conv(2 * shape[0] if apart else shape[0], width, 1)
        self.out = conv(width, shape[0], 1)
        halves, block = range(depth - 1), MapBlock
        self.down = nn.ModuleList(block(axes, width, width, width) for _ in range(depth))
        self.halve = nn.ModuleList(
            conv(width, width, 3, stride=2, padding=1) for _ in halves
        )
        self.up = nn.ModuleList(block(axes, 2 * width, width, width) for _ in halves)

    def forward(
        self, t: Times, x: Float[Tensor, " n dim"], context: Contexts | None = None
    ) -> Float[Tensor, " n dim"]:
        condition, x = self.condition(t, context), x.unflatten(1, self.shape)
        h, kept = self.into(self.beside(x, context) if self.beside else x), []
        for block, halve in zip(self.down, self.halve, strict=False):
            kept.append(block(h, condition))
            h = halve(kept[-1])
        h = self.down[-1](h, condition)
        for block in self.up:
            beside = kept.pop()
            h = block(torch.cat([F.interpolate(h, beside.shape[2:]), beside], 1), condition)
        return self.out(h).flatten(1)


def field(
    dim: int,
    *,
    shape: tuple[int, ...],
    width: int,
    depth: int,
    context: int = 0,
    join: str = "linear",
) -> Field | UNet:
    """A field of rows of `dim` numbers; a UNet if `shape` says that they are maps.

    Args:
        context: numbers of a point's context.
        join: how the context comes in, see `JOINS`.
    """
    if not shape:
        return Field(dim, width, depth, context, join)
    if len(shape) not in CONVOLUTIONS or prod(shape) != dim:
        raise ConfigError(f"rows of {dim} numbers are no maps of shape {shape}")
    return UNet(tuple(shape), width, depth, context, join)

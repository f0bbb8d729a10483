"""Random styles: one look for a whole task, so that any domain becomes many domains."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import mul

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F

from ..base import ConfigError, choose, stream

Numbers = tuple[float, ...]
Grain = Callable[[int], Tensor]  # coarseness in cells -> a noise field in [0, 1] per image
Draw = Callable[[Generator, float], Numbers]  # of a strength
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Operation:
    """One change of look: its name in `OPERATIONS` and its numbers."""

    name: str
    numbers: Numbers

    def __post_init__(self) -> None:
        choose(OPERATIONS, self.name)


@dataclass(frozen=True)
class Style:
    """A fixed list of operations; `Style()` changes nothing.

    Each image's result depends on that image and on the style alone, never on its batch.
    """

    operations: tuple[Operation, ...] = ()
    seed: int = 0  # of the noise fields

    def apply(self, images: Tensor) -> Float[Tensor, " n 3 h w"]:
        """The images, n x 3 x h x w, in this style; in [0, 1] as before.

        Raises:
            ConfigError: if `images` is no batch of three-channel float images.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ConfigError(
                f"a style needs float images n x 3 x h x w, as Domain.batch gives; "
                f"got {images.dtype} {tuple(images.shape)}"
            )
        styled, grain = images, partial(_grain, images, self.seed)
        for operation in self.operations:
            change = OPERATIONS[operation.name].change
            styled = change(styled, grain, *operation.numbers).clamp(0, 1)
        return styled


@dataclass(frozen=True)
class Kind:
    """An operation, `change(images, grain, *numbers)`, and how its numbers are drawn."""

    chance: float  # of being part of a random style of strength 1
    change: Callable[..., Tensor]
    draw: Draw = lambda _, __: ()


def random_style(generator: Generator, strength: float = 1.0) -> Style:
    """A random subset of the operations, in random order, each with random numbers.

    Args:
        strength: 0 gives the identity; above 1 more operations are chosen, and harder ones.
    """
    if strength < 0:
        raise ConfigError(f"strength must be at least 0, got {strength}")
    dice = torch.rand(len(OPERATIONS), generator=generator)
    order = torch.randperm(len(OPERATIONS), generator=generator).tolist()
    seed = int(torch.randint(2**31, (), generator=generator))
    kinds = list(OPERATIONS.items())
    chosen = [kinds[i] for i in order if dice[i] < kinds[i][1].chance * strength]
    operations = tuple(Operation(n, kind.draw(generator, strength)) for n, kind in chosen)
    return Style(operations, seed)


def _grain(images: Tensor, seed: int, cells: int) -> Float[Tensor, " n 1 h w"]:
    """Per image a window of one big noise field; the image's own pixels choose it."""
    n, _, h, w = images.shape
    field = torch.rand(1, 1, 2 * cells, 2 * cells, generator=stream(seed, "grain", cells))
    field = F.interpolate(field, size=(2 * h, 2 * w), mode="bilinear", align_corners=True)
    keys = (images * 255).round().long().flatten(1).sum(1) * 7919
    rows = (keys % h)[:, None] + torch.arange(h, device=images.device)
    columns = (keys // h % w)[:, None] + torch.arange(w, device=images.device)
    window = field[0, 0].to(images)[rows[:, :, None], columns[:, None, :]]
    return window.reshape(n, 1, h, w)


def _luma(x: Tensor) -> Float[Tensor, " n 1 h w"]:
    return torch.einsum("nchw,c->nhw", x, x.new_tensor(LUMA))[:, None]


def _between(x: Tensor, colours: Numbers, share: Tensor) -> Tensor:
    """The first of two colours where the share is 0, the second where it is 1."""
    first, second = x.new_tensor(colours).view(2, 1, 3, 1, 1)
    return torch.lerp(first, second, share)


def _mix(x: Tensor, _: Grain, *matrix: float) -> Tensor:
    """A linear map of the colours, row by row."""
    return torch.einsum("nchw,dc->ndhw", x, x.new_tensor(matrix).view(3, 3))


def _contrast(x: Tensor, _: Grain, gain: float, shift: float, gamma: float) -> Tensor:
    return ((x - 0.5) * gain + 0.5 + shift).clamp(0, 1) ** gamma


def _turn(x: Tensor, _: Grain, degrees: float, zoom: float, shear: float) -> Tensor:
    """Rotate, zoom and shear about the centre."""
    c, s = math.cos(math.radians(degrees)) / zoom, math.sin(math.radians(degrees)) / zoom
    matrix = x.new_tensor([[c, -s + shear, 0.0], [s, c, 0.0]]).expand(len(x), 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _quarter(x: Tensor, _: Grain, turns: float, mirror: float) -> Tensor:
    x = torch.rot90(x, int(turns), (2, 3))
    return x.flip(3) if mirror else x


def _blur(x: Tensor, _: Grain, sigma: float) -> Tensor:
    """Gaussian blur, sigma in pixels."""
    radius = max(1, math.ceil(2 * sigma))
    kernel = torch.arange(-radius, radius + 1).to(x)
    kernel = torch.softmax(-0.5 * (kernel / sigma) ** 2, dim=0)
    x = F.pad(x, (radius,) * 4, mode="replicate")
    x = sum(k * x[:, :, i : x.shape[2] - 2 * radius + i] for i, k in enumerate(kernel))
    return sum(k * x[..., i : x.shape[3] - 2 * radius + i] for i, k in enumerate(kernel))


def _pixelate(x: Tensor, _: Grain, share: float, hard: float) -> Tensor:
    """Keep that share of the resolution, in hard blocks or in soft ones."""
    size = [max(2, round(share * n)) for n in x.shape[2:]]
    small = F.interpolate(x, size=size, mode="area")
    return F.interpolate(small, size=x.shape[2:], mode="nearest" if hard else "bilinear")


def _edges(x: Tensor, _: Grain, amount: float) -> Tensor:
    """Blend in the gradient's magnitude (central differences)."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    dx = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    dy = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    return torch.lerp(x, (dx.square() + dy.square()).sqrt().clamp(0, 1), amount)


def _thicken(x: Tensor, _: Grain, amount: float) -> Tensor:
    """Grow what is bright (positive amount) or what is dark (negative amount)."""
    sign = math.copysign(1, amount)
    grown = F.max_pool2d(F.pad(sign * x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.lerp(x, sign * grown, abs(amount))


def _backdrop(
    x: Tensor, grain: Grain, amount: float, cells: float, mode: float, *colours: float
) -> Tensor:
    """Blend in a cloudy two-colour background over all (mode 0), the bright (1), the dark (2)."""
    bright = _luma(x)
    cover = (torch.ones_like(bright), bright, 1 - bright)[int(mode)]
    return torch.lerp(x, _between(x, colours, grain(int(cells))), amount * cover)


def _light(x: Tensor, _: Grain, amount: float, degrees: float) -> Tensor:
    """A linear shade across the image, in that direction."""
    rows = torch.linspace(-1, 1, x.shape[2]).to(x)[:, None]
    columns = torch.linspace(-1, 1, x.shape[3]).to(x)
    angle = math.radians(degrees)
    shade = rows * math.sin(angle) + columns * math.cos(angle)
    return x * (1 + amount * (shade - 1) / 2)


def _uniform(g: Generator, *ranges: tuple[float, float]) -> Numbers:
    """One number from each range (low, high)."""
    dice = torch.rand(len(ranges), generator=g).tolist()
    pairs = zip(dice, ranges, strict=True)
    return tuple(low + d * (high - low) for d, (low, high) in pairs)


def _one(low: float, high: float, slope: float = 0.0) -> Draw:
    """How one number is drawn: uniform from `low` to `high + slope * strength`."""
    return lambda g, s: _uniform(g, (low, high + slope * s))


def _integer(g: Generator, n: int) -> float:
    return float(torch.randint(n, (), generator=g))


def _draw_recolour(g: Generator, _: float) -> Numbers:
    """Two colours at least 0.35 apart in brightness."""
    while True:
        numbers = _uniform(g, *[(0.0, 1.0)] * 6)
        dark, bright = (sum(map(mul, LUMA, c)) for c in (numbers[:3], numbers[3:]))
        if abs(dark - bright) > 0.35:
            return numbers


def _draw_mix(g: Generator, strength: float) -> Numbers:
    """A permutation of the channels, disturbed, rows summing to one."""
    matrix = torch.eye(3)[torch.randperm(3, generator=g)]
    matrix = matrix + 0.3 * min(strength, 1.5) * torch.randn(3, 3, generator=g)
    return tuple((matrix + (1 - matrix.sum(1, keepdim=True)) / 3).flatten().tolist())


def _draw_contrast(g: Generator, s: float) -> Numbers:
    gain, shift, gamma = _uniform(g, (-s, s), (-0.25 * s, 0.25 * s), (-s, s))
    return 2**gain, shift, 2 ** (0.9 * gamma)


def _draw_turn(g: Generator, s: float) -> Numbers:
    degrees, zoom, shear = _uniform(
        g, (-35 * s, 35 * s), (-0.4, 0.4), (-0.25 * s, 0.25 * s)
    )
    return degrees, 2**zoom, shear


def _draw_backdrop(g: Generator, s: float) -> Numbers:
    amount, *colours = _uniform(g, (0.25, min(0.85, 0.4 + 0.3 * s)), *[(0.0, 1.0)] * 6)
    return amount, 2 + _integer(g, 14), _integer(g, 3), *colours


OPERATIONS: dict[str, Kind] = {
    "invert": Kind(0.3, lambda x, _: 1 - x),
    "grey": Kind(0.12, lambda x, _: _luma(x).expand_as(x)),
    "recolour": Kind(  # dark becomes the first colour, bright the second
        0.25, lambda x, _, *colours: _between(x, colours, _luma(x)), _draw_recolour
    ),
    "mix": Kind(0.25, _mix, _draw_mix),
    "contrast": Kind(0.25, _contrast, _draw_contrast),
    "quarter": Kind(0.35, _quarter, lambda g, _: (_integer(g, 4), _integer(g, 2))),
    "turn": Kind(0.25, _turn, _draw_turn),
    "blur": Kind(0.15, _blur, _one(0.4, 0.5, 0.8)),
    "pixelate": Kind(
        0.12, _pixelate, lambda g, s: (*_one(0.35, 0.8)(g, s), _integer(g, 2))
    ),
    "edges": Kind(0.12, _edges, _one(0.4, 1.0)),
    "sharpen": Kind(
        0.1, lambda x, grain, a: x + a * (x - _blur(x, grain, 1.5)), _one(0.5, 0.6, 1.5)
    ),
    "thicken": Kind(
        0.12, _thicken, lambda g, s: ((2 * _integer(g, 2) - 1) * _one(0.3, 1.0)(g, s)[0],)
    ),
    "noise": Kind(
        0.2, lambda x, grain, a: x + a * (2 * grain(x.shape[-1]) - 1), _one(0.05, 0.1, 0.3)
    ),
    "solarise": Kind(0.08, lambda x, _, t: torch.where(x > t, 1 - x, x), _one(0.4, 0.8)),
    "posterise": Kind(
        0.08,
        lambda x, _, n: (x * (n - 1)).round() / (n - 1),
        lambda g, _: (2 + _integer(g, 4),),
    ),
    "backdrop": Kind(0.2, _backdrop, _draw_backdrop),
    "light": Kind(0.15, _light, lambda g, s: _uniform(g, (0.2, min(0.9, s)), (0.0, 360.0))),
}

"""Random styles: one look for a whole task, so that any domain becomes many domains."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..base import ConfigError, choose, stream

Numbers = tuple[float, ...]
Grain = Callable[[int], Tensor]  # coarseness in cells -> a noise field in [0, 1] per image
Change = Callable[[Tensor, Numbers, Grain], Tensor]
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

        def grain(cells: int) -> Tensor:
            return _grain(images, cells, self.seed)

        styled = images
        for operation in self.operations:
            change = OPERATIONS[operation.name].change
            styled = change(styled, operation.numbers, grain).clamp(0, 1)
        return styled


@dataclass(frozen=True)
class Kind:
    """How an operation acts and how its numbers are drawn, `draw(generator, strength)`."""

    change: Change
    draw: Callable[[torch.Generator, float], Numbers]
    chance: float  # of being part of a random style of strength 1


def random_style(generator: torch.Generator, strength: float = 1.0) -> Style:
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


def _grain(images: Tensor, cells: int, seed: int) -> Float[Tensor, " n 1 h w"]:
    """Per image a window of one big noise field; the image's own pixels choose it."""
    n, _, h, w = images.shape
    field = torch.rand(1, 1, 2 * cells, 2 * cells, generator=stream(seed, "grain", cells))
    size, mode = (2 * h, 2 * w), "bilinear"
    field = functional.interpolate(field, size=size, mode=mode, align_corners=True)[0, 0]
    keys = (images * 255).round().long().flatten(1).sum(1) * 7919
    rows = (keys % h)[:, None] + torch.arange(h, device=images.device)
    columns = (keys // h % w)[:, None] + torch.arange(w, device=images.device)
    return field.to(images)[rows[:, :, None], columns[:, None, :]].reshape(n, 1, h, w)


def _luma(x: Tensor) -> Float[Tensor, " n 1 h w"]:
    return torch.einsum("nchw,c->nhw", x, x.new_tensor(LUMA))[:, None]


def _colour(x: Tensor, numbers: Numbers) -> Float[Tensor, " 1 3 1 1"]:
    return x.new_tensor(numbers)[None, :, None, None]


def _invert(x: Tensor, _: Numbers, __: Grain) -> Tensor:
    return 1 - x


def _grey(x: Tensor, _: Numbers, __: Grain) -> Tensor:
    return _luma(x).expand_as(x)


def _recolour(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    """Dark becomes the first colour, bright the second."""
    return torch.lerp(_colour(x, numbers[:3]), _colour(x, numbers[3:]), _luma(x))


def _mix(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    """A linear map of the colours, row by row."""
    return torch.einsum("nchw,dc->ndhw", x, x.new_tensor(numbers).reshape(3, 3))


def _contrast(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    gain, shift, gamma = numbers
    return ((x - 0.5) * gain + 0.5 + shift).clamp(0, 1) ** gamma


def _turn(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    """Rotate by degrees, zoom and shear about the centre."""
    degrees, zoom, shear = numbers
    c, s = math.cos(math.radians(degrees)) / zoom, math.sin(math.radians(degrees)) / zoom
    matrix = x.new_tensor([[c, -s + shear, 0.0], [s, c, 0.0]]).expand(len(x), 2, 3)
    grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _quarter(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    """Quarter turns, then a mirror image if the second number is 1."""
    x = torch.rot90(x, int(numbers[0]), (2, 3))
    return x.flip(3) if numbers[1] else x


def _blur(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    """Gaussian blur, sigma in pixels."""
    return _gauss(x, numbers[0])


def _gauss(x: Tensor, sigma: float) -> Tensor:
    radius = max(1, math.ceil(2 * sigma))
    kernel = torch.arange(-radius, radius + 1).to(x)
    kernel = torch.softmax(-0.5 * (kernel / sigma) ** 2, dim=0)
    x = functional.pad(x, (radius,) * 4, mode="replicate")
    x = sum(k * x[:, :, i : x.shape[2] - 2 * radius + i] for i, k in enumerate(kernel))
    return sum(k * x[..., i : x.shape[3] - 2 * radius + i] for i, k in enumerate(kernel))


def _pixelate(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    """Keep `numbers[0]` of the resolution; `numbers[1]` = 1 leaves hard blocks."""
    h, w = x.shape[2:]
    size = [max(2, round(numbers[0] * h)), max(2, round(numbers[0] * w))]
    small = functional.interpolate(x, size=size, mode="area")
    mode = "nearest" if numbers[1] else "bilinear"
    return functional.interpolate(small, size=(h, w), mode=mode)


def _edges(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    """Blend in the gradient's magnitude (central differences)."""
    padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    dx = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    dy = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    return torch.lerp(x, (dx.square() + dy.square()).sqrt().clamp(0, 1), numbers[0])


def _sharpen(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    return x + numbers[0] * (x - _gauss(x, 1.5))


def _thicken(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    """Grow what is bright (positive amount) or what is dark (negative amount)."""
    wider = torch.maximum if numbers[0] > 0 else torch.minimum
    grown = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    grown = wider(wider(grown[:, :, :-2], grown[:, :, 2:]), grown[:, :, 1:-1])
    grown = wider(wider(grown[..., :-2], grown[..., 2:]), grown[..., 1:-1])
    return torch.lerp(x, grown, abs(numbers[0]))


def _noise(x: Tensor, numbers: Numbers, grain: Grain) -> Tensor:
    return x + numbers[0] * (2 * grain(x.shape[-1]) - 1)


def _solarise(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    """Invert what is brighter than the threshold."""
    return torch.where(x > numbers[0], 1 - x, x)


def _posterise(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    steps = numbers[0] - 1
    return (x * steps).round() / steps


def _backdrop(x: Tensor, numbers: Numbers, grain: Grain) -> Tensor:
    """Blend in a cloudy two-colour background: amount, cells, mode, two colours.

    The mode says what the cloud covers: 0 everything, 1 the bright, 2 the dark.
    """
    amount, cells, mode = numbers[:3]
    first, second = _colour(x, numbers[3:6]), _colour(x, numbers[6:])
    cloud = torch.lerp(first, second, grain(int(cells)))
    bright = _luma(x)
    cover = (torch.ones_like(bright), bright, 1 - bright)[int(mode)]
    return torch.lerp(x, cloud, amount * cover)


def _light(x: Tensor, numbers: Numbers, _: Grain) -> Tensor:
    """A linear shade across the image: amount and direction in degrees."""
    amount, degrees = numbers
    rows = torch.linspace(-1, 1, x.shape[2]).to(x)[:, None]
    columns = torch.linspace(-1, 1, x.shape[3]).to(x)
    angle = math.radians(degrees)
    shade = rows * math.sin(angle) + columns * math.cos(angle)
    return x * (1 + amount * (shade - 1) / 2)


def _uniform(g: torch.Generator, *ranges: tuple[float, float]) -> Numbers:
    """One number from each range (low, high)."""
    dice = torch.rand(len(ranges), generator=g).tolist()
    pairs = zip(dice, ranges, strict=True)
    return tuple(low + d * (high - low) for d, (low, high) in pairs)


def _integer(g: torch.Generator, n: int) -> float:
    return float(torch.randint(n, (), generator=g))


def _sign(g: torch.Generator) -> float:
    return 2 * _integer(g, 2) - 1


def _draw_recolour(g: torch.Generator, _: float) -> Numbers:
    """Two colours at least 0.35 apart in brightness."""
    while True:
        numbers = _uniform(g, *[(0.0, 1.0)] * 6)
        dark, bright = (
            sum(a * b for a, b in zip(LUMA, part, strict=True))
            for part in (numbers[:3], numbers[3:])
        )
        if abs(dark - bright) > 0.35:
            return numbers


def _draw_mix(g: torch.Generator, strength: float) -> Numbers:
    """A permutation of the channels, disturbed, rows summing to one."""
    matrix = torch.eye(3)[torch.randperm(3, generator=g)]
    matrix = matrix + 0.3 * min(strength, 1.5) * torch.randn(3, 3, generator=g)
    return tuple((matrix + (1 - matrix.sum(1, keepdim=True)) / 3).flatten().tolist())


def _draw_contrast(g: torch.Generator, s: float) -> Numbers:
    gain, shift, gamma = _uniform(g, (-s, s), (-0.25 * s, 0.25 * s), (-s, s))
    return 2**gain, shift, 2 ** (0.9 * gamma)


def _draw_turn(g: torch.Generator, s: float) -> Numbers:
    ranges = (-35 * s, 35 * s), (-0.4, 0.4), (-0.25 * s, 0.25 * s)
    degrees, zoom, shear = _uniform(g, *ranges)
    return degrees, 2**zoom, shear


def _draw_backdrop(g: torch.Generator, s: float) -> Numbers:
    amount, *colours = _uniform(g, (0.25, min(0.85, 0.4 + 0.3 * s)), *[(0.0, 1.0)] * 6)
    return amount, 2 + _integer(g, 14), _integer(g, 3), *colours


def _draw_pixelate(g: torch.Generator, _: float) -> Numbers:
    return *_uniform(g, (0.35, 0.8)), _integer(g, 2)


OPERATIONS: dict[str, Kind] = {
    "invert": Kind(_invert, lambda _, __: (), 0.3),
    "grey": Kind(_grey, lambda _, __: (), 0.12),
    "recolour": Kind(_recolour, _draw_recolour, 0.25),
    "mix": Kind(_mix, _draw_mix, 0.25),
    "contrast": Kind(_contrast, _draw_contrast, 0.25),
    "quarter": Kind(_quarter, lambda g, _: (_integer(g, 4), _integer(g, 2)), 0.35),
    "turn": Kind(_turn, _draw_turn, 0.25),
    "blur": Kind(_blur, lambda g, s: _uniform(g, (0.4, 0.5 + 0.8 * s)), 0.15),
    "pixelate": Kind(_pixelate, _draw_pixelate, 0.12),
    "edges": Kind(_edges, lambda g, _: _uniform(g, (0.4, 1.0)), 0.12),
    "sharpen": Kind(_sharpen, lambda g, s: _uniform(g, (0.5, 0.6 + 1.5 * s)), 0.1),
    "thicken": Kind(_thicken, lambda g, _: (_sign(g) * _uniform(g, (0.3, 1.0))[0],), 0.12),
    "noise": Kind(_noise, lambda g, s: _uniform(g, (0.05, 0.1 + 0.3 * s)), 0.2),
    "solarise": Kind(_solarise, lambda g, _: _uniform(g, (0.4, 0.8)), 0.08),
    "posterise": Kind(_posterise, lambda g, _: (2 + _integer(g, 4),), 0.08),
    "backdrop": Kind(_backdrop, _draw_backdrop, 0.2),
    "light": Kind(_light, lambda g, s: _uniform(g, (0.2, min(0.9, s)), (0.0, 360.0)), 0.15),
}

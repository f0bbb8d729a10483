"""Small random changes of single images: crops, light and contrast."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def warp(
    images: Float[Tensor, " n c h w"],
    generator: torch.Generator,
    *,
    turn: float = 0.2,
    zoom: float = 0.15,
    shift: float = 0.12,
) -> Float[Tensor, " n c h w"]:
    """A random affine map for every image by itself, edges repeated.

    Args:
        turn: greatest rotation, radians.
        zoom: greatest change of scale and of aspect, as a logarithm.
        shift: greatest translation, as a share of the image's half width.
    """
    u = torch.rand(5, len(images), generator=generator)
    return _warped(images, u, turn, zoom, shift)


def relight(
    images: Float[Tensor, " n c h w"],
    generator: torch.Generator,
    *,
    brightness: float = 0.1,
    contrast: float = 0.3,
) -> Float[Tensor, " n c h w"]:
    """A random brightness and contrast for every image, around its own mean.

    Args:
        brightness: greatest shift, in units of the image's range [0, 1].
        contrast: greatest relative change.
    """
    u = torch.rand(2, len(images), generator=generator)
    return _relit(images, u, brightness, contrast)


def view(images: Float[Tensor, " n 3 h w"], generator: torch.Generator) -> Tensor:
    """One augmented copy of every image: rotation, zoom, aspect, shift, brightness, contrast.

    Ours. P>M>F's fine-tuning uses DiffAugment (arXiv:2204.07305): flip, brightness, saturation,
    contrast and shift, for nine steps of ten; it neither rotates nor zooms.
    """
    return changed(images, draw(len(images), generator))


def draw(n: int, generator: torch.Generator) -> Float[Tensor, " 7 n"]:
    """The random numbers that one view of `n` images is made of."""
    return torch.rand(7, n, generator=generator)


def changed(
    images: Float[Tensor, " n 3 h w"], u: Float[Tensor, " 7 n"]
) -> Float[Tensor, " n 3 h w"]:
    """The view of the images that the numbers of `draw` stand for."""
    return _relit(_warped(images, u[:5], 0.2, 0.15, 0.12), u[5:], 0.1, 0.3)


def _warped(images: Tensor, u: Tensor, turn: float, zoom: float, shift: float) -> Tensor:
    u = (2 * u - 1).to(images)
    scale, aspect = (zoom * u[0]).exp(), (zoom * u[1] / 2).exp()
    cos, sin = (turn * u[2]).cos() * scale, (turn * u[2]).sin() * scale
    rows = [cos * aspect, -sin, shift * u[3], sin, cos / aspect, shift * u[4]]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _relit(images: Tensor, u: Tensor, brightness: float, contrast: float) -> Tensor:
    u = (2 * u - 1).to(images)[..., None, None, None]
    mean = images.mean((1, 2, 3), keepdim=True)
    changed = mean + (images - mean) * (1 + contrast * u[0]) + brightness * u[1]
    return changed.clamp(0, 1)

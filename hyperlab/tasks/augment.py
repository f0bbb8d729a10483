"""Small random changes of single images: crops, light and contrast."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def view(
    images: Float[Tensor, " n 3 h w"],
    generator: torch.Generator,
    *,
    turn: float = 0.2,
    shift: float = 0.12,
) -> Float[Tensor, " n 3 h w"]:
    """One augmented copy of every image, see `changed`."""
    return changed(images, draw(len(images), generator), turn=turn, shift=shift)


def draw(n: int, generator: torch.Generator) -> Float[Tensor, " 7 n"]:
    """The random numbers that one view of `n` images is made of."""
    return torch.rand(7, n, generator=generator)


def changed(
    images: Float[Tensor, " n 3 h w"],
    u: Float[Tensor, " 7 n"],
    *,
    turn: float = 0.2,
    shift: float = 0.12,
) -> Float[Tensor, " n 3 h w"]:
    """The view of the images that the numbers of `draw` stand for.

    Of every image by itself: zoom and aspect, rotation and shift with edges repeated; then
    contrast around its own mean, and brightness.

    Ours. P>M>F's fine-tuning uses DiffAugment (arXiv:2204.07305): flip, brightness, saturation,
    contrast and shift, for nine steps of ten; it neither rotates nor zooms.

    Args:
        turn: greatest rotation, radians.
        shift: greatest translation, as a share of the image's half width.
    """
    u = (2 * u - 1).to(images)
    scale, aspect = (0.15 * u[0]).exp(), (0.15 * u[1] / 2).exp()
    cos, sin = (turn * u[2]).cos() * scale, (turn * u[2]).sin() * scale
    rows = [cos * aspect, -sin, shift * u[3], sin, cos / aspect, shift * u[4]]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    mean = images.mean((1, 2, 3), keepdim=True)
    contrast, light = u[5:, :, None, None, None]
    return (mean + (images - mean) * (1 + 0.3 * contrast) + 0.1 * light).clamp(0, 1)

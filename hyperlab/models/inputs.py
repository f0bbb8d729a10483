"""How images in [0, 1] become what a network was trained to see."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ..base import ConfigError

MODES = ("bilinear", "bicubic", "nearest")


@dataclass(frozen=True)
class Inputs:
    """Grey levels and the way of resizing; the defaults are those of `vit_micro`.

    Images are resized whole: the crop of the middle that timm takes in addition would cut off what
    a small picture shows.

    Args:
        mean, std: of every channel, subtracted from images in [0, 1] and divided by.
        interpolation: one of MODES; what bicubic overshoots is clamped, as in pictures of 8 bits.
    """

    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.interpolation not in MODES:
            raise ConfigError(f"no interpolation {self.interpolation!r}; have {MODES}")

    @classmethod
    def of(cls, config: Mapping[str, object]) -> "Inputs":
        """Those of timm's data configuration of a network."""
        return cls(tuple(config["mean"]), tuple(config["std"]), config["interpolation"])

    def __call__(
        self, images: Float[Tensor, " n 3 h w"], size: int, device: torch.device
    ) -> Float[Tensor, " n 3 size size"]:
        images = self.resized(images, size).to(device)
        mean, std = (images.new_tensor(x)[:, None, None] for x in (self.mean, self.std))
        return (images - mean) / std

    def resized(
        self, images: Float[Tensor, " n c h w"], size: int
    ) -> Float[Tensor, " n c size size"]:
        """The same images with sides of `size` pixels."""
        if images.shape[-2:] == (size, size):
            return images
        smooth = self.interpolation != "nearest"
        scaled = F.interpolate(images, size, mode=self.interpolation, antialias=smooth)
        return scaled.clamp(0, 1) if self.interpolation == "bicubic" else scaled

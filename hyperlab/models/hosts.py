"""Trained networks of which the last two normalisation layers move; the rest is frozen."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..base import ConfigError
from ..nn import lent
from ..params import ParamSubset, is_norm
from . import targets
from .inputs import Inputs

PAIRS = 1_250  # networks x images at once; 50 images of ResNet-18 for 25 networks


def last_norms(model: nn.Module, n: int = 2) -> tuple[str, ...]:
    """Names of the last n normalisation layers with weights of their own, in module order.

    Raises:
        ConfigError: there are fewer.
    """
    names = [name for name, layer in model.named_modules() if is_norm(layer)]
    if len(names) < n:
        raise ConfigError(f"want {n} normalisation layers, the network has {names}")
    return tuple(names[-n:])


@dataclass(frozen=True, eq=False)
class Host:
    """A frozen network; a row of numbers replaces weights and biases of its last two norms.

    Running statistics are the host's own and stay. Offers what a zoo's architecture does, so that
    rows are scored, encoded, generated and judged alike.

    Args:
        name: timm's.
        size: of an image, in pixels; others are resized, grey ones repeated in three channels.
        inputs: those that its weights were trained with elsewhere; None: it is trained on images
            as they come.
        levels: with `inputs`: centre and spread that images in [0, 1] were prepared with before.

    Source: Wang et al. 2024, p-diff (arXiv:2402.13144), section 3; FLoWN, arXiv:2503.19371,
    table 8.
    """

    name: str
    model: nn.Module
    n_classes: int
    size: int
    inputs: Inputs | None = None
    levels: tuple[float, float] = (0.0, 1.0)

    @cached_property
    def subset(self) -> ParamSubset:
        """What a row holds."""
        moving = set(last_norms(self.model))
        return ParamSubset.select(
            self.model, lambda name: name.rpartition(".")[0] in moving
        )

    @property
    def n_params(self) -> int:
        return self.subset.n_params

    @property
    def w0(self) -> Float[Tensor, " params"]:
        """The host's own row."""
        return self.flatten(self.subset.base)

    def unflatten(self, w: Float[Tensor, "*batch params"]) -> dict[str, Tensor]:
        """Name -> tensor; the leading axes of `w` stand in front of each shape.

        Raises:
            ConfigError: the rows have another length than this subset's.
        """
        return self.subset.unflatten(w)

    def flatten(self, state: Mapping[str, Tensor]) -> Float[Tensor, " params"]:
        """The row of a network from named tensors."""
        return self.subset.flatten(state)

    def logits(
        self, w: Float[Tensor, " models params"], images: Float[Tensor, " n c h w"]
    ) -> Float[Tensor, " models n classes"]:
        """What every network says of the same images.

        What comes before the moving layers is the same for all, and vmap computes it once.

        Raises:
            ConfigError: rows of another length, or images of neither one nor three channels.
        """
        self.unflatten(w[:0])
        run = torch.vmap(lambda row, x: self.subset.call(self.model, row, x), (0, None))
        blocks = images.split(max(1, PAIRS // max(1, len(w))))
        with targets.ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*batching rule for aten::as_strided")
            return torch.cat([run(w, self.see(block)) for block in blocks], 1)

    def see(self, images: Float[Tensor, " n c h w"]) -> Float[Tensor, " n 3 size size"]:
        """Images as the network takes them."""
        if images.shape[1] not in (1, 3):
            raise ConfigError(f"{self.name} takes 1 or 3 channels, got {images.shape[1]}")
        if self.inputs:
            plain = images * self.levels[1] + self.levels[0]
            return self.inputs(plain.expand(-1, 3, -1, -1), self.size, images.device)
        if images.shape[2:] != (self.size, self.size):
            size = (self.size, self.size)
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return images.expand(-1, 3, -1, -1)


def build(
    name: str,
    n_classes: int,
    *,
    size: int | None = None,
    pretrained: bool = False,
    levels: tuple[float, float] = (0.0, 1.0),
    generator: torch.Generator,
) -> Host:
    """A timm network with a new head, as a host.

    Args:
        size: pixels; None: the network's own.
        pretrained: False gives random weights; True sees images as those were trained to.
        levels: see `Host`.

    Raises:
        ConfigError: there is no such network, or it takes no images of this size.
        DataMissingError: no weights in the cache and none to be fetched.
    """
    size, inputs = targets.own_inputs(name, size)
    with lent(generator):
        model = targets.classifier(name, n_classes, size=size, pretrained=pretrained)
    return Host(name, model, n_classes, size, inputs if pretrained else None, levels)
